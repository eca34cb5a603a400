//! One client connection: hello, then one transaction after the other (RFC 5321 §3).
//!
//! Every wait is bounded by the reply time-out. A refusal leaves the connection ready for the next
//! transaction; anything that is not a reply, and 421, ends it. A message counts as accepted only
//! if all its recipients were accepted and its content too.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time;

use super::Plan;
use super::message::Envelope;
use super::options::{Hello, Pipelining, SourceOptions};
use super::reply::{self, Reply};
use super::tally::{Cause, Stage, Trouble};

/// The name in EHLO: a load test has no better one, and servers must not care (RFC 5321 §4.1.4).
const HELLO_NAME: &str = "loadtest.localhost";

/// QUIT is a courtesy; a session does not wait longer for the server's.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Replies come in a few at a time.
const INPUT_OCTETS: usize = 1024;

/// A connection between two transactions.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// How much of the input was taken by replies.
    used: usize,
    reply_timeout: Duration,
    /// The server offered SIZE.
    takes_size: bool,
}

/// The replies to MAIL and RCPT, and to DATA if it was sent.
#[derive(Debug, Default)]
struct EnvelopeReplies {
    first_refusal: Option<Trouble>,
    mail_accepted: bool,
    recipients_accepted: usize,
    data_accepted: bool,
}

impl Connection {
    /// Connects, waits for the greeting and says hello.
    pub(super) async fn open(plan: &Plan) -> Result<Self, Trouble> {
        let number = plan.tried.fetch_add(1, Ordering::Relaxed);
        let reply_timeout = plan.options.reply_timeout;
        let stream = bounded(Stage::Connect, reply_timeout, connect(&plan.options, number)).await?;
        plan.connected.fetch_add(1, Ordering::Relaxed);
        let input = Vec::with_capacity(INPUT_OCTETS);
        let mut connection = Self { stream, input, used: 0, reply_timeout, takes_size: false };
        connection.accepted_reply(Stage::Greeting).await?;
        connection.say_hello(&plan.options).await?;
        Ok(connection)
    }

    async fn say_hello(&mut self, options: &SourceOptions) -> Result<(), Trouble> {
        let verb = match options.hello {
            Hello::Ehlo => "EHLO",
            Hello::Helo => "HELO",
        };
        let command = format!("{verb} {HELLO_NAME}\r\n");
        self.write(Stage::Hello, command.as_bytes()).await?;
        let reply = self.accepted_reply(Stage::Hello).await?;
        self.takes_size = options.hello == Hello::Ehlo && reply.offers("SIZE");
        // Going on in lockstep would measure something else than what was asked for.
        if options.pipelining == Pipelining::On && !reply.offers("PIPELINING") {
            let text = "the server does not offer PIPELINING".to_owned();
            return Err(Trouble { stage: Stage::Hello, cause: Cause::NotOffered, text });
        }
        Ok(())
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, plan: &Plan) -> Result<(), Trouble> {
        let envelope = if self.takes_size { &plan.envelope_with_size } else { &plan.envelope };
        let mut replies = match plan.options.pipelining {
            Pipelining::Off => self.send_envelope_in_turn(envelope).await?,
            Pipelining::On => self.send_envelope_as_group(envelope).await?,
        };
        if replies.data_accepted {
            // A server may say 354 although it refused every recipient; it gets a lone dot, so that
            // nothing is delivered (RFC 2920 §3.1).
            let data = if replies.recipients_accepted > 0 { plan.message.wire() } else { b".\r\n" };
            self.write(Stage::Content, data).await?;
            replies.take(Stage::Content, self.reply(Stage::Content).await?)?;
        } else if replies.mail_accepted {
            self.write(Stage::Reset, b"RSET\r\n").await?;
            self.accepted_reply(Stage::Reset).await?;
        }
        // Without a refusal everything was sent and accepted.
        replies.first_refusal.map_or(Ok(()), Err)
    }

    async fn send_envelope_in_turn(
        &mut self,
        envelope: &Envelope,
    ) -> Result<EnvelopeReplies, Trouble> {
        let mut replies = EnvelopeReplies::default();
        self.write(Stage::Mail, &envelope.mail).await?;
        replies.take_mail(self.reply(Stage::Mail).await?)?;
        if !replies.mail_accepted {
            return Ok(replies);
        }
        for recipient in &envelope.recipients {
            self.write(Stage::Rcpt, recipient).await?;
            replies.take_rcpt(self.reply(Stage::Rcpt).await?)?;
        }
        if replies.recipients_accepted > 0 {
            self.write(Stage::Data, b"DATA\r\n").await?;
            replies.take_data(self.reply(Stage::Data).await?)?;
        }
        Ok(replies)
    }

