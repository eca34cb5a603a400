//! Hours of mixed load on one gateway: every message arrives, and nothing grows.
//!
//! Rounds of different kinds follow each other while memory, descriptors and CPU of the gateway are
//! looked at; a [`Verdict`] on both series comes at the end. The soak itself stays small however long
//! it takes: what it remembers is thinned out (`history`). It sees the gateway from outside only, so
//! it can watch one that somebody else has started.

mod figures;
mod history;
mod ledger;
mod round;
mod target;
mod verdict;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::process::{now, usage_of};
use crate::rig::gatepost::Mode;
use crate::rig::sink::SinkProcess;
use history::{History, Moment, Sample};
use ledger::Ledger;
use round::{Kind, RoundOutcome};
use target::Target;
pub use verdict::{Judgement, Verdict};

/// Between two looks at the gateway.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);

/// Between the end of a cycle of rounds and the look that is judged: its connections are closed then.
const REST: Duration = Duration::from_millis(250);

/// What was accepted has arrived after this: with a queue between, the sink is a bit behind.
const ARRIVAL_TIME: Duration = Duration::from_mins(1);

/// The warm-up ends here, however long the soak: buffers and allocator have found their size.
const WARM_UP_MAX: Duration = Duration::from_mins(15);

/// Of the whole time, the part that is warm-up if that is shorter.
const WARM_UP_PART: u32 = 5;

/// Troubles that are told; of more there is only the count.
const TROUBLES_MAX: usize = 20;

/// What is soaked, and for how long.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// The gateway.
    pub gateway: SoakedGateway,
    /// How long rounds are begun.
    pub duration: Duration,
    /// The time at the beginning that is not judged; a fifth of the whole, at most 15 minutes, if
    /// not set.
    pub warm_up: Option<Duration>,
    /// Sessions of a round.
    pub sessions: u32,
    /// Messages of a round; a round of large messages has fewer.
    pub messages: u64,
    /// Messages a second; as many as are answered, if not set.
    pub rate: Option<u32>,
    /// What may grow while it is judged, without being a leak.
    pub tolerance: Tolerance,
    /// The command line that repeats it.
    pub command: String,
}

/// Which gateway.
#[derive(Clone, Debug)]
pub enum SoakedGateway {
    /// A program, which is started in front of a sink.
    Program {
        /// The binary.
        path: PathBuf,
        /// Its mode of delivery.
        mode: Mode,
        /// Rounds with TLS as well.
        tls: bool,
    },
    /// One that runs.
    Running {
        /// Its process.
        pid: u32,
        /// Its listener.
        target: SocketAddr,
        /// Its listener where TLS begins at once.
        tls_target: Option<SocketAddr>,
        /// Where its upstream is: the sink listens there and counts what arrives.
        sink: Option<SocketAddr>,
    },
}

/// What may grow while it is judged, without being a leak.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tolerance {
    /// Octets.
    pub memory: u64,
    /// File descriptors.
    pub descriptors: u64,
}

/// What is true while a soak runs, in one line.
#[derive(Clone, Debug, Default)]
pub struct SoakProgress(Arc<Mutex<String>>);

impl fmt::Display for SoakProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lock is held for one assignment, which does not panic.
        f.write_str(&self.0.lock().unwrap())
    }
}

impl SoakProgress {
    fn tell(&self, line: String) {
        *self.0.lock().unwrap() = line;
    }
}

/// What a soak has come to.
#[derive(Debug, Serialize)]
pub struct SoakOutcome {
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// The command line that repeats it.
    pub command: String,
    /// How long it took.
    pub elapsed_seconds: f64,
    /// Rounds that were finished.
    pub rounds: u64,
    /// Messages by what became of them.
    pub messages: SoakCounts,
    /// The growth that is no leak.
    pub tolerance: Tolerance,
    /// Octets of memory over time, without pages of files.
    pub memory: Judgement,
    /// File descriptors over time.
    pub descriptors: Judgement,
    /// What went wrong, the first of it.
    pub troubles: Vec<String>,
    /// How much went wrong.
    pub trouble_count: u64,
    #[serde(skip)]
    history: History,
}

/// Messages of a soak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SoakCounts {
    /// That were to be sent.
    pub asked: u64,
    /// That the gateway accepted.
    pub accepted: u64,
    /// That the sink has; `None` if the upstream is somebody else's.
    pub arrived: Option<u64>,
}

impl SoakOutcome {
    /// True if nothing was lost, nothing went wrong and nothing is known to grow.
    pub fn passed(&self) -> bool {
        let leaks =
            [&self.memory, &self.descriptors].map(|judged| judged.verdict == Verdict::Grows);
        self.trouble_count == 0 && leaks == [false, false]
    }
}

