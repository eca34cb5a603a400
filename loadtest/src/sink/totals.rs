//! What a sink has to say at the end, for people and for programs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use super::counters::SinkRate;
use super::verify::{MessageNumber, VerificationTotals};
use super::{Shared, SinkCounters};

/// A look at a sink from outside. It outlives the sink.
#[derive(Clone, Debug)]
pub struct SinkProgress(pub(super) Arc<Shared>);

/// Everything that a sink has counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SinkTotals {
    /// Messages answered with `250`.
    pub messages: u64,
    /// Recipients of those messages.
    pub recipients: u64,
    /// Octets of content of those messages, as on the wire.
    pub octets: u64,
    /// Commands and messages answered with 4xx or 5xx, faults aside.
    pub refused: u64,
    /// Faults that were played, of all kinds.
    pub faulted: u64,
    /// Connections.
    pub connections: ConnectionTotals,
    /// Messages per second.
    pub messages_per_second: SinkRate,
    /// TLS handshakes.
    pub tls_handshakes: HandshakeTotals,
    /// Each fault that was asked for.
    pub faults: Vec<FaultRow>,
    /// What verification has come to, if it was asked for.
    pub verification: Option<VerificationTotals>,
}

/// Connections of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionTotals {
    /// All that were accepted.
    pub accepted: u64,
    /// Those that are open now, or were when the sink was stopped.
    pub open: u64,
    /// The most that were open at the same time.
    pub peak: u64,
}

/// TLS handshakes of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HandshakeTotals {
    /// Those that succeeded.
    pub done: u64,
    /// Those that did not.
    pub failed: u64,
}

/// How often a fault was played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultRow {
    /// Where.
    pub phase: String,
    /// What.
    pub kind: String,
    /// The share that was asked for, in percent.
    pub percent: f64,
    /// How often it was played.
    pub played: u64,
    /// Out of how many replies.
    pub replies: u64,
}

impl SinkProgress {
    /// The counters.
    pub fn counters(&self) -> &SinkCounters {
        &self.0.counters
    }

    /// Messages per second.
    pub fn rate(&self) -> SinkRate {
        // Nothing panics under this lock or the next one, so what they hold is whole.
        let meter = *self.0.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.rate(Instant::now(), self.0.counters.messages.load(Ordering::Relaxed))
    }

    /// Messages that are not what was sent, or came again; none without verification.
    pub fn wrong(&self) -> u64 {
        let ledger = self.0.ledger.as_ref();
        ledger.map_or(0, |ledger| ledger.lock().unwrap_or_else(PoisonError::into_inner).wrong())
    }

    /// All there is to say.
    pub fn totals(&self) -> SinkTotals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = self.counters();
        let verification = self
            .0
            .ledger
            .as_ref()
            .map(|ledger| ledger.lock().unwrap_or_else(PoisonError::into_inner).totals());
        let faults = self.0.dice.iter().flat_map(super::trouble::Dice::counts);
        let faults = faults.map(|(fault, played, replies)| FaultRow {
            phase: fault.phase().to_string(),
            kind: fault.kind().to_string(),
            percent: fault.share().percent(),
            played,
            replies,
        });
        SinkTotals {
            messages: count(&counters.messages),
            recipients: count(&counters.recipients),
            octets: count(&counters.octets),
            refused: count(&counters.refused),
            faulted: count(&counters.faulted),
            connections: ConnectionTotals {
                accepted: count(&counters.connections),
                open: count(&counters.connections_open),
                peak: count(&counters.connections_peak),
            },
            messages_per_second: self.rate(),
            tls_handshakes: HandshakeTotals {
                done: count(&counters.tls_handshakes),
                failed: count(&counters.tls_failed),
            },
            faults: faults.collect(),
            verification,
        }
    }
}

impl SinkTotals {
    /// False if verification was asked for and something is wrong.
    pub fn all_well(&self) -> bool {
        self.verification.as_ref().is_none_or(VerificationTotals::all_well)
    }
}

impl fmt::Display for SinkTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "messages    {:>12}", self.messages)?;
        writeln!(f, "recipients  {:>12}", self.recipients)?;
        writeln!(f, "octets      {:>12}", self.octets)?;
        writeln!(f, "refused     {:>12}", self.refused)?;
        writeln!(f, "faulted     {:>12}", self.faulted)?;
        writeln!(f, "connections {:>12} accepted", self.connections.accepted)?;
        writeln!(f, "            {:>12} open at the end", self.connections.open)?;
        writeln!(f, "            {:>12} at the same time", self.connections.peak)?;
        writeln!(f, "rate        {:>12.1} messages/s", self.messages_per_second.mean)?;
        writeln!(f, "            {:>12.1} in the best second", self.messages_per_second.peak)?;
        let HandshakeTotals { done, failed } = self.tls_handshakes;
        if done + failed > 0 {
            writeln!(f, "TLS         {done:>12} handshakes")?;
            writeln!(f, "            {failed:>12} failed")?;
        }
        let mut title = "faults";
        for FaultRow { phase, kind, percent, played, replies } in &self.faults {
            writeln!(f, "{title:<11} {played:>12} {phase}={kind}@{percent}% of {replies} replies")?;
            title = "";
        }
        self.verification.as_ref().map_or(Ok(()), |verification| write!(f, "{verification}"))
    }
}

impl fmt::Display for VerificationTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verified    {:>12} as they were sent", self.verified)?;
        let row = |f: &mut fmt::Formatter<'_>, count, text, examples: &[MessageNumber]| {
            write!(f, "            {count:>12} {text}")?;
            for (place, example) in examples.iter().enumerate() {
                write!(f, "{} {example}", if place == 0 { ":" } else { "," })?;
            }
            writeln!(f)
        };
        row(f, self.changed, "changed", &self.changed_examples)?;
        row(f, self.repeated, "came again", &self.repeated_examples)?;
        row(f, self.missing, "missing", &self.missing_examples)?;
        row(f, self.mangled, "with mangled marks", &[])?;
        row(f, self.unmarked, "without marks", &[])?;
        if self.untracked > 0 {
            row(f, self.untracked, "too many to know whether they came again", &[])?;
        }
        Ok(())
    }
}
