//! The same load through each relay, one after the other, on one machine.
//!
//! ```text
//! source ─► relay ─► sink        CPU 1 ─► CPU 0 ─► CPU 1
//! ```
//!
//! A round takes each relay once, so that what else the machine does meets all of them alike; a ratio
//! is taken within a round, and the median of the rounds is quoted. What a relay costs is the CPU time
//! of its control group by message that the sink has counted: what the source believes is not asked.
//! A relay that fails is told with its log and holds up nobody.

mod load;
mod outcome;
mod peer;
mod setup;
mod shown;
mod trial;

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

pub use self::load::{Load, Volume};
pub use self::outcome::{Comparison, LoadOutcome, Row, Spread};
pub use self::peer::Peer;

use self::outcome::Round;
use self::trial::Bench;
use crate::process::{Measured, Program, allowed_cpus, machine, now};

/// More rounds say nothing new.
const ROUNDS_MAX: u32 = 1000;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// The binary of Gatepost; without it there are its peers alone.
    pub gatepost: Option<PathBuf>,
    /// Relays in their order; all that are installed if `None`.
    pub peers: Option<Vec<Peer>>,
    /// Loads in their order.
    pub loads: Vec<Load>,
    /// How often each relay is given each load.
    pub rounds: u32,
    /// How much each load is.
    pub volume: Volume,
    /// The time that the source has, and the sink after it.
    pub timeout: Duration,
    /// Where work folders are made; on a disk, or what is durable costs nothing.
    pub work: PathBuf,
    /// What becomes of them.
    pub folders: WorkFolders,
}

/// What becomes of work folders with configurations, logs and queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkFolders {
    /// They stay, to be looked at.
    Kept,
    /// They go with their round.
    Removed,
}

/// A comparison that can begin; [`run`](Self::run) makes it.
#[derive(Debug)]
pub struct Compare {
    options: CompareOptions,
    peers: Vec<Peer>,
    absent: Vec<String>,
    bench: Bench,
}

impl Compare {
    /// Finds out who is there. Who was asked for by name and is not installed is an error, as is
    /// a machine on which nothing can be measured.
    pub fn new(options: CompareOptions) -> anyhow::Result<Self> {
        let rounds = options.rounds;
        ensure!((1..=ROUNDS_MAX).contains(&rounds), "rounds must be from 1 to {ROUNDS_MAX}");
        options.volume.check()?;
        if let Some(program) = &options.gatepost {
            fs::metadata(program).with_context(|| {
                format!("--gatepost: there is no program {}", program.display())
            })?;
        }
        let (peers, absent) =
            choose(options.peers.as_deref(), |peer| peer.missing(options.gatepost.is_some()))?;
        ensure!(!peers.is_empty(), "there is nothing to compare");
        let bench = Bench::new(&options)?;
        Ok(Self { options, peers, absent, bench })
    }

    /// Runs all rounds, or as many as are done before `shutdown` is ready, and ends whatever runs
    /// then. `tell` is given a line for each step.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        mut tell: impl FnMut(&str),
    ) -> anyhow::Result<Comparison> {
        if self.peers.iter().any(|&peer| peer != Peer::Direct) {
            check_control_groups(&self.bench)?;
        }
        let mut comparison = Comparison {
            began: now(),
            machine: machine(),
            pinned: self.bench.pinning(),
            rounds: self.options.rounds,
            interrupted: false,
            absent: self.absent.clone(),
            loads: Vec::new(),
        };
        if !comparison.absent.is_empty() {
            tell(&format!("left out: {}", comparison.absent.join(", ")));
        }
        tokio::pin!(shutdown);
        for &load in &self.options.loads {
            let mut rounds = Vec::new();
            let measured = self.run_load(load, &mut rounds, &mut tell);
            tokio::select! {
                () = measured => {}
                () = &mut shutdown => comparison.interrupted = true,
            }
            let volume = &self.options.volume;
            comparison.loads.push(LoadOutcome::new(load, volume, &self.peers, &rounds));
            if comparison.interrupted {
                break;
            }
        }
        Ok(comparison)
    }

    async fn run_load(&self, load: Load, rounds: &mut Vec<Round>, tell: &mut impl FnMut(&str)) {
        for number in 1..=self.options.rounds {
            for &peer in self.peers.iter().filter(|peer| peer.takes(load)) {
                let result = self.bench.run(peer, load).await.map_err(|error| format!("{error:#}"));
                let said = result.as_ref().map_or_else(String::clone, ToString::to_string);
                tell(&format!("{load}, round {number} of {}, {peer}: {said}", self.options.rounds));
                rounds.push(Round { number, peer, result });
            }
        }
    }
}