/// Soaks the gateway until its time is over or `shutdown` is ready. An error if it could not start.
pub async fn soak(
    options: SoakOptions,
    progress: &SoakProgress,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<SoakOutcome> {
    ensure!(options.messages >= 1 && options.sessions >= 1, "a round needs messages and sessions");
    let began = now();
    let (target, sink) = Target::start(&options.gateway).await?;
    usage_of(target.pid).with_context(|| format!("cannot look at process {}", target.pid))?;
    let mut soak = Soak {
        started: Instant::now(),
        history: History::default(),
        ledger: Ledger::default(),
        rounds: 0,
        troubles: Vec::new(),
        trouble_count: 0,
        options: &options,
        target: &target,
        sink,
        progress,
    };
    soak.run(shutdown).await;
    let mut outcome = soak.judge(began);
    if let Err(error) = target.stop().await {
        outcome.trouble_count += 1;
        outcome.troubles.push(format!("{error:#}"));
    }
    Ok(outcome)
}

/// A soak that runs.
struct Soak<'a> {
    options: &'a SoakOptions,
    target: &'a Target,
    /// None if the upstream is somebody else's.
    sink: Option<SinkProcess>,
    progress: &'a SoakProgress,
    started: Instant,
    history: History,
    ledger: Ledger,
    rounds: u64,
    troubles: Vec<String>,
    trouble_count: u64,
}

impl Soak<'_> {
    async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        let kinds = Kind::all(self.target.tls().is_some());
        let mut shutdown = pin!(shutdown);
        let mut ticks = time::interval(SAMPLE_INTERVAL);
        let mut rested: Option<Instant> = None;
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for &kind in kinds.iter().cycle() {
            if self.started.elapsed() >= self.options.duration {
                return;
            }
            // Judged is the gateway at rest, always at the same place in the cycle.
            let due = rested.is_none_or(|last| last.elapsed() >= SAMPLE_INTERVAL);
            if kind == kinds[0] && due {
                time::sleep(REST).await;
                rested = Some(Instant::now());
                if !self.look(Moment::AtRest) {
                    return;
                }
            }
            let before = usage_of(self.target.pid);
            let (target, options) = (self.target, self.options);
            let mut round = pin!(round::run(kind, target, options));
            let finished = loop {
                tokio::select! {
                    finished = &mut round => break finished,
                    _ = ticks.tick() => if !self.look(Moment::UnderLoad) { return },
                    () = &mut shutdown => return,
                }
            };
            let used = match (before, usage_of(self.target.pid)) {
                (Ok(before), Ok(after)) => after.cpu.saturating_sub(before.cpu),
                _ => return self.trouble("the gateway has ended".to_owned()),
            };
            match finished {
                Ok(outcome) => self.count(kind, outcome, used).await,
                Err(error) => self.trouble(format!("{kind}: {error:#}")),
            }
        }
    }

    /// Takes a sample; false if there is no gateway any more.
    fn look(&mut self, moment: Moment) -> bool {
        let at = self.started.elapsed();
        match usage_of(self.target.pid) {
            Ok(usage) => self.history.sample(moment, Sample::new(at, usage)),
            Err(error) => {
                self.trouble(format!("the gateway has ended: {error}"));
                return false;
            }
        }
        self.progress.tell(format!(
            "{} of {}: {} rounds, {} messages accepted, {} troubles",
            clock(at),
            clock(self.options.duration),
            self.rounds,
            self.ledger.counts().accepted,
            self.trouble_count
        ));
        true
    }

    /// Takes a finished round, and waits until what was accepted has arrived.
    async fn count(&mut self, kind: Kind, outcome: RoundOutcome, used: Duration) {
        self.rounds += 1;
        let at = self.started.elapsed();
        self.history.round(kind, at, &outcome, used);
        self.ledger.sent(outcome.asked, outcome.accepted);
        let lost = match self.arrived().await {
            None => None,
            Some(Ok(arrived)) => self.ledger.arrived(arrived),
            Some(Err(error)) => Some(format!("{error:#}")),
        };
        for trouble in outcome.troubles.into_iter().chain(lost) {
            self.trouble(format!("{kind}, after {}: {trouble}", clock(at)));
        }
    }

    /// Messages that the sink has, as soon as that is what was expected, or its time is over. `None` if
    /// the upstream is somebody else's.
    async fn arrived(&mut self) -> Option<anyhow::Result<u64>> {
        let expected = self.ledger.expected();
        let sink = self.sink.as_mut()?;
        let taken = sink.wait_until(|taken| taken.messages >= expected, ARRIVAL_TIME).await;
        Some(taken.map(|taken| taken.messages))
    }

    fn trouble(&mut self, what: String) {
        self.trouble_count += 1;
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(what);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a tolerance has few digits")]
    fn judge(self, began: String) -> SoakOutcome {
        let elapsed = self.started.elapsed();
        let warm_up = self
            .options
            .warm_up
            .unwrap_or_else(|| WARM_UP_MAX.min(self.options.duration / WARM_UP_PART));
        let tolerance = self.options.tolerance;
        let judge = |quantity: fn(&Sample) -> f64, tolerance: u64| {
            Judgement::of(&self.history.blocks(warm_up, quantity), tolerance as f64)
        };
        SoakOutcome {
            began,
            command: self.options.command.clone(),
            elapsed_seconds: elapsed.as_secs_f64(),
            rounds: self.rounds,
            messages: self.ledger.counts(),
            tolerance,
            memory: judge(|sample| sample.memory, tolerance.memory),
            descriptors: judge(|sample| sample.descriptors, tolerance.descriptors),
            troubles: self.troubles,
            trouble_count: self.trouble_count,
            history: self.history,
        }
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
