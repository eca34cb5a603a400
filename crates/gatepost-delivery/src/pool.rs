//! Connections to one upstream: who gets one, when another is opened, and which are kept.
//!
//! A [`Lease`] is the right to one of `max_connections`, granted in fair turns of policy entries
//! ([`slots`]), with an open connection in it. The connection used last is used next. Where none is
//! idle a few are opened at a time ([`openings`]), and whoever waits for that takes one that comes
//! back instead. There are never more than `max_connections`, and those that are being closed are
//! among them. An upstream that throttles gets fewer at once, one that is down is left alone for a
//! while ([`governor`]). The locks are held for a push or a pop, never across a wait.
//!
//! Only a connection in the ready state comes back ([`Lease::give_back`]): after a transaction that
//! was brought to its end it needs no RSET, after one that was given up before its data it has had
//! one. Dropping a lease closes what is in it. Nothing that came unasked is on a connection that is
//! handed out, as far as the runtime has noticed; the rest is the caller's one retry, on a fresh one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatepost_smtp::client;
use gatepost_stream::Clock;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) mod breaker;
mod closing;
mod concurrency;
mod governor;
mod idle;
mod lease;
mod line;
mod openings;
mod slots;
#[cfg(test)]
mod tests;

use self::closing::CLOSER;
use self::governor::{Governor, Probe};
use self::idle::{Idle, IdleConnections};
use self::lease::Held;
use self::openings::{Openings, Place};
use crate::connection::{Connection, Opened};
use crate::hosts::Hosts;
use crate::metrics::{Discard, PoolMetrics};
use crate::offer::OfferWatch;
use crate::signal::Signal;
use crate::trouble::Trouble;
use crate::upstream::UpstreamConfig;

pub use self::governor::BreakerStatus;
pub use self::lease::Lease;
pub use self::line::LineFull;
pub use self::slots::{FairSlots, Slot};

pub(crate) struct Pool {
    config: UpstreamConfig,
    hosts: Hosts,
    pub(crate) offers: OfferWatch,
    clock: Clock,
    metrics: PoolMetrics,
    slots: Arc<FairSlots>,
    openings: Openings,
    governor: Arc<Governor>,
    idle: IdleConnections,
    /// A connection has come back, for one of those who wait to open another.
    returned: Notify,
    closer: Arc<str>,
    /// The version of the keys that a refusal was last held against.
    keys_seen: AtomicU64,
}

/// What a pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that a transaction has.
    pub busy: usize,
    /// Connections that wait for one.
    pub idle: usize,
    /// Transactions that wait for one, or for their turn to open one.
    pub waiting: usize,
    /// Transactions that may be under way at once.
    pub limit: usize,
    /// Whether the upstream is asked at all.
    pub breaker: BreakerStatus,
}

/// What there is for a transaction that found no connection.
#[allow(clippy::large_enum_variant)] // on its way to a lease, and nearly always the large one
enum Found {
    Idle(Idle),
    Opening(Place),
}

impl Pool {
    pub(crate) fn new(config: UpstreamConfig, clock: Clock) -> Arc<Self> {
        let metrics = PoolMetrics::new(&config.name);
        let hosts = Hosts::new(&config);
        let offers = OfferWatch::new(&config.name);
        let keys_seen = AtomicU64::new(config.access.version());
        let slots = FairSlots::new(config.max_connections);
        let openings = Openings::new(config.max_connections);
        let governor = Governor::new(&config.name, config.max_connections, Arc::clone(&slots));
        Arc::new(Self {
            config,
            hosts,
            offers,
            clock,
            metrics,
            slots,
            openings,
            governor,
            idle: IdleConnections::default(),
            returned: Notify::new(),
            closer: CLOSER.into(),
            keys_seen,
        })
    }

