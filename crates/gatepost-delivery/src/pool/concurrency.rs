//! How many connections an upstream bears: arithmetic, with time as a parameter.
//!
//! The limit halves when the upstream throttles and grows by one while it does not: additive
//! increase and multiplicative decrease, by which many who share something come to equal parts
//! without knowing of each other. Halved is what is really in use, because a limit of a hundred over
//! three connections that are too many would have to be halved six times to mean anything.
//!
//! At the floor, and where the upstream says for how long, nothing goes at all for a while. `now` is
//! the time since some moment in the past.

use std::time::Duration;

/// Replies that throttle come in swarms: what comes within this time of the last change is about
/// what was sent before it, and one event. It is also the least time between two steps up.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// One connection is what mail needs to go on, and to find out that more are welcome again.
const FLOOR: usize = 1;

/// A provider that wants nothing for longer has run into a quota, and a client that waits for its
/// end waits in vain. What is asked for beyond is cut, so that no reply of an upstream stops mail
/// for a day.
const PAUSE_MAX: Duration = Duration::from_hours(1);

#[derive(Clone, Debug)]
pub(crate) struct Concurrency {
    most: usize,
    limit: usize,
    /// Messages that were accepted since the limit changed.
    accepted: usize,
    changed: Duration,
    /// When the upstream was last found to throttle; nothing if it never was.
    throttled: Option<Duration>,
    paused_until: Option<Duration>,
}

impl Concurrency {
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            most,
            limit: most,
            accepted: 0,
            changed: Duration::ZERO,
            throttled: None,
            paused_until: None,
        }
    }

    /// Connections that the upstream seems to bear.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Transactions that may be under way: none in a pause.
    pub(crate) const fn slots(&self) -> usize {
        if self.paused_until.is_some() { 0 } else { self.limit }
    }

    /// When the pause ends, if there is one.
    pub(crate) const fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Whether nothing is held back.
    pub(crate) const fn is_calm(&self) -> bool {
        self.limit == self.most && self.paused_until.is_none()
    }

    /// The upstream wants less, while so many connections are `in_use`; or nothing, for a while.
    pub(crate) fn throttled(&mut self, now: Duration, in_use: usize, pause: Option<Duration>) {
        if self.throttled.is_none_or(|last| now.saturating_sub(last) >= INTERVAL) {
            if self.limit <= FLOOR {
                // Less than one connection is one that rests: an upstream that throttles
                // whatever comes is asked once in an interval.
                self.pause(now, INTERVAL);
            }
            self.limit = (self.limit.min(in_use) / 2).max(FLOOR);
            self.throttled = Some(now);
            self.changed = now;
            self.accepted = 0;
        }
        if let Some(pause) = pause {
            self.pause(now, pause.min(PAUSE_MAX));
        }
    }

    /// The upstream has accepted a message. After a quiet interval with as many as there are
    /// connections, one more is tried.
    pub(crate) fn accepted(&mut self, now: Duration) {
        if self.limit == self.most {
            return;
        }
        self.accepted += 1;
        if self.accepted >= self.limit && now.saturating_sub(self.changed) >= INTERVAL {
            self.limit += 1;
            self.changed = now;
            self.accepted = 0;
        }
    }

    /// Ends a pause whose time is over.
    pub(crate) fn resume(&mut self, now: Duration) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    /// Forgets everything.
    pub(crate) const fn reset(&mut self) {
        *self = Self::new(self.most);
    }

    fn pause(&mut self, now: Duration, pause: Duration) {
        if !pause.is_zero() {
            self.paused_until = self.paused_until.max(Some(now + pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_limit_halves_once_in_an_interval_and_grows_one_by_one() {
        let mut it = Concurrency::new(100);
        assert!(it.is_calm());
        (0..50).for_each(|n| it.throttled(at(n), 100, None));
        assert_eq!((it.limit(), it.slots(), it.is_calm()), (50, 50, false));
        it.throttled(at(1000), 50, None);
        assert_eq!(it.limit(), 25);
        // Neither time nor success alone is enough.
        (0..100).for_each(|_| it.accepted(at(1999)));
        assert_eq!(it.limit(), 25);
        it.accepted(at(2000));
        assert_eq!(it.limit(), 26);
        (0..25).for_each(|_| it.accepted(at(9000)));
        assert_eq!(it.limit(), 26);
        it.accepted(at(9000));
        assert_eq!(it.limit(), 27);
    }

    #[test]
    fn what_is_in_use_is_halved() {
        let mut it = Concurrency::new(100);
        it.throttled(at(0), 6, None);
        assert_eq!(it.limit(), 3);
    }

    #[test]
    fn at_the_floor_there_is_a_rest() {
        let mut it = Concurrency::new(2);
        it.throttled(at(0), 2, None);
        assert_eq!((it.limit(), it.slots()), (1, 1));
        it.throttled(at(1000), 1, None);
        assert_eq!((it.limit(), it.slots(), it.paused_until()), (1, 0, Some(at(2000))));
        it.resume(at(1999));
        assert_eq!(it.slots(), 0);
        it.resume(at(2000));
        assert_eq!(it.slots(), 1);
    }

    #[test]
    fn the_longest_pause_counts_and_none_lasts_a_day() {
        let mut it = Concurrency::new(4);
        it.throttled(at(0), 4, Some(at(5000)));
        it.throttled(at(10), 4, Some(at(100)));
        assert_eq!(it.paused_until(), Some(at(5000)));
        it.throttled(at(20), 4, Some(Duration::MAX));
        assert_eq!(it.paused_until(), Some(at(20) + PAUSE_MAX));
        it.reset();
        assert!(it.is_calm());
    }

    proptest! {
        /// Whatever happens: at least one, at most what is configured; halved at most once and
        /// grown at most once in an interval; and back at the most after success for long enough.
        #[test]
        fn the_limit_stays_in_its_bounds(
            most in 1_usize..40,
            events in prop::collection::vec((0_u64..700, 0_usize..50, any::<bool>()), 0..200),
        ) {
            let mut it = Concurrency::new(most);
            let (mut now, mut lowered, mut raised) = (at(0), None, None);
            for (pause, in_use, throttles) in events {
                now += at(pause);
                let before = it.limit();
                it.resume(now);
                if throttles {
                    it.throttled(now, in_use, None);
                } else {
                    it.accepted(now);
                }
                prop_assert!((1..=most).contains(&it.limit()));
                if it.limit() < before {
                    prop_assert!(lowered.is_none_or(|last| last + INTERVAL <= now));
                    lowered = Some(now);
                } else if it.limit() > before {
                    prop_assert_eq!(it.limit(), before + 1);
                    prop_assert!(raised.is_none_or(|last| last + INTERVAL <= now));
                    raised = Some(now);
                }
            }
            for _ in 0..most {
                now += INTERVAL;
                it.resume(now);
                (0..most).for_each(|_| it.accepted(now));
            }
            prop_assert!(it.is_calm());
        }
    }
}
