//! What is counted about an upstream's connections. Handles are made once, per upstream.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

use crate::upstream::HostPort;

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

/// What is told about the hosts of an upstream. They are labelled as they are configured, which is
/// a bounded set; addresses come and go.
pub(crate) struct HostMetrics {
    /// In the order of the hosts.
    pub(crate) healthy: Vec<Gauge>,
    pub(crate) failovers: Counter,
}

impl HostMetrics {
    pub(crate) fn new(upstream: &str, hosts: &[HostPort]) -> Self {
        describe_gauge!(
            "gatepost_upstream_host_healthy",
            "1, or 0 while no address of the host could be connected to when it was tried last"
        );
        describe_counter!(
            "gatepost_upstream_failovers_total",
            "Connections that were opened to another host than the first"
        );
        let healthy = hosts.iter().map(|host| {
            let labels = [("upstream", upstream.to_owned()), ("host", host.to_string())];
            let healthy = gauge!("gatepost_upstream_host_healthy", &labels);
            healthy.set(1.0);
            healthy
        });
        let healthy = healthy.collect();
        let failovers =
            counter!("gatepost_upstream_failovers_total", "upstream" => upstream.to_owned());
        failovers.increment(0);
        Self { healthy, failovers }
    }
}

pub(crate) struct RateMetrics {
    pub(crate) refused: Counter,
}

impl RateMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_counter!(
            "gatepost_upstream_recipients_over_rate_total",
            "Recipients that had to wait because the upstream may not be given more for now"
        );
        let upstream = upstream.to_owned();
        let refused =
            counter!("gatepost_upstream_recipients_over_rate_total", "upstream" => upstream);
        refused.increment(0);
        Self { refused }
    }
}
