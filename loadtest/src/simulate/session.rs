//! One connection: moves octets between the socket and the [`Dialogue`], begins TLS, keeps time.
//!
//! Replies are written when the dialogue has used up its input. Before each turn the socket is asked
//! once more whether anything is there: what a client sends without waiting is seen as that, however
//! the network has cut it.

use std::future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::dialogue::{Accepted, Dialogue, Step};
use super::record::{Rule, ViolationKind};

/// Octets that are held of a client: more than its longest line, AUTH included.
const INPUT_OCTETS_MAX: usize = 16 * 1024;

/// For a TLS handshake, and for a client to read the last reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets that are thrown away after the last reply, so that a reset does not destroy it.
const LINGER_OCTETS_MAX: u64 = 64 * 1024;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    Plain,
    Implicit,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What came of waiting for a client.
enum Heard {
    Closed,
    Idle,
    Octets,
    TooOld,
}

/// Serves one client. An error is a connection that ended without a word.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    (number, entrance): (u64, Entrance),
    shared: &Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let place = Place::take(shared, number);
    let plan = &shared.plan;
    let age = plan.description.times.age.map(|age| Instant::now() + plan.hurried(age));
    let mut connection = Connection {
        stream: Box::new(stream),
        input: Vec::new(),
        output: Vec::new(),
        dialogue: Dialogue::new(shared, number, peer.ip()),
        shared,
        too_old: age,
    };
    if entrance == Entrance::Implicit {
        connection.begin_tls().await?;
    }
    connection.look().await;
    if !connection.input.is_empty() {
        let early = connection.input.as_slice();
        shared.notebook.violate(ViolationKind::EarlyTalk, number, early);
    }
    connection.converse(place.open).await
}

struct Connection<'a> {
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
    output: Vec<u8>,
    dialogue: Dialogue<'a>,
    shared: &'a Shared,
    too_old: Option<Instant>,
}

impl Connection<'_> {
    async fn converse(mut self, open: u64) -> io::Result<()> {
        let mut step = self.dialogue.greet(open, &mut self.output);
        loop {
            match step {
                Step::Close => return self.close().await,
                Step::Continue => {}
                Step::Deliver(accepted) => self.deliver(accepted).await,
                Step::ReadMore => {
                    self.write().await?;
                    match self.hear().await? {
                        Heard::Octets => self.look().await,
                        Heard::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Heard::Idle => return self.cut(Rule::Idle).await,
                        Heard::TooOld => return self.cut(Rule::SessionAge).await,
                    }
                }
                Step::StartTls => {
                    self.write().await?;
                    // What came in clear behind STARTTLS must not be taken for TLS, nor obeyed.
                    self.input.clear();
                    self.begin_tls().await?;
                }
            }
            let now = Instant::now();
            let (used, next) = self.dialogue.advance(&self.input, &mut self.output, now);
            self.input.drain(..used);
            step = next;
        }
    }

    /// Waits for the client, no longer than the provider would.
    async fn hear(&mut self) -> io::Result<Heard> {
        let idle = self.shared.plan.hurried(self.shared.plan.description.times.idle);
        let idle = Instant::now() + idle;
        let (until, silence) = match self.too_old {
            // However busy it is: the time would never be over while there is always something.
            Some(too_old) if too_old <= Instant::now() => return Ok(Heard::TooOld),
            Some(too_old) if too_old < idle => (too_old, Heard::TooOld),
            _ => (idle, Heard::Idle),
        };
        match time::timeout_at(until, self.stream.read_buf(&mut self.input)).await {
            Err(_) => Ok(silence),
            Ok(read) => Ok(if read? == 0 { Heard::Closed } else { Heard::Octets }),
        }
    }

    /// Takes what is there already, without waiting. What is wrong shows when something is waited
    /// for.
    async fn look(&mut self) {
        if self.input.len() < INPUT_OCTETS_MAX {
            tokio::select! {
                biased;
                _ = self.stream.read_buf(&mut self.input) => {}
                () = future::ready(()) => {}
            }
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        time::timeout(PATIENCE, async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
        self.output.clear();
        Ok(())
    }

    async fn begin_tls(&mut self) -> io::Result<()> {
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let acceptor = TlsAcceptor::from(Arc::clone(&self.shared.tls));
        let handshake = time::timeout(PATIENCE, acceptor.accept(plain)).await;
        let handshake = handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let tls = handshake.inspect_err(|_| {
            self.shared.notebook.note(|record| record.tls_failed += 1);
        })?;
        let (_, session) = tls.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.shared.notebook.note(|record| {
            record.tls_handshakes += 1;
            record.tls_resumed += u64::from(resumed);
        });
        let names = match (&self.shared.identities, session.peer_certificates()) {
            (Some(identities), Some(chain)) => identities.names(chain),
            _ => Vec::new(),
        };
        self.dialogue.secure(names);
        self.stream = Box::new(tls);
        Ok(())
    }

    /// Hands a message on, if anybody wants it, and answers it.
    async fn deliver(&mut self, mut accepted: Accepted) {
        time::sleep(accepted.delay).await;
        if let (Some(channel), Some(received)) = (&self.shared.deliver, accepted.received.take())
            && let Ok(room) = channel.reserve().await
        {
            self.dialogue.count(&accepted);
            room.send(received);
        } else {
            self.dialogue.count(&accepted);
        }
        self.dialogue.accept(&mut self.output);
    }

    /// Ends a connection that the provider would not keep.
    async fn cut(mut self, rule: Rule) -> io::Result<()> {
        let times = &self.shared.plan.description.times;
        let words = if rule == Rule::Idle { times.idle_reply } else { times.age_reply };
        self.shared.notebook.refuse(rule);
        self.output.extend_from_slice(words.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.close().await
    }

    /// Sends the last reply and sees that it arrives. The client may be gone already: nothing is
    /// lost then.
    async fn close(mut self) -> io::Result<()> {
        let farewell = async {
            self.stream.write_all(&self.output).await?;
            self.stream.shutdown().await?;
            let mut rest = self.stream.take(LINGER_OCTETS_MAX);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        let _ = time::timeout(PATIENCE, farewell).await;
        Ok(())
    }
}

/// A connection in the books; dropping it is its end.
struct Place<'a> {
    shared: &'a Shared,
    number: u64,
    /// How many connections there were with this one.
    open: u64,
}

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, number: u64) -> Self {
        // Both books under one lock, so that they agree on the order of things.
        let mut ledger = shared.ledger();
        let open = ledger.open();
        shared.notebook.note(|record| {
            record.connections += 1;
            record.connections_open = open;
            record.connections_at_once = record.connections_at_once.max(open);
        });
        drop(ledger);
        Self { shared, number, open }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut ledger = self.shared.ledger();
        let open = ledger.close(self.number);
        self.shared.notebook.note(|record| record.connections_open = open);
    }
}
