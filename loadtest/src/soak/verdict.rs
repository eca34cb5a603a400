//! Does it grow? A robust slope, how sure it is, and three possible words.
//!
//! The slope is that of Theil and Sen over the medians of blocks of time. It is a leak if even the
//! lower end of its interval, over the whole judged time, is more than what is tolerated, and if the
//! latter half alone still rises as fast: a single step, or a cache that fills up, is none. It is
//! steady if even the upper end is tolerated. Everything between wants a longer soak.

use serde::Serialize;

use crate::rig::statistics::Trend;

/// Fewer blocks than this say nothing about hours.
const BLOCKS_MIN: usize = 12;

/// What is within the tolerance for less than this, five minutes, may be far from it in an hour.
const HOURS_MIN: f64 = 5.0 / 60.0;

/// Whether something grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It leaks.
    Grows,
    /// It does not.
    Steady,
    /// Nobody can know yet.
    TooShort,
}

/// A series, judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The word.
    pub verdict: Verdict,
    /// Growth per hour; `None` if there are too few points for any.
    pub per_hour: Option<Slope>,
    /// The judged time.
    pub hours: f64,
    /// The median of the first block that was judged.
    pub first: f64,
    /// The median of the last one.
    pub last: f64,
    /// The line, for plots.
    #[serde(skip)]
    pub(super) trend: Option<Trend>,
}

/// A slope with the interval that holds it 99 times of 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slope {
    /// The median slope.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Judgement {
    /// Of the medians of blocks: hours in rising order, and the quantity. `tolerance` is what may be
    /// gained over the whole of it.
    pub(super) fn of(blocks: &[(f64, f64)], tolerance: f64) -> Self {
        let ends = blocks.first().zip(blocks.last());
        let (hours, first, last) =
            ends.map_or((0.0, 0.0, 0.0), |(first, last)| (last.0 - first.0, first.1, last.1));
        let trend = Trend::of(blocks);
        let per_hour =
            trend.map(|Trend { slope, low, high, .. }| Slope { median: slope, low, high });
        let verdict = match trend {
            Some(trend) if blocks.len() >= BLOCKS_MIN && hours >= HOURS_MIN => {
                let latter = Trend::of(&blocks[blocks.len() / 2..]);
                let still = latter.is_some_and(|latter| latter.slope * hours > tolerance);
                verdict(trend, still, hours, tolerance)
            }
            _ => Verdict::TooShort,
        };
        Self { verdict, per_hour, hours, first, last, trend }
    }
}

fn verdict(trend: Trend, still: bool, hours: f64, tolerance: f64) -> Verdict {
    if trend.low * hours > tolerance {
        // What has grown and grows no more has found its size.
        if still { Verdict::Grows } else { Verdict::Steady }
    } else if trend.high * hours <= tolerance {
        Verdict::Steady
    } else {
        Verdict::TooShort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may be gained in these tests, in any unit.
    const TOLERANCE: f64 = 100.0;

    /// Numbers from -1 to 1 without a pattern, the same ones each time.
    fn noise(index: u32) -> f64 {
        let mixed = (index + 1).wrapping_mul(0x9E37_79B9);
        let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA6B);
        f64::from(mixed >> 8) / f64::from(1 << 23) - 1.0
    }

    /// 40 blocks over two hours.
    fn judged(value: impl Fn(u32) -> f64) -> Judgement {
        let blocks: Vec<_> = (0..40).map(|block| (f64::from(block) / 20.0, value(block))).collect();
        Judgement::of(&blocks, TOLERANCE)
    }

    #[test]
    fn noise_is_steady() {
        let found = judged(|block| 5000.0 + 40.0 * noise(block));
        assert_eq!(found.verdict, Verdict::Steady, "{found:?}");
        assert!(found.per_hour.unwrap().low < 0.0 && found.per_hour.unwrap().high > 0.0);
    }

    #[test]
    fn a_value_that_never_changes_is_steady() {
        assert_eq!(judged(|_| 12.0).verdict, Verdict::Steady);
    }

    #[test]
    fn a_slow_leak_is_found_in_noise() {
        let found = judged(|block| 5000.0 + 5.0 * f64::from(block) + 40.0 * noise(block));
        assert_eq!(found.verdict, Verdict::Grows, "{found:?}");
        let slope = found.per_hour.unwrap();
        assert!((80.0..120.0).contains(&slope.median), "100 per hour is true: {slope:?}");
        assert!(slope.low < 100.0 && slope.high > 100.0, "{slope:?}");
    }

    #[test]
    fn a_leak_in_steps_is_a_leak() {
        let found = judged(|block| 5000.0 + 50.0 * f64::from(block / 8) + 5.0 * noise(block));
        assert_eq!(found.verdict, Verdict::Grows, "{found:?}");
    }

    #[test]
    fn one_step_is_no_leak_wherever_it_comes() {
        for step in 1..40 {
            let found = judged(|block| {
                let above = if block >= step { 400.0 } else { 0.0 };
                5000.0 + above + 5.0 * noise(block)
            });
            assert_ne!(found.verdict, Verdict::Grows, "a step at {step}: {found:?}");
        }
    }

    #[test]
    fn what_fills_up_and_stops_is_no_leak() {
        let found = judged(|block| 5000.0 - 800.0 * (-f64::from(block) / 6.0).exp() + noise(block));
        assert_ne!(found.verdict, Verdict::Grows, "{found:?}");
    }

    #[test]
    fn a_growth_below_the_tolerance_is_steady() {
        let found = judged(|block| 5000.0 + 0.5 * f64::from(block) + noise(block));
        assert_eq!(found.verdict, Verdict::Steady, "{found:?}");
    }

    #[test]
    fn few_blocks_or_much_noise_want_more_time() {
        let few: Vec<_> =
            (0..11).map(|block| (f64::from(block), 500.0 * f64::from(block))).collect();
        assert_eq!(Judgement::of(&few, TOLERANCE).verdict, Verdict::TooShort);
        assert_eq!(Judgement::of(&[], TOLERANCE).verdict, Verdict::TooShort);
        let hasty: Vec<_> = (0..40).map(|block| (f64::from(block) / 3600.0, 12.0)).collect();
        assert_eq!(Judgement::of(&hasty, TOLERANCE).verdict, Verdict::TooShort, "40 seconds");
        let wild = judged(|block| 5000.0 + 4000.0 * noise(block));
        assert_eq!(wild.verdict, Verdict::TooShort, "{wild:?}");
    }
}
