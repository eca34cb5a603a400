//! What happened second by second, in bounded space.
//!
//! Sessions collect into windows of their own; a tick each second takes what is in them. When the series
//! is full, pairs of points are merged and from then on points are twice as long: a run of a month keeps
//! its whole course. Percentiles of merged points are estimates (p50 the mean of both by weight, p99 the
//! worse of both); everything else is exact.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// An hour of seconds; a plot shows no more.
const POINTS_MAX: usize = 3600;

/// Latencies of a second are exact to two digits: a window stays small, and a plot shows no more.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Ticks are a little late; a point belongs to the second that is next.
const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// One second of a run, or some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SecondPoint {
    /// Whole seconds from the start to the beginning of this one.
    pub second: u64,
    /// How long it was: about 1, more in runs past an hour.
    pub seconds: f64,
    /// Accepted messages.
    pub accepted: u64,
    /// Messages that were refused or failed.
    pub not_accepted: u64,
    /// Median latency of the accepted ones, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 were at least as quick.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// What has happened since the last tick.
#[derive(Debug)]
pub(super) struct Window {
    microseconds: Histogram<u64>,
    not_accepted: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        // Only a number of digits out of 0..=5 is an error.
        Self { microseconds: Histogram::new(SIGNIFICANT_DIGITS).unwrap(), not_accepted: 0 }
    }

    pub(super) fn accept(&mut self, latency: Duration) {
        // It grows as needed, up to 146 000 years.
        self.microseconds.record(latency.as_micros() as u64).unwrap();
    }

    pub(super) fn refuse(&mut self) {
        self.not_accepted += 1;
    }

    /// Moves what is in it to the end of another one.
    pub(super) fn pour_into(&mut self, other: &mut Self) {
        // Both grow as needed.
        other.microseconds.add(&self.microseconds).unwrap();
        other.not_accepted += self.not_accepted;
        self.microseconds.reset();
        self.not_accepted = 0;
    }

    fn point(&self, from: Duration, to: Duration) -> SecondPoint {
        SecondPoint {
            second: (from + HALF_A_SECOND).as_secs(),
            seconds: to.saturating_sub(from).as_secs_f64(),
            accepted: self.microseconds.len(),
            not_accepted: self.not_accepted,
            p50_us: self.microseconds.value_at_quantile(0.5),
            p99_us: self.microseconds.value_at_quantile(0.99),
            max_us: self.microseconds.max(),
        }
    }
}

/// The points of a run.
#[derive(Debug)]
pub(super) struct Series {
    points: Vec<SecondPoint>,
    points_max: usize,
    /// Ticks that become one point.
    ticks_per_point: u32,
    /// What will be the next point, since when, of how many ticks.
    next: Window,
    next_from: Duration,
    next_ticks: u32,
    /// The last tick alone, and when it was.
    last: SecondPoint,
    last_tick: Duration,
}

impl Series {
    pub(super) fn new() -> Self {
        let (points, next_from, next_ticks, last, last_tick) = Default::default();
        let (points_max, ticks_per_point, next) = (POINTS_MAX, 1, Window::new());
        Self { points, points_max, ticks_per_point, next, next_from, next_ticks, last, last_tick }
    }

    /// Takes what has happened up to now, counted from the start.
    pub(super) fn tick(&mut self, mut window: Window, now: Duration) {
        self.last = window.point(self.last_tick, now);
        self.last_tick = now;
        window.pour_into(&mut self.next);
        self.next_ticks += 1;
        if self.next_ticks >= self.ticks_per_point {
            self.close_point(now);
        }
    }

    /// Takes the rest: the last point may be shorter than the others.
    pub(super) fn finish(&mut self, mut window: Window, now: Duration) {
        window.pour_into(&mut self.next);
        if now > self.next_from {
            self.close_point(now);
        }
    }

    /// The last second.
    pub(super) fn last(&self) -> SecondPoint {
        self.last
    }

    /// All seconds.
    pub(super) fn points(&self) -> &[SecondPoint] {
        &self.points
    }

    fn close_point(&mut self, now: Duration) {
        self.points.push(self.next.point(self.next_from, now));
        self.next = Window::new();
        self.next_from = now;
        self.next_ticks = 0;
        if self.points.len() >= self.points_max {
            self.points = self.points.chunks(2).map(merge).collect();
            self.ticks_per_point = self.ticks_per_point.saturating_mul(2);
        }
    }
}

/// One point of a pair, or of the one that is left.
fn merge(pair: &[SecondPoint]) -> SecondPoint {
    let [first, second] = pair else { return pair[0] };
    let accepted = first.accepted + second.accepted;
    let weighted = |point: &SecondPoint| u128::from(point.p50_us) * u128::from(point.accepted);
    let p50 = (weighted(first) + weighted(second)).checked_div(accepted.into());
    SecondPoint {
        second: first.second,
        seconds: first.seconds + second.seconds,
        accepted,
        not_accepted: first.not_accepted + second.not_accepted,
        // A mean of two u64 is one.
        p50_us: p50.unwrap_or_default() as u64,
        p99_us: first.p99_us.max(second.p99_us),
        max_us: first.max_us.max(second.max_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: u64, milliseconds: u64) -> Window {
        let mut window = Window::new();
        for _ in 0..count {
            window.accept(Duration::from_millis(milliseconds));
        }
        window.refuse();
        window
    }

    #[test]
    fn each_second_is_a_point() {
        let mut series = Series::new();
        series.tick(window(10, 5), Duration::from_millis(1001));
        assert_eq!((series.last().accepted, series.last().not_accepted), (10, 1));
        series.tick(window(30, 50), Duration::from_secs(2));
        series.finish(window(3, 500), Duration::from_millis(2500));
        let [first, second, third] = series.points() else { panic!("{:?}", series.points()) };
        assert_eq!((first.second, first.accepted, first.p50_us / 1000), (0, 10, 5));
        assert_eq!((second.second, second.accepted, second.p99_us / 1000), (1, 30, 50));
        assert_eq!((third.second, third.accepted, third.not_accepted), (2, 3, 1));
        assert!((third.seconds - 0.5).abs() < 1e-9 && third.max_us >= 500_000);
    }

    #[test]
    fn pairs_are_merged_when_the_series_is_full_and_nothing_is_lost() {
        let mut series = Series { points_max: 8, ..Series::new() };
        for second in 1..=1000 {
            series.tick(window(second, 1 + second % 2), Duration::from_secs(second));
        }
        series.finish(Window::new(), Duration::from_secs(1000));
        let points = series.points();
        assert!((4..=8).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().map(|point| point.accepted).sum::<u64>(), 1000 * 1001 / 2);
        assert_eq!(points.iter().map(|point| point.not_accepted).sum::<u64>(), 1000);
        assert!((points.iter().map(|point| point.seconds).sum::<f64>() - 1000.0).abs() < 1e-6);
        assert!(points.iter().is_sorted_by_key(|point| point.second));
        assert!(points[..7.min(points.len() - 1)].iter().all(|point| point.p99_us / 1000 == 2));
    }

    #[test]
    fn merged_medians_are_weighted() {
        let point = |accepted, p50_us| SecondPoint { accepted, p50_us, ..Default::default() };
        assert_eq!(merge(&[point(10, 100), point(30, 200)]).p50_us, 175);
        assert_eq!(merge(&[point(0, 0), point(0, 0)]).p50_us, 0);
        assert_eq!(merge(&[point(3, 7)]), point(3, 7));
    }
}
