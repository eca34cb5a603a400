//! What a comparison came to: medians over rounds, and ratios within rounds.

use serde::Serialize;

use super::load::{Load, Volume};
use super::peer::Peer;
use super::trial::Trial;
use crate::rig::statistics::median;

/// Everything that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// Processor, number of CPUs, kernel.
    pub machine: String,
    /// Who ran where.
    pub pinned: String,
    /// How often each relay was given each load.
    pub rounds: u32,
    /// Stopped before the last round: loads may be missing, and rounds of the last one.
    pub interrupted: bool,
    /// Who was left out, and why.
    pub absent: Vec<String>,
    /// By load.
    pub loads: Vec<LoadOutcome>,
}

/// All relays with one load.
#[derive(Clone, Debug, Serialize)]
pub struct LoadOutcome {
    /// The load.
    pub load: Load,
    /// What it is.
    pub description: String,
    /// By relay.
    pub relays: Vec<Row>,
}

/// One relay with one load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The relay.
    pub relay: Peer,
    /// Whether its `250` means that the message is on a disk.
    pub durable: bool,
    /// Whom the ratios are to.
    pub base: Option<Peer>,
    /// Messages a second.
    pub rate: Option<Spread>,
    /// CPU by message, µs.
    pub cpu_microseconds: Option<Spread>,
    /// The rate by the base's rate.
    pub rate_ratio: Option<Spread>,
    /// The CPU time by the base's.
    pub cpu_ratio: Option<Spread>,
    /// Memory that no file holds, MiB.
    pub memory_mib: Option<Spread>,
    /// Median of the time of a message, ms.
    pub p50_milliseconds: Option<Spread>,
    /// 99 of 100 were as quick, ms.
    pub p99_milliseconds: Option<Spread>,
    /// What it adds to the median without a relay, ms.
    pub p50_added_milliseconds: Option<Spread>,
    /// What it adds at 99 of 100, ms.
    pub p99_added_milliseconds: Option<Spread>,
    /// What a reader must know.
    pub note: Option<&'static str>,
    /// Rounds that failed, and why.
    pub failures: Vec<String>,
}

/// A value over rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle, or the mean of the two there.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// One relay in one round.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) peer: Peer,
    pub(super) result: Result<Trial, String>,
}

impl Comparison {
    /// Whether no relay failed, and nothing stopped it.
    pub fn is_whole(&self) -> bool {
        let failed = |row: &Row| !row.failures.is_empty();
        !self.interrupted && !self.loads.iter().flat_map(|load| &load.relays).any(failed)
    }
}

impl LoadOutcome {
    pub(super) fn new(load: Load, volume: &Volume, peers: &[Peer], rounds: &[Round]) -> Self {
        let taking = peers.iter().copied().filter(|peer| peer.takes(load));
        let relays = taking.map(|peer| Row::new(peer, load, rounds)).collect();
        Self { load, description: load.describe(volume), relays }
    }
}

impl Row {
    fn new(peer: Peer, load: Load, rounds: &[Round]) -> Self {
        let base = peer.base(load);
        let over = |value: fn(&Trial) -> Option<f64>| {
            Spread::of(trials(peer, rounds).filter_map(|(_, trial)| value(trial)))
        };
        let by_base = |value| base.and_then(|base| ratio(peer, base, rounds, value));
        let relay = peer != Peer::Direct;
        let added = |value| if relay { beside_direct(peer, rounds, value) } else { None };
        let failed = rounds.iter().filter(|round| round.peer == peer);
        Self {
            relay: peer,
            durable: peer.is_durable(),
            base,
            rate: over(|trial| Some(trial.rate)),
            cpu_microseconds: over(|trial| trial.cpu_microseconds),
            rate_ratio: by_base(|trial| Some(trial.rate)),
            cpu_ratio: by_base(|trial| trial.cpu_microseconds),
            memory_mib: over(|trial| trial.memory_mib),
            p50_milliseconds: over(|trial| trial.p50_milliseconds),
            p99_milliseconds: over(|trial| trial.p99_milliseconds),
            p50_added_milliseconds: added(|trial| trial.p50_milliseconds),
            p99_added_milliseconds: added(|trial| trial.p99_milliseconds),
            note: peer.note(load),
            failures: failed.filter_map(|round| round.result.clone().err()).collect(),
        }
    }
}

impl Spread {
    /// Of finite values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(&values), min, max })
    }
}

