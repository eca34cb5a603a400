//! One client connection: its opening up to the reply to EHLO, replies, and its end (RFC 5321 §3).
//!
//! Every wait is bounded by the reply time-out. What comes between, the transactions, is told in
//! [`transaction`](super::transaction).

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

#[cfg(feature = "tls")]
use super::options::Security;
use super::options::{Framing, Hello, Pipelining, SourceOptions};
use super::phase::{Laps, Phase};
use super::plan::Plan;
use super::reply::{self, Reply};
use super::tally::{Cause, Stage, Trouble};
use super::transport::Transport;

/// The name in EHLO: a load test has no better one, and servers must not care (RFC 5321 §4.1.4).
const HELLO_NAME: &str = "loadtest.localhost";

/// QUIT is a courtesy; a session does not wait longer for the server's.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Replies come in a few at a time.
const INPUT_OCTETS: usize = 1024;

/// A connection between two transactions.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    input: Vec<u8>,
    /// How much of the input was taken by replies.
    used: usize,
    reply_timeout: Duration,
    /// The server offered SIZE.
    pub(super) takes_size: bool,
    /// Messages that were sent over it.
    pub(super) sent: u32,
}

impl Connection {
    /// Connects, waits for the greeting and says hello, with TLS where it belongs.
    pub(super) async fn open(
        plan: &Plan,
        from: Option<IpAddr>,
        laps: &mut Laps,
    ) -> Result<Self, Trouble> {
        let options = &plan.options;
        let reply_timeout = options.reply_timeout;
        let connecting = Transport::connect(options.target, from);
        let transport = bounded(Stage::Connect, reply_timeout, connecting).await?;
        laps.mark(Phase::Connect);
        plan.connected.fetch_add(1, Ordering::Relaxed);
        let input = Vec::with_capacity(INPUT_OCTETS);
        let (used, takes_size, sent) = Default::default();
        let mut connection = Self { transport, input, used, reply_timeout, takes_size, sent };
        #[cfg(feature = "tls")]
        if let Security::Implicit(client) = &options.security {
            connection = connection.encrypt(plan, client, laps).await?;
        }
        connection.accepted_reply(Stage::Greeting).await?;
        laps.mark(Phase::Greeting);
        #[cfg(feature = "tls")]
        if let Security::StartTls(client) = &options.security {
            connection.say_hello(options, &["STARTTLS"]).await?;
            laps.mark(Phase::Hello);
            connection.write(Stage::Tls, b"STARTTLS\r\n").await?;
            connection.accepted_reply(Stage::Tls).await?;
            connection = connection.encrypt(plan, client, laps).await?;
        }
        connection.say_hello(options, needed(options)).await?;
        laps.mark(Phase::Hello);
        Ok(connection)
    }

    #[cfg(feature = "tls")]
    async fn encrypt(
        self,
        plan: &Plan,
        client: &crate::tls::TlsClient,
        laps: &mut Laps,
    ) -> Result<Self, Trouble> {
        if self.used < self.input.len() {
            return Err(malformed(Stage::Tls, "plain text behind the reply to STARTTLS"));
        }
        let handshake = self.transport.encrypt(client);
        let (transport, kind) = bounded(Stage::Tls, self.reply_timeout, handshake).await?;
        laps.mark(Phase::Tls);
        plan.handshakes.fetch_add(1, Ordering::Relaxed);
        if kind == crate::tls::Handshake::Resumed {
            plan.resumed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Self { transport, ..self })
    }

    /// Says hello. Going on without an extension that was asked for would measure something else.
    async fn say_hello(&mut self, options: &SourceOptions, needed: &[&str]) -> Result<(), Trouble> {
        let verb = match options.hello {
            Hello::Ehlo => "EHLO",
            Hello::Helo => "HELO",
        };
        let command = format!("{verb} {HELLO_NAME}\r\n");
        self.write(Stage::Hello, command.as_bytes()).await?;
        let reply = self.accepted_reply(Stage::Hello).await?;
        if let Some(missing) = needed.iter().find(|extension| !reply.offers(extension)) {
            let text = format!("the server does not offer {missing}");
            return Err(Trouble { stage: Stage::Hello, cause: Cause::NotOffered, text });
        }
        self.takes_size = options.hello == Hello::Ehlo && reply.offers("SIZE");
        Ok(())
    }

