//! What a sink counts while it serves, and how fast it goes.
//!
//! Counters are atomics that sessions add to and nobody waits for. The rate is looked at once a
//! second from outside the sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Seconds that are cut short by the end of a run tell nothing about the highest rate.
const RATE_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// What a sink has taken since it was bound.
#[derive(Debug, Default)]
pub struct SinkCounters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections that are open now.
    pub connections_open: AtomicU64,
    /// Connections that were open at the same time.
    pub connections_peak: AtomicU64,
    /// Messages answered with `250`.
    pub messages: AtomicU64,
    /// Recipients of those messages.
    pub recipients: AtomicU64,
    /// Octets of content of those messages, as on the wire, without the final `.CRLF`.
    pub octets: AtomicU64,
    /// Commands and messages answered with 4xx or 5xx, faults aside.
    pub refused: AtomicU64,
    /// Faults that were played, of all kinds.
    pub faulted: AtomicU64,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: AtomicU64,
    /// TLS handshakes that did not.
    pub tls_failed: AtomicU64,
}

impl SinkCounters {
    pub(super) fn count_message(&self, recipients: u64, octets: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.recipients.fetch_add(recipients, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// Only the one task that accepts calls this.
    pub(super) fn set_open(&self, open: usize) {
        let open = open as u64;
        self.connections_open.store(open, Ordering::Relaxed);
        if open > self.connections_peak.load(Ordering::Relaxed) {
            self.connections_peak.store(open, Ordering::Relaxed);
        }
    }
}

/// Messages per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SinkRate {
    /// From the second in which the first message came to that of the last one.
    pub mean: f64,
    /// In the best second.
    pub peak: f64,
    /// In the last second.
    pub last: f64,
}

/// Makes rates of counts that are looked at once a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateMeter {
    looked_at: Instant,
    messages: u64,
    /// From the look before the first message to the look after the last one.
    busy: Option<(Instant, Instant)>,
    peak: f64,
    last: f64,
}

impl RateMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { looked_at: now, messages: 0, busy: None, peak: 0.0, last: 0.0 }
    }

    /// Takes the count of now.
    pub(super) fn look(&mut self, now: Instant, messages: u64) {
        let since = now.saturating_duration_since(self.looked_at);
        let more = messages.saturating_sub(self.messages);
        if more > 0 {
            let (first, _) = self.busy.unwrap_or((self.looked_at, now));
            self.busy = Some((first, now));
        }
        if since >= RATE_INTERVAL_MIN {
            self.last = per_second(more, since);
            self.peak = self.peak.max(self.last);
        }
        (self.looked_at, self.messages) = (now, messages);
    }

    /// The rates, with what has come since the last look.
    pub(super) fn rate(mut self, now: Instant, messages: u64) -> SinkRate {
        self.look(now, messages);
        let mean = self.busy.map_or(0.0, |(first, last)| per_second(messages, last - first));
        // A run shorter than one look has no best second but itself.
        SinkRate { mean, peak: self.peak.max(mean), last: self.last }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is read to a few digits")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_leaves_out_the_time_without_mail() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = RateMeter::new(start);
        for (second, messages) in [(1, 0), (2, 0), (3, 100), (4, 400), (5, 500), (6, 500)] {
            meter.look(at(second), messages);
        }
        let rate = SinkRate { mean: 500.0 / 3.0, peak: 300.0, last: 0.0 };
        assert_eq!(meter.rate(at(60), 500), rate);
        let rate = SinkRate { mean: 140.0, peak: 300.0, last: 200.0 };
        assert_eq!(meter.rate(at(7), 700), rate);
    }

    #[test]
    fn a_short_run_has_a_rate_and_no_run_has_none() {
        let start = Instant::now();
        let meter = RateMeter::new(start);
        assert_eq!(meter.rate(start, 0), SinkRate::default());
        let rate = meter.rate(start + Duration::from_millis(100), 10);
        assert_eq!((rate.mean, rate.peak, rate.last), (100.0, 100.0, 0.0));
    }
}
