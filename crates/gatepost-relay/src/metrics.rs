//! What is counted about deliveries. Handles are made once, per upstream.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::handoff::Fate;
use crate::mode::Mode;
use crate::trouble::Scope;

/// What is counted about messages at their end, by how they were to be handed over.
pub(crate) struct HandoffMetrics([ModeMetrics; Mode::ALL.len()]);

struct ModeMetrics {
    cut_off: Counter,
    delivered: Counter,
    kept: Counter,
    in_doubt: Counter,
    deferred: Counter,
    refused: Counter,
}

impl HandoffMetrics {
    pub(crate) fn new() -> Self {
        describe_counter!(
            "gatepost_handoffs_total",
            "Messages whose end was received, by mode and by who has them"
        );
        Self(Mode::ALL.map(|mode| {
            let count = |result: &'static str| {
                let counter =
                    counter!("gatepost_handoffs_total", "mode" => mode.name(), "result" => result);
                // An alert on the first increase needs a zero to increase from.
                counter.increment(0);
                counter
            };
            ModeMetrics {
                cut_off: count("cut_off"),
                delivered: count("delivered"),
                kept: count("kept"),
                in_doubt: count("in_doubt"),
                deferred: count("deferred"),
                refused: count("refused"),
            }
        }))
    }

    /// Nobody knows how it ended, its client least of all.
    pub(crate) fn cut_off(&self, mode: Mode) {
        self.0[mode as usize].cut_off.increment(1);
    }

    pub(crate) fn count(&self, mode: Mode, fate: &Fate) {
        let metrics = &self.0[mode as usize];
        let counter = match fate {
            Fate::Accepted => &metrics.delivered,
            Fate::Kept(_) => &metrics.kept,
            Fate::InDoubt => &metrics.in_doubt,
            Fate::Refused(refused) if refused.reply.is_transient() => &metrics.deferred,
            Fate::Refused(_) => &metrics.refused,
        };
        counter.increment(1);
    }
}

#[derive(Clone)]
pub(crate) struct DeliveryMetrics {
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) refused: Counter,
    pub(crate) ambiguous: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) duration: Histogram,
}

impl DeliveryMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_counter!("gatepost_deliveries_total", "Hand-overs, by what the upstream did");
        describe_histogram!(
            "gatepost_delivery_duration_seconds",
            Unit::Seconds,
            "From the final dot to the upstream's reply"
        );
        let upstream = upstream.to_owned();
        let deliveries = |result: &'static str| {
            let counter = counter!("gatepost_deliveries_total", "upstream" => upstream.clone(), "result" => result);
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        Self {
            delivered: deliveries("delivered"),
            deferred: deliveries("deferred"),
            refused: deliveries("refused"),
            ambiguous: deliveries("ambiguous"),
            unreachable: deliveries("unreachable"),
            duration: histogram!("gatepost_delivery_duration_seconds", "upstream" => upstream),
        }
    }
}

/// Faults of our set-up.
pub(crate) struct FaultMetrics {
    envelope: Counter,
    connection: Counter,
    upstream: Counter,
    pub(crate) fault: Gauge,
}

impl FaultMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_counter!(
            "gatepost_configuration_faults_total",
            "Replies of an upstream that concern our set-up, by how far the fault reaches"
        );
        describe_gauge!(
            "gatepost_configuration_fault",
            "1 while the upstream does not accept how it is used"
        );
        let faults = |scope: Scope| {
            let counter = counter!("gatepost_configuration_faults_total", "upstream" => upstream.to_owned(), "scope" => scope.to_string());
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        let fault = gauge!("gatepost_configuration_fault", "upstream" => upstream.to_owned());
        fault.set(0.0);
        Self {
            envelope: faults(Scope::Envelope),
            connection: faults(Scope::Connection),
            upstream: faults(Scope::Upstream),
            fault,
        }
    }

    pub(crate) const fn faults(&self, scope: Scope) -> &Counter {
        match scope {
            Scope::Envelope => &self.envelope,
            Scope::Connection => &self.connection,
            Scope::Upstream => &self.upstream,
        }
    }
}
