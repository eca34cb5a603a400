//! The SMTP server at the end of a load test: it accepts connections and counts what it is given.
//!
//! One task per connection, a permit before each accept, a limit on everything a client can make it
//! hold. [`dialogue`] knows the protocol and no socket, [`session`] moves octets between the two.
//! Content is scanned and forgotten unless a channel asks for it ([`SinkOptions::deliver`]).

mod dialogue;
mod session;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time;

/// All sessions of a load may connect at the same instant; the kernel caps this at `somaxconn`.
const BACKLOG: u32 = 4096;

/// Pause after a failed accept, which usually means that file descriptors ran out.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// How a [`Sink`] behaves.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// The name in the greeting and in the reply to EHLO.
    pub hostname: String,
    /// Connections at the same time; further ones wait in the listen queue.
    pub connections_max: usize,
    /// The limit announced with SIZE (RFC 1870): octets of content as they are on the wire.
    pub size_max: u64,
    /// A client that is silent for this long is told `421` and dropped.
    pub idle_timeout: Duration,
    /// Where each message goes before it is answered with `250`. While the channel is full its
    /// session waits; once the receiver is gone the answer is `451`. `None` keeps no content.
    pub deliver: Option<mpsc::Sender<Received>>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            hostname: "sink.localhost".to_owned(),
            connections_max: 5000,
            size_max: 64 * 1024 * 1024,
            idle_timeout: Duration::from_mins(5),
            deliver: None,
        }
    }
}

/// One message as the sink took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The reverse-path without its angle brackets; empty for the null reverse-path.
    pub reverse_path: String,
    /// The forward-paths without their angle brackets, in the order of their RCPT commands.
    pub forward_paths: Vec<String>,
    /// The content as it was on the wire: still dot-stuffed, without the final `.CRLF`.
    pub content: Vec<u8>,
}

/// What a sink has taken since it was bound.
#[derive(Debug, Default)]
pub struct SinkCounters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Messages answered with `250`.
    pub messages: AtomicU64,
    /// Recipients of those messages.
    pub recipients: AtomicU64,
    /// Octets of content of those messages, as on the wire, without the final `.CRLF`.
    pub octets: AtomicU64,
}

impl SinkCounters {
    fn count_message(&self, recipients: u64, octets: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.recipients.fetch_add(recipients, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }
}

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
        let shared = Arc::new(Shared { options, counters: Arc::default() });
        Ok(Self { listener, local_addr, shared })
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counters, which outlive the sink.
    pub fn counters(&self) -> Arc<SinkCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Serves until `shutdown` is ready, then drops all connections where they are: a message that
    /// was not answered by then was not taken.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut sessions = JoinSet::new();
        loop {
            let permitted = sessions.len() < self.shared.options.connections_max;
            tokio::select! {
                () = &mut shutdown => return,
                Some(ended) = sessions.join_next() => pass_on_panic(ended),
                accepted = self.listener.accept(), if permitted => match accepted {
                    Ok((stream, _)) => self.start_session(&mut sessions, stream),
                    Err(_) => time::sleep(ACCEPT_BACK_OFF).await,
                },
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
