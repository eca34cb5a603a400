//! The limiter is a token bucket. Not among the unit tests, because `shuttle.rs` compiles its file too.

use std::time::Duration;

use gatepost_policy::{gcra::Gcra, rate::Rate};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn rate(text: &str) -> Rate {
    text.parse().expect(text)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_burst_and_then_one_each_interval() {
    let (limiter, rate) = (Gcra::default(), rate("3/s"));
    let taken = [0, 0, 0, 0, 333, 334, 334, 667, 668].map(|ms| limiter.take(rate, at(ms)).is_ok());
    assert_eq!(taken, [true, true, true, false, false, true, false, true, false]);
    assert_eq!(limiter.take(rate, at(1000)), Err(Duration::from_nanos(2)), "rounded up: 333333334");
    assert!(limiter.take(rate, at(9000)).is_ok());
    assert!(limiter.look(rate, at(9000), 1).is_ok(), "long silence earns a burst");
    assert!(limiter.look(rate, at(9000), 2).is_err(), "and not more");
}

#[test]
fn a_debt_of_a_slower_rate_is_a_burst_of_the_new_one() {
    let limiter = Gcra::default();
    assert!(limiter.take(rate("1/d"), at(0)).is_ok());
    let wait = limiter.take(rate("1/d"), at(0)).expect_err("one a day");
    assert_eq!(wait, Duration::from_hours(24));
    assert_eq!(limiter.take(rate("10/s"), at(0)), Err(Duration::from_millis(100)));
    assert!(limiter.take(rate("10/s"), at(100)).is_ok(), "and it is paid back like one");
    assert!(limiter.take(rate("10/s"), at(0) + Duration::from_hours(24)).is_ok());
}

/// A bucket of tokens in whole nanoseconds of credit: the same rule, told the other way round.
struct Bucket {
    credit: u64,
    seen: u64,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: u64) -> bool {
        let (interval, burst) = (nanos(rate.interval()), u64::from(rate.burst()));
        self.credit = (self.credit + (now - self.seen)).min(interval * burst);
        self.seen = now;
        let has_one = self.credit >= interval;
        self.credit -= if has_one { interval } else { 0 };
        has_one
    }
}

proptest! {
    #[test]
    fn it_is_a_token_bucket(
        count in 1_u32..20,
        period in prop::sample::select(vec!["s", "min", "h", "d"]),
        pauses in prop::collection::vec(prop_oneof![Just(0), 0..SECOND, 0..100_000 * SECOND], 1..100),
    ) {
        let rate = rate(&format!("{count}/{period}"));
        let limiter = Gcra::default();
        let full = nanos(rate.interval()) * u64::from(rate.burst());
        let mut bucket = Bucket { credit: full, seen: 0 };
        let mut now = 0;
        for pause in pauses {
            now += pause;
            let moment = Duration::from_nanos(now);
            let looked = limiter.look(rate, moment, 0);
            let taken = limiter.take(rate, moment);
            prop_assert_eq!(looked, taken);
            prop_assert_eq!(taken.is_ok(), bucket.take(rate, now));
            if let Err(wait) = taken {
                prop_assert!(limiter.look(rate, moment + wait, 0).is_ok(), "the wait is enough");
                let early = wait.saturating_sub(Duration::from_nanos(1));
                prop_assert!(limiter.look(rate, moment + early, 0).is_err(), "and no more than that");
            }
        }
    }

    /// Real threads: of all that try at one moment exactly a burst is accepted.
    #[test]
    fn a_burst_is_exact_among_threads(count in 1_u32..200, threads in 1_usize..5) {
        let (limiter, rate) = (Gcra::default(), rate(&format!("{count}/h")));
        let accepted: usize = std::thread::scope(|scope| {
            let tries = || (0..100).filter(|_| limiter.take(rate, at(5)).is_ok()).count();
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(tries)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        prop_assert_eq!(accepted, (count as usize).min(threads * 100));
    }
}
