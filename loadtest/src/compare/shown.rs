//! A comparison for people: a table for each load as text, and the same with bars as
//! [`Figures`].

use std::fmt;

use super::load::Load;
use super::outcome::{Comparison, LoadOutcome, Row, Spread};
use crate::figures::{Axis, Figures, Plot, Section, Series, Style, Table};
use crate::rig::text::write_table;

/// What stands with the tables.
const HOW_TO_READ: &str = "Medians over the rounds, with the smallest and the largest; ratios are \
    taken within each round. CPU is that of all processes of the relay, by message that the sink has \
    counted; memory is what they have after the load that no file holds. A durable relay answers when the message is on the disk, and is compared with Postfix; \
    the others answer with the sink's word, and are compared with HAProxy.";

/// One column: its head, and how a row fills it.
type Column = (&'static str, fn(&Row) -> String);

const NAMES: [Column; 2] = [
    ("relay", |row| row.relay.to_string()),
    ("durable", |row| if row.durable { "yes" } else { "no" }.to_owned()),
];
const COSTS: [Column; 6] = [
    ("rate/s", |row| cell(row.rate, 0)),
    ("CPU µs/message", |row| cell(row.cpu_microseconds, 1)),
    ("CPU ×", |row| cell(row.cpu_ratio, 3)),
    ("rate ×", |row| cell(row.rate_ratio, 2)),
    ("of", |row| row.base.map_or_else(|| "–".to_owned(), |base| base.to_string())),
    ("memory MiB", |row| median(row.memory_mib, 1)),
];
const TIMES: [Column; 2] = [
    ("p50 ms", |row| median(row.p50_milliseconds, 2)),
    ("p99 ms", |row| median(row.p99_milliseconds, 2)),
];
const ADDED: [Column; 2] = [
    ("added p50 ms", |row| cell(row.p50_added_milliseconds, 2)),
    ("added p99 ms", |row| cell(row.p99_added_milliseconds, 2)),
];

impl Comparison {
    /// The document of it.
    pub fn figures(&self, command: String) -> Figures {
        Figures {
            title: "Relays beside each other".to_owned(),
            command,
            began: self.began.clone(),
            machine: self.machine.clone(),
            sections: self.loads.iter().map(|load| self.section(load)).collect(),
        }
    }

    fn section(&self, load: &LoadOutcome) -> Section {
        let first = [load.description.clone(), self.pinned.clone()].into_iter();
        let told: Vec<String> = first.chain(load.notes()).chain(self.remarks()).collect();
        let text = format!("{}. {HOW_TO_READ}", told.join(". "));
        Section {
            title: format!("Load: {}", load.load),
            text,
            tables: vec![load.table()],
            plots: load.plots(),
        }
    }

    /// What was not as it was asked for.
    fn remarks(&self) -> impl Iterator<Item = String> {
        let absent =
            (!self.absent.is_empty()).then(|| format!("Left out: {}", self.absent.join(", ")));
        absent.into_iter().chain(self.interrupted.then(|| "Stopped before the end".to_owned()))
    }
}

impl LoadOutcome {
    fn columns(&self) -> Vec<Column> {
        let more: &[Column] = if self.load == Load::Latency { &ADDED } else { &[] };
        [&NAMES[..], &COSTS, &TIMES, more].concat()
    }

    fn table(&self) -> Table {
        let columns = self.columns();
        let row = |row: &Row| columns.iter().map(|(_, value)| value(row)).collect();
        Table {
            title: String::new(),
            columns: columns.iter().map(|(head, _)| (*head).to_owned()).collect(),
            rows: self.relays.iter().map(row).collect(),
        }
    }

    /// What a reader must know of each relay, and what went wrong.
    fn notes(&self) -> impl Iterator<Item = String> {
        self.relays.iter().flat_map(|row| {
            let failed =
                row.failures.iter().map(|reason| format!("{} failed: {reason}", row.relay));
            row.note.map(|note| format!("{}: {note}", row.relay)).into_iter().chain(failed)
        })
    }

    fn plots(&self) -> Vec<Plot> {
        if self.load == Load::Latency {
            let times: [Bars; 2] =
                [("p50", |row| row.p50_milliseconds), ("p99", |row| row.p99_milliseconds)];
            return self.bars("Time of a message (ms)", &times).into_iter().collect();
        }
        let cpu: [Bars; 1] = [("CPU", |row| row.cpu_microseconds)];
        let rate: [Bars; 1] = [("rate", |row| row.rate)];
        let plots = [self.bars("CPU by message (µs)", &cpu), self.bars("Messages a second", &rate)];
        plots.into_iter().flatten().collect()
    }

    /// Bars of those that have a value; no plot if nobody has one.
    fn bars(&self, label: &str, series: &[Bars]) -> Option<Plot> {
        let has_one = |row: &&Row| series.iter().any(|(_, value)| value(row).is_some());
        let rows: Vec<&Row> = self.relays.iter().filter(has_one).collect();
        if rows.is_empty() {
            return None;
        }
        let points = |value: fn(&Row) -> Option<Spread>| {
            let position = 0_u32..;
            let bars = position.zip(&rows);
            bars.filter_map(|(x, row)| Some((f64::from(x), value(row)?.median))).collect()
        };
        let drawn =
            series.iter().map(|&(name, value)| Series::new(name, Style::Bars, points(value)));
        let names = rows.iter().map(|row| row.relay.to_string());
        let (title, x) = (format!("{label}, {}", self.load), Axis::named("", names));
        Some(Plot::new(&title, x, Axis::linear(label), drawn.collect()))
    }
}

/// A set of bars: its name, and the value of a row.
type Bars = (&'static str, fn(&Row) -> Option<Spread>);

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; {}; {} rounds", self.machine, self.pinned, self.rounds)?;
        for load in &self.loads {
            writeln!(f, "\n{}: {}\n", load.load, load.description)?;
            write_table(f, &load.table(), NAMES.len())?;
            writeln!(f)?;
            for note in load.notes() {
                writeln!(f, "{note}")?;
            }
        }
        writeln!(f, "\n{HOW_TO_READ}")?;
        for remark in self.remarks() {
            writeln!(f, "{remark}")?;
        }
        Ok(())
    }
}