    pub(crate) const fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let (limit, breaker) = self.governor.status();
        PoolStatus {
            busy: self.slots.taken(),
            idle: self.idle.len(),
            waiting: self.slots.waiting() + self.openings.waiting(),
            limit,
            breaker,
        }
    }

    /// Forgets what is held against the upstream.
    pub(crate) fn reset(&self) {
        self.governor.reset();
    }

    pub(crate) fn signal(self: &Arc<Self>, signal: Signal) {
        self.governor.signal(signal);
        if matches!(signal, Signal::Throttled { .. }) {
            self.close_surplus();
        }
    }

    /// A connection for a transaction of `who`, a policy entry.
    pub(crate) async fn checkout(self: &Arc<Self>, who: &Arc<str>) -> Result<Lease, Trouble> {
        let mut deadline = Deadline::new(self.config.connect_timeout);
        let held = self.slot(who, &mut deadline).await?;
        match self.lease(held, &mut deadline).await {
            // It bears no more than the others: one of theirs will do. Not for ever, and once.
            Err(trouble) if is_too_much(&trouble) && self.slots.taken() > 0 => {
                self.signal(Signal::Throttled { pause: None });
                let held = self.slot(who, &mut deadline).await?;
                self.lease(held, &mut deadline).await
            }
            leased => leased,
        }
    }

    /// The right to a connection. Uncontended that is one load and one short critical section.
    async fn slot(
        self: &Arc<Self>,
        who: &Arc<str>,
        deadline: &mut Deadline,
    ) -> Result<Held, Trouble> {
        let probe = self.admit()?;
        if let Some(slot) = self.slots.try_acquire(who) {
            return Ok(Held::new(self, who, slot, probe));
        }
        // Whose turn cannot come in time is told so, and does not stand in line.
        if let Some(resting) = self.governor.resting(self.config.connect_timeout)
            && probe.is_none()
        {
            return Err(resting);
        }
        let _wait = self.metrics.wait();
        let slot = tokio::time::timeout_at(deadline.get(), self.slots.acquire(who)).await;
        let slot = slot.map_err(|_| Trouble::Busy)?.map_err(|_| Trouble::Busy)?;
        let mut held = Held::new(self, who, slot, probe);
        held.admit_again()?;
        Ok(held)
    }

    /// Whether the upstream is asked at all. What is held against it was held against other keys, if
    /// they have been replaced since: an operator who has mended them does not have to wait.
    fn admit(&self) -> Result<Option<Probe>, Trouble> {
        self.governor.admit().or_else(|resting| {
            let keys = self.config.access.version();
            if self.keys_seen.swap(keys, Ordering::Relaxed) == keys {
                return Err(resting);
            }
            self.governor.reset();
            self.governor.admit()
        })
    }

    /// Why a transaction that asks now gets no connection, if that is certain.
    pub(crate) fn resting(&self) -> Option<Trouble> {
        let resting = self.governor.resting(self.config.connect_timeout)?;
        // Keys that were replaced may have mended it.
        let is_same = self.keys_seen.load(Ordering::Relaxed) == self.config.access.version();
        is_same.then_some(resting)
    }

    /// Finds a connection for a slot: an idle one, or a new one.
    async fn lease(
        self: &Arc<Self>,
        mut held: Held,
        deadline: &mut Deadline,
    ) -> Result<Lease, Trouble> {
        let found = match self.pop() {
            Some(idle) => Found::Idle(idle),
            None => match self.openings.try_begin(&held.who) {
                Some(place) => Found::Opening(place),
                None => self.find(&mut held, deadline.get()).await?,
            },
        };
        match found {
            Found::Idle(Idle { connection, ready, .. }) => {
                self.metrics.reused.increment(1);
                Ok(Lease { connection, ready: Some(ready), reused: true, held })
            }
            Found::Opening(place) => self.open(held, place).await,
        }
    }

    /// Waits for a connection that comes back, or for the turn to open one: whichever is first.
    async fn find(self: &Arc<Self>, held: &mut Held, deadline: Instant) -> Result<Found, Trouble> {
        let _wait = self.metrics.wait();
        let who = Arc::clone(&held.who);
        let mut turn = pin!(self.openings.begin(&who));
        loop {
            let mut returned = pin!(self.returned.notified());
            // From here on nothing that comes back is missed.
            returned.as_mut().enable();
            if let Some(idle) = self.pop() {
                return Ok(Found::Idle(idle));
            }
            tokio::select! {
                biased;
                () = returned => {}
                place = &mut turn => {
                    let place = place.map_err(|_| Trouble::Busy)?;
                    held.admit_again()?;
                    return Ok(Found::Opening(place));
                }
                () = tokio::time::sleep_until(deadline) => return Err(Trouble::Busy),
            }
        }
    }

    /// A connection that nobody has used, whatever is idle.
    async fn open_fresh(&self, mut held: Held) -> Result<Lease, Trouble> {
        if let Some(place) = self.openings.try_begin(&held.who) {
            return self.open(held, place).await;
        }
        let wait = self.metrics.wait();
        let turn = self.openings.begin(&held.who);
        let turn = tokio::time::timeout(self.config.connect_timeout, turn).await;
        let place = turn.map_err(|_| Trouble::Busy)?.map_err(|_| Trouble::Busy)?;
        drop(wait);
        held.admit_again()?;
        self.open(held, place).await
    }

    /// Opens a connection in a slot. What is idle was used up before, or came back later: together
    /// with those that are busy they are never more than the slots. So whoever had to wait for room has
    /// waited for one that was being closed.
    async fn open(&self, held: Held, place: Place) -> Result<Lease, Trouble> {
        // Boxed, because nearly every transaction finds a connection, and would carry the room for this.
        let opened = Box::pin(Connection::open(&self.config, &self.hosts, &self.clock, None));
        match opened.await {
            Ok(Opened { connection, ready, offer, .. }) => {
                self.offers.observe(&offer);
                self.metrics.opened.increment(1);
                self.openings.succeeded();
                let connection = Box::new(connection.in_room(place.room));
                Ok(Lease { connection, ready: Some(ready), reused: false, held })
            }
            Err(trouble) => {
                self.metrics.open_failed.increment(1);
                if !is_leaving(&trouble) {
                    self.governor.unreachable(&trouble);
                }
                self.openings.failed();
                Err(trouble)
            }
        }
    }

    /// The idle connection that was used last, of those that can be used.
    fn pop(self: &Arc<Self>) -> Option<Idle> {
        let now = Instant::now();
        loop {
            let mut idle = self.idle.pop()?;
            self.metrics.idle.decrement(1);
            let Some(reason) = idle.unfit(&self.config, now) else { return Some(idle) };
            self.metrics.discarded(reason);
            if reason != Discard::Upstream {
                self.part(*idle.connection);
            }
        }
    }

    /// Keeps a connection for the next transaction, or brings it back if its time is over.
    fn keep(
        &self,
        mut connection: Box<Connection>,
        ready: client::Ready,
    ) -> Option<Box<Connection>> {
        let now = Instant::now();
        if let Some(reason) = connection.worn_out(&self.config, &ready, now) {
            self.metrics.discarded(reason);
            return Some(connection);
        }
        connection.stream.release_grown();
        self.metrics.idle.increment(1);
        self.idle.push(Idle::new(connection, ready, now));
        self.returned.notify_one();
        None
    }
}

/// Whether one connection fewer may help.
fn is_too_much(trouble: &Trouble) -> bool {
    is_leaving(trouble)
        || matches!(trouble, Trouble::AuthRefused(reply) if reply.code().as_u16() == 421)
}

/// Whether the upstream was there, and had too much to do (RFC 5321 §3.8). One that says so to a
/// login is not: logins are counted, and too many of them lock an account.
fn is_leaving(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(reply) if reply.code().as_u16() == 421)
}

/// Until when a transaction waits for a connection. The clock is read when it first has to wait.
struct Deadline {
    limit: Duration,
    at: Option<Instant>,
}

impl Deadline {
    const fn new(limit: Duration) -> Self {
        Self { limit, at: None }
    }

    fn get(&mut self) -> Instant {
        *self.at.get_or_insert_with(|| Instant::now() + self.limit)
    }
}
