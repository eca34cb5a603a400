//! What an upstream's behaviour allows: how many transactions, or none.
//!
//! It keeps the [`Breaker`] and the [`Concurrency`] of an upstream behind one lock, sets the number
//! of slots, and shows both in metrics. While nothing is held against the upstream, which is
//! nearly always, a transaction costs two loads of a flag here: one when it begins and one when it
//! was accepted. No clock is read then, and no lock is taken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Admission, Breaker, ProbeId, State};
use super::concurrency::Concurrency;
use super::slots::FairSlots;
use crate::metrics::GovernorMetrics;
use crate::signal::Signal;
use crate::trouble::Trouble;

const MISCONFIGURED: &str = "it does not accept how it is used";
const DIED: &str = "connections to it die";
const PAUSED: &str = "it wants nothing for a while";

pub(crate) struct Governor {
    upstream: Arc<str>,
    started: Instant,
    slots: Arc<FairSlots>,
    /// Nothing is held against the upstream. Relaxed: it orders nothing, and who sees a change late
    /// is one transaction that was under way at that time.
    calm: AtomicBool,
    held: Mutex<Held>,
    metrics: GovernorMetrics,
}

/// What is held against the upstream.
struct Held {
    breaker: Breaker,
    concurrency: Concurrency,
    /// Why the breaker has opened.
    why: Arc<str>,
    /// Until when a task waits, to end a pause. One that waits for anything else is superseded.
    resumes_at: Option<Duration>,
}

/// Whether transactions go to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerStatus {
    /// They do.
    Closed,
    /// One does, to find out.
    HalfOpen,
    /// None does. The next may find out after this time.
    Open(Duration),
}

/// The one transaction that finds out. Without a verdict, dropping it lets another try.
pub(crate) struct Probe {
    governor: Arc<Governor>,
    id: ProbeId,
}

impl Governor {
    pub(crate) fn new(
        upstream: &Arc<str>,
        connections_max: usize,
        slots: Arc<FairSlots>,
    ) -> Arc<Self> {
        let held = Held {
            breaker: Breaker::new(),
            concurrency: Concurrency::new(connections_max),
            why: "".into(),
            resumes_at: None,
        };
        let governor = Self {
            upstream: Arc::clone(upstream),
            started: Instant::now(),
            slots,
            calm: AtomicBool::new(true),
            metrics: GovernorMetrics::new(upstream),
            held: Mutex::new(held),
        };
        governor.apply(&governor.held());
        Arc::new(governor)
    }

