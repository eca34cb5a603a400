//! One upstream as the relay sees it: the way out, what is counted about it, and who is alarmed.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gatepost_delivery::Upstream;
use gatepost_smtp::reply::Reply;
use tokio::time::Instant;

use crate::metrics::DeliveryMetrics;
use crate::trouble::Outcome;

pub(crate) struct Outlet {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: DeliveryMetrics,
    started: Instant,
    /// The last minute since the start in which a configuration fault was written to the log.
    warned_minute: AtomicU64,
}

impl Outlet {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        let metrics = DeliveryMetrics::new(&upstream.config().name);
        Self { upstream, metrics, started: Instant::now(), warned_minute: AtomicU64::new(0) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.upstream.config().name
    }

    /// The reply of an outcome; an operator is alarmed if our own set-up is at fault.
    pub(crate) fn judge(&self, outcome: Outcome, said: &dyn Display) -> Reply {
        if outcome.configuration_fault {
            self.metrics.configuration_faults.increment(1);
            if self.is_time_to_warn() {
                tracing::warn!(
                    upstream = self.name(),
                    %said,
                    "the upstream objects to how it is used: check its settings and what it has on record for this relay"
                );
            }
        }
        outcome.reply
    }

    /// Once a minute: a client can provoke as many faults as it likes.
    fn is_time_to_warn(&self) -> bool {
        let minute = self.started.elapsed().as_secs() / 60 + 1;
        self.warned_minute.fetch_max(minute, Ordering::Relaxed) < minute
    }
}
