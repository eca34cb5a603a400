//! One connection of the sink: moves octets between the socket and the [`Dialogue`].
//!
//! Reads into one buffer that belongs to the connection, and writes only when the dialogue has used
//! up its input: all replies to a pipelined group leave in one write (RFC 2920 §3.2), unless one of
//! them is late on purpose.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

use super::dialogue::{Dialogue, Ending, Step};
use super::extensions::Starttls;
use super::{Shared, reply};

/// Size of the read buffer. A command line always fits, because content never stays in it.
const INPUT_OCTETS: usize = 16 * 1024;

/// For a client to take the last words, when there is no more reason to wait for it.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Octets that are thrown away behind a FIN, so that no RST overtakes it.
const LINGER_OCTETS_MAX: u64 = 1024 * 1024;

/// What a session needs of its connection.
trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

impl Connection for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

#[cfg(feature = "tls")]
impl Connection for tokio_rustls::server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Why a dialogue is left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Nothing more is to be done.
    ForGood,
    /// TLS is to begin.
    ForTls,
}

/// What is done with the socket, when the dialogue has taken what it can.
#[derive(Debug)]
pub(super) enum Turn {
    /// Write, and end in this way.
    End(Ending),
    /// Write, and let the time pass.
    Pause(Duration),
    /// Write and read.
    Read,
}

/// Serves one client until it says QUIT, breaks the connection, or is silent for too long.
pub(super) async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    serve_connection(stream, shared).await
}

#[cfg(not(feature = "tls"))]
async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut dialogue = Dialogue::new(shared, Starttls::Hidden);
    converse(&mut stream, &mut dialogue, shared).await?;
    Ok(())
}

#[cfg(feature = "tls")]
async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    use super::tls::SinkTls;

    let starttls = match shared.options.tls {
        SinkTls::Starttls(_) => Starttls::Offered,
        SinkTls::Implicit(_) | SinkTls::None => Starttls::Hidden,
    };
    let mut dialogue = Dialogue::new(shared, starttls);
    match &shared.options.tls {
        SinkTls::None => {
            converse(&mut stream, &mut dialogue, shared).await?;
        }
        // Boxed, so that a session in plain text does not carry the room for TLS.
        SinkTls::Implicit(tls) => Box::pin(secure(tls, stream, &mut dialogue, shared)).await?,
        SinkTls::Starttls(tls) => {
            if converse(&mut stream, &mut dialogue, shared).await? == Left::ForTls {
                dialogue.secure();
                Box::pin(secure(tls, stream, &mut dialogue, shared)).await?;
            }
        }
    }
    Ok(())
}

#[cfg(feature = "tls")]
async fn secure(
    tls: &super::tls::ServerTls,
    stream: TcpStream,
    dialogue: &mut Dialogue<'_>,
    shared: &Shared,
) -> io::Result<()> {
    use std::sync::atomic::Ordering;

    let handshake = tls.accept(stream).await;
    let counters = &shared.counters;
    let counter = if handshake.is_ok() { &counters.tls_handshakes } else { &counters.tls_failed };
    counter.fetch_add(1, Ordering::Relaxed);
    converse(&mut handshake?, dialogue, shared).await?;
    Ok(())
}

async fn converse(
    stream: &mut impl Connection,
    dialogue: &mut Dialogue<'_>,
    shared: &Shared,
) -> io::Result<Left> {
    let idle_timeout = shared.options.idle_timeout;
    let mut input = vec![0; INPUT_OCTETS];
    let mut filled = 0;
    let mut output = Vec::new();
    loop {
        let (used, turn) = answer(dialogue, &input[..filled], &mut output).await;
        input.copy_within(used..filled, 0);
        filled -= used;
        match turn {
            Turn::End(ending) => return end(stream, &output, ending, idle_timeout).await,
            Turn::Pause(delay) => {
                write(stream, &output, idle_timeout).await?;
                time::sleep(delay).await;
            }
            Turn::Read => {
                // The time-out covers the write too: a client that never reads must not stay for
                // ever.
                let exchange = async {
                    stream.write_all(&output).await?;
                    stream.flush().await?;
                    stream.read(&mut input[filled..]).await
                };
                let Ok(exchanged) = time::timeout(idle_timeout, exchange).await else {
                    // Best effort: a client that does not read has lost nothing.
                    let _ = write(stream, reply::IDLE.as_bytes(), FAREWELL_TIMEOUT).await;
                    return Ok(Left::ForGood);
                };
                match exchanged? {
                    0 => return Ok(Left::ForGood),
                    octets => filled += octets,
                }
            }
        }
        output.clear();
    }
}

/// Lets the dialogue take all it can from the input. Returns how much that was, and what is next.
pub(super) async fn answer(
    dialogue: &mut Dialogue<'_>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> (usize, Turn) {
    let mut used = 0;
    let turn = loop {
        let (octets, step) = dialogue.advance(&input[used..], output);
        used += octets;
        match step {
            Step::Continue => {}
            Step::Deliver(delivery) => {
                let delivered = delivery.finish().await;
                dialogue.answer_delivery(delivered, output);
            }
            Step::End(ending) => break Turn::End(ending),
            Step::Pause(delay) => break Turn::Pause(delay),
            Step::ReadMore => break Turn::Read,
        }
    };
    (used, turn)
}

/// Sends the last replies, and ends the connection as the dialogue wants it.
async fn end(
    stream: &mut impl Connection,
    output: &[u8],
    ending: Ending,
    idle_timeout: Duration,
) -> io::Result<Left> {
    // A client that does not even read the last reply has lost nothing: the rest is done anyway.
    let written = write(stream, output, idle_timeout).await;
    match ending {
        Ending::Close => stream.shutdown().await?,
        Ending::HangUp => {
            stream.shutdown().await?;
            let (mut rest, mut nowhere) = (stream.take(LINGER_OCTETS_MAX), tokio::io::sink());
            // Whatever comes of it: the client has had its time.
            let _ = time::timeout(FAREWELL_TIMEOUT, tokio::io::copy(&mut rest, &mut nowhere)).await;
        }
        Ending::Reset => stream.socket().set_zero_linger()?,
        Ending::Silence => {
            let mut nowhere = tokio::io::sink();
            let _ = time::timeout(idle_timeout, tokio::io::copy(stream, &mut nowhere)).await;
        }
        Ending::StartTls => {
            written?;
            return Ok(Left::ForTls);
        }
    }
    Ok(Left::ForGood)
}

async fn write(stream: &mut impl Connection, octets: &[u8], limit: Duration) -> io::Result<()> {
    let writing = async {
        stream.write_all(octets).await?;
        stream.flush().await
    };
    time::timeout(limit, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