    /// Whether a transaction may ask for a connection. It may be the probe then.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Option<Probe>, Trouble> {
        if self.is_calm() {
            return Ok(None);
        }
        let now = self.now();
        let mut held = self.held();
        match held.breaker.admit(now) {
            Admission::Pass => Ok(None),
            Admission::Probe(id) => {
                self.apply(&held);
                Ok(Some(Probe { governor: Arc::clone(self), id }))
            }
            Admission::Rest(next) => Err(Trouble::Resting { why: Arc::clone(&held.why), next }),
        }
    }

    /// Why a transaction that waits for no longer than this gets no connection, if that is certain:
    /// the breaker is open, a probe is under way, or there is a pause that is longer.
    pub(crate) fn resting(&self, patience: Duration) -> Option<Trouble> {
        if self.is_calm() {
            return None;
        }
        let now = self.now();
        let held = self.held();
        if let Some(next) = held.breaker.rest(now) {
            return Some(Trouble::Resting { why: Arc::clone(&held.why), next });
        }
        let next = held.concurrency.paused_until()?.saturating_sub(now);
        (next > patience).then(|| Trouble::Resting { why: PAUSED.into(), next })
    }

    /// Takes note of what the upstream did.
    pub(crate) fn signal(self: &Arc<Self>, signal: Signal) {
        match signal {
            Signal::Fine => self.accepted(),
            Signal::Throttled { pause } => self.throttled(pause),
            Signal::Misconfigured => {
                self.failed(MISCONFIGURED.into(), Breaker::misconfigured);
            }
            Signal::Unreachable => {
                self.failed(DIED.into(), Breaker::unreachable);
            }
        }
    }

    /// No connection could be opened.
    pub(crate) fn unreachable(&self, trouble: &Trouble) {
        let why = trouble.to_string().into();
        self.failed(why, Breaker::unreachable);
    }

    /// The upstream has accepted a message.
    pub(crate) fn accepted(&self) {
        if self.is_calm() {
            return;
        }
        let now = self.now();
        let mut held = self.held();
        held.concurrency.accepted(now);
        let closes = held.breaker.accepted();
        self.closed(held, closes);
    }

    /// The probe was answered.
    pub(crate) fn answered(&self) {
        let mut held = self.held();
        let closes = held.breaker.answered();
        self.closed(held, closes);
    }

    /// Forgets what is held against the upstream.
    pub(crate) fn reset(&self) {
        let mut held = self.held();
        held.breaker.reset();
        held.concurrency.reset();
        self.apply(&held);
    }

    /// Connections that the upstream seems to bear.
    pub(crate) fn limit(&self) -> usize {
        self.held().concurrency.limit()
    }

    /// What is allowed now: transactions at once, and whether any at all.
    pub(crate) fn status(&self) -> (usize, BreakerStatus) {
        let now = self.now();
        let held = self.held();
        let breaker = match held.breaker.state() {
            State::Closed { .. } => BreakerStatus::Closed,
            State::HalfOpen { .. } => BreakerStatus::HalfOpen,
            State::Open { until, .. } => BreakerStatus::Open(until.saturating_sub(now)),
        };
        (held.concurrency.slots(), breaker)
    }

    fn throttled(self: &Arc<Self>, pause: Option<Duration>) {
        let now = self.now();
        self.metrics.throttled.increment(1);
        let mut held = self.held();
        held.concurrency.throttled(now, self.slots.taken(), pause);
        self.apply(&held);
        if let Some(until) = held.concurrency.paused_until()
            && held.resumes_at.is_none_or(|at| until < at)
        {
            held.resumes_at = Some(until);
            self.resume_at(until);
        }
        let slots = held.concurrency.slots();
        drop(held);
        tracing::debug!(upstream = &*self.upstream, slots, "the upstream throttles");
    }

    /// Ends the pause when its time is over; it may have become longer meanwhile.
    fn resume_at(self: &Arc<Self>, mut until: Duration) {
        let (governor, started) = (Arc::downgrade(self), self.started);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(started + until).await;
                let Some(governor) = governor.upgrade() else { return };
                let now = governor.now();
                let mut held = governor.held();
                if held.resumes_at != Some(until) {
                    return;
                }
                held.concurrency.resume(now);
                governor.apply(&held);
                held.resumes_at = held.concurrency.paused_until();
                let Some(later) = held.resumes_at else { return };
                until = later;
            }
        });
    }

    fn failed(&self, why: Arc<str>, note: impl FnOnce(&mut Breaker, Duration, f64) -> bool) {
        let now = self.now();
        let mut held = self.held();
        let was_probed = matches!(held.breaker.state(), State::HalfOpen { .. });
        if !note(&mut held.breaker, now, fastrand::f64()) {
            self.apply(&held);
            return;
        }
        held.why = why;
        self.apply(&held);
        let why = Arc::clone(&held.why);
        let state = held.breaker.state();
        drop(held);
        let State::Open { cause, until } = state else { return };
        self.metrics.opened(cause).increment(1);
        let (upstream, seconds) = (&*self.upstream, until.saturating_sub(now).as_secs_f64());
        // Once for each time that it goes wrong, not for each probe.
        if was_probed {
            tracing::debug!(upstream, %why, next_attempt_s = seconds, "the upstream still rests");
        } else {
            tracing::warn!(
                upstream,
                %why,
                next_attempt_s = seconds,
                "the upstream rests: until an attempt succeeds nothing is sent to it"
            );
        }
    }

    fn closed(&self, held: MutexGuard<'_, Held>, closes: bool) {
        self.apply(&held);
        drop(held);
        if closes {
            tracing::info!(upstream = &*self.upstream, "the upstream is used again");
        }
    }

    /// Makes what was decided come true, in the order in which it was decided: under the lock.
    fn apply(&self, held: &Held) {
        self.calm.store(held.breaker.is_calm() && held.concurrency.is_calm(), Ordering::Relaxed);
        let slots = held.concurrency.slots();
        self.slots.change_limit(|_| slots);
        self.metrics.show(slots, held.breaker.state());
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Both machines are whole between their calls, which do not panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let now = self.governor.now();
        let mut held = self.governor.held();
        held.breaker.probe_ended(self.id, now);
        self.governor.apply(&held);
    }
}
