//! What is counted about an upstream's connections. Handles are made once, per upstream.

use metrics::{Counter, Gauge, counter, gauge};

pub(crate) struct PoolMetrics {
    pub(crate) busy: Gauge,
    pub(crate) idle: Gauge,
    pub(crate) opened: Counter,
    pub(crate) open_failed: Counter,
    pub(crate) reused: Counter,
}

impl PoolMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        let upstream = upstream.to_owned();
        let connections = |state: &'static str| gauge!("gatepost_upstream_connections", "upstream" => upstream.clone(), "state" => state);
        let checkouts = |result: &'static str| counter!("gatepost_upstream_checkouts_total", "upstream" => upstream.clone(), "result" => result);
        Self {
            busy: connections("busy"),
            idle: connections("idle"),
            opened: checkouts("opened"),
            open_failed: checkouts("failed"),
            reused: checkouts("reused"),
        }
    }
}
