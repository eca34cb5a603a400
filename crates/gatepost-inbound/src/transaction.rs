//! From an accepted MAIL to the end of its transaction: recipients, and DATA.
//!
//! Recipients that a client sends in one group go upstream in one group. Each has a [`Slot`] in
//! the order of asking, filled by us or by the upstream, and nothing else is answered before the
//! group is: replies never overtake each other (RFC 2920 §3.2).

use gatepost_relay::{DataFollows, Handoff, Message};
use gatepost_smtp::command::Rcpt;
use gatepost_smtp::reply::Reply;
use gatepost_smtp::server::{Hello, Open, OpenEvent, Ready, replies};
use gatepost_stream::Mark;

use crate::answer;
use crate::body;
use crate::conn::{Buffered, Conn, End};
use crate::session::Session;

/// Recipients that are asked for at once: more gain nothing, and bound what is held.
const GROUP_MAX: usize = 100;

const TOO_MANY_RECIPIENTS: Reply =
    Reply::fixed(452, (4, 5, 3), "too many recipients, send the others separately");
const NO_ANSWER: Reply = Reply::fixed(451, (4, 3, 0), "no answer for this recipient, try again");
const UTF8_RECIPIENT: Reply = Reply::fixed(553, (5, 6, 7), "a non-ASCII recipient needs SMTPUTF8");

/// A recipient that was named and not yet answered.
enum Slot {
    /// The upstream will say.
    Asked,
    /// We say.
    Refused(Reply),
}

/// An open transaction and its way to the upstream.
struct Transaction<'s> {
    session: &'s Session,
    open: Open,
    handoff: Handoff,
    slots: Vec<Slot>,
    smtputf8: bool,
    /// When a client that names no further recipient has stalled.
    stall: Mark,
}

/// What ends the naming of recipients.
enum Asked {
    Data,
    Hello(Hello),
    Reset,
}

/// Runs a transaction from its first recipient to its end.
pub(crate) async fn run(
    session: &Session,
    conn: &mut Conn,
    open: Open,
    message: Message,
) -> Result<Ready, End> {
    let smtputf8 = message.smtputf8;
    let handoff = session.service.relay.begin(message);
    let stall = conn.mark(session.service.relay.client_stall());
    let slots = Vec::new();
    let mut transaction = Transaction { session, open, handoff, slots, smtputf8, stall };
    loop {
        match transaction.recipients(conn).await {
            Ok(Asked::Data) => match transaction.data(conn).await? {
                After::Envelope(same) => transaction = same,
                After::Data(ready) => return Ok(ready),
            },
            Ok(Asked::Reset) => {
                transaction.handoff.abandon();
                conn.say(&replies::RESET);
                return Ok(transaction.open.end());
            }
            Ok(Asked::Hello(hello)) => {
                transaction.handoff.abandon();
                session.say_hello(conn, &hello);
                return Ok(transaction.open.end().greet(hello));
            }
            Err(end) => {
                transaction.handoff.abandon();
                return Err(end);
            }
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
                    let slot = self.judge(&rcpt);
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

    /// The checks at RCPT.
    fn judge(&mut self, rcpt: &Rcpt<'_>) -> Slot {
        let path = rcpt.forward_path;
        if !self.smtputf8 && !path.is_ascii() {
            return Slot::Refused(UTF8_RECIPIENT);
        }
        let named = self.open.standing() as usize + self.handoff.pending();
        if named >= self.session.service.config.max_recipients as usize {
            return Slot::Refused(TOO_MANY_RECIPIENTS);
        }
        match self.handoff.name(path.as_bytes()) {
            Ok(()) => Slot::Asked,
            Err(reply) => Slot::Refused(reply),
        }
    }

    /// Answers every recipient that has no answer yet.
    async fn settle(&mut self, conn: &mut Conn, data: DataFollows) {
        if self.slots.is_empty() {
            return;
        }
        if self.handoff.pending() > 0 {
            self.handoff.ask(data).await;
        }
        let mut answers = self.handoff.answers();
        for slot in self.slots.drain(..) {
            let reply = match &slot {
                Slot::Refused(reply) => reply,
                Slot::Asked => {
                    // One answer for each that was asked for. If that were ever not so, no client
                    // may wait for ever for the one that is missing.
                    let Some((path, reply)) = answers.next() else {
                        debug_assert!(false, "a recipient without an answer");
                        conn.say(&NO_ANSWER);
                        continue;
                    };
                    if !reply.is_positive() {
                        let hello = self.open.hello();
                        answer::log_recipient(self.session, hello, &self.handoff, path, reply);
                    }
                    reply
                }
            };
            self.open.count_recipient(reply.is_positive());
            conn.say(reply);
        }
        self.stall = conn.mark(self.session.service.relay.client_stall());
    }

    /// Waits for the client. One that does not go on does not keep a connection of the upstream,
    /// however much it says: only a recipient moves the mark.
    async fn wait(&mut self, conn: &mut Conn) -> Result<(), End> {
        let patience = conn.mark(self.session.service.config.command_timeout);
        if self.handoff.holds_connection() {
            if conn.fill(self.stall.min(patience)).await?.is_some() {
                return Ok(());
            }
            self.handoff.stalled();
        }
        match conn.fill(patience).await? {
            Some(()) => Ok(()),
            None => Err(conn.timed_out()),
        }
    }

    async fn data(mut self, conn: &mut Conn) -> Result<After<'s>, End> {
        if !conn.input().is_empty() {
            self.handoff.abandon();
            return Err(conn.say_last(&replies::DATA_NOT_AWAITED));
        }
        let receiving = match self.open.receive() {
            Ok(receiving) => receiving,
            Err((open, reply)) => {
                self.open = open;
                self.handoff.withdraw_data();
                conn.fault(&reply)?;
                return Ok(After::Envelope(self));
            }
        };
        if let Err(reply) = self.handoff.data().await {
            answer::log_deferred(self.session, receiving.hello(), &self.handoff, &reply);
            conn.say(&reply);
            return Ok(After::Data(receiving.end()));
        }
        body::receive(self.session, conn, receiving, self.handoff).await.map(After::Data)
    }
}
