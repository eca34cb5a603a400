use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn rate(count: u32, period: RatePeriod) -> RecipientRate {
    RecipientRate { count, period }
}

fn rates(list: &[RecipientRate]) -> RecipientRates {
    RecipientRates::new("test", list)
}

fn per_day(count: u32) -> RecipientRates {
    rates(&[rate(count, RatePeriod::Day)])
}

impl RecipientRates {
    fn take_at(&self, recipients: u32, after: Duration) -> Result<(), Duration> {
        self.try_take(recipients, self.started + after)
    }

    fn used_at(&self, after: Duration) -> Vec<u32> {
        self.usage(self.started + after).iter().map(|usage| usage.used).collect()
    }

    /// What a process leaves behind that was killed, or not, and has saved before.
    fn saved_at(&self, after: Duration) -> DayCount {
        let count = self.count_ahead(self.started + after).expect("a rate per day");
        self.is_kept(&count);
        count
    }
}

#[test]
fn a_rate_is_its_number_at_once_and_then_one_each_interval() {
    let rates = rates(&[rate(2, RatePeriod::Minute)]);
    assert!(!rates.is_unlimited());
    assert_eq!(rates.take_at(2, Duration::ZERO), Ok(()));
    assert_eq!(rates.take_at(1, Duration::from_secs(10)), Err(Duration::from_secs(20)));
    assert_eq!(rates.used_at(Duration::from_secs(10)), [2]);
    assert_eq!(rates.take_at(1, Duration::from_secs(30)), Ok(()));
    assert_eq!(rates.take_at(2, Duration::from_mins(10)), Ok(()));
    assert!(rates.take_at(3, Duration::from_hours(1)).is_err(), "more than the rate at once");
    assert_eq!(rates.count_ahead(rates.started), None, "nothing of it is kept");
}

#[test]
fn all_rates_grant_a_take_or_none_counts_it() {
    let list = [rate(3, RatePeriod::Second), rate(4, RatePeriod::Day)];
    let rates = rates(&list);
    assert_eq!(rates.take_at(3, Duration::ZERO), Ok(()));
    let later = Duration::from_secs(2);
    assert!(rates.take_at(2, later).expect_err("the day") > Duration::from_hours(23));
    assert_eq!(rates.used_at(later), [0, 3]);
    assert_eq!(rates.take_at(1, later), Ok(()));
    assert_eq!(rates.used_at(later), [1, 4]);
    assert_eq!(list.map(|rate| rate.to_string()), ["3/s", "4/d"]);
}

#[test]
fn without_rates_there_is_no_limit() {
    let rates = rates(&[]);
    assert!(rates.is_unlimited());
    assert_eq!(rates.take_at(u32::MAX, Duration::ZERO), Ok(()));
    assert!(rates.usage(rates.started).is_empty());
}

#[test]
fn a_day_is_over_when_its_minute_is() {
    let rates = per_day(1);
    assert_eq!(rates.take_at(1, Duration::from_secs(59)), Ok(()));
    let wait = rates.take_at(1, Duration::from_mins(2)).expect_err("used up");
    let again = Duration::from_mins(2) + wait;
    assert_eq!(again, DAY + Duration::from_mins(1));
    assert!(rates.take_at(1, again.saturating_sub(Duration::from_secs(1))).is_err());
    assert_eq!(rates.take_at(1, again), Ok(()));
}

#[test]
fn time_does_not_run_backwards() {
    let rates = per_day(2);
    assert_eq!(rates.take_at(1, DAY), Ok(()));
    assert_eq!(rates.take_at(1, Duration::ZERO), Ok(()));
    assert_eq!(rates.used_at(Duration::ZERO), [2]);
    assert_eq!(rates.used_at(DAY * 2), [2], "the second one was taken a day later than it says");
}

