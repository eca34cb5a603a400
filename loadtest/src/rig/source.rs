//! One run of `gatepost-loadtest source`, in a process of its own; its summary is the interface.
//!
//! The summary is read leniently: what is not there is zero, what is new is passed over.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use tokio::time;

use crate::process::pinned;

/// What came of a run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) messages: Counts,
    pub(crate) elapsed_seconds: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) latency_milliseconds: Option<Percentiles>,
    refusals: Vec<Row>,
    failures: Vec<Row>,
}

/// Messages by outcome.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) accepted: u64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    stage: String,
    cause: String,
    count: u64,
    example: String,
}

/// Sends it all, on these CPUs. An error if it could not start, or took longer than `limit` if there is
/// one; refusals are told in the report.
pub(crate) async fn run(
    arguments: &[String],
    cpus: &[usize],
    limit: Option<Duration>,
) -> anyhow::Result<Report> {
    let program = env::current_exe().context("this program does not know where it lies")?;
    let mut command = pinned(&program, cpus)?;
    command.arg("source").args(arguments).arg("--output=json").stdin(Stdio::null());
    let running = command.output();
    let ended = match limit {
        Some(limit) => time::timeout(limit, running)
            .await
            .with_context(|| format!("the source takes more than {} s", limit.as_secs()))?,
        None => running.await,
    };
    let told = ended.context("cannot start the source")?;
    serde_json::from_slice(&told.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&told.stderr);
        anyhow!("the source ended without a summary: {}", complaint.trim())
    })
}

impl Report {
    /// What was not accepted and the first reason, in one line; `None` if all were.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Counts { asked, accepted } = self.messages;
        if accepted == asked && asked > 0 {
            return None;
        }
        let first = self.refusals.iter().chain(&self.failures).next();
        let reason = first.map_or_else(String::new, |Row { stage, cause, count, example }| {
            format!(": {count} times {cause} to {stage}, {example:?}")
        });
        Some(format!("{accepted} of {asked} messages were accepted{reason}"))
    }

    /// Percentiles; zero if nothing was accepted.
    pub(crate) fn latency(&self) -> Percentiles {
        self.latency_milliseconds.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_may_lack_anything_and_have_more() {
        let report: Report = serde_json::from_str(
            r#"{"messages": {"asked": 9, "accepted": 7, "new": 1}, "phases": [],
                "latency_milliseconds": {"p50": 0.5, "p99.9": 3}, "elapsed_seconds": 0.25,
                "refusals": [{"stage": "RCPT", "cause": "450", "count": 2, "example": "4.3.2 no"}]}"#,
        )
        .unwrap();
        let told = report.trouble().unwrap();
        assert_eq!(told, "7 of 9 messages were accepted: 2 times 450 to RCPT, \"4.3.2 no\"");
        assert!((report.latency().p50 - 0.5).abs() < 1e-9);
        assert!((report.elapsed_seconds - 0.25).abs() < 1e-9);
        let good: Report =
            serde_json::from_str(r#"{"messages": {"asked": 9, "accepted": 9}}"#).unwrap();
        assert_eq!(good.trouble(), None);
        let nothing = Report::default().trouble();
        assert!(nothing.is_some(), "a summary that says nothing is no success");
    }
}
