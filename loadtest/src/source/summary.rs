//! The end of a run, for people ([`Display`](fmt::Display)) and for programs (serde).
//!
//! Field names and units of the JSON form are what scripts read: add to them, do not change them.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::options::SourceOptions;
use super::tally::{Cause, Tally};

const OCTETS_PER_MIB: f64 = 1024.0 * 1024.0;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The server.
    pub target: String,
    /// Always `closed`: a session waits for an answer before it sends the next message.
    #[serde(rename = "loop")]
    pub feedback: &'static str,
    /// Sessions at the same time.
    pub sessions: u32,
    /// Connections opened.
    pub connections: u64,
    /// Messages by outcome.
    pub messages: MessageCounts,
    /// From the start to the last answer.
    pub elapsed_seconds: f64,
    /// Accepted messages.
    pub messages_per_second: f64,
    /// Content of accepted messages, before dot-stuffing.
    pub mib_per_second: f64,
    /// Of accepted messages: from the start of a message, which includes connecting if it needs a
    /// new connection, to the reply after its final dot. `None` if there are none.
    pub latency_milliseconds: Option<Latency>,
    /// 4xx and 5xx replies.
    pub refusals: Vec<TroubleRow>,
    /// Everything else that went wrong.
    pub failures: Vec<TroubleRow>,
    /// Refusals and failures of kinds that found no room in the tables.
    pub unlisted: u64,
}

/// Messages by outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// To send.
    pub asked: u64,
    /// Every recipient and the content were accepted.
    pub accepted: u64,
    /// Some reply was a refusal.
    pub refused: u64,
    /// No answer, or none that makes sense.
    pub failed: u64,
    /// Not sent, or not answered when the run was stopped.
    pub unfinished: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90 of 100 were at least as quick.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// The slowest.
    pub max: f64,
}

/// One kind of refusal or failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TroubleRow {
    /// The command (or `connect`, `greeting`, `hello`, `content`) that it was the answer to.
    pub stage: String,
    /// The reply code, or what failed.
    pub cause: String,
    /// How many messages ended this way.
    pub count: u64,
    /// The text of the first one.
    pub example: String,
}

impl Summary {
    pub(super) fn new(
        options: &SourceOptions,
        connections: u64,
        elapsed: Duration,
        tally: &Tally,
    ) -> Self {
        let (accepted, refused, failed) = (tally.accepted(), tally.refused(), tally.failed());
        let unfinished = options.messages - accepted - refused - failed;
        let messages =
            MessageCounts { asked: options.messages, accepted, refused, failed, unfinished };
        Self {
            target: options.target.to_string(),
            feedback: "closed",
            sessions: options.sessions,
            connections,
            messages,
            elapsed_seconds: elapsed.as_secs_f64(),
            messages_per_second: per_second(accepted, elapsed),
            mib_per_second: per_second(tally.octets(), elapsed) / OCTETS_PER_MIB,
            latency_milliseconds: (accepted > 0).then(|| Latency::new(tally.latency())),
            refusals: rows(tally, |cause| matches!(cause, Cause::Refused(_))),
            failures: rows(tally, |cause| !matches!(cause, Cause::Refused(_))),
            unlisted: tally.unlisted(),
        }
    }

    /// True if nothing was refused, lost or left over.
    pub fn all_accepted(&self) -> bool {
        self.messages.accepted == self.messages.asked
    }
}

impl Latency {
    fn new(microseconds: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(microseconds.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: milliseconds(microseconds.max()),
        }
    }
}

fn rows(tally: &Tally, wanted: fn(Cause) -> bool) -> Vec<TroubleRow> {
    tally
        .rows()
        .filter(|&(_, cause, _)| wanted(cause))
        .map(|(stage, cause, row)| TroubleRow {
            stage: stage.to_string(),
            cause: cause.to_string(),
            count: row.count,
            example: row.example.clone(),
        })
        .collect()
}

fn milliseconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a rate is read to a few digits")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = &self.messages;
        writeln!(f, "target      {}", self.target)?;
        writeln!(f, "load        closed loop, {} sessions", self.sessions)?;
        writeln!(f, "connections {:>12}", self.connections)?;
        writeln!(f, "messages    {:>12} asked for", messages.asked)?;
        writeln!(f, "            {:>12} accepted", messages.accepted)?;
        writeln!(f, "            {:>12} refused", messages.refused)?;
        writeln!(f, "            {:>12} failed", messages.failed)?;
        writeln!(f, "            {:>12} unfinished", messages.unfinished)?;
        writeln!(f, "time        {:>12.3} s", self.elapsed_seconds)?;
        writeln!(f, "rate        {:>12.1} messages/s", self.messages_per_second)?;
        writeln!(f, "            {:>12.2} MiB/s", self.mib_per_second)?;
        if let Some(latency) = &self.latency_milliseconds {
            writeln!(f, "latency p50 {:>12.3} ms", latency.p50)?;
            writeln!(f, "        p90 {:>12.3} ms", latency.p90)?;
            writeln!(f, "        p99 {:>12.3} ms", latency.p99)?;
            writeln!(f, "      p99.9 {:>12.3} ms", latency.p99_9)?;
            writeln!(f, "        max {:>12.3} ms", latency.max)?;
        }
        write_rows(f, "refusals", &self.refusals)?;
        write_rows(f, "failures", &self.failures)?;
        if self.unlisted > 0 {
            writeln!(f, "unlisted    {:>12} refusals and failures of other kinds", self.unlisted)?;
        }
        Ok(())
    }
}

fn write_rows(f: &mut fmt::Formatter<'_>, title: &str, rows: &[TroubleRow]) -> fmt::Result {
    let mut title = title;
    for TroubleRow { stage, cause, count, example } in rows {
        writeln!(f, "{title:<11} {count:>12} {stage:<8} {cause}: {example}")?;
        title = "";
    }
    Ok(())
}
