//! How many recipients an upstream may be given: in a second, a minute, an hour, and a day.
//!
//! Up to an hour a rate is a bucket (GCRA): its whole number at once, and then one more each
//! interval. A day is a window (`day`): never more than its number in any 24 hours, over restarts
//! too, because that is how providers count a quota. With several rates all of them must grant a
//! take, or none of them counts it. Nothing is given back: a recipient that was asked for has been
//! counted by the provider.
//!
//! Time is a parameter; what is kept over a restart is handed out and taken in as a [`DayCount`],
//! and where it is written is not known here.

mod day;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub use self::day::DayCount;
use self::day::Window;
use crate::metrics::RateMetrics;

/// So many recipients in a period; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientRate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: RatePeriod,
}

/// What a rate is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatePeriod {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// Any 24 hours.
    Day,
}

/// What is used of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateUsage {
    /// The rate.
    pub rate: RecipientRate,
    /// How much of its number cannot be had now.
    pub used: u32,
}

/// What an upstream was given, against its rates.
pub struct RecipientRates {
    rates: Box<[RecipientRate]>,
    /// All times count from here.
    started: Instant,
    state: Mutex<State>,
    /// Rung when more should be written down ahead.
    wants_saving: Notify,
    metrics: RateMetrics,
}

struct State {
    buckets: Vec<Bucket>,
    day: Option<Window>,
    /// Threads may come a little out of order; here time does not run backwards.
    now: Duration,
}

/// A rate that forgets by itself (ITU-T I.371, Annex A).
struct Bucket {
    rate: RecipientRate,
    interval_nanos: u64,
    /// When all that was taken is paid back.
    paid_back_at: u64,
}

impl RecipientRates {
    /// Rates that nothing was used of. `upstream` is the label of what is counted.
    pub fn new(upstream: &str, rates: &[RecipientRate]) -> Self {
        let is_day = |rate: &&RecipientRate| rate.period == RatePeriod::Day;
        let buckets = rates.iter().filter(|rate| !is_day(rate)).copied().map(Bucket::new).collect();
        // If a day is there twice, the smaller number holds.
        let day = rates.iter().filter(is_day).map(|rate| rate.count).min().map(Window::new);
        Self {
            rates: rates.into(),
            started: Instant::now(),
            state: Mutex::new(State { buckets, day, now: Duration::ZERO }),
            wants_saving: Notify::new(),
            metrics: RateMetrics::new(upstream),
        }
    }

    /// Whether there is no rate at all.
    pub const fn is_unlimited(&self) -> bool {
        self.rates.is_empty()
    }

    /// Takes so many recipients, all or none, or says how long it takes until they can be had. More
    /// at once than the number of a rate can never be had, whatever is said.
    pub fn try_take(&self, recipients: u32, now: Instant) -> Result<(), Duration> {
        let mut state = self.state(now);
        let State { buckets, day, now } = &mut *state;
        let (now, taken) = (*now, u64::from(recipients));
        let waits = buckets.iter().map(|bucket| bucket.wait(taken, now));
        let waits = waits.chain(day.as_mut().map(|day| day.wait(taken, now)));
        let wait = waits.max().unwrap_or_default();
        if !wait.is_zero() {
            self.metrics.refused.increment(taken);
            return Err(wait);
        }
        for bucket in buckets {
            bucket.take(taken, now);
        }
        if day.as_mut().is_some_and(|day| day.take(recipients, now)) {
            self.wants_saving.notify_one();
        }
        Ok(())
    }

    /// What is used of each rate.
    pub fn usage(&self, now: Instant) -> Vec<RateUsage> {
        let mut state = self.state(now);
        let now = state.now;
        let of = |rate: &RecipientRate| {
            let used = if rate.period == RatePeriod::Day {
                state.day.as_mut().map_or(0, |day| day.used(now))
            } else {
                let bucket = state.buckets.iter().find(|bucket| bucket.rate == *rate);
                bucket.map_or(0, |bucket| bucket.used(now))
            };
            RateUsage { rate: *rate, used: u32::try_from(used).unwrap_or(u32::MAX) }
        };
        self.rates.iter().map(of).collect()
    }

    /// What has to be kept, with some that is not used yet: a process that is killed has counted
    /// too much rather than too little. None if no rate is per day.
    pub fn count_ahead(&self, now: Instant) -> Option<DayCount> {
        let mut state = self.state(now);
        let now = state.now;
        state.day.as_mut().map(|day| day.count_ahead(now))
    }

    /// What has to be kept at the end, when nothing is taken any more.
    pub fn count_exactly(&self, now: Instant) -> Option<DayCount> {
        let mut state = self.state(now);
        let now = state.now;
        state.day.as_mut().map(|day| day.count_exactly(now))
    }

    /// What [`RecipientRates::count_ahead`] has said is on stable storage.
    pub fn is_kept(&self, count: &DayCount) {
        if let Some(day) = &mut self.lock().day {
            day.is_kept(count);
        }
    }

    /// Whether something was taken that is not kept.
    pub fn is_changed(&self) -> bool {
        self.lock().day.as_ref().is_some_and(Window::is_changed)
    }

    /// Takes in what was kept, so long ago; it is added to what was taken since.
    pub fn restore(&self, count: &DayCount, ago: Duration, now: Instant) {
        let mut state = self.state(now);
        let now = state.now;
        if let Some(day) = &mut state.day {
            day.restore(count, ago, now);
        }
    }

    /// Waits until it should be written down again before its time.
    pub async fn wants_saving(&self) {
        self.wants_saving.notified().await;
    }

    /// The state, and what the time is for it.
    fn state(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.now = state.now.max(now.saturating_duration_since(self.started));
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn new(rate: RecipientRate) -> Self {
        // Rounded up: never more than the number in a period.
        let interval_nanos =
            rate.period.seconds().saturating_mul(1_000_000_000).div_ceil(rate.count.max(1).into());
        Self { rate, interval_nanos, paid_back_at: 0 }
    }

    fn debt(&self, now: Duration) -> u64 {
        self.paid_back_at.saturating_sub(nanos(now))
    }

    fn wait(&self, taken: u64, now: Duration) -> Duration {
        let debt = self.debt(now).saturating_add(self.interval_nanos.saturating_mul(taken));
        let burst = self.interval_nanos.saturating_mul(self.rate.count.into());
        Duration::from_nanos(debt.saturating_sub(burst))
    }

    fn take(&mut self, taken: u64, now: Duration) {
        let debt = self.debt(now).saturating_add(self.interval_nanos.saturating_mul(taken));
        self.paid_back_at = nanos(now).saturating_add(debt);
    }

    fn used(&self, now: Duration) -> u64 {
        self.debt(now).div_ceil(self.interval_nanos)
    }
}

impl RatePeriod {
    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

impl fmt::Display for RecipientRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period {
            RatePeriod::Second => "s",
            RatePeriod::Minute => "min",
            RatePeriod::Hour => "h",
            RatePeriod::Day => "d",
        };
        write!(f, "{}/{period}", self.count)
    }
}

/// Five hundred years fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
