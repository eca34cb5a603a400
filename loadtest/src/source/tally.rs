//! What happened to the messages, in bounded space: three counts, a histogram for each phase, and a
//! table of what went wrong, by command and reply code, with one example each.
//!
//! A run has a few tallies that its sessions share ([`Board`]), so that they seldom wait for each other,
//! and adds them up at the end: one histogram a phase and session would be too much for 50 000 sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::phase::{Laps, Phase};
use super::series::Window;

/// Rows of the table; a server with more kinds of refusals than this gets a last row for the rest.
const ROWS_MAX: usize = 32;

/// Characters of an example: a table is for reading.
const EXAMPLE_CHARACTERS_MAX: usize = 100;

/// Latencies are exact to three digits, whatever their size.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Tallies of a run: histograms for times up to a minute have 2 MB in each.
const TALLIES_MAX: usize = 16;

/// Where in a session something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Connect,
    #[cfg(feature = "tls")]
    Tls,
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
            #[cfg(feature = "tls")]
            Self::Tls => "TLS",
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

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.stage, self.cause, printable(&self.text))
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) count: u64,
    pub(super) example: String,
}

/// Everything that is kept of a run, or of a part of its sessions.
#[derive(Debug)]
pub(super) struct Tally {
    accepted: u64,
    refused: u64,
    failed: u64,
    /// Octets of the accepted messages, before dot-stuffing.
    octets: u64,
    /// Nanoseconds, by phase. What belongs to a message is of accepted ones only: refusals are quick
    /// and would flatter the server.
    phases: [Histogram<u64>; Phase::ALL.len()],
    /// Since the last tick.
    window: Window,
    rows: BTreeMap<(Stage, Cause), Row>,
    /// Troubles past the last row.
    unlisted: u64,
    last_answer: Option<Instant>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let (accepted, refused, failed, octets, unlisted) = Default::default();
        // Only a number of digits out of 0..=5 is an error.
        let phases = Phase::ALL.map(|_| Histogram::new(SIGNIFICANT_DIGITS).unwrap());
        let (window, rows, last_answer) = (Window::new(), BTreeMap::new(), None);
        Self { accepted, refused, failed, octets, phases, window, rows, unlisted, last_answer }
    }

    /// Takes the outcome of one message that ended now.
    pub(super) fn record(&mut self, outcome: &Result<(), Trouble>, laps: &Laps, octets: u64) {
        let answered = match outcome {
            Ok(()) => {
                self.accepted += 1;
                self.octets += octets;
                self.record_laps(laps);
                self.window.accept(laps.of(Phase::Message).unwrap_or_default());
                laps.last()
            }
            Err(trouble) => {
                self.window.refuse();
                self.record_trouble(trouble);
                // A failed message has no last lap.
                Instant::now()
            }
        };
        self.last_answer = self.last_answer.max(Some(answered));
    }

    fn record_laps(&mut self, laps: &Laps) {
        for (&phase, histogram) in Phase::ALL.iter().zip(&mut self.phases) {
            if let Some(lap) = laps.of(phase) {
                // The histogram grows as needed, up to 584 years. (`saturating_record` would not let
                // it grow, and cut every latency off at its first size.)
                histogram.record(lap.as_nanos() as u64).unwrap();
            }
        }
    }

    /// Adds everything of another one, and its window too.
    fn add(&mut self, other: &mut Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.failed += other.failed;
        self.octets += other.octets;
        self.unlisted += other.unlisted;
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            // Mine grows as needed.
            mine.add(theirs).unwrap();
        }
        other.window.pour_into(&mut self.window);
        for (&key, row) in &other.rows {
            self.add_row(key, row.clone());
        }
        self.last_answer = self.last_answer.max(other.last_answer);
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
        } else {
            self.add_row(key, Row { count: 1, example: printable(&trouble.text) });
        }
    }

    fn add_row(&mut self, key: (Stage, Cause), row: Row) {
        if let Some(present) = self.rows.get_mut(&key) {
            present.count += row.count;
        } else if self.rows.len() < ROWS_MAX {
            self.rows.insert(key, row);
        } else {
            self.unlisted += row.count;
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

    /// Nanoseconds.
    pub(super) fn phase(&self, phase: Phase) -> &Histogram<u64> {
        &self.phases[phase as usize]
    }

    pub(super) fn into_window(self) -> Window {
        self.window
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

/// The tallies of a run.
#[derive(Debug)]
pub(super) struct Board {
    tallies: Vec<Mutex<Tally>>,
}

impl Board {
    /// One for each CPU: no more sessions than that record at the same moment.
    pub(super) fn new() -> Self {
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(TALLIES_MAX));
        Self { tallies: (0..count).map(|_| Mutex::new(Tally::new())).collect() }
    }

    /// The tally of a session. The lock is held for a few counters and never across a wait.
    pub(super) fn of(&self, session: u32) -> MutexGuard<'_, Tally> {
        lock(&self.tallies[session as usize % self.tallies.len()])
    }

    /// Everything so far, added up.
    pub(super) fn sum(&self) -> Tally {
        let mut sum = Tally::new();
        for tally in &self.tallies {
            sum.add(&mut lock(tally));
        }
        sum
    }

    /// What has happened since this was asked last.
    pub(super) fn window(&self) -> Window {
        let mut window = Window::new();
        for tally in &self.tallies {
            lock(tally).window.pour_into(&mut window);
        }
        window
    }

    /// Accepted, refused, failed.
    pub(super) fn counts(&self) -> [u64; 3] {
        self.tallies.iter().map(lock).fold([0; 3], |[accepted, refused, failed], tally| {
            [accepted + tally.accepted, refused + tally.refused, failed + tally.failed]
        })
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // A poisoned lock means that a session panicked, and `Source::run` passes that on.
    tally.lock().unwrap()
}

/// The server's words go to a terminal: no control characters, and not too many.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(EXAMPLE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn took(milliseconds: u64) -> Laps {
        let since = Instant::now();
        let mut laps = Laps::since(since);
        laps.mark_at(Phase::Content, since + Duration::from_millis(milliseconds));
        laps.finish();
        laps
    }

    #[test]
    fn table_is_bounded() {
        let board = Board::new();
        for code in 400..500 {
            for session in 0..2 {
                let text = "4.0.0 no\x1b[2J".to_owned();
                let trouble = Trouble { stage: Stage::Rcpt, cause: Cause::Refused(code), text };
                board.of(session).record(&Err(trouble), &took(1), 1);
            }
        }
        let sum = board.sum();
        assert_eq!((sum.refused(), sum.failed(), sum.accepted()), (200, 0, 0));
        assert_eq!(sum.rows().count(), ROWS_MAX);
        assert_eq!(sum.rows().map(|(_, _, row)| row.count).sum::<u64>() + sum.unlisted(), 200);
        assert!(sum.rows().all(|(_, _, row)| row.count == 2 && row.example == "4.0.0 no[2J"));
        assert_eq!(sum.phase(Phase::Content).len(), 0, "refusals would flatter");
    }

    #[test]
    fn latencies_are_not_cut_off() {
        let board = Board::new();
        for milliseconds in 1..=10_000 {
            board.of(milliseconds as u32).record(&Ok(()), &took(milliseconds), 1);
        }
        let sum = board.sum();
        let off_by = sum.phase(Phase::Message).value_at_quantile(0.5).abs_diff(5_000_000_000);
        assert!(off_by < 5_000_000, "{off_by} ns");
        assert!(sum.phase(Phase::Content).max() >= 10_000_000_000);
        assert_eq!(
            (sum.accepted(), sum.octets(), sum.phase(Phase::Mail).len()),
            (10_000, 10_000, 0)
        );
    }

    #[test]
    fn only_421_and_failures_end_a_connection() {
        let ends =
            |cause| Trouble { stage: Stage::Mail, cause, text: String::new() }.ends_connection();
        assert!(ends(Cause::Refused(421)) && ends(Cause::Lost) && ends(Cause::TimedOut));
        assert!(!ends(Cause::Refused(450)) && !ends(Cause::Refused(554)));
    }
}
