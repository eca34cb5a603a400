//! A connection that is out of the pool, for one transaction.

use std::sync::Arc;

use gatepost_smtp::client;
use gatepost_smtp::extension::Capabilities;

use super::Pool;
use super::governor::Probe;
use super::slots::Slot;
use crate::connection::Connection;
use crate::metrics::Discard;
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

/// A connection that is ours for one transaction.
pub struct Lease {
    pub(crate) connection: Box<Connection>,
    pub(super) ready: Option<client::Ready>,
    pub(super) reused: bool,
    pub(super) held: Held,
}

/// The right to one connection. Giving it up is counted, and lets the next one have it.
pub(super) struct Held {
    pool: Arc<Pool>,
    pub(super) who: Arc<str>,
    pub(super) probe: Option<Probe>,
    _slot: Slot,
}

impl Held {
    pub(super) fn new(pool: &Arc<Pool>, who: &Arc<str>, slot: Slot, probe: Option<Probe>) -> Self {
        pool.metrics.busy.increment(1);
        Self { pool: Arc::clone(pool), who: Arc::clone(who), probe, _slot: slot }
    }

    /// After a wait: those who went before may have failed. A probe stays what it is.
    pub(super) fn admit_again(&mut self) -> Result<(), Trouble> {
        if self.probe.is_none() {
            self.probe = self.pool.governor.admit()?;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.metrics.busy.decrement(1);
    }
}

impl Lease {
    /// Whether the connection has carried a transaction before, so that it may have died unseen.
    pub const fn is_reused(&self) -> bool {
        self.reused
    }

    /// What the upstream offers on this connection.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.ready.as_ref().map(client::Ready::capabilities)
    }

    /// What is configured for the upstream.
    pub(crate) fn config(&self) -> &UpstreamConfig {
        self.held.pool.config()
    }

    pub(crate) fn take_ready(&mut self) -> Option<client::Ready> {
        self.ready.take()
    }

    /// The upstream has given a positive answer to a command of the transaction.
    pub(crate) fn answered(&self) {
        if self.held.probe.is_some() {
            self.held.pool.governor.answered();
        }
    }

    /// The upstream has accepted the message.
    pub(crate) fn accepted(&self) {
        self.held.pool.governor.accepted();
    }

    /// The transaction is over and the connection ready for another.
    pub(crate) fn give_back(self, ready: client::Ready) {
        self.answered();
        let Self { connection, held, .. } = self;
        // The slot is given up last: whoever waits for it finds the connection. And one that is
        // not kept has its slot until the upstream has let go of it too, so that the upstream never
        // sees one more than it is asked to bear.
        if let Some(worn_out) = held.pool.keep(connection, ready) {
            tokio::spawn(async move {
                worn_out.part().await;
                drop(held);
            });
        }
    }

    /// Another connection in the same slot, in the place of one that turned out dead. It is a fresh
    /// one: those that are idle may have died in the same way.
    pub(crate) async fn reopen(self) -> Result<Self, Trouble> {
        let Self { connection, held, .. } = self;
        drop(connection);
        let pool = Arc::clone(&held.pool);
        pool.metrics.discarded(Discard::Upstream);
        pool.open_fresh(held).await
    }

    /// Gives an unused lease back.
    pub fn release(mut self) {
        if let Some(ready) = self.take_ready() {
            self.give_back(ready);
        }
    }
}