fn trials(peer: Peer, rounds: &[Round]) -> impl Iterator<Item = (u32, &Trial)> {
    rounds
        .iter()
        .filter(move |round| round.peer == peer)
        .filter_map(|round| Some((round.number, round.result.as_ref().ok()?)))
}

/// Pairs of a value of one relay and that of another one in the same round.
fn pairs(
    peer: Peer,
    other: Peer,
    rounds: &[Round],
    value: fn(&Trial) -> Option<f64>,
) -> impl Iterator<Item = (f64, f64)> {
    trials(peer, rounds).filter_map(move |(number, trial)| {
        let (_, beside) = trials(other, rounds).find(|&(round, _)| round == number)?;
        value(trial).zip(value(beside))
    })
}

fn ratio(
    peer: Peer,
    base: Peer,
    rounds: &[Round],
    value: fn(&Trial) -> Option<f64>,
) -> Option<Spread> {
    Spread::of(pairs(peer, base, rounds, value).map(|(value, base)| value / base))
}

fn beside_direct(peer: Peer, rounds: &[Round], value: fn(&Trial) -> Option<f64>) -> Option<Spread> {
    Spread::of(pairs(peer, Peer::Direct, rounds, value).map(|(value, direct)| value - direct))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trial(rate: f64, cpu: f64) -> Trial {
        Trial {
            rate,
            cpu_microseconds: Some(cpu),
            memory_mib: None,
            p50_milliseconds: Some(cpu / 10.0),
            p99_milliseconds: None,
        }
    }

    fn round(number: u32, peer: Peer, result: Result<Trial, String>) -> Round {
        Round { number, peer, result }
    }

    fn outcome(peers: &[Peer], rounds: &[Round]) -> LoadOutcome {
        let volume = Volume { messages: None, rate: 1, duration: Duration::from_secs(1) };
        LoadOutcome::new(Load::Reused, &volume, peers, rounds)
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let spread = |values: &[f64]| {
            Spread::of(values.iter().copied()).map(|found| (found.median, found.min, found.max))
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some((2.0, 1.0, 9.0)));
        assert_eq!(spread(&[9.0, 1.0, 2.0, 4.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        // The machine is half as fast in the second round: the ratio is not.
        let rounds = [
            round(1, Peer::Haproxy, Ok(trial(1000.0, 10.0))),
            round(1, Peer::Gatepost, Ok(trial(900.0, 9.0))),
            round(2, Peer::Haproxy, Ok(trial(500.0, 20.0))),
            round(2, Peer::Gatepost, Ok(trial(450.0, 18.0))),
        ];
        let outcome = outcome(&[Peer::Haproxy, Peer::Gatepost], &rounds);
        let gatepost = &outcome.relays[1];
        let same = Some(Spread { median: 0.9, min: 0.9, max: 0.9 });
        assert_eq!((gatepost.cpu_ratio, gatepost.rate_ratio), (same, same));
        assert_eq!(gatepost.base, Some(Peer::Haproxy));
        assert_eq!(gatepost.cpu_microseconds, Some(Spread { median: 13.5, min: 9.0, max: 18.0 }));
        assert_eq!(gatepost.p50_added_milliseconds, None, "nobody went without a relay");
    }

    #[test]
    fn a_round_without_its_base_has_no_ratio() {
        let rounds = [
            round(1, Peer::Haproxy, Err("it has ended".to_owned())),
            round(1, Peer::Gatepost, Ok(trial(900.0, 5.0))),
            round(2, Peer::Haproxy, Ok(trial(500.0, 20.0))),
            round(2, Peer::Gatepost, Ok(trial(450.0, 10.0))),
        ];
        let outcome = outcome(&[Peer::Haproxy, Peer::Gatepost], &rounds);
        let half = Some(Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(outcome.relays[1].cpu_ratio, half);
        assert_eq!(outcome.relays[0].failures, ["it has ended"]);
        assert!(outcome.relays[1].failures.is_empty());
    }

    #[test]
    fn what_a_relay_adds_is_what_it_takes_beside_none() {
        let rounds = [
            round(1, Peer::Gatepost, Ok(trial(1.0, 9.0))),
            round(1, Peer::Direct, Ok(trial(1.0, 4.0))),
        ];
        let outcome = outcome(&[Peer::Gatepost, Peer::Direct], &rounds);
        let half = Some(Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(outcome.relays[0].p50_added_milliseconds, half);
        assert_eq!(outcome.relays[1].p50_added_milliseconds, None);
        assert_eq!(outcome.relays[0].cpu_ratio, None, "HAProxy had no part");
    }
}
