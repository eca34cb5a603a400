//! From an accepted MAIL to the end of its transaction: recipients, and what begins the data.
//!
//! Recipients that a client sends in one group go upstream in one group. Each has a [`Slot`] in
//! the order of asking, filled by us or by the upstream, and nothing else is answered before the
//! group is: replies never overtake each other (RFC 2920 §3.2).

use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::check::{self, RcptFacts};
use gatepost_policy::entry::Mode;
use gatepost_policy::route::{Routes, Way};
use gatepost_policy::usage::Use;
use gatepost_relay::{DataFollows, Handoff, Message, Named};
use gatepost_smtp::bdat::Chunk;
use gatepost_smtp::command::{CommandError, Rcpt};
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

/// Recipients that are asked for at once: more gain nothing, and bound what is held.
const GROUP_MAX: usize = 100;

const NO_UPSTREAM: Reply =
    Reply::fixed(451, (4, 3, 5), "no upstream for this recipient, try again later");
const NO_ANSWER: Reply = Reply::fixed(451, (4, 3, 0), "no answer for this recipient, try again");
const UTF8_RECIPIENT: Reply = Reply::fixed(553, (5, 6, 7), "a non-ASCII recipient needs SMTPUTF8");

/// A recipient that was named and not yet answered.
enum Slot {
    /// The upstream will say.
    Asked,
    /// It is owed to the spool.
    Kept,
    /// We say.
    Refused(Reply),
}

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
    /// Of the slots, those of recipients that are owed to the spool.
    kept: usize,
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
    Begun(Handoff),
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
        kept: 0,
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

    /// The checks at RCPT: ours, then what is known of the upstream.
    async fn judge(&mut self, rcpt: &Rcpt<'_>) -> Slot {
        let path = rcpt.forward_path;
        if !self.smtputf8 && !path.is_ascii() {
            return Slot::Refused(UTF8_RECIPIENT);
        }
        let dsn = parameters(rcpt.dsn.parameters());
        if !dsn.is_empty() && !self.session.offers_dsn() {
            return Slot::Refused(CommandError::Parameter.reply());
        }
        let (session, verdicts) = (self.session, &self.session.listener.metrics.verdicts);
        let facts = RcptFacts {
            // The clock is for those whose rate is limited.
            uptime: if session.terms().any(|terms| terms.recipient_rate.is_some()) {
                session.service.uptime()
            } else {
                Duration::ZERO
            },
            generation: session.generation,
            sender: self.sender.path(),
            recipient: path,
            named: self.open.standing() + self.pending() as u32,
            beside: session.beside(),
            // Nobody has to be shared with while nobody stands.
            way: self.way.filter(|_| self.is_bound()),
        };
        let judged = check::rcpt(&session.entry, &self.routes, &facts);
        self.record.name(&facts, &judged);
        match judged {
            Ok(way) => {
                verdicts.rcpt_accepted.increment(1);
                self.name(way, (path.as_bytes(), &dsn)).await
            }
            Err(refusal) => {
                verdicts.refused(&refusal);
                session.count(Use::Refusal);
                self.refused += 1;
                let (hello, path) = (self.open.hello(), (&path, self.refused));
                answer::log_rcpt(session, hello, &self.sender, path, &refusal);
                Slot::Refused(refusal.reply)
            }
        }
    }

    /// Whether the message has a recipient, so that its way is decided.
    fn is_bound(&self) -> bool {
        self.open.standing() > 0 || self.pending() > 0
    }

    /// Names a recipient; the first one begins the handing over. If all that were named before on
    /// another way have been refused, it begins anew: one upstream's trouble is not another's. Who
    /// takes another way than those who stand is owed to the spool.
    async fn name(&mut self, way: Way, recipient: (&[u8], &[u8])) -> Slot {
        let turns = self.way.is_some_and(|others| !self.routes.lead_together(way, others));
        if turns && self.is_bound() {
            return self.name_apart(way, recipient);
        }
        self.way = Some(way);
        self.carriage = match std::mem::replace(&mut self.carriage, Carriage::Lost) {
            Carriage::Waiting(message) => self.begin(way, message),
            Carriage::Begun(handoff) if turns => self.begin(way, handoff.begin_again()),
            carriage => carriage,
        };
        let Some(handoff) = self.carriage.handoff() else { return Slot::Refused(NO_UPSTREAM) };
        let (path, dsn) = recipient;
        let named = handoff.name(path, dsn).await;
        self.slot(named, path)
    }

    fn name_apart(&mut self, way: Way, recipient: (&[u8], &[u8])) -> Slot {
        let reverse_path = self.routes.reverse_path(way, &self.sender.path());
        let Some(handoff) = self.carriage.handoff() else { return Slot::Refused(NO_UPSTREAM) };
        let route = (way.upstream.index(), mode(way));
        let named = handoff.name_apart(route, reverse_path, recipient);
        self.slot(named, recipient.0)
    }

    fn slot(&mut self, named: Result<Named, Reply>, path: &[u8]) -> Slot {
        match named {
            Ok(Named::Asked) => Slot::Asked,
            Ok(Named::Kept) => {
                self.kept += 1;
                if let Some(fingerprinter) = &mut self.fingerprinter {
                    fingerprinter.recipient(path);
                }
                Slot::Kept
            }
            Err(reply) => Slot::Refused(reply),
        }
    }

    /// Begins the handing over on a way.
    fn begin(&self, way: Way, mut message: Message) -> Carriage {
        if let Some(other) = self.routes.reverse_path(way, &self.sender.path()) {
            message.reverse_path = other;
        }
        let handoff = self.session.service.relay.begin((way.upstream.index(), mode(way)), message);
        handoff.map_or(Carriage::Lost, Carriage::Begun)
    }

    /// Recipients that were named and will stand, unless the upstream refuses them.
    fn pending(&self) -> usize {
        self.kept
            + match &self.carriage {
                Carriage::Begun(handoff) => handoff.pending(),
                Carriage::Waiting(_) | Carriage::Lost => 0,
            }
    }

    /// Answers every recipient that has no answer yet.
    async fn settle(&mut self, conn: &mut Conn, data: DataFollows) {
        if self.slots.is_empty() {
            return;
        }
        let Some(handoff) = self.carriage.handoff() else {
            // Nobody was asked for.
            for slot in self.slots.drain(..) {
                let Slot::Refused(reply) = slot else { continue };
                self.open.count_recipient(false);
                conn.say(&reply);
            }
            return;
        };
        if handoff.pending() > 0 {
            handoff.ask(data).await;
        }
        let mut answers = handoff.answers();
        self.kept = 0;
        for slot in self.slots.drain(..) {
            let reply = match &slot {
                Slot::Refused(reply) => reply,
                Slot::Kept => Handoff::kept(),
                Slot::Asked => {
                    // One answer for each that was asked for. If that were ever not so, no client
                    // may wait for ever for the one that is missing.
                    let Some((path, reply)) = answers.next() else {
                        debug_assert!(false, "a recipient without an answer");
                        conn.say(&NO_ANSWER);
                        continue;
                    };
                    if !reply.is_positive() {
                        answer::log_recipient(
                            self.session,
                            self.open.hello(),
                            handoff,
                            path,
                            reply,
                        );
                    } else if let Some(fingerprinter) = &mut self.fingerprinter {
                        fingerprinter.recipient(path);
                    }
                    reply
                }
            };
            self.open.count_recipient(reply.is_positive());
            conn.say(reply);
        }
        self.stall = conn.mark(handoff.client_stall());
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

/// What policy calls a mode, as the relay calls it.
const fn mode(way: Way) -> gatepost_relay::Mode {
    match way.mode {
        Mode::Hybrid => gatepost_relay::Mode::Hybrid,
        Mode::Spool => gatepost_relay::Mode::Spool,
        Mode::Sync => gatepost_relay::Mode::Sync,
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