/// `13.5 (9.0–18.0)`, or the value alone where it is the only one.
fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        Some(Spread { median, min, max }) if (max - min).abs() > f64::EPSILON => {
            format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
        }
        other => median(other, digits),
    }
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |found| format!("{:.digits$}", found.median))
}

#[cfg(test)]
mod tests {
    use super::super::Peer;
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median - 1.0, max: median + 1.0 }
    }

    fn row(relay: Peer, load: Load, value: Option<Spread>) -> Row {
        Row {
            relay,
            durable: relay.is_durable(),
            base: relay.base(load),
            rate: value,
            cpu_microseconds: value.filter(|_| relay != Peer::Direct),
            rate_ratio: None,
            cpu_ratio: None,
            memory_mib: None,
            p50_milliseconds: value,
            p99_milliseconds: None,
            p50_added_milliseconds: value,
            p99_added_milliseconds: None,
            note: relay.note(load),
            failures: if value.is_none() { vec!["no memory".to_owned()] } else { Vec::new() },
        }
    }

    fn comparison(load: Load) -> Comparison {
        Comparison {
            began: "2025-11-22T10:00:00Z".to_owned(),
            machine: "a machine".to_owned(),
            pinned: "relay on CPU 0".to_owned(),
            rounds: 3,
            interrupted: false,
            absent: vec!["haraka (not installed)".to_owned()],
            loads: vec![LoadOutcome {
                load,
                description: "5 messages".to_owned(),
                relays: vec![
                    row(Peer::Haproxy, load, Some(spread(20.0))),
                    row(Peer::Postfix, load, None),
                    row(Peer::Direct, load, Some(spread(9.0))),
                ],
            }],
        }
    }

    #[test]
    fn text_has_a_line_for_each_relay_and_for_each_trouble() {
        let text = comparison(Load::Reused).to_string();
        let line = |name: &str| {
            let found = text.lines().find(|line| line.trim_start().starts_with(name));
            found.unwrap_or_else(|| panic!("{name}: {text}")).split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(line("haproxy ")[..5], ["haproxy", "no", "20", "(19–21)", "20.0"]);
        assert_eq!(line("postfix ")[..4], ["postfix", "yes", "–", "–"]);
        assert_eq!(line("direct ")[..5], ["direct", "no", "9", "(8–10)", "–"]);
        assert!(text.contains("\npostfix failed: no memory\n"), "{text}");
        assert!(text.contains("\nLeft out: haraka (not installed)\n"), "{text}");
    }

    #[test]
    fn bars_stand_over_those_that_have_a_value() {
        let figures = comparison(Load::Reused).figures("compare".to_owned());
        let section = &figures.sections[0];
        let [cpu, rate] = &section.plots[..] else { panic!("{section:?}") };
        assert_eq!(cpu.x.names, ["haproxy"]);
        assert_eq!(rate.x.names, ["haproxy", "direct"]);
        assert_eq!(rate.series[0].points, [(0.0, 20.0), (1.0, 9.0)]);
        assert!(
            section.tables[0].rows.iter().all(|row| row.len() == section.tables[0].columns.len())
        );
        assert!(section.text.contains("haproxy: passes octets on"), "{}", section.text);
    }

    #[test]
    fn a_fixed_rate_shows_what_is_added() {
        let comparison = comparison(Load::Latency);
        assert!(comparison.to_string().contains("added p50 ms"));
        let figures = comparison.figures(String::new());
        let [plot] = &figures.sections[0].plots[..] else { panic!("{figures:?}") };
        assert_eq!(plot.series.len(), 2);
        assert_eq!(plot.series[0].points.len(), 2);
        assert!(plot.series[1].points.is_empty());
    }
}
