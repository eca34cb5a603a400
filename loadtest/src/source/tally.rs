//! What happened to the messages, in bounded space: three counts, a histogram of latencies, and a
//! table of what went wrong, by command and reply code, with one example each.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Rows of the table; a server with more kinds of refusals than this gets a last row for the rest.
const ROWS_MAX: usize = 32;

/// Characters of an example: a table is for reading.
const EXAMPLE_CHARACTERS_MAX: usize = 100;

/// Latencies are exact to three digits, whatever their size.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Where in a session something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Connect,
    Greeting,
    Hello,
    Mail,
    Rcpt,
    Data,
    Content,
    Reset,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Content => "content",
            Self::Reset => "RSET",
        })
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A 4xx or 5xx reply.
    Refused(u16),
    /// No connection, or none any more.
    Lost,
    /// Something that is not SMTP.
    Malformed,
    /// The server cannot do what was asked for.
    NotOffered,
    /// Silence.
    TimedOut,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => f.pad(&code.to_string()),
            Self::Lost => f.pad("lost"),
            Self::Malformed => f.pad("malformed"),
            Self::NotOffered => f.pad("not offered"),
            Self::TimedOut => f.pad("timed out"),
        }
    }
}

/// Why a message was not accepted.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
    /// The server's words, or ours.
    pub(super) text: String,
}

impl Trouble {
    /// True if this was no reply.
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self.cause, Cause::Refused(_))
    }

    /// True if the connection is of no use any more; 421 announces that it will be closed (RFC 5321
    /// §3.8).
    pub(super) fn ends_connection(&self) -> bool {
        self.is_failure() || self.cause == Cause::Refused(421)
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) count: u64,
    pub(super) example: String,
}

/// Everything that is kept of a run.
#[derive(Debug)]
pub(super) struct Tally {
    accepted: u64,
    refused: u64,
    failed: u64,
    /// Octets of the accepted messages, before dot-stuffing.
    octets: u64,
    /// Microseconds, of accepted messages only: refusals are quick and would flatter the server.
    latency: Histogram<u64>,
    rows: BTreeMap<(Stage, Cause), Row>,
    /// Troubles past the last row.
    unlisted: u64,
    last_answer: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> Self {
        // Only a number of digits out of 0..=5 is an error.
        let latency = Histogram::new(SIGNIFICANT_DIGITS).unwrap();
        let (accepted, refused, failed, octets, unlisted) = Default::default();
        let rows = BTreeMap::new();
        Self { accepted, refused, failed, octets, latency, rows, unlisted, last_answer: None }
    }

    /// Takes the outcome of one message.
    pub(super) fn record(&mut self, outcome: &Result<(), Trouble>, took: Duration, octets: u64) {
        self.last_answer = Some(Instant::now());
        match outcome {
            Ok(()) => {
                self.accepted += 1;
                self.octets += octets;
                // The histogram grows as needed, up to 146 000 years. (`saturating_record` would
                // not let it grow, and cut every latency off at its first size.)
                self.latency.record(took.as_micros() as u64).unwrap();
            }
            Err(trouble) => self.record_trouble(trouble),
        }
    }

    fn record_trouble(&mut self, trouble: &Trouble) {
        if trouble.is_failure() {
            self.failed += 1;
        } else {
            self.refused += 1;
        }
        let key = (trouble.stage, trouble.cause);
        if let Some(row) = self.rows.get_mut(&key) {
            row.count += 1;
        } else if self.rows.len() < ROWS_MAX {
            self.rows.insert(key, Row { count: 1, example: printable(&trouble.text) });
        } else {
            self.unlisted += 1;
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (Stage, Cause, &Row)> {
        self.rows.iter().map(|(&(stage, cause), row)| (stage, cause, row))
    }

    pub(super) fn unlisted(&self) -> u64 {
        self.unlisted
    }

    pub(super) fn last_answer(&self) -> Option<Instant> {
        self.last_answer
    }
}

/// The server's words go to a terminal: no control characters, and not too many.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(EXAMPLE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_bounded() {
        let mut tally = Tally::new();
        for code in 400..500 {
            for _ in 0..2 {
                let text = "4.0.0 no\x1b[2J".to_owned();
                let trouble = Trouble { stage: Stage::Rcpt, cause: Cause::Refused(code), text };
                tally.record(&Err(trouble), Duration::ZERO, 1);
            }
        }
        assert_eq!((tally.refused(), tally.failed(), tally.accepted()), (200, 0, 0));
        assert_eq!(tally.rows().count(), ROWS_MAX);
        assert_eq!(tally.unlisted(), 200 - 2 * ROWS_MAX as u64);
        assert!(tally.rows().all(|(_, _, row)| row.count == 2 && row.example == "4.0.0 no[2J"));
    }

    #[test]
    fn latencies_are_not_cut_off() {
        let mut tally = Tally::new();
        for milliseconds in 1..=10_000 {
            tally.record(&Ok(()), Duration::from_millis(milliseconds), 1);
        }
        let off_by = tally.latency().value_at_quantile(0.5).abs_diff(5_000_000);
        assert!(off_by < 5_000, "{off_by} µs");
        assert!(tally.latency().max() >= 10_000_000);
    }

    #[test]
    fn only_421_and_failures_end_a_connection() {
        let ends =
            |cause| Trouble { stage: Stage::Mail, cause, text: String::new() }.ends_connection();
        assert!(ends(Cause::Refused(421)) && ends(Cause::Lost) && ends(Cause::TimedOut));
        assert!(!ends(Cause::Refused(450)) && !ends(Cause::Refused(554)));
    }
}