    async fn send_envelope_as_group(
        &mut self,
        envelope: &Envelope,
    ) -> Result<EnvelopeReplies, Trouble> {
        let mut replies = EnvelopeReplies::default();
        self.write(Stage::Mail, &envelope.group).await?;
        replies.take_mail(self.reply(Stage::Mail).await?)?;
        for _ in &envelope.recipients {
            replies.take_rcpt(self.reply(Stage::Rcpt).await?)?;
        }
        replies.take_data(self.reply(Stage::Data).await?)?;
        Ok(replies)
    }

    /// Says QUIT and waits until the server has closed, so that TIME_WAIT, and with it the port,
    /// is the server's: a source that opens a connection per message would run out of ports.
    pub(super) async fn quit(mut self) {
        let goodbye = async {
            self.stream.write_all(b"QUIT\r\n").await?;
            while self.stream.read_buf(&mut self.input).await? > 0 {
                self.input.clear();
            }
            io::Result::Ok(())
        };
        // Whatever happens here, the messages have been answered.
        let _ = time::timeout(QUIT_TIMEOUT, goodbye).await;
    }

    async fn write(&mut self, stage: Stage, octets: &[u8]) -> Result<(), Trouble> {
        bounded(stage, self.reply_timeout, self.stream.write_all(octets)).await
    }

    async fn accepted_reply(&mut self, stage: Stage) -> Result<Reply, Trouble> {
        refuse(stage, self.reply(stage).await?)
    }

    async fn reply(&mut self, stage: Stage) -> Result<Reply, Trouble> {
        loop {
            let parsed = reply::parse(&self.input[self.used..]);
            if let Some((reply, octets)) = parsed.map_err(|fault| malformed(stage, fault))? {
                self.used += octets;
                return Ok(reply);
            }
            self.input.drain(..self.used);
            self.used = 0;
            let read = self.stream.read_buf(&mut self.input);
            if bounded(stage, self.reply_timeout, read).await? == 0 {
                let text = "the server closed the connection".to_owned();
                return Err(Trouble { stage, cause: Cause::Lost, text });
            }
        }
    }
}

impl EnvelopeReplies {
    fn take_mail(&mut self, reply: Reply) -> Result<(), Trouble> {
        self.mail_accepted = self.take(Stage::Mail, reply)?;
        Ok(())
    }

    fn take_rcpt(&mut self, reply: Reply) -> Result<(), Trouble> {
        self.recipients_accepted += usize::from(self.take(Stage::Rcpt, reply)?);
        Ok(())
    }

    fn take_data(&mut self, reply: Reply) -> Result<(), Trouble> {
        if !reply.is_refusal() && reply.code != 354 {
            return Err(malformed(
                Stage::Data,
                "a reply to DATA that is neither 354 nor a refusal",
            ));
        }
        self.data_accepted = self.take(Stage::Data, reply)?;
        Ok(())
    }

    /// True if the reply accepts. Only the first refusal is kept: the others follow from it. A 421
    /// is the end of everything.
    fn take(&mut self, stage: Stage, reply: Reply) -> Result<bool, Trouble> {
        match refuse(stage, reply) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.ends_connection() => Err(refusal),
            Err(refusal) => {
                self.first_refusal.get_or_insert(refusal);
                Ok(false)
            }
        }
    }
}

async fn connect(options: &SourceOptions, number: u64) -> io::Result<TcpStream> {
    let socket = match options.target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(addresses) = &options.source_addresses {
        socket.bind(SocketAddr::new(addresses.pick(number), 0))?;
    }
    let stream = socket.connect(options.target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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

fn refuse(stage: Stage, reply: Reply) -> Result<Reply, Trouble> {
    if reply.is_refusal() {
        return Err(Trouble { stage, cause: Cause::Refused(reply.code), text: reply.text() });
    }
    Ok(reply)
}

fn malformed(stage: Stage, fault: &str) -> Trouble {
    Trouble { stage, cause: Cause::Malformed, text: fault.to_owned() }
}