#[test]
fn a_clean_end_keeps_the_exact_count_and_a_kill_too_much() {
    let before = per_day(1000);
    let _ = before.saved_at(Duration::ZERO);
    assert_eq!(before.take_at(7, Duration::from_secs(5)), Ok(()));
    let clean = before.count_exactly(before.started + Duration::from_mins(3)).expect("a day");
    assert_eq!(clean, DayCount { taken: vec![(120, 7)], reserved: 0 });
    let after = per_day(1000);
    after.restore(&clean, Duration::from_hours(1), after.started);
    assert_eq!(after.used_at(Duration::ZERO), [7]);
    let killed = before.saved_at(Duration::from_mins(3));
    assert_eq!(killed.reserved, 10, "one in a hundred");
    let after = per_day(1000);
    after.restore(&killed, Duration::from_hours(1), after.started);
    assert_eq!(after.used_at(Duration::ZERO), [17]);
    // The seven are forgotten a day after they were taken, the others a day after the restart.
    assert_eq!(after.used_at(Duration::from_hours(23)), [10]);
    assert_eq!(after.used_at(DAY + Duration::from_mins(1)), [0]);
}

#[test]
fn what_is_a_day_old_is_not_restored() {
    let count = DayCount { taken: vec![(86_000, 5), (10, 3)], reserved: 2 };
    for (ago, used) in [(Duration::ZERO, 10), (Duration::from_secs(400), 5), (DAY, 2)] {
        let rates = per_day(1000);
        rates.restore(&count, ago, rates.started);
        assert_eq!(rates.used_at(Duration::ZERO), [used], "{ago:?}");
    }
    // A file can say anything.
    let rates = per_day(1000);
    let wild =
        DayCount { taken: vec![(u64::MAX, 1), (0, u64::MAX), (1, u64::MAX)], reserved: u32::MAX };
    rates.restore(&wild, Duration::MAX, rates.started);
    rates.restore(&wild, Duration::ZERO, rates.started);
    assert_eq!(rates.used_at(Duration::ZERO), [u32::MAX]);
    assert_eq!(rates.used_at(DAY * 2), [0]);
}

#[test]
fn a_smaller_number_holds_at_once() {
    let rates = per_day(5);
    rates.restore(&DayCount { taken: vec![(60, 9)], reserved: 0 }, Duration::ZERO, rates.started);
    assert!(rates.take_at(1, Duration::ZERO).is_err());
    assert_eq!(rates.used_at(Duration::ZERO), [9]);
}

#[tokio::test]
async fn writing_is_asked_for_when_half_of_the_block_is_gone() {
    let rates = per_day(1000);
    let is_asked = || async {
        tokio::time::timeout(Duration::from_millis(10), rates.wants_saving()).await.is_ok()
    };
    let count = rates.saved_at(Duration::ZERO);
    assert!(!rates.is_changed());
    assert_eq!(rates.take_at(5, Duration::ZERO), Ok(()));
    assert!(rates.is_changed());
    assert!(!is_asked().await, "half is left");
    assert_eq!(rates.take_at(1, Duration::ZERO), Ok(()));
    assert!(is_asked().await);
    assert_eq!(rates.take_at(1, Duration::ZERO), Ok(()));
    assert!(!is_asked().await, "once is enough");
    // What is taken while it is written is in the block too. A writing that failed is none.
    let _ = rates.count_ahead(rates.started);
    assert!(rates.is_changed());
    let next = rates.count_ahead(rates.started).expect("a day");
    assert_eq!(rates.take_at(4, Duration::ZERO), Ok(()));
    rates.is_kept(&next);
    assert_eq!((count.reserved, next.reserved), (10, 10));
    assert_eq!(rates.take_at(1, Duration::ZERO), Ok(()));
    assert!(!is_asked().await);
    assert_eq!(rates.take_at(1, Duration::ZERO), Ok(()));
    assert!(is_asked().await);
}

#[test]
fn the_block_follows_what_is_taken() {
    let rates = per_day(200_000);
    for (taken, block) in [(0, 10), (3, 10), (300, 600), (5000, 1000), (0, 10)] {
        assert_eq!(rates.take_at(taken, Duration::ZERO), Ok(()));
        assert_eq!(rates.saved_at(Duration::ZERO).reserved, block);
    }
    assert_eq!(per_day(15).saved_at(Duration::ZERO).reserved, 2);
    assert_eq!(per_day(1).saved_at(Duration::ZERO).reserved, 1);
}

