//! The closed-loop source: a fixed number of sessions, each with one message under way.
//!
//! A session takes the next message when the one before was answered, so a slow server is offered
//! less load: read the latencies as "what these sessions saw", not as what independent clients at a
//! fixed rate would see (coordinated omission, see the README). [`connection`] speaks SMTP,
//! [`message`] is built once and sent as it is, [`tally`] keeps what happened in bounded space.

mod connection;
mod date;
mod mailbox;
mod message;
mod options;
mod reply;
mod summary;
mod tally;

use std::future::Future;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

pub use mailbox::{Mailbox, ReversePath};
pub use options::{ConnectionUse, Hello, Pipelining, SourceAddresses, SourceOptions, TargetScope};
pub use summary::{Latency, MessageCounts, Summary, TroubleRow};

use connection::Connection;
use message::{Envelope, Message};
use tally::{Tally, Trouble};

/// A session that fails this often without a success in between gives up: the server is not there,
/// and a million messages would only say so a million times.
const FAILURES_IN_A_ROW_MAX: u32 = 10;

/// A source that is ready to send; [`run`](Self::run) makes it.
#[derive(Debug)]
pub struct Source {
    plan: Arc<Plan>,
}

/// What all sessions of one source look at.
#[derive(Debug)]
struct Plan {
    options: SourceOptions,
    message: Message,
    /// For servers without and with SIZE.
    envelope: Envelope,
    envelope_with_size: Envelope,
    /// Messages that a session has begun.
    begun: AtomicU64,
    /// Connections tried, which also picks their source address.
    tried: AtomicU64,
    /// Connections that came as far as a TCP handshake.
    connected: AtomicU64,
    tally: Mutex<Tally>,
}

impl Source {
    /// Checks the options and builds the message.
    pub fn new(options: SourceOptions) -> anyhow::Result<Self> {
        options.check()?;
        let message = Message::build(&options)?;
        let envelope = Envelope::new(&options, None);
        let envelope_with_size = Envelope::new(&options, Some(message.octets()));
        let tally = Mutex::new(Tally::new());
        let (begun, tried, connected) = Default::default();
        let plan =
            Plan { options, message, envelope, envelope_with_size, begun, tried, connected, tally };
        Ok(Self { plan: Arc::new(plan) })
    }

    /// A view on the counts while the source runs.
    pub fn progress(&self) -> Progress {
        Progress { plan: Arc::clone(&self.plan) }
    }

    /// Sends all messages, or as many as come before `shutdown` is ready; what is under way then is
    /// dropped and counted as unfinished.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Summary {
        let started = Instant::now();
        let mut sessions = JoinSet::new();
        for _ in 0..u64::from(self.plan.options.sessions).min(self.plan.options.messages) {
            sessions.spawn(run_session(Arc::clone(&self.plan)));
        }
        tokio::select! {
            () = join_all(&mut sessions) => {}
            () = shutdown => sessions.shutdown().await,
        }
        let tally = self.plan.tally();
        let elapsed = tally.last_answer().map_or(Duration::ZERO, |last| last - started);
        let connections = self.plan.connected.load(Ordering::Relaxed);
        Summary::new(&self.plan.options, connections, elapsed, &tally)
    }
}

/// A view on the counts of a running [`Source`].
#[derive(Clone, Debug)]
pub struct Progress {
    plan: Arc<Plan>,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Messages to send in all.
    pub messages: u64,
    /// Accepted so far: every recipient and the content.
    pub accepted: u64,
    /// Refused so far by a 4xx or 5xx reply.
    pub refused: u64,
    /// Lost so far to anything that is not a reply.
    pub failed: u64,
}

impl Progress {
    /// The counts right now.
    pub fn snapshot(&self) -> Snapshot {
        let tally = self.plan.tally();
        Snapshot {
            messages: self.plan.options.messages,
            accepted: tally.accepted(),
            refused: tally.refused(),
            failed: tally.failed(),
        }
    }
}

impl Plan {
    /// The lock is held for a few counters and never across a wait.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // A poisoned lock means that a session panicked, and `join_all` passes that on.
        self.tally.lock().unwrap()
    }

    fn begin_message(&self) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed) < self.options.messages
    }
}

async fn join_all(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            panic::resume_unwind(error.into_panic());
        }
    }
}

async fn run_session(plan: Arc<Plan>) {
    let mut open = None;
    let mut failures_in_a_row = 0;
    while failures_in_a_row < FAILURES_IN_A_ROW_MAX && plan.begin_message() {
        let started = Instant::now();
        let outcome = send_message(&plan, &mut open).await;
        plan.tally().record(&outcome, started.elapsed(), plan.message.octets());
        failures_in_a_row = match outcome {
            Err(trouble) if trouble.is_failure() => failures_in_a_row + 1,
            _ => 0,
        };
        if plan.options.connection == ConnectionUse::PerMessage {
            close(open.take()).await;
        }
    }
    close(open).await;
}

/// Sends one message over the open connection, or over a new one. A connection that is of no use
/// any more is gone from `open` afterwards.
async fn send_message(plan: &Plan, open: &mut Option<Connection>) -> Result<(), Trouble> {
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => Connection::open(plan).await?,
    };
    let outcome = connection.send(plan).await;
    if !outcome.as_ref().is_err_and(Trouble::ends_connection) {
        *open = Some(connection);
    }
    outcome
}

async fn close(connection: Option<Connection>) {
    if let Some(connection) = connection {
        connection.quit().await;
    }
}
