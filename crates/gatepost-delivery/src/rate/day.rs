//! A window of 24 hours that slides minute by minute, and outlives the process.
//!
//! What is taken is counted by the minute, and a minute counts until all of it is more than a day
//! ago. So a take is counted for 24 hours at least, and for 24 hours and a minute at most: in no
//! window of 24 hours is more than the number granted.
//!
//! What is on disk is never less than what was taken, although it is written seldom: with each
//! writing a block is counted ahead (`reserved`), and takes use that up. The next writing is asked
//! for when half of it is gone.
//!
//! | the process ends | on disk | after the restart |
//! |---|---|---|
//! | in order | what was taken, exactly | the same |
//! | killed between two writings | what was taken before the last one, and a block | up to a block more than was taken, as if taken at the restart |
//! | killed in the middle of a writing | the one before | as above |
//! | killed when takes had overtaken a writing, or the disk takes none | too little, by what was taken beyond the block | less than was taken, by as much |
//!
//! The last row is the price for not letting a recipient wait for a disk. Half a block is left when
//! a writing is asked for, which takes milliseconds.
//!
//! Ages are kept, not dates: a wall clock that is set while the process runs changes nothing.

use std::collections::VecDeque;
use std::time::Duration;

/// What a count is kept by: a day of them is small, and a minute too long hurts nobody.
const MINUTE_SECONDS: u64 = 60;
const DAY_SECONDS: u64 = 86_400;
/// A minute counts while so many have begun after it.
const MINUTES: u64 = DAY_SECONDS / MINUTE_SECONDS + 1;
/// The minute in which a process starts: minutes of a day before it have a number too.
const FIRST_MINUTE: u64 = 2 * MINUTES;

/// A block is at most this part of the day's number: what a process that is killed can lose of it.
const BLOCK_PART: u32 = 100;
/// And at most so many: at hundreds a second there are still seconds between two writings.
const BLOCK_MAX: u32 = 1000;
/// A block of fewer would be used up at once; but never more than a tenth of the day's number. A
/// process that dies at once, again and again, loses so many each time.
const BLOCK_MIN: u32 = 10;

/// What is kept of a day's rate over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayCount {
    /// How many were taken so many seconds ago, or longer.
    pub taken: Vec<(u64, u64)>,
    /// How many may have been taken since this was written.
    pub reserved: u32,
}

/// The last 24 hours.
pub(super) struct Window {
    most: u32,
    /// Minutes in which something was taken, in order; at most [`MINUTES`].
    minutes: VecDeque<(u64, u64)>,
    total: u64,
    /// What was counted ahead at the last writing, and what is left of it.
    reserved: u32,
    credit: u32,
    since_count: u32,
    is_changed: bool,
    is_asked: bool,
}

impl Window {
    pub(super) const fn new(most: u32) -> Self {
        Self {
            most,
            minutes: VecDeque::new(),
            total: 0,
            reserved: 0,
            credit: 0,
            since_count: 0,
            is_changed: false,
            is_asked: false,
        }
    }

    /// How long it takes until so many can be had.
    pub(super) fn wait(&mut self, taken: u64, now: Duration) -> Duration {
        self.forget(now);
        let mut over = (self.total + taken).saturating_sub(self.most.into());
        if over == 0 {
            return Duration::ZERO;
        }
        let mut last = None;
        for (minute, count) in &self.minutes {
            last = Some(*minute);
            over = over.saturating_sub(*count);
            if over == 0 {
                break;
            }
        }
        let until = last.map_or(FIRST_MINUTE, |minute| minute + MINUTES);
        let until = Duration::from_secs(until.saturating_sub(FIRST_MINUTE) * MINUTE_SECONDS);
        // More than the whole number can never be had; nobody shall ask in a loop for it.
        until.saturating_sub(now).max(Duration::from_secs(1))
    }

    /// Counts what was granted. Whether it should be written down soon.
    pub(super) fn take(&mut self, taken: u32, now: Duration) -> bool {
        self.add(minute(now), taken.into());
        self.since_count = self.since_count.saturating_add(taken);
        self.credit = self.credit.saturating_sub(taken);
        self.is_changed = true;
        self.is_low() && !std::mem::replace(&mut self.is_asked, true)
    }

    /// Whether half of the block is gone.
    pub(super) fn is_low(&self) -> bool {
        self.credit < self.reserved.div_ceil(2).max(1)
    }

    pub(super) fn used(&mut self, now: Duration) -> u64 {
        self.forget(now);
        self.total
    }

    pub(super) fn count_ahead(&mut self, now: Duration) -> DayCount {
        let reserved = self.block();
        self.since_count = 0;
        DayCount { reserved, ..self.count_exactly(now) }
    }

    pub(super) fn count_exactly(&mut self, now: Duration) -> DayCount {
        self.forget(now);
        // Of the youngest that can be among them.
        let age = |minute: u64| shifted(now).saturating_sub((minute + 1) * MINUTE_SECONDS);
        let taken = self.minutes.iter().map(|(minute, count)| (age(*minute), *count)).collect();
        DayCount { taken, reserved: 0 }
    }

    pub(super) fn is_kept(&mut self, count: &DayCount) {
        self.reserved = count.reserved;
        self.credit = count.reserved.saturating_sub(self.since_count);
        self.is_changed = self.since_count > 0;
        // Not before: a disk that takes nothing is not asked by every recipient.
        self.is_asked = false;
    }

    pub(super) const fn is_changed(&self) -> bool {
        self.is_changed
    }

    pub(super) fn restore(&mut self, count: &DayCount, ago: Duration, now: Duration) {
        for &(age, count) in &count.taken {
            let age = ago.as_secs().saturating_add(age);
            if age < DAY_SECONDS {
                let minute = (shifted(now) - age) / MINUTE_SECONDS;
                // A file can say anything; sums of these do not overflow.
                self.add(minute, count.min(u32::MAX.into()));
            }
        }
        // It may have been taken a moment ago, however long ago it was counted ahead.
        self.add(minute(now), count.reserved.into());
    }

    fn add(&mut self, minute: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.total += count;
        let place = self.minutes.partition_point(|(other, _)| *other < minute);
        match self.minutes.get_mut(place) {
            Some((other, sum)) if *other == minute => *sum += count,
            _ => self.minutes.insert(place, (minute, count)),
        }
    }

    fn forget(&mut self, now: Duration) {
        let now = minute(now);
        while let Some((minute, count)) = self.minutes.front()
            && minute + MINUTES <= now
        {
            self.total -= count;
            self.minutes.pop_front();
        }
    }

    /// Twice what was taken between the last two writings, within bounds.
    fn block(&self) -> u32 {
        let least = BLOCK_MIN.min(self.most.div_ceil(10));
        let most = (self.most / BLOCK_PART).clamp(least, BLOCK_MAX);
        self.since_count.saturating_mul(2).clamp(least, most)
    }
}

/// Seconds since a moment so far back that those of the day before the start have a number too.
const fn shifted(now: Duration) -> u64 {
    FIRST_MINUTE * MINUTE_SECONDS + now.as_secs()
}

const fn minute(now: Duration) -> u64 {
    shifted(now) / MINUTE_SECONDS
}
