//! From an accepted MAIL to the end of its transaction: recipients, and what begins the data.
//!
//! Whatever does not name a recipient waits until all who were named are answered: see [`naming`].

use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::route::{Routes, Way};
use gatepost_relay::{DataFollows, Handoff, Message};
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::path::ReversePathBuf;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Hello, Open, OpenEvent, Ready, replies};
use gatepost_stream::Mark;

use crate::answer;
use crate::body;
use crate::conn::{Buffered, Conn, End};
use crate::fingerprint::Fingerprinter;
use crate::session::Session;
use crate::shadow::Record;
use naming::Slot;

mod naming;

/// Recipients that are asked for at once: more gain nothing, and bound what is held.
const GROUP_MAX: usize = 100;

const NO_UPSTREAM: Reply =
    Reply::fixed(451, (4, 3, 5), "no upstream for this recipient, try again later");

/// What MAIL has led to.
pub(crate) struct Opening<'s> {
    pub(crate) open: Open,
    pub(crate) message: Message,
    /// As the client has sent it; a route may make something else of it.
    pub(crate) sender: ReversePathBuf,
    /// Those of the ruleset that decided about MAIL: one message has one policy.
    pub(crate) routes: Arc<Routes>,
    pub(crate) record: Record<'s>,
}

/// An open transaction and its way to the upstream.
struct Transaction<'s> {
    session: &'s Session,
    open: Open,
    carriage: Carriage,
    sender: ReversePathBuf,
    routes: Arc<Routes>,
    /// The way of the first recipient, which all others have to share.
    way: Option<Way>,
    slots: Vec<Slot>,
    /// Of the slots, those of recipients that go apart.
    apart: usize,
    /// Recipients that policy has refused.
    refused: u32,
    smtputf8: bool,
    /// If it matters whether the message has come before.
    fingerprinter: Option<Box<Fingerprinter>>,
    /// Told of every word of policy; sent when the transaction is over.
    record: Record<'s>,
    /// When a client that names no further recipient has stalled.
    stall: Mark,
}

/// A message, before and after its first recipient has shown where it goes.
#[allow(clippy::large_enum_variant)] // one per transaction, and nearly always the large one
enum Carriage {
    Waiting(Message),
    Begun(Box<Handoff>),
    /// Its way leads nowhere; the compiler of the policy lets none do so.
    Lost,
}

/// What ends the naming of recipients.
enum Asked {
    Chunk(Chunk),
    Data,
    Hello(Hello),
    Reset,
}

/// Runs a transaction from its first recipient to its end.
pub(crate) async fn run(
    session: &Session,
    conn: &mut Conn,
    opening: Opening<'_>,
) -> Result<Ready, End> {
    let Opening { open, message, sender, routes, record } = opening;
    let mut transaction = Transaction {
        session,
        open,
        fingerprinter: Fingerprinter::for_session(session, &sender),
        sender,
        routes,
        way: None,
        slots: Vec::new(),
        apart: 0,
        refused: 0,
        smtputf8: message.smtputf8,
        record,
        carriage: Carriage::Waiting(message),
        // No connection of an upstream is held yet.
        stall: conn.mark(Duration::ZERO),
    };
    loop {
        match transaction.recipients(conn).await {
            Ok(Asked::Data) => match transaction.data(conn).await? {
                After::Envelope(same) => transaction = same,
                After::Data(ready) => return Ok(ready),
            },
            Ok(Asked::Chunk(chunk)) => return transaction.chunks(conn, chunk).await,
            Ok(Asked::Reset) => {
                transaction.carriage.abandon();
                conn.say(&replies::RESET);
                conn.idled()?;
                return Ok(transaction.open.end());
            }
            Ok(Asked::Hello(hello)) => {
                transaction.carriage.abandon();
                session.say_hello(conn, &hello);
                conn.idled()?;
                return Ok(transaction.open.end().greet(hello));
            }
            Err(end) => {
                transaction.carriage.abandon();
                return Err(end);
            }
        }
    }
}

impl Carriage {
    fn handoff(&mut self) -> Option<&mut Handoff> {
        match self {
            Self::Begun(handoff) => Some(handoff),
            Self::Waiting(_) | Self::Lost => None,
        }
    }

    fn abandon(self) {
        if let Self::Begun(handoff) = self {
            handoff.abandon();
        }
    }
}

/// Where DATA has led.
#[allow(clippy::large_enum_variant)] // made once a transaction, and taken apart at once
enum After<'s> {
    /// Refused: there may be more recipients.
    Envelope(Transaction<'s>),
    /// The data was received and answered.
    Data(Ready),
}

