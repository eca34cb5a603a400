//! What a soak remembers, in bounded space.
//!
//! A series that is full loses every other point and takes half as many from then on. A point is
//! dropped and never averaged: what is drawn was measured.

use std::time::Duration;

use super::round::{Kind, RoundOutcome};
use crate::process::Usage;
use crate::rig::statistics::median;

/// Points of a series; more cannot be told apart in a plot.
const POINTS_MAX: usize = 2048;

/// Blocks that the judged time is cut into: enough for a slope, and few enough that each has many
/// samples, so that one wild sample is none of its medians.
const BLOCKS_MAX: usize = 40;

/// A median of fewer samples is no median.
const SAMPLES_PER_BLOCK_MIN: usize = 3;

/// What the gateway has to do when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Nothing: all clients have gone.
    AtRest,
    /// A round.
    UnderLoad,
}

/// The gateway at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Hours since the beginning.
    pub(super) hours: f64,
    /// Octets.
    pub(super) memory: f64,
    pub(super) descriptors: f64,
}

/// One round, as it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundPoint {
    /// Hours since the beginning.
    pub(super) hours: f64,
    /// Messages a second.
    pub(super) rate: f64,
    /// Milliseconds.
    pub(super) p99: f64,
    /// Microseconds.
    pub(super) cpu_per_message: f64,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct History {
    at_rest: Thinned<Sample>,
    under_load: Thinned<Sample>,
    rounds: [Thinned<RoundPoint>; Kind::COUNT],
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "far fewer octets than a mantissa holds")]
    pub(super) fn new(at: Duration, usage: Usage) -> Self {
        Self {
            hours: hours(at),
            memory: usage.memory as f64,
            descriptors: usage.descriptors as f64,
        }
    }
}

impl History {
    pub(super) fn sample(&mut self, moment: Moment, sample: Sample) {
        match moment {
            Moment::AtRest => self.at_rest.push(sample),
            Moment::UnderLoad => self.under_load.push(sample),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "messages of one round")]
    pub(super) fn round(
        &mut self,
        kind: Kind,
        at: Duration,
        outcome: &RoundOutcome,
        used: Duration,
    ) {
        if outcome.accepted == 0 {
            return;
        }
        self.rounds[kind as usize].push(RoundPoint {
            hours: hours(at),
            rate: outcome.rate,
            p99: outcome.p99,
            cpu_per_message: used.as_secs_f64() * 1e6 / outcome.accepted as f64,
        });
    }

    pub(super) fn samples(&self, moment: Moment) -> &[Sample] {
        match moment {
            Moment::AtRest => &self.at_rest.points,
            Moment::UnderLoad => &self.under_load.points,
        }
    }

    pub(super) fn rounds(&self, kind: Kind) -> &[RoundPoint] {
        &self.rounds[kind as usize].points
    }

    /// The medians of the blocks behind the warm-up, at rest: hours, and the quantity.
    pub(super) fn blocks(
        &self,
        warm_up: Duration,
        quantity: fn(&Sample) -> f64,
    ) -> Vec<(f64, f64)> {
        let warm_up = hours(warm_up);
        let judged = self.at_rest.points.iter().filter(|sample| sample.hours >= warm_up);
        let judged: Vec<_> = judged.collect();
        let length = judged.len().div_ceil(BLOCKS_MAX).max(SAMPLES_PER_BLOCK_MIN);
        let blocks = judged.chunks_exact(length).map(|block| {
            let all = |of: &dyn Fn(&Sample) -> f64| {
                median(&block.iter().map(|sample| of(sample)).collect::<Vec<_>>())
            };
            (all(&|sample| sample.hours), all(&quantity))
        });
        blocks.collect()
    }
}

/// A series that never has more than [`POINTS_MAX`] points.
#[derive(Debug)]
struct Thinned<T> {
    points: Vec<T>,
    /// Of so many points one is taken.
    stride: u64,
    seen: u64,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, seen: 0 }
    }
}

impl<T> Thinned<T> {
    fn push(&mut self, point: T) {
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() == POINTS_MAX {
                let mut index = 0;
                self.points.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            self.points.push(point);
        }
        self.seen += 1;
    }
}

fn hours(time: Duration) -> f64 {
    time.as_secs_f64() / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_thinned_and_stays_even() {
        let mut series = Thinned::default();
        for point in 0..1_000_000_u64 {
            series.push(point);
        }
        assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&series.points.len()));
        let steps: Vec<_> = series.points.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(series.points[0], 0);
        assert!(steps.iter().all(|&step| step == series.stride), "{steps:?}");
        assert!(1_000_000 - series.points.last().unwrap() <= series.stride);
    }

    #[test]
    fn blocks_leave_the_warm_up_and_wild_samples_out() {
        let mut history = History::default();
        for second in 0..1000_u64 {
            let memory = if second < 200 || second % 7 == 0 { 9_000_000 } else { 5_000_000 };
            let usage = Usage { cpu: Duration::ZERO, memory, descriptors: 12 };
            history.sample(Moment::AtRest, Sample::new(Duration::from_secs(second), usage));
        }
        let blocks = history.blocks(Duration::from_secs(200), |sample| sample.memory);
        assert_eq!(blocks.len(), BLOCKS_MAX);
        assert!(blocks.iter().all(|&(_, memory)| (memory - 5e6).abs() < 1.0), "{blocks:?}");
        assert!(blocks.is_sorted_by(|a, b| a.0 < b.0));
        assert!(history.blocks(Duration::from_secs(998), |sample| sample.memory).is_empty());
    }
}
