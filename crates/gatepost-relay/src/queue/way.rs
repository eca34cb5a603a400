//! The way to one upstream, as the queue sees it: who is on it, who may set out, and whether it rests.
//!
//! The pool has the last word about connections; here is only decided how many messages stand in front
//! of it. Turns are given out by entry, so that the messages of one cannot keep those of another waiting.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatepost_delivery::{FairSlots, Trouble};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::metrics::WayMetrics;
use super::pace::Pace;
use super::rest::{Admits, Pass, Rest, pause};
use super::schedule::jitter;
use crate::outlet::Outlet;

/// The least and the longest time after which the pool is asked again whether it lets anybody through:
/// a client's message can have found out meanwhile.
const ASK_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];
/// How long it is believed how many connections the pool allows.
const LIMIT_BELIEVED: Duration = Duration::from_millis(100);
/// Rests in a row after which the operator hears of it. One is a restart.
const TOLD_AFTER: u32 = 3;

pub(super) struct Way {
    name: Arc<str>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) metrics: WayMetrics,
    /// As many pass as there may be connections.
    pub(super) turns: Arc<FairSlots>,
    retry: Vec<Duration>,
    wake: Arc<Notify>,
    /// Messages from the spool that wait for their turn or have it.
    leased: AtomicUsize,
    held: Mutex<Held>,
}

struct Held {
    rest: Rest,
    pace: Pace,
    /// Connections that the pool allows, and when it was asked.
    limit: (usize, Instant),
}

/// A message from the spool that is on its way. Dropping it makes room for another one.
pub(super) struct Place(Arc<Way>);

/// The right to set out, which may be that to find out for all others. Dropping it before the upstream
/// was heard of lets another one find out.
pub(super) struct Ticket {
    way: Arc<Way>,
    pass: Pass,
}

impl Way {
    pub(super) fn new(outlet: Arc<Outlet>, retry: Vec<Duration>, wake: Arc<Notify>) -> Arc<Self> {
        let limit = outlet.upstream.config().max_connections;
        let turns = FairSlots::new(limit);
        let metrics = WayMetrics::new(outlet.name());
        let now = Instant::now();
        let held = Held { rest: Rest::default(), pace: Pace::new(now), limit: (limit, now) };
        Arc::new(Self {
            name: outlet.name().into(),
            outlet,
            metrics,
            turns,
            retry,
            wake,
            leased: AtomicUsize::new(0),
            held: Mutex::new(held),
        })
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many messages may be taken from the spool for it, if it takes at most its share of what is
    /// `free`: as much as it leaves to the others.
    pub(super) fn space(&self, now: Instant, free: usize) -> usize {
        let leased = self.leased.load(Acquire);
        let mut held = self.held();
        match self.admits(&mut held, now) {
            Admits::Nobody(_) => 0,
            Admits::One => free.min(1),
            Admits::All => {
                let ahead = held.pace.ahead(now);
                let window = self.limit(&mut held, now) + ahead;
                let space = window.saturating_sub(leased);
                // Some at once: a commit for each of them would take longer than they do.
                if leased > 0 && space * 2 < ahead {
                    return 0;
                }
                space.min(free.saturating_sub(leased).div_ceil(2))
            }
        }
    }

    /// When its rest is over, if that is known.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        match self.held().rest.admits(now) {
            Admits::Nobody(until) => until,
            Admits::All | Admits::One => None,
        }
    }

    /// Whether everything goes.
    pub(super) fn is_open(&self) -> bool {
        self.outlet.upstream.resting().is_none()
            && self.held().rest.admits(Instant::now()) == Admits::All
    }

    /// A message is about to be on its way.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        self.leased.fetch_add(1, AcqRel);
        Place(self.clone())
    }

    /// A message sets out, if it may.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Ticket> {
        let pass = self.held().rest.begin(Instant::now())?;
        Some(Ticket { way: self.clone(), pass })
    }

    pub(super) fn forget_rest(&self) {
        self.outlet.upstream.reset_breaker();
        self.held().rest.forget();
        self.metrics.resting.set(0.0);
    }

    /// How many may have their turn at once: with more, they would stand in line at the pool, and be
    /// taken for messages that did not reach the upstream.
    fn limit(&self, held: &mut Held, now: Instant) -> usize {
        let (limit, asked) = held.limit;
        if now.saturating_duration_since(asked) < LIMIT_BELIEVED {
            return limit;
        }
        // One finds out whether there are more again.
        let found = self.outlet.upstream.status().limit.max(1);
        held.limit = (found, now);
        if found != limit {
            self.turns.change_limit(|_| found);
        }
        found
    }

    /// Who may set out, and the pool has nothing against it.
    fn admits(&self, held: &mut Held, now: Instant) -> Admits {
        let admits = held.rest.admits(now);
        if !matches!(admits, Admits::Nobody(_))
            && let Some(next) = self.pool_rests()
        {
            held.rest.prolong(now + next);
            self.metrics.resting.set(1.0);
            return held.rest.admits(now);
        }
        admits
    }

    /// When to ask again, if the pool lets nobody through.
    fn pool_rests(&self) -> Option<Duration> {
        match self.outlet.upstream.resting()? {
            Trouble::Resting { next, .. } => Some(next.clamp(ASK_AGAIN[0], ASK_AGAIN[1])),
            _ => Some(ASK_AGAIN[0]),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Both are whole between their calls, which do not panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leased.fetch_sub(1, AcqRel);
        self.0.held().pace.done(Instant::now());
        self.0.wake.notify_one();
    }
}

impl Ticket {
    pub(super) const fn way(&self) -> &Arc<Way> {
        &self.way
    }

    /// Whether one that has waited for its turn may still set out.
    pub(super) fn renew(&mut self) -> bool {
        let renewed = self.way.held().rest.renew(self.pass);
        renewed.inspect(|&pass| self.pass = pass).is_some()
    }

    /// The upstream was not reached: it rests, unless others that set out later know better.
    pub(super) fn unreached(&self, reason: &str) {
        let way = &self.way;
        let now = Instant::now();
        let pool_rests = way.pool_rests();
        let mut held = way.held();
        let Some(rests) = held.rest.unreached(self.pass) else { return };
        let pause = jitter(pause(rests, &way.retry), fastrand::f64());
        let pause = pool_rests.map_or(pause, |next| pause.max(next));
        held.rest.rest(rests, now + pause);
        drop(held);
        way.metrics.resting.set(1.0);
        if rests == TOLD_AFTER {
            tracing::warn!(
                upstream = way.outlet.name(),
                reason,
                "the upstream cannot be reached: what is spooled for it waits"
            );
        }
        way.wake.notify_one();
    }

    /// The upstream has answered.
    pub(super) fn answered(&self) {
        let rests = self.way.held().rest.answered();
        if rests == 0 {
            return;
        }
        self.way.metrics.resting.set(0.0);
        if rests >= TOLD_AFTER {
            let upstream = self.way.outlet.name();
            tracing::info!(upstream, "the upstream is reached again: what is spooled for it goes");
        }
        self.way.wake.notify_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.way.held().rest.ended(self.pass, Instant::now());
    }
}
