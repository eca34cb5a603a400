//! The SMTP server at the end of a load test: it accepts connections and counts what it is given.
//!
//! One task per connection, a permit before each accept, a limit on everything a client can make it
//! hold. [`dialogue`] knows the protocol and no socket, [`session`] moves octets between the two.
//! Content is scanned and forgotten unless a channel asks for it ([`SinkOptions::deliver`]) or it is
//! to be verified ([`verify`]); what goes wrong on purpose is in [`trouble`]. Without such options
//! none of that is on the way.

mod counters;
mod dialogue;
mod extensions;
mod options;
mod reply;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod totals;
mod transaction;
mod trouble;
mod verify;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant, MissedTickBehavior};

pub use self::counters::{SinkCounters, SinkRate};
pub use self::options::{Chunking, Received, SinkOptions, Verification};
#[cfg(feature = "tls")]
pub use self::tls::{ServerTls, SinkTls};
pub use self::totals::{ConnectionTotals, FaultRow, HandshakeTotals, SinkProgress, SinkTotals};
pub use self::trouble::{Delay, Fault, FaultKind, RefusalCode, Share, SinkPhase, Troubles};
pub use self::verify::{MessageNumber, RunTotals, VerificationTotals};

use self::counters::RateMeter;
use self::trouble::Dice;
use self::verify::Ledger;

/// All sessions of a load may connect at the same instant; the kernel caps this at `somaxconn`.
const BACKLOG: u32 = 4096;

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// How often the rate is looked at.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// A bound sink; [`run`](Self::run) makes it serve.
#[derive(Debug)]
pub struct Sink {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What all sessions of one sink look at.
#[derive(Debug)]
struct Shared {
    options: SinkOptions,
    counters: Arc<SinkCounters>,
    meter: Mutex<RateMeter>,
    /// `None` if nothing goes wrong on purpose.
    dice: Option<Dice>,
    /// `None` without verification.
    ledger: Option<Mutex<Ledger>>,
}

impl Shared {
    fn new(options: SinkOptions) -> Self {
        let ledger = match options.verification {
            Verification::Off => None,
            Verification::On => Some(Mutex::default()),
        };
        let dice = Dice::new(&options.troubles);
        let meter = Mutex::new(RateMeter::new(Instant::now()));
        Self { options, counters: Arc::default(), meter, dice, ledger }
    }

    fn look_at_rate(&self) {
        let messages = self.counters.messages.load(Ordering::Relaxed);
        // Nothing panics under this lock, so what it holds is whole.
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.look(Instant::now(), messages);
    }
}

impl Sink {
    /// Binds and listens; clients can connect from here on. Port 0 picks a free one. Must be called
    /// from within a tokio runtime.
    pub fn bind(address: SocketAddr, options: SinkOptions) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A load test leaves thousands of connections in TIME_WAIT; the next one starts anyway.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local_addr = listener.local_addr()?;
        Ok(Self { listener, local_addr, shared: Arc::new(Shared::new(options)) })
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counters, which outlive the sink.
    pub fn counters(&self) -> Arc<SinkCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// All that it counts, which outlives the sink, too.
    pub fn progress(&self) -> SinkProgress {
        SinkProgress(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown` is ready, then drops all connections where they are: a message that
    /// was not answered by then was not taken.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut sessions = JoinSet::new();
        let mut ticks = time::interval(RATE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let permitted = sessions.len() < self.shared.options.connections_max;
            tokio::select! {
                () = &mut shutdown => return,
                Some(ended) = sessions.join_next() => {
                    self.shared.counters.set_open(sessions.len());
                    pass_on_panic(ended);
                }
                accepted = self.listener.accept(), if permitted => match accepted {
                    Ok((stream, _)) => self.start_session(&mut sessions, stream),
                    Err(_) => time::sleep(ACCEPT_BACK_OFF).await,
                },
                _ = ticks.tick() => self.shared.look_at_rate(),
            }
        }
    }

    fn start_session(&self, sessions: &mut JoinSet<()>, stream: TcpStream) {
        self.shared.counters.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        sessions.spawn(async move {
            // A lost client is everyday life for a sink: what it had sent in full is counted.
            let _ = session::serve(stream, &shared).await;
        });
        self.shared.counters.set_open(sessions.len());
    }
}

/// A panic in a session is a bug of the sink, and a measurement with it is worth nothing.
fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        panic::resume_unwind(error.into_panic());
    }
}
