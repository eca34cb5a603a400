//! A soak as figures, and in words.

use std::fmt;

use super::history::{Moment, RoundPoint};
use super::round::Kind;
use super::verdict::{Judgement, Slope, Verdict};
use super::{SoakOutcome, clock};
use crate::figures::{Axis, Figures, Plot, Section, Series, Style, Table};
use crate::process::machine;

const OCTETS_PER_KIB: f64 = 1024.0;
const OCTETS_PER_MIB: f64 = 1024.0 * 1024.0;

/// How the verdict is reached, for whoever reads the page.
const HOW_TO_READ: &str = "Judged is the gateway at rest, between two cycles of rounds. Memory is what no file \
holds. The slope is that of Theil and Sen over medians of blocks of time behind \
the warm-up, with the interval that holds it 99 times of 100. It is a leak if even the lower end, over \
the judged time, is more than the tolerance, and the latter half still rises as fast.";

impl SoakOutcome {
    /// The document that `report` draws.
    pub fn figures(&self) -> Figures {
        Figures {
            title: format!("Soak of {}", self.time()),
            command: self.command.clone(),
            began: self.began.clone(),
            machine: machine(),
            sections: vec![self.verdict_section(), self.rounds_section()],
        }
    }

    fn time(&self) -> String {
        clock(std::time::Duration::from_secs_f64(self.elapsed_seconds))
    }

    fn verdict_section(&self) -> Section {
        let memory = |sample: &super::Sample| sample.memory / OCTETS_PER_MIB;
        let descriptors = |sample: &super::Sample| sample.descriptors;
        let plots = vec![
            self.grown("Memory (MiB)", &self.memory, OCTETS_PER_MIB, memory),
            self.grown("File descriptors", &self.descriptors, 1.0, descriptors),
        ];
        let columns = ["", "first", "last", "growth per hour", "tolerated in all", "verdict"];
        let rows = vec![
            row(
                "memory",
                &self.memory,
                &|octets| format!("{:.0} KiB", octets / OCTETS_PER_KIB),
                self.tolerance.memory,
            ),
            row(
                "descriptors",
                &self.descriptors,
                &|count| format!("{count:.1}"),
                self.tolerance.descriptors,
            ),
        ];
        Section {
            title: "Does it grow?".to_owned(),
            text: HOW_TO_READ.to_owned(),
            tables: vec![Table::new("", &columns, rows), self.counts_table()],
            plots,
        }
    }

    fn counts_table(&self) -> Table {
        let counts = self.messages;
        let arrived = counts.arrived.map_or_else(|| "not counted".to_owned(), |n| n.to_string());
        let mut rows = vec![
            vec!["rounds".to_owned(), self.rounds.to_string()],
            vec!["messages to send".to_owned(), counts.asked.to_string()],
            vec!["accepted".to_owned(), counts.accepted.to_string()],
            vec!["arrived".to_owned(), arrived],
            vec!["troubles".to_owned(), self.trouble_count.to_string()],
        ];
        rows.extend(self.troubles.iter().map(|trouble| vec![String::new(), trouble.clone()]));
        Table::new("Every message arrives", &["", "count"], rows)
    }

    /// One quantity over time, with the line that was found.
    fn grown(
        &self,
        name: &str,
        judged: &Judgement,
        unit: f64,
        quantity: impl Fn(&super::Sample) -> f64,
    ) -> Plot {
        let line = |name, points| Series::new(name, Style::Line, points);
        let measured = |moment| {
            let samples = self.history.samples(moment).iter();
            samples.map(|sample| (sample.hours, quantity(sample))).collect()
        };
        let mut series = vec![
            line("under load", measured(Moment::UnderLoad)),
            line("at rest", measured(Moment::AtRest)),
        ];
        let last = self.history.samples(Moment::AtRest).last();
        if let (Some(trend), Some(last)) = (judged.trend, last) {
            let ends = [last.hours - judged.hours, last.hours];
            let points = ends.map(|hours| (hours, trend.at(hours) / unit)).to_vec();
            series.push(line("trend", points));
        }
        plot(name, series)
    }

    fn rounds_section(&self) -> Section {
        let plots = vec![
            self.over_rounds("Messages a second", |point| point.rate),
            self.over_rounds("p99 of the latency (ms)", |point| point.p99),
            self.over_rounds("CPU of the gateway per message (µs)", |point| point.cpu_per_message),
        ];
        Section {
            title: "Round by round".to_owned(),
            text:
                "Each kind of round at its time. What surrounds the load of a round, idle sessions \
                   and clients that hang up, is part of the CPU of its messages."
                    .to_owned(),
            tables: Vec::new(),
            plots,
        }
    }

    fn over_rounds(&self, name: &str, quantity: fn(&RoundPoint) -> f64) -> Plot {
        let series = Kind::all(true).iter().filter_map(|&kind| {
            let points = self.history.rounds(kind).iter();
            let points: Vec<_> = points.map(|point| (point.hours, quantity(point))).collect();
            let some = !points.is_empty();
            some.then(|| Series::new(&kind.to_string(), Style::Line, points))
        });
        plot(name, series.collect())
    }
}

fn plot(name: &str, series: Vec<Series>) -> Plot {
    Plot::new(name, Axis::linear("hours"), Axis::linear(name), series)
}

#[expect(clippy::cast_precision_loss, reason = "a tolerance has few digits")]
fn row(
    name: &str,
    judged: &Judgement,
    told: &dyn Fn(f64) -> String,
    tolerance: u64,
) -> Vec<String> {
    let slope = judged.per_hour.map_or_else(
        || "unknown".to_owned(),
        |Slope { median, low, high }| format!("{} ({} to {})", told(median), told(low), told(high)),
    );
    let verdict = match judged.verdict {
        Verdict::Grows => {
            format!("grows by {}/h", told(judged.per_hour.map_or(0.0, |slope| slope.median)))
        }
        Verdict::Steady => "steady".to_owned(),
        Verdict::TooShort => "too short to tell".to_owned(),
    };
    let (first, last) = (told(judged.first), told(judged.last));
    vec![name.to_owned(), first, last, slope, told(tolerance as f64), verdict]
}

impl fmt::Display for SoakOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut figures = self.figures();
        figures.sections.truncate(1);
        f.write_str(&crate::rig::text::render(&figures))
    }
}
