//! The queue runner: takes what is due in the spool, delivers it, and records what became of it.
//!
//! ```text
//! due ─► lease ─► show, read ─► turn ─► Leg ─► judge ─► mail log ─► record ─► notify
//!                 fresh ───────►┘
//! ```
//!
//! One task takes (`runner`), each delivery is a task of its own (`delivery`), and once a minute somebody
//! looks after what nobody takes (`upkeep`). A message is leased before it is touched, and a lease that
//! ends in any other way than by a record is given back: nothing here can lose a message. What an upstream
//! has done is recorded before the message is taken again, so nothing is sent twice but what was in flight
//! when the process died, and what nobody knows the end of.
//!
//! Whether a message failed, or its upstream, is kept apart: a message that was answered follows its retry
//! schedule (`schedule`), an upstream that cannot be reached rests with all of its messages (`rest`).

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use gatepost_spool::{Attempt, LeaseGuard, QueueId, Recovery, Spool, SpoolError};
use tokio::sync::{Notify, watch};

mod delivery;
mod fresh;
mod letter;
mod log;
mod metrics;
mod pace;
mod record;
mod rest;
mod runner;
mod schedule;
mod tasks;
#[cfg(test)]
mod tests;
mod upkeep;
mod verdict;
mod way;

pub(crate) use self::fresh::{Fresh, Room};

use self::fresh::Rooms;
use self::metrics::RunnerMetrics;
use self::tasks::Tasks;
use self::way::Way;
use crate::dsn::Bouncer;
use crate::mail_log::MailLog;
use crate::outlet::Outlet;

/// How often is looked after what nobody takes.
const UPKEEP_EVERY: Duration = Duration::from_mins(1);
/// After how long a sender is told that nothing was decided yet. RFC 5321 §4.5.4.1 knows four or five
/// days until a message is given up; half a day's work is what people wait before they ask.
const DELAY_AFTER: Duration = Duration::from_hours(4);

/// What is configured for the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a message waits after its first attempt, its second, and so on; the last repeats. Not
    /// empty.
    pub retry: Vec<Duration>,
    /// How long after it was accepted a message is given up.
    pub expire_after: Duration,
}

/// A handle of the queue runner. Clones are handles of the same one.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

/// What a queue is made of.
pub(crate) struct QueueParts {
    pub(crate) spool: Spool,
    pub(crate) outlets: Vec<Arc<Outlet>>,
    pub(crate) mail_log: MailLog,
    pub(crate) bouncer: Arc<Bouncer>,
    pub(crate) config: QueueConfig,
    pub(crate) final_reply_timeout: Duration,
}

/// What the runner, its deliveries and the handles share.
struct Inner {
    spool: Spool,
    mail_log: MailLog,
    bouncer: Arc<Bouncer>,
    config: QueueConfig,
    final_reply_timeout: Duration,
    upkeep_every: Duration,
    /// The ways to the upstreams, by name.
    ways: BTreeMap<Arc<str>, Arc<Way>>,
    rooms: Arc<Rooms>,
    tasks: Tasks,
    /// Something may be due, or somebody has room for it.
    wake: Arc<Notify>,
    phase: watch::Sender<Phase>,
    /// Messages about which somebody is being told: nobody is told twice.
    telling: Mutex<HashSet<QueueId>>,
    /// Upstreams that have messages and are not configured, and how many messages. They wait.
    strangers: Mutex<BTreeMap<Arc<str>, u64>>,
    /// It was said that the spool takes nothing more.
    is_stop_told: AtomicBool,
    metrics: RunnerMetrics,
    /// How often the spool was asked what is due.
    #[cfg(test)]
    looks: std::sync::atomic::AtomicU64,
}

/// Where a runner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Idle,
    Running,
    Stopping,
    Ended,
}

impl Queue {
    pub(crate) fn new(parts: QueueParts) -> Self {
        Self::with_upkeep(parts, UPKEEP_EVERY)
    }

