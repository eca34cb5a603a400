//! A limiter without a lock: the generic cell rate algorithm (ITU-T I.371, Annex A).
//!
//! Its state is one atomic word: the moment at which all that was used is paid back, in nanoseconds since a moment
//! that the caller keeps to. Using one puts it an interval further; it may not be further ahead of
//! now than a full burst. So a limiter has no timer, and forgets by itself. A second word tells that the
//! rate has changed, so that a debt of the old one is looked at once.
//!
//! Time is an argument. It may come a little out of order from several threads: an older moment
//! only sees less paid back.

use std::time::Duration;

use crate::{
    atomic::{AtomicU64, Ordering},
    rate::Rate,
};

/// What has been used of a rate. The rate itself is handed in: it may change, the state stays.
#[derive(Debug, Default)]
pub struct Gcra {
    paid_back_at: AtomicU64,
    /// The rate that it was used at last, as a number.
    rate: AtomicU64,
}

impl Gcra {
    /// Uses one, or says after how long one can be had. `now` counts from a moment that is always
    /// the same.
    pub fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        self.settle(rate, now);
        // Nothing else depends on the order in which others see the word: relaxed is enough.
        let mut seen = self.paid_back_at.load(Ordering::Relaxed);
        loop {
            let next = after_one(seen, rate, now, 0)?;
            let swapped = self.paid_back_at.compare_exchange_weak(
                seen,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(()),
                Err(current) => seen = current,
            }
        }
    }

    /// Whether anything was ever used.
    pub fn is_used(&self) -> bool {
        self.paid_back_at.load(Ordering::Relaxed) > 0
    }

    /// When all that was used will be paid back.
    pub fn paid_back_at(&self) -> Duration {
        Duration::from_nanos(self.paid_back_at.load(Ordering::Relaxed))
    }

    /// A debt that was made at another rate is at most a burst of this one. Only then: who looks at an
    /// older clock than others do must not take theirs for such a debt.
    fn settle(&self, rate: Rate, now: u64) {
        let number = rate.number();
        if self.rate.load(Ordering::Relaxed) != number
            && self.rate.swap(number, Ordering::Relaxed) != number
        {
            self.paid_back_at.fetch_min(now + burst_nanos(rate), Ordering::Relaxed);
        }
    }

    /// What [`Gcra::take`] would say after so many others, without using anything.
    pub fn look(&self, rate: Rate, now: Duration, others: u32) -> Result<(), Duration> {
        after_one(self.paid_back_at.load(Ordering::Relaxed), rate, nanos(now), others).map(drop)
    }
}

/// The word after `others` and one more, or how long it takes until there can be that one.
fn after_one(paid_back_at: u64, rate: Rate, now: u64, others: u32) -> Result<u64, Duration> {
    let (interval, burst) = (rate.interval_nanos(), burst_nanos(rate));
    let debt = paid_back_at.saturating_sub(now).min(burst) + interval * u64::from(others);
    match (debt + interval).checked_sub(burst) {
        None | Some(0) => Ok(now + debt + interval),
        Some(wait) => Err(Duration::from_nanos(wait)),
    }
}

const fn burst_nanos(rate: Rate) -> u64 {
    rate.interval_nanos() * rate.burst() as u64
}

/// Five hundred years fit.
fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2)
}
