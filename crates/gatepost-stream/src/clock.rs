//! A clock that is read with one atomic load.
//!
//! A session moves its deadline with every command. Reading the real clock and arming a timer
//! each time would cost more than the command; deadlines of seconds do not need it. One task
//! counts ticks of [`Clock::TICK`], and everybody else reads the count. Whoever shares a clock shares
//! spare buffers too: it is by the same ticks that those are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::spare::Spare;

/// Coarse time since the clock was started. Clones read the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    shared: Arc<Shared>,
}

/// What the clones of a clock have in common.
#[derive(Debug, Default)]
struct Shared {
    now_millis: AtomicU64,
    spare: Spare,
}

impl Clock {
    /// How far the clock may lag behind while its task gets its turn: deadlines are late by this
    /// much, and not early.
    pub const TICK: Duration = Duration::from_millis(250);

    /// Starts a clock; its task ends when the last clone is dropped.
    pub fn start() -> Self {
        let clock = Self { started: Instant::now(), shared: Arc::default() };
        let (started, shared) = (clock.started, Arc::downgrade(&clock.shared));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Self::TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                shared.spare.shrink();
                // Relaxed: the count orders nothing but itself.
                shared.now_millis.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
        });
        clock
    }

    /// The coarse time `limit` from now, rounded up so that it is never too early.
    pub(crate) fn after(&self, limit: Duration) -> CoarseInstant {
        self.now().plus(limit.saturating_add(Self::TICK))
    }

    pub(crate) fn now(&self) -> CoarseInstant {
        CoarseInstant(self.shared.now_millis.load(Ordering::Relaxed))
    }

    /// The buffers that all streams of this clock have to spare.
    pub(crate) fn spare(&self) -> &Spare {
        &self.shared.spare
    }

    /// The moment of the real clock that is meant by `instant`.
    pub(crate) fn instant(&self, instant: CoarseInstant) -> Instant {
        // Far futures are clamped: a timer of 30 years is as good as none.
        const FAR: Duration = Duration::from_hours(30 * 365 * 24);
        self.started + Duration::from_millis(instant.0).min(FAR)
    }
}

/// Milliseconds since a [`Clock`] was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CoarseInstant(u64);

impl CoarseInstant {
    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
