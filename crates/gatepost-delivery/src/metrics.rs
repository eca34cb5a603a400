//! What is counted about an upstream's connections. Handles are made once, per upstream.

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use tokio::time::Instant;

use crate::pool::breaker::{Cause, State};

use crate::upstream::HostPort;

pub(crate) struct PoolMetrics {
    pub(crate) busy: Gauge,
    pub(crate) idle: Gauge,
    pub(crate) opened: Counter,
    pub(crate) open_failed: Counter,
    pub(crate) reused: Counter,
    discarded: [Counter; Discard::ALL.len()],
    waiting: Gauge,
    wait: Histogram,
}

/// Why a connection is not kept, or not kept any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discard {
    /// What is configured has changed since it was opened.
    Changed,
    /// Nobody needed it.
    IdleTimeout,
    MaxAge,
    MaxMessages,
    /// The upstream bears fewer.
    Throttled,
    /// The upstream has closed it, or has said something that nobody asked for.
    Upstream,
}

/// One that waits for a connection, until it is dropped.
pub(crate) struct Wait<'a> {
    metrics: &'a PoolMetrics,
    since: Instant,
}

impl PoolMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        Self::describe();
        let upstream = upstream.to_owned();
        let connections = |state: &'static str| gauge!("gatepost_upstream_connections", "upstream" => upstream.clone(), "state" => state);
        let count = |name: &'static str| {
            let counter = counter!(name, "upstream" => upstream.clone());
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        let discarded = |reason: Discard| {
            let counter = counter!("gatepost_upstream_connections_discarded_total", "upstream" => upstream.clone(), "reason" => reason.name());
            counter.increment(0);
            counter
        };
        let waiting = gauge!("gatepost_upstream_waiting", "upstream" => upstream.clone());
        waiting.set(0.0);
        Self {
            busy: connections("busy"),
            idle: connections("idle"),
            opened: count("gatepost_upstream_connections_opened_total"),
            open_failed: count("gatepost_upstream_connections_failed_total"),
            reused: count("gatepost_upstream_connections_reused_total"),
            discarded: Discard::ALL.map(discarded),
            waiting,
            wait: histogram!("gatepost_upstream_wait_seconds", "upstream" => upstream),
        }
    }

    fn describe() {
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
        describe_counter!(
            "gatepost_upstream_connections_discarded_total",
            "Connections that were not kept after a transaction, or not any longer, by reason"
        );
        describe_gauge!("gatepost_upstream_waiting", "Transactions that wait for a connection");
        describe_histogram!(
            "gatepost_upstream_wait_seconds",
            Unit::Seconds,
            "How long transactions waited for a connection, of those that had to"
        );
    }

    pub(crate) fn discarded(&self, reason: Discard) {
        self.discarded[reason as usize].increment(1);
    }

    pub(crate) fn wait(&self) -> Wait<'_> {
        self.waiting.increment(1);
        Wait { metrics: self, since: Instant::now() }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.metrics.waiting.decrement(1);
        self.metrics.wait.record(self.since.elapsed());
    }
}

impl Discard {
    /// In the order of the variants.
    const ALL: [Self; 6] = [
        Self::Changed,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::MaxMessages,
        Self::Throttled,
        Self::Upstream,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::MaxMessages => "max_messages",
            Self::Throttled => "throttled",
            Self::Upstream => "upstream",
        }
    }
}

/// What an upstream's behaviour allows.
pub(crate) struct GovernorMetrics {
    limit: Gauge,
    closed: Gauge,
    half_open: Gauge,
    open: Gauge,
    misconfigured: Counter,
    unreachable: Counter,
    pub(crate) throttled: Counter,
}

impl GovernorMetrics {
    pub(crate) fn new(upstream: &str) -> Self {
        describe_gauge!(
            "gatepost_upstream_connections_limit",
            "Connections that may be busy at once: max_connections, or less while the upstream throttles"
        );
        describe_gauge!(
            "gatepost_upstream_breaker",
            "1 for the state that the breaker is in: open, nothing is sent to the upstream"
        );
        describe_counter!(
            "gatepost_upstream_breaker_opened_total",
            "How often the breaker has opened, failed probes included, by what was wrong"
        );
        describe_counter!(
            "gatepost_upstream_throttled_total",
            "How often the upstream wanted less"
        );
        let upstream = upstream.to_owned();
        let breaker = |state: &'static str| gauge!("gatepost_upstream_breaker", "upstream" => upstream.clone(), "state" => state);
        let opened = |cause: &'static str| {
            let counter = counter!("gatepost_upstream_breaker_opened_total", "upstream" => upstream.clone(), "cause" => cause);
            counter.increment(0);
            counter
        };
        let throttled =
            counter!("gatepost_upstream_throttled_total", "upstream" => upstream.clone());
        throttled.increment(0);
        Self {
            limit: gauge!("gatepost_upstream_connections_limit", "upstream" => upstream.clone()),
            closed: breaker("closed"),
            half_open: breaker("half_open"),
            open: breaker("open"),
            misconfigured: opened("misconfigured"),
            unreachable: opened("unreachable"),
            throttled,
        }
    }

    pub(crate) fn show(&self, slots: usize, breaker: State) {
        let is = |here: bool| f64::from(u8::from(here));
        // Beyond 2^53 connections a float is not exact.
        #[allow(clippy::cast_precision_loss)]
        self.limit.set(slots as f64);
        self.closed.set(is(matches!(breaker, State::Closed { .. })));
        self.half_open.set(is(matches!(breaker, State::HalfOpen { .. })));
        self.open.set(is(matches!(breaker, State::Open { .. })));
    }

    pub(crate) const fn opened(&self, cause: Cause) -> &Counter {
        match cause {
            Cause::Misconfigured => &self.misconfigured,
            Cause::Unreachable => &self.unreachable,
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
