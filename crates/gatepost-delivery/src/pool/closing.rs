//! Connections that were idle and are not kept: nobody waits for them to be closed.
//!
//! The upstream is said goodbye to, and until it has let go, a connection keeps its room (see
//! [`super::openings`]). If there is a free slot it takes that as well, so that an upstream that
//! throttles has it counted among those that it bears.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::lease::Held;
use crate::connection::Connection;
use crate::metrics::Discard;

/// Who closes connections takes a slot for each, like anybody else. No policy entry has this id.
pub(super) const CLOSER: &str = "";

impl Pool {
    /// Closes what has been idle for too long, until the pool is dropped.
    pub(crate) fn spawn_monitor(self: Arc<Self>) {
        /// Looking more often gains nothing; more seldom keeps dead sockets.
        const LOOK: std::ops::RangeInclusive<Duration> =
            Duration::from_millis(100)..=Duration::from_secs(5);
        let pause = (self.config.idle_timeout / 2).clamp(*LOOK.start(), *LOOK.end());
        let pool = Arc::downgrade(&self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(pool) = pool.upgrade() else { return };
                pool.close_unfit();
                pool.close_surplus();
            }
        });
    }

    pub(super) fn close_unfit(self: &Arc<Self>) {
        for (connection, reason) in self.idle.take_unfit(&self.config) {
            self.close_idle(connection, reason);
        }
    }

    /// An upstream that bears fewer connections bears fewer idle ones too.
    pub(super) fn close_surplus(self: &Arc<Self>) {
        let limit = self.governor.limit();
        if limit == self.config.max_connections {
            return;
        }
        let left = limit.saturating_sub(self.slots.taken());
        for connection in self.idle.take_surplus(left) {
            self.close_idle(connection, Discard::Throttled);
        }
    }

    fn close_idle(self: &Arc<Self>, connection: Connection, reason: Discard) {
        self.metrics.idle.decrement(1);
        self.metrics.discarded(reason);
        self.part(connection);
    }

    /// Closes a connection that was idle. While the upstream has not let go of it, it takes a slot.
    pub(super) fn part(self: &Arc<Self>, connection: Connection) {
        // There is none left only while others are about to take an idle one, or were throttled. They
        // find that there is no room yet.
        let slot = self.slots.try_acquire(&self.closer);
        let held = slot.map(|slot| Held::new(self, &self.closer, slot, None));
        tokio::spawn(async move {
            connection.part().await;
            drop(held);
        });
    }
}
