//! What is counted about deliveries. Handles are made once, per upstream.

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

#[derive(Clone)]
pub(crate) struct DeliveryMetrics {
    pub(crate) delivered: Counter,
    pub(crate) deferred: Counter,
    pub(crate) refused: Counter,
    pub(crate) ambiguous: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) configuration_faults: Counter,
    pub(crate) duration: Histogram,
}

impl DeliveryMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_counter!("gatepost_deliveries_total", "Hand-overs, by what the upstream did");
        describe_counter!(
            "gatepost_configuration_faults_total",
            "Replies of an upstream that concern our set-up and not a message"
        );
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
        let metrics = Self {
            delivered: deliveries("delivered"),
            deferred: deliveries("deferred"),
            refused: deliveries("refused"),
            ambiguous: deliveries("ambiguous"),
            unreachable: deliveries("unreachable"),
            configuration_faults: counter!("gatepost_configuration_faults_total", "upstream" => upstream.clone()),
            duration: histogram!("gatepost_delivery_duration_seconds", "upstream" => upstream),
        };
        metrics.configuration_faults.increment(0);
        metrics
    }
}
