//! The source of messages: a number of sessions that send what is due, and what they have seen.
//!
//! In a closed loop a session takes the next message when the one before was answered, so a slow server
//! is offered less load; in an open loop the clock says when messages are due ([`schedule`]), whatever
//! the server does. [`session`] sends one message after the other over a [`connection`], each in a
//! [`transaction`]; [`message`] is built once and sent as it is; [`idle`] holds connections that only
//! stand; [`tally`] and [`series`] keep what happened in bounded space, [`summary`] tells it.

mod connection;
mod date;
mod idle;
mod mailbox;
mod message;
mod options;
mod phase;
mod plan;
mod reply;
mod schedule;
mod series;
mod session;
mod sizes;
mod summary;
mod tally;
mod transaction;
mod transport;

use std::future::Future;
use std::panic;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{self, MissedTickBehavior};

pub use mailbox::{Mailbox, ReversePath};
pub use options::{
    ConnectionUse, Framing, Hello, Pace, Pipelining, Security, SourceAddresses, SourceOptions,
    TargetScope,
};
pub use schedule::{Arrivals, Rate};
pub use series::SecondPoint;
pub use sizes::{RecipientCount, SizeDistribution};
pub use summary::{
    CurvePoint, IdleSummary, Latency, MessageCounts, OpenLoopSummary, PhaseLatency, Summary,
    TlsSummary, TroubleRow,
};

#[cfg(feature = "measure")]
pub(crate) use transport::Transport;

use idle::IdleConnections;
use plan::Plan;

/// How often the course of a run gets a point.
const TICK: Duration = Duration::from_secs(1);

/// A source that is ready to send; [`run`](Self::run) makes it.
#[derive(Debug)]
pub struct Source {
    plan: Arc<Plan>,
}

impl Source {
    /// Checks the options and builds the messages.
    pub fn new(options: SourceOptions) -> anyhow::Result<Self> {
        Ok(Self { plan: Arc::new(Plan::new(options)?) })
    }

    /// A view on the counts while the source runs.
    pub fn progress(&self) -> Progress {
        Progress { plan: Arc::clone(&self.plan) }
    }

    /// Opens the idle connections and sends all messages, or as many as come before the duration ends or
    /// `shutdown` is ready; what is under way at a shutdown is dropped and counted as unfinished.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Summary {
        let plan = self.plan;
        let mut shutdown = pin!(shutdown);
        let (mut idle, goes_on) = tokio::select! {
            idle = IdleConnections::open(&plan) => (idle, true),
            () = &mut shutdown => (IdleConnections::none(&plan), false),
        };
        idle.count_at_beginning().await;
        let start = Instant::now();
        if goes_on {
            send(&plan, start, shutdown).await;
        }
        let now = Instant::now();
        let idle = idle.close().await;
        Summary::new(&plan, start, now, idle)
    }
}

/// Runs the sessions to their end, and collects what happens each second.
async fn send(plan: &Arc<Plan>, start: Instant, mut shutdown: Pin<&mut impl Future<Output = ()>>) {
    plan.begin(start);
    let mut sessions = JoinSet::new();
    for index in 0..plan.sessions() {
        sessions.spawn(session::run(Arc::clone(plan), index));
    }
    if let (0, Some(duration)) = (plan.sessions(), plan.options.duration) {
        // Nobody sends; the idle connections stand as long as they should.
        sessions.spawn(time::sleep(duration));
    }
    let (stop, stopped) = mpsc::channel();
    let clock = plan.schedule().map(|schedule| {
        let plan = Arc::clone(plan);
        task::spawn_blocking(move || plan.run_clock(&schedule, start, &stopped))
    });
    let mut ticks = time::interval_at(time::Instant::from_std(start) + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                Some(ended) => pass_panic_on(ended),
                None => break,
            },
            _ = ticks.tick() => plan.tick(start.elapsed()),
            () = &mut shutdown => {
                sessions.shutdown().await;
                break;
            }
        }
    }
    drop(stop);
    if let Some(clock) = clock {
        pass_panic_on(clock.await);
    }
}

fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        panic::resume_unwind(error.into_panic());
    }
}

/// A view on the counts of a running [`Source`].
#[derive(Clone, Debug)]
pub struct Progress {
    plan: Arc<Plan>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Messages to send in all, if the number is what ends the run.
    pub messages: Option<u64>,
    /// How long messages are begun, if that is what ends the run.
    pub duration: Option<Duration>,
    /// Since the first message could be sent; `None` while idle connections are opened.
    pub elapsed: Option<Duration>,
    /// Accepted so far: every recipient and the content.
    pub accepted: u64,
    /// Refused so far by a 4xx or 5xx reply.
    pub refused: u64,
    /// Lost so far to anything that is not a reply.
    pub failed: u64,
    /// The last second.
    pub last: SecondPoint,
    /// Open loop: messages that are due and wait for a session.
    pub backlog: Option<u64>,
    /// Idle connections that were opened, and how many there shall be.
    pub idle: (u32, u32),
}

impl Progress {
    /// The counts right now.
    pub fn snapshot(&self) -> Snapshot {
        self.plan.snapshot()
    }
}
