//! What is counted about an upstream's connections. Handles are made once, per upstream.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

pub(crate) struct PoolMetrics {
    pub(crate) busy: Gauge,
    pub(crate) idle: Gauge,
    pub(crate) opened: Counter,
    pub(crate) open_failed: Counter,
    pub(crate) reused: Counter,
}

impl PoolMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_gauge!(
            "gatepost_upstream_connections",
            "Connections to an upstream, by what they do"
        );
        describe_counter!(
            "gatepost_upstream_connections_opened_total",
            "Connections that were opened"
        );
        describe_counter!(
            "gatepost_upstream_connections_failed_total",
            "Transactions for which no connection could be opened"
        );
        describe_counter!(
            "gatepost_upstream_connections_reused_total",
            "Transactions that found a connection"
        );
        let upstream = upstream.to_owned();
        let connections = |state: &'static str| gauge!("gatepost_upstream_connections", "upstream" => upstream.clone(), "state" => state);
        let count = |name: &'static str| {
            let counter = counter!(name, "upstream" => upstream.clone());
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        Self {
            busy: connections("busy"),
            idle: connections("idle"),
            opened: count("gatepost_upstream_connections_opened_total"),
            open_failed: count("gatepost_upstream_connections_failed_total"),
            reused: count("gatepost_upstream_connections_reused_total"),
        }
    }
}