impl<'s> Transaction<'s> {
    /// Takes recipients until something else is asked; every recipient is answered by then.
    async fn recipients(&mut self, conn: &mut Conn) -> Result<Asked, End> {
        loop {
            let octets = match conn.buffered() {
                Buffered::Line(octets) => octets,
                Buffered::Nothing => {
                    self.settle(conn, DataFollows::No).await;
                    self.wait(conn).await?;
                    continue;
                }
                Buffered::Fault(reply) => {
                    self.settle(conn, DataFollows::No).await;
                    conn.fault(&reply)?;
                    continue;
                }
                Buffered::Lost(reply) => {
                    self.settle(conn, DataFollows::No).await;
                    return Err(conn.say_last(&reply));
                }
            };
            conn.relieve(self.session.service.config.command_timeout).await?;
            let asked = match self.open.handle(conn.line(octets)).decision() {
                Ok(OpenEvent::Rcpt(rcpt)) => {
                    let slot = self.judge(&rcpt).await;
                    self.slots.push(slot);
                    conn.consume(octets);
                    if self.slots.len() >= GROUP_MAX {
                        self.settle(conn, DataFollows::No).await;
                    }
                    continue;
                }
                Ok(OpenEvent::Data) => {
                    conn.consume(octets);
                    let data =
                        if conn.input().is_empty() { DataFollows::Yes } else { DataFollows::No };
                    self.settle(conn, data).await;
                    return Ok(Asked::Data);
                }
                Ok(OpenEvent::Chunk(chunk)) => Ok(Asked::Chunk(chunk)),
                Ok(OpenEvent::Hello(hello)) => Ok(Asked::Hello(hello)),
                Ok(OpenEvent::Reset) => Ok(Asked::Reset),
                Err(step) => Err(step),
            };
            conn.consume(octets);
            self.settle(conn, DataFollows::No).await;
            match asked {
                Ok(asked) => return Ok(asked),
                Err(step) => conn.perform(step)?,
            }
        }
    }

    /// Waits for the client. One that does not go on does not keep a connection of the upstream,
    /// however much it says: only a recipient moves the mark.
    async fn wait(&mut self, conn: &mut Conn) -> Result<(), End> {
        let patience = conn.patience(self.session.service.config.command_timeout);
        if let Some(handoff) = self.carriage.handoff().filter(|it| it.holds_connection()) {
            if conn.fill(self.stall.min(patience)).await?.is_some() {
                return Ok(());
            }
            handoff.stalled();
        }
        match conn.fill(patience).await? {
            Some(()) => Ok(()),
            None => Err(conn.timed_out()),
        }
    }

    /// BDAT: the message comes in chunks from here on, whether there is anybody to send it to or not.
    async fn chunks(self, conn: &mut Conn, first: Chunk) -> Result<Ready, End> {
        let (chunking, standing) = self.open.chunks();
        let way = match (standing, self.carriage) {
            (Ok(()), Carriage::Begun(handoff)) => Ok((handoff, self.fingerprinter)),
            (Err(reply), carriage) => {
                carriage.abandon();
                Err(reply)
            }
            (Ok(()), Carriage::Waiting(_) | Carriage::Lost) => {
                // A recipient stands, so it was asked for.
                debug_assert!(false, "a recipient without a way");
                Err(NO_UPSTREAM)
            }
        };
        body::chunks::receive(self.session, conn, chunking, way, first).await
    }

    async fn data(mut self, conn: &mut Conn) -> Result<After<'s>, End> {
        if !conn.input().is_empty() {
            self.carriage.abandon();
            return Err(conn.say_last(&replies::DATA_NOT_AWAITED));
        }
        let receiving = match self.open.receive() {
            Ok(receiving) => receiving,
            Err((open, reply)) => {
                self.open = open;
                if let Some(handoff) = self.carriage.handoff() {
                    handoff.withdraw_data();
                }
                conn.fault(&reply)?;
                return Ok(After::Envelope(self));
            }
        };
        let Carriage::Begun(mut handoff) = self.carriage else {
            // A recipient stands, so it was asked for.
            debug_assert!(false, "a recipient without a way");
            conn.say(&NO_UPSTREAM);
            return Ok(After::Data(receiving.end()));
        };
        if let Err(reply) = handoff.data().await {
            answer::log_deferred(self.session, receiving.hello(), &handoff, &reply);
            conn.say(&reply);
            return Ok(After::Data(receiving.end()));
        }
        let way = (handoff, self.fingerprinter);
        body::data::receive(self.session, conn, receiving, way).await.map(After::Data)
    }
}

/// Parameters as the client has sent them, each with a space in front.
pub(crate) fn parameters<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Box<[u8]> {
    let mut joined = Vec::new();
    for parameter in parameters {
        joined.push(b' ');
        joined.extend_from_slice(parameter);
    }
    joined.into()
}