/// Those that take part, and why the others do not.
fn choose(
    asked: Option<&[Peer]>,
    missing: impl Fn(Peer) -> Option<String>,
) -> anyhow::Result<(Vec<Peer>, Vec<String>)> {
    let Some(asked) = asked else {
        let (mut here, mut absent) = (Vec::new(), Vec::new());
        for &peer in Peer::ALL {
            match missing(peer) {
                Some(reason) => absent.push(format!("{peer} ({reason})")),
                None => here.push(peer),
            }
        }
        return Ok((here, absent));
    };
    let mut here = Vec::new();
    for &peer in asked {
        if let Some(reason) = missing(peer) {
            anyhow::bail!("{peer} cannot take part: {reason}");
        }
        // One that is named twice is meant once.
        if !here.contains(&peer) {
            here.push(peer);
        }
    }
    Ok((here, Vec::new()))
}

/// Says before the first round that it cannot be measured, and not once for each relay.
fn check_control_groups(bench: &Bench) -> anyhow::Result<()> {
    let program = Program {
        name: "check".to_owned(),
        path: "true".into(),
        arguments: Vec::new(),
        folder: tempfile::tempdir()?.keep(),
        cpus: bench.relay_cpus().to_vec(),
    };
    let checked = Measured::start(&program).map(drop);
    let _ = fs::remove_dir_all(&program.folder);
    checked
}

/// A CPU for the relay and another one for the load; none if there is but one.
fn share_cpus(allowed: &[usize]) -> (Vec<usize>, Vec<usize>) {
    match allowed {
        [relay, load, ..] => (vec![*relay], vec![*load]),
        _ => (Vec::new(), Vec::new()),
    }
}

fn own_cpus() -> (Vec<usize>, Vec<usize>) {
    share_cpus(&allowed_cpus())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_queues(peer: Peer) -> Option<String> {
        matches!(peer, Peer::Haraka | Peer::Opensmtpd).then(|| "not installed".to_owned())
    }

    #[test]
    fn who_is_not_installed_is_left_out_and_named() {
        let (here, absent) = choose(None, without_queues).unwrap();
        assert_eq!(here.len() + 2, Peer::ALL.len());
        assert!(!here.contains(&Peer::Haraka));
        assert_eq!(absent, ["opensmtpd (not installed)", "haraka (not installed)"]);
    }

    #[test]
    fn who_is_asked_for_must_be_there() {
        let asked = [Peer::Nginx, Peer::Direct, Peer::Nginx];
        let (here, absent) = choose(Some(&asked), without_queues).unwrap();
        assert_eq!(here, [Peer::Nginx, Peer::Direct]);
        assert!(absent.is_empty());
        let error = choose(Some(&[Peer::Haraka]), without_queues).unwrap_err();
        assert_eq!(error.to_string(), "haraka cannot take part: not installed");
    }

    #[test]
    fn the_relay_has_a_cpu_for_itself_where_there_are_two() {
        assert_eq!(share_cpus(&[2, 3, 4]), (vec![2], vec![3]));
        assert_eq!(share_cpus(&[2]), (vec![], vec![]));
    }
}