/// What happens to a gateway.
#[derive(Clone, Debug)]
enum Event {
    Take(u32),
    Save,
    /// Down for so many seconds; the wall clock is set by as many while it is.
    Killed(u64, i64),
    Stopped(u64),
}

/// Seconds: some minutes, or nearly a day, where windows end.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..4000_u64, 1 => 86_280..86_520_u64]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..6_u32).prop_map(Event::Take),
        2 => Just(Event::Save),
        1 => (0..4000_u64, -4000..=0_i64).prop_map(|(down, set)| Event::Killed(down, set)),
        1 => (0..4000_u64).prop_map(Event::Stopped),
    ]
}

proptest! {
    /// Over restarts of any kind, with saving whenever it is asked for.
    #[test]
    fn no_window_of_a_day_has_more_than_the_number(
        most in 1..60_u32,
        events in prop::collection::vec((pause(), event()), 1..300),
    ) {
        let mut rates = per_day(most);
        let mut kept = rates.saved_at(Duration::ZERO);
        // Of all time; of this process; when `kept` was written.
        let (mut now, mut up, mut written) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut granted: Vec<(Duration, u32)> = Vec::new();
        for (pause, event) in events {
            now += Duration::from_secs(pause);
            up += Duration::from_secs(pause);
            match event {
                Event::Take(recipients) => {
                    // One by one, as they come, and each writing is done before the next one.
                    for _ in 0..recipients {
                        match rates.take_at(1, up) {
                            Ok(()) => granted.push((now, 1)),
                            Err(wait) => prop_assert!(wait <= DAY + Duration::from_mins(1)),
                        }
                        let day_is_low = rates.lock().day.as_ref().is_some_and(Window::is_low);
                        if day_is_low {
                            kept = rates.saved_at(up);
                            written = now;
                        }
                    }
                }
                Event::Save => {
                    kept = rates.saved_at(up);
                    written = now;
                }
                Event::Killed(down, set) => {
                    now += Duration::from_secs(down);
                    let ago = now.saturating_sub(written).as_secs().saturating_add_signed(set);
                    rates = per_day(most);
                    up = Duration::ZERO;
                    rates.restore(&kept, Duration::from_secs(ago), rates.started);
                    kept = rates.saved_at(up);
                    written = now;
                }
                Event::Stopped(down) => {
                    let last = rates.count_exactly(rates.started + up).expect("a day");
                    now += Duration::from_secs(down);
                    rates = per_day(most);
                    up = Duration::ZERO;
                    rates.restore(&last, Duration::from_secs(down), rates.started);
                    kept = rates.saved_at(up);
                    written = now;
                }
            }
        }
        for (index, (first, _)) in granted.iter().enumerate() {
            let window = granted[index..].iter().take_while(|(at, _)| *at < *first + DAY);
            prop_assert!(window.map(|(_, count)| count).sum::<u32>() <= most);
        }
    }

    /// Between any two takes: the burst, and what has come back since.
    #[test]
    fn no_stretch_of_time_has_more_than_the_burst_and_the_rate(
        most in 1..50_u32,
        takes in prop::collection::vec((0..200_u64, 1..5_u32), 1..200),
    ) {
        let rates = rates(&[rate(most, RatePeriod::Second)]);
        let (mut now, mut granted) = (Duration::ZERO, Vec::new());
        for (pause_millis, recipients) in takes {
            now += Duration::from_millis(pause_millis);
            match rates.take_at(recipients, now) {
                Ok(()) => granted.push((now, u128::from(recipients))),
                Err(wait) if recipients <= most => {
                    prop_assert!(rates.take_at(recipients, now + wait.saturating_sub(Duration::from_nanos(1))).is_err());
                    prop_assert_eq!(rates.take_at(recipients, now + wait), Ok(()));
                    now += wait;
                    granted.push((now, recipients.into()));
                }
                Err(_) => {}
            }
        }
        for (index, (first, _)) in granted.iter().enumerate() {
            let mut sum = 0;
            for (at, count) in &granted[index..] {
                sum += count;
                let interval = 1_000_000_000_u128.div_ceil(most.into());
                prop_assert!(sum * interval <= u128::from(most) * interval + at.saturating_sub(*first).as_nanos());
            }
        }
    }
}