    fn with_upkeep(parts: QueueParts, upkeep_every: Duration) -> Self {
        let wake = Arc::new(Notify::new());
        let way = |outlet: Arc<Outlet>| {
            let way = Way::new(outlet, parts.config.retry.clone(), wake.clone());
            (way.name().clone(), way)
        };
        let inner = Inner {
            ways: parts.outlets.into_iter().map(way).collect(),
            spool: parts.spool,
            mail_log: parts.mail_log,
            bouncer: parts.bouncer,
            config: parts.config,
            final_reply_timeout: parts.final_reply_timeout,
            upkeep_every,
            rooms: Arc::default(),
            tasks: Tasks::new(wake.clone()),
            wake,
            phase: watch::Sender::new(Phase::Idle),
            telling: Mutex::default(),
            strangers: Mutex::default(),
            is_stop_told: AtomicBool::new(false),
            metrics: RunnerMetrics::new(),
            #[cfg(test)]
            looks: 0.into(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Delivers until it is told to [stop](Self::stop). Dropping this before it has ended drops all
    /// deliveries: what they had leased is due again, and what an upstream was given may arrive twice.
    ///
    /// `recovery` is what the opening of the spool has found.
    pub async fn run(&self, recovery: &Recovery) {
        runner::run(self.inner.clone(), recovery).await;
    }

    /// Takes nothing more. What is being delivered comes to its end.
    pub fn take_no_more(&self) {
        self.inner.phase.send_if_modified(|phase| {
            let next = match *phase {
                Phase::Idle => Phase::Ended,
                Phase::Running => Phase::Stopping,
                Phase::Stopping | Phase::Ended => return false,
            };
            *phase = next;
            true
        });
    }

    /// [Takes no more](Self::take_no_more), and waits until what is being delivered has come to its end.
    /// Whoever cannot wait so long drops [`Self::run`].
    pub async fn stop(&self) {
        self.take_no_more();
        let phase = &self.inner.phase;
        // The sender is in `inner`: it does not go while this waits.
        let _ = phase.subscribe().wait_for(|phase| *phase == Phase::Ended).await;
    }

    /// The spool that it takes from.
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// Something became due.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// Asks every upstream at once, whatever is held against it: an operator knows better.
    pub fn forget_rests(&self) {
        for way in self.inner.ways.values() {
            way.forget_rest();
        }
        self.wake();
    }

    /// When a message is tried again that was just tried for the first time.
    pub fn first_retry(&self) -> Duration {
        schedule::schedule(1, &self.inner.config.retry, fastrand::f64())
    }

    /// A place for a message of so many octets to this upstream, that goes on at once when it is
    /// committed; none where it would have to wait. It is taken before the commit.
    pub(crate) fn room(&self, upstream: &str, octets: u64) -> Option<Room> {
        if *self.inner.phase.borrow() != Phase::Running {
            return None;
        }
        let way = self.inner.ways.get(upstream).filter(|way| way.is_open())?;
        self.inner.rooms.take(way, octets)
    }

    /// Delivers a message that was committed, leased, and never put down.
    pub(crate) fn offer(&self, fresh: Fresh) {
        runner::take_fresh(&self.inner, fresh);
    }
}

/// What the hand-over hears of a message that it has leased, and has told its client is kept.
impl Queue {
    /// Records it, and goes on with what is left to do. The lease ends with it.
    pub(crate) async fn record(
        &self,
        lease: LeaseGuard,
        attempts: Vec<Attempt>,
        due_at: SystemTime,
    ) -> Result<(), SpoolError> {
        let recorded = self.inner.record(lease.id(), attempts, due_at).await;
        self.inner.conclude(recorded, lease).await
    }
}

impl Inner {
    fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    async fn told_to_stop(&self) {
        // The sender is in here: it does not go while this waits.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= Phase::Stopping).await;
    }

    /// How old a message is when its sender is told that it is late.
    fn delay_after(&self) -> Duration {
        DELAY_AFTER.min(self.config.expire_after / 2)
    }

    /// Says once that the spool takes nothing more.
    fn tell_stopped(&self, error: &SpoolError) {
        if !self.is_stop_told.swap(true, Relaxed) {
            tracing::error!(%error, "nothing is taken from the spool any more");
        }
    }

    // A panic cannot leave a set or a map in the middle of something.

    fn telling(&self) -> MutexGuard<'_, HashSet<QueueId>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, u64>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
