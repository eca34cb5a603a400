//! A summary as figures: tables of outcome and phases, and plots of the run's course and its latencies.

use std::fmt::Display;

use super::text::columns;
use super::{SecondPoint, Summary};
use crate::figures::{Axis, Figures, Plot, Section, Series, Style, Table};

impl Summary {
    /// What a page shows of this run: `command` repeats it, `began` is RFC 3339, `machine` says where.
    pub fn figures(&self, command: String, began: String, machine: String) -> Figures {
        let title = format!("Source to {}", self.target);
        let sections = vec![self.outcome(), self.latencies(), self.course()];
        Figures { title, command, began, machine, sections }
    }

    fn outcome(&self) -> Section {
        let messages = &self.messages;
        let mut rows = vec![
            row("asked for", &messages.asked),
            row("accepted", &messages.accepted),
            row("refused", &messages.refused),
            row("failed", &messages.failed),
            row("unfinished", &messages.unfinished),
            row("connections", &self.connections),
            row("time (s)", &format_args!("{:.3}", self.elapsed_seconds)),
            row("rate (messages/s)", &format_args!("{:.1}", self.messages_per_second)),
            row("content (MiB/s)", &format_args!("{:.2}", self.mib_per_second)),
        ];
        if let Some(open) = &self.open_loop {
            rows.push(row("rate asked for (messages/s)", &open.rate_per_second));
            rows.push(row(
                "behind schedule at the end (s)",
                &format_args!("{:.3}", open.behind_seconds),
            ));
            rows.push(row("behind at worst (s)", &format_args!("{:.3}", open.behind_max_seconds)));
            rows.push(row("backlog at most", &open.backlog_max));
            rows.push(row("not sent", &open.not_sent));
        }
        if let Some(tls) = &self.tls {
            rows.push(row("TLS handshakes", &tls.handshakes));
            rows.push(row("of them resumed", &tls.resumed));
        }
        if let Some(idle) = &self.idle {
            rows.push(row("idle connections asked for", &idle.asked));
            rows.push(row("opened", &idle.opened));
            rows.push(row("opened (1/s)", &format_args!("{:.0}", idle.accepts_per_second)));
            rows.push(row("stood at the beginning", &idle.at_beginning));
            rows.push(row("stood at the end", &idle.at_end));
        }
        let mut tables = vec![Table::new("", &["", "value"], rows)];
        let troubles: Vec<_> = self.refusals.iter().chain(&self.failures).collect();
        if !troubles.is_empty() {
            let rows = troubles.iter().map(|trouble| {
                let count = trouble.count.to_string();
                vec![trouble.stage.clone(), trouble.cause.clone(), count, trouble.example.clone()]
            });
            let columns = ["stage", "cause", "messages", "example"];
            tables.push(Table::new("Refusals and failures", &columns, rows.collect()));
        }
        let text = match &self.open_loop {
            None => format!(
                "Closed loop over {} sessions: each waits for the answer before it sends the next \
                 message, so a slow server gets less load.",
                self.sessions
            ),
            Some(open) => format!(
                "Open loop at {} messages per second ({} arrivals) over {} sessions: latency counts \
                 from the moment a message was due.",
                open.rate_per_second, open.arrivals, self.sessions
            ),
        };
        let sizes = format!(" {} octets to {} recipients.", self.sizes, self.recipients);
        Section { title: "Outcome".to_owned(), text: text + &sizes, tables, plots: Vec::new() }
    }

    fn latencies(&self) -> Section {
        let rows = self.phases.iter().map(|phase| {
            let values = columns(phase).map(|us| format!("{:.3}", us / 1000.0));
            [phase.phase.to_owned(), phase.count.to_string()].into_iter().chain(values).collect()
        });
        let heads = ["phase", "count", "mean", "p50", "p90", "p99", "p99.9", "max"];
        let points = self.latency_curve.iter();
        let points =
            points.map(|point| (1.0 / (1.0 - point.percentile / 100.0), point.milliseconds));
        let curve = Plot::new(
            "Latency by percentile",
            Axis::logarithmic("one message of (2: p50, 10: p90, 100: p99, 1000: p99.9)"),
            Axis::logarithmic("at least as slow as (ms)"),
            vec![line("message", points.collect())],
        );
        Section {
            title: "Latency".to_owned(),
            text: "Where the time of accepted messages went, in milliseconds; the last row is the whole."
                .to_owned(),
            tables: vec![Table::new("Phases (ms)", &heads, rows.collect())],
            plots: if self.latency_curve.is_empty() { Vec::new() } else { vec![curve] },
        }
    }

    fn course(&self) -> Section {
        let over_time = |value: fn(&SecondPoint) -> f64| {
            self.seconds.iter().map(|point| (seconds(point), value(point))).collect()
        };
        let time = || Axis::linear("time (s)");
        let rate = Plot::new(
            "Rate",
            time(),
            Axis::linear("messages/s"),
            vec![
                line("accepted", over_time(|point| per_second(point.accepted, point))),
                line("refused or failed", over_time(|point| per_second(point.not_accepted, point))),
            ],
        );
        let latency = Plot::new(
            "Latency",
            time(),
            Axis::logarithmic("latency (ms)"),
            vec![
                line("p50", positive(over_time(|point| milliseconds(point.p50_us)))),
                line("p99", positive(over_time(|point| milliseconds(point.p99_us)))),
                line("max", positive(over_time(|point| milliseconds(point.max_us)))),
            ],
        );
        let plots = if self.seconds.is_empty() { Vec::new() } else { vec![rate, latency] };
        let (title, text) = ("Course".to_owned(), "The run second by second.".to_owned());
        Section { title, text, tables: Vec::new(), plots }
    }
}

fn row(name: &str, value: &dyn Display) -> Vec<String> {
    vec![name.to_owned(), value.to_string()]
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series::new(name, Style::Line, points)
}

/// A logarithmic axis has no zero: a second without messages is a gap.
fn positive(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.into_iter().filter(|&(_, value)| value > 0.0).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a plot shows a few digits")]
fn seconds(point: &SecondPoint) -> f64 {
    point.second as f64
}

#[expect(clippy::cast_precision_loss, reason = "a plot shows a few digits")]
fn per_second(count: u64, point: &SecondPoint) -> f64 {
    if point.seconds > 0.0 { count as f64 / point.seconds } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a plot shows a few digits")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}
