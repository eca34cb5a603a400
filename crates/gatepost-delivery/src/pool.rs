//! Connections that wait for the next transaction.
//!
//! A [`Lease`] is the right to one of `max_connections`, granted in the order of asking, with an
//! open connection in it. The connection used last is used next, so that those which are not
//! needed grow idle and are closed. The lock is held for a push or a pop, never across a wait.
//!
//! Only a connection in the ready state comes back ([`Lease::give_back`]); dropping a lease closes
//! what is in it. Nothing that came unasked is on a connection that is handed out, as far as the
//! runtime has noticed; the rest is the caller's one retry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatepost_smtp::client;
use gatepost_stream::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connection::{Connection, Opened};
use crate::hosts::Hosts;
use crate::metrics::PoolMetrics;
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

pub(crate) struct Pool {
    config: UpstreamConfig,
    hosts: Hosts,
    clock: Clock,
    metrics: PoolMetrics,
    slots: Arc<Semaphore>,
    /// The one used last is at the end.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    ready: client::Ready,
    since: Instant,
}

/// A connection that is ours for one transaction.
pub struct Lease {
    pub(crate) connection: Connection,
    ready: Option<client::Ready>,
    reused: bool,
    held: Held,
}

/// The slot that a lease holds; giving it up is counted.
struct Held {
    pool: Arc<Pool>,
    _slot: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(config: UpstreamConfig, clock: Clock) -> Arc<Self> {
        let metrics = PoolMetrics::new(&config.name);
        let slots = Arc::new(Semaphore::new(config.max_connections));
        let hosts = Hosts::new(&config);
        Arc::new(Self { config, hosts, clock, metrics, slots, idle: Mutex::default() })
    }

    pub(crate) const fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Connections that a transaction has, and connections that wait for one.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let busy = self.config.max_connections - self.slots.available_permits();
        (busy, self.idle().len())
    }

    pub(crate) async fn checkout(self: &Arc<Self>) -> Result<Lease, Trouble> {
        let held = self.slot().await?;
        match self.pop() {
            Some(Idle { connection, ready, .. }) => {
                self.metrics.reused.increment(1);
                Ok(Lease { connection, ready: Some(ready), reused: true, held })
            }
            None => self.open(held).await,
        }
    }

    async fn slot(self: &Arc<Self>) -> Result<Held, Trouble> {
        let slot = match self.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => tokio::time::timeout(
                self.config.connect_timeout,
                self.slots.clone().acquire_owned(),
            )
            .await
            .map_err(|_| Trouble::Busy)?
            .map_err(|_| Trouble::Busy)?,
        };
        self.metrics.busy.increment(1);
        Ok(Held { pool: self.clone(), _slot: slot })
    }

    /// Opens a connection in a slot. An idle one was used up before, or makes room now: together
    /// they may not be more than the slots.
    async fn open(&self, held: Held) -> Result<Lease, Trouble> {
        match Connection::open(&self.config, &self.hosts, &self.clock).await {
            Ok(Opened { connection, ready, .. }) => {
                self.metrics.opened.increment(1);
                Ok(Lease { connection, ready: Some(ready), reused: false, held })
            }
            Err(trouble) => {
                self.metrics.open_failed.increment(1);
                Err(trouble)
            }
        }
    }

    fn pop(&self) -> Option<Idle> {
        let now = Instant::now();
        loop {
            let mut idle = self.idle().pop()?;
            self.metrics.idle.decrement(1);
            if !self.expired(&idle, now) && idle.connection.stream.is_quiet() {
                return Some(idle);
            }
        }
    }

    fn push(&self, mut connection: Connection, ready: client::Ready) {
        let most =
            [self.config.max_messages_per_connection, ready.capabilities().limits.transactions];
        let worn_out = most.into_iter().flatten().any(|most| connection.messages >= most);
        let is_current = connection.key.is_current(&self.config);
        if worn_out || !is_current || !connection.stream.is_quiet() {
            tokio::spawn(connection.quit());
            return;
        }
        connection.stream.release();
        self.metrics.idle.increment(1);
        self.idle().push(Idle { connection, ready, since: Instant::now() });
    }

    fn expired(&self, idle: &Idle, now: Instant) -> bool {
        now.duration_since(idle.since) >= self.config.idle_timeout
            || now.duration_since(idle.connection.opened) >= self.config.max_age
            || !idle.connection.key.is_current(&self.config)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A panic cannot leave a half-done push or pop behind.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
                for connection in pool.take_expired() {
                    connection.quit().await;
                }
            }
        });
    }

    fn take_expired(&self) -> Vec<Connection> {
        let now = Instant::now();
        let expired: Vec<Connection> = self
            .idle()
            .extract_if(.., |idle| self.expired(idle, now) || !idle.connection.stream.is_quiet())
            .map(|idle| idle.connection)
            .collect();
        for _ in &expired {
            self.metrics.idle.decrement(1);
        }
        expired
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
    pub fn capabilities(&self) -> Option<&gatepost_smtp::extension::Capabilities> {
        self.ready.as_ref().map(client::Ready::capabilities)
    }

    /// What is configured for the upstream.
    pub(crate) fn config(&self) -> &UpstreamConfig {
        self.held.pool.config()
    }

    pub(crate) fn take_ready(&mut self) -> Option<client::Ready> {
        self.ready.take()
    }

    /// The transaction is over and the connection ready for another.
    pub(crate) fn give_back(self, ready: client::Ready) {
        // The slot is given up last: whoever waits for it finds the connection.
        self.held.pool.push(self.connection, ready);
    }

    /// Another connection in the same slot, in the place of one that turned out dead.
    pub(crate) async fn reopen(self) -> Result<Self, Trouble> {
        let Self { connection, held, .. } = self;
        drop(connection);
        let pool = held.pool.clone();
        pool.open(held).await
    }

    /// Gives an unused lease back.
    pub fn release(mut self) {
        if let Some(ready) = self.take_ready() {
            self.give_back(ready);
        }
    }
}
