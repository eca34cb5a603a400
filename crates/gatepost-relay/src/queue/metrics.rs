//! What is counted about the queue. Handles are made once, per upstream.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

pub(super) struct WayMetrics {
    pub(super) ambiguous: Counter,
    pub(super) deferred: Counter,
    pub(super) delivered: Counter,
    pub(super) expired: Counter,
    pub(super) failed: Counter,
    pub(super) unreachable: Counter,
    pub(super) in_flight: Gauge,
    pub(super) resting: Gauge,
}

impl WayMetrics {
    pub(super) fn new(upstream: &str) -> Self {
        describe_counter!(
            "gatepost_queue_attempts_total",
            "Attempts to deliver what is spooled, by what came of them; one whose recipients fared \
             differently counts for each"
        );
        describe_gauge!("gatepost_queue_in_flight", "Spooled messages that are being delivered");
        describe_gauge!(
            "gatepost_queue_resting",
            "1 while what is spooled for the upstream waits, because it cannot be reached"
        );
        let attempts = |result: &'static str| {
            let counter = counter!("gatepost_queue_attempts_total", "upstream" => upstream.to_owned(), "result" => result);
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        let resting = gauge!("gatepost_queue_resting", "upstream" => upstream.to_owned());
        resting.set(0.0);
        Self {
            ambiguous: attempts("ambiguous"),
            deferred: attempts("deferred"),
            delivered: attempts("delivered"),
            expired: attempts("expired"),
            failed: attempts("failed"),
            unreachable: attempts("unreachable"),
            in_flight: gauge!("gatepost_queue_in_flight", "upstream" => upstream.to_owned()),
            resting,
        }
    }
}

/// What is counted about all of them.
pub(super) struct RunnerMetrics {
    /// The names of upstreams that are gone would be labels without bound.
    pub(super) stranded: Gauge,
    pub(super) recovered: Gauge,
}

impl RunnerMetrics {
    pub(super) fn new() -> Self {
        describe_gauge!(
            "gatepost_queue_stranded_messages",
            "Spooled messages whose upstream is not configured any more"
        );
        describe_gauge!(
            "gatepost_queue_recovered_messages",
            "Spooled messages that were being delivered when the last process ended: each may arrive twice"
        );
        let stranded = gauge!("gatepost_queue_stranded_messages");
        stranded.set(0.0);
        let recovered = gauge!("gatepost_queue_recovered_messages");
        recovered.set(0.0);
        Self { stranded, recovered }
    }
}

/// Counted for as long as it is there.
pub(super) struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    pub(super) fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
