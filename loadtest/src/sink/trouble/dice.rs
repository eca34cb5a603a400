//! Chance that can be repeated: the n-th reply of a phase meets the same luck in every run.
//!
//! Luck is drawn in the order in which replies fall due over all connections, so how often something
//! happens depends on the seed and on how many replies there were, not on which session was quicker.
//! Each phase has its own generators behind a lock that is held for the arithmetic of one draw.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::{Delay, Fault, FaultKind, SHARE_WHOLE, SinkPhase, Troubles};

/// The luck of one sink.
#[derive(Debug)]
pub(in crate::sink) struct Dice {
    /// In the order of [`SinkPhase::ALL`].
    phases: Vec<PhaseDice>,
    faults: Vec<FaultCount>,
}

/// A fault and how often it was played.
#[derive(Debug)]
struct FaultCount {
    fault: Fault,
    played: AtomicU64,
}

/// What may happen to the replies of one phase.
#[derive(Debug)]
struct PhaseDice {
    delays: Vec<Delay>,
    /// By their places in [`Dice::faults`].
    faults: Vec<usize>,
    generators: Mutex<Generators>,
}

/// Delays and faults have one each: a delay more does not change which reply is refused.
#[derive(Debug)]
struct Generators {
    delays: Rng,
    faults: Rng,
    drawn: u64,
}

/// What happens to one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sink) struct Drawn {
    /// It comes so much later.
    pub(in crate::sink) delay: Option<Duration>,
    /// What comes in its place: the number of the fault.
    pub(in crate::sink) fault: Option<usize>,
}

impl Dice {
    /// `None` if there is nothing to draw.
    pub(in crate::sink) fn new(troubles: &Troubles) -> Option<Self> {
        if troubles.is_empty() {
            return None;
        }
        let mut seeds = Rng::with_seed(troubles.seed);
        let phases = SinkPhase::ALL.map(|phase| PhaseDice {
            delays: troubles.delays.iter().copied().filter(|delay| delay.phase == phase).collect(),
            faults: (0..troubles.faults.len())
                .filter(|&number| troubles.faults[number].phase == phase)
                .collect(),
            generators: Mutex::new(Generators {
                delays: seeds.fork(),
                faults: seeds.fork(),
                drawn: 0,
            }),
        });
        let faults = troubles.faults.iter();
        let faults = faults.map(|&fault| FaultCount { fault, played: AtomicU64::new(0) });
        Some(Self { phases: phases.into(), faults: faults.collect() })
    }

    /// What happens to the reply of this phase that is due now.
    pub(in crate::sink) fn draw(&self, phase: SinkPhase) -> Drawn {
        let dice = &self.phases[phase as usize];
        if dice.delays.is_empty() && dice.faults.is_empty() {
            return Drawn::default();
        }
        // Nothing in here panics, so a poisoned lock would hold good generators all the same.
        let mut generators = dice.generators.lock().unwrap_or_else(PoisonError::into_inner);
        generators.drawn += 1;
        let luck = generators.delays.u32(0..SHARE_WHOLE);
        let delay = pick(luck, dice.delays.iter().map(|delay| (delay.share.0, delay)));
        let delay = delay.map(|delay| {
            let (least, most) = (microseconds(delay.least), microseconds(delay.most));
            Duration::from_micros(generators.delays.u64(least..=most))
        });
        let luck = generators.faults.u32(0..SHARE_WHOLE);
        let faults = dice.faults.iter().map(|&number| (self.faults[number].fault.share.0, number));
        Drawn { delay, fault: pick(luck, faults) }
    }

    /// Counts a fault that is played now, and says what it is.
    pub(in crate::sink) fn play(&self, fault: usize) -> FaultKind {
        let count = &self.faults[fault];
        count.played.fetch_add(1, Ordering::Relaxed);
        count.fault.kind
    }

    /// Each fault, how often it was played, and out of how many replies.
    pub(in crate::sink) fn counts(&self) -> impl Iterator<Item = (Fault, u64, u64)> {
        self.faults.iter().map(|FaultCount { fault, played }| {
            let generators = &self.phases[fault.phase as usize].generators;
            let drawn = generators.lock().unwrap_or_else(PoisonError::into_inner).drawn;
            (*fault, played.load(Ordering::Relaxed), drawn)
        })
    }
}

/// The one whose part of the whole the luck falls in.
fn pick<T>(luck: u32, shares: impl Iterator<Item = (u32, T)>) -> Option<T> {
    let mut end = 0;
    for (share, item) in shares {
        // No overflow: together they are no more than the whole (`Troubles::new`).
        end += share;
        if luck < end {
            return Some(item);
        }
    }
    None
}

/// At most an hour, see `DELAY_MAX`.
fn microseconds(duration: Duration) -> u64 {
    duration.as_micros() as u64
}