    /// Says QUIT and waits until the server has closed, so that TIME_WAIT, and with it the port,
    /// is the server's: a source that opens a connection per message would run out of ports.
    pub(super) async fn quit(mut self) {
        let goodbye = async {
            self.transport.write_slices(&mut [IoSlice::new(b"QUIT\r\n")]).await?;
            while self.transport.read_buf(&mut self.input).await? > 0 {
                self.input.clear();
            }
            // With TLS the server waits for our close_notify.
            self.transport.shutdown().await
        };
        // Whatever happens here, the messages have been answered.
        let _ = time::timeout(QUIT_TIMEOUT, goodbye).await;
    }

    /// Gives up the memory that only a session with messages needs.
    pub(super) fn rest(&mut self) {
        self.input = Vec::new();
        self.used = 0;
    }

    /// True if the server still holds it, and is silent.
    pub(super) async fn stands(&mut self) -> bool {
        self.transport.stands().await
    }

    pub(super) async fn write(&mut self, stage: Stage, octets: &[u8]) -> Result<(), Trouble> {
        self.write_slices(stage, &mut [IoSlice::new(octets)]).await
    }

    pub(super) async fn write_slices(
        &mut self,
        stage: Stage,
        slices: &mut [IoSlice<'_>],
    ) -> Result<(), Trouble> {
        bounded(stage, self.reply_timeout, self.transport.write_slices(slices)).await
    }

    pub(super) async fn accepted_reply(&mut self, stage: Stage) -> Result<Reply<'_>, Trouble> {
        accepted(stage, self.reply(stage).await?)
    }

    /// The next reply, whatever it says.
    pub(super) async fn reply(&mut self, stage: Stage) -> Result<Reply<'_>, Trouble> {
        let (code, octets) = loop {
            let framed = reply::frame(&self.input[self.used..]);
            if let Some(framed) = framed.map_err(|fault| malformed(stage, fault))? {
                break framed;
            }
            self.input.drain(..self.used);
            self.used = 0;
            let read = self.transport.read_buf(&mut self.input);
            if bounded(stage, self.reply_timeout, read).await? == 0 {
                let text = "the server closed the connection".to_owned();
                return Err(Trouble { stage, cause: Cause::Lost, text });
            }
        };
        let start = self.used;
        self.used += octets;
        Ok(Reply::new(code, &self.input[start..self.used]))
    }
}

/// The extensions that the server must offer for what was asked for.
fn needed(options: &SourceOptions) -> &'static [&'static str] {
    match (options.pipelining, options.framing) {
        (Pipelining::Off, Framing::Data) => &[],
        (Pipelining::Off, Framing::Bdat { .. }) => &["CHUNKING"],
        (Pipelining::On, Framing::Data) => &["PIPELINING"],
        (Pipelining::On, Framing::Bdat { .. }) => &["PIPELINING", "CHUNKING"],
    }
}

/// Waits for socket work, but not for ever.
async fn bounded<T>(
    stage: Stage,
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Trouble> {
    match time::timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Trouble { stage, cause: Cause::Lost, text: error.to_string() }),
        Err(_) => {
            let text = format!("nothing for {limit:?}");
            Err(Trouble { stage, cause: Cause::TimedOut, text })
        }
    }
}

/// The reply, if it accepts.
pub(super) fn accepted(stage: Stage, reply: Reply<'_>) -> Result<Reply<'_>, Trouble> {
    if reply.is_refusal() {
        return Err(Trouble { stage, cause: Cause::Refused(reply.code), text: reply.text() });
    }
    Ok(reply)
}

pub(super) fn malformed(stage: Stage, fault: &str) -> Trouble {
    Trouble { stage, cause: Cause::Malformed, text: fault.to_owned() }
}
