//! One transaction handed over in mode `sync`: the upstream's word is the client's.
//!
//! ```text
//! Relay::begin ─► name, ask (RCPT by RCPT, or in groups) ─► data ─► content … ─► complete
//!                     ├─► begin_chunk ─► content … ─► end_chunk, or complete
//!                     └──────────────► abandon, or drop
//! ```
//!
//! A connection is opened with the first recipient. Whatever goes wrong closes it and is kept as
//! the reply for everything that follows, so that a client hears one consistent story. Dropping a
//! handoff closes its connection without the final dot: the upstream cannot have the message.
//!
//! [`Handoff::complete`] is the only place in Gatepost that grants the 250 after data.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::{Answers, GoAhead, Paths, Sent, Transaction, Trouble, Unfinished};
use gatepost_smtp::data::TERMINATOR;
use gatepost_smtp::header::HeaderScan;
use gatepost_smtp::reply::{Reply, Severity};
use tokio::time::Instant;

use crate::mail_log::{Event, EventType, Octets, Origin, PathList};
use crate::outlet::Outlet;
use crate::relay::{Message, Relay};
use crate::trouble::{self, Stage};

mod chunks;
mod recipients;

const EIGHT_BIT_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 3), "the upstream does not take 8-bit content");
const EIGHT_BIT_HEADER_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 9), "the upstream does not take a header that is not ASCII");
const LOOP: Reply =
    Reply::fixed(554, (5, 4, 6), "too many Received fields: the message goes in a loop");

/// A transaction on its way to the upstream.
pub struct Handoff {
    relay: Arc<Relay>,
    outlet: Arc<Outlet>,
    message: Message,
    /// Named, not yet asked for.
    pending: Paths,
    /// Asked for last; [`Handoff::answers`] has the replies to them.
    asked: Paths,
    /// The upstream has accepted these.
    accepted: Paths,
    answers: Answers,
    /// Recipients that the upstream was asked for in this transaction, the last group apart.
    asked_before: u32,
    /// How long its recipients may still wait for what the upstream may be given.
    patience: Duration,
    replies: Vec<Reply>,
    link: Link,
    header: HeaderScan,
    octets: u64,
    /// The `Received:` line is on its way.
    data_begun: bool,
    /// What went wrong, for the log.
    reason: Option<Box<str>>,
    decided: Decided,
}

#[allow(clippy::large_enum_variant)] // one per transaction, and nearly always the large one
enum Link {
    /// No connection yet.
    Unopened,
    Open(Transaction),
    /// Given up: this is what the client hears from now on.
    Closed(Reply),
}

/// Who decided about the message: what is counted and logged depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decided {
    /// We did: the upstream could not have taken it.
    Here,
    /// Nobody knows: the upstream has the final dot and did not answer.
    Nobody,
    /// The upstream, by its reply or by its trouble.
    Upstream,
}

/// The last octets of a message.
#[derive(Debug)]
pub enum Last {
    /// Content with the terminator behind it.
    Terminated(Bytes),
    /// The rest of the last chunk.
    OfChunk(Bytes),
}

/// The reply to the end of data.
#[derive(Debug)]
pub enum DataReply {
    /// The upstream has the message.
    Granted(Grant),
    /// It has not, as far as anybody can tell.
    Refused(Reply),
}

/// The permission to say 250 after data. Only [`Handoff::complete`] makes one.
#[derive(Debug)]
pub struct Grant(Reply);

impl Grant {
    /// The upstream's own reply.
    pub const fn reply(&self) -> &Reply {
        &self.0
    }
}

impl Handoff {
    pub(crate) fn new(relay: Arc<Relay>, outlet: Arc<Outlet>, message: Message) -> Self {
        Self {
            patience: outlet.upstream.recipient_patience(),
            relay,
            outlet,
            message,
            pending: Paths::default(),
            asked: Paths::default(),
            accepted: Paths::default(),
            answers: Answers::default(),
            asked_before: 0,
            replies: Vec::new(),
            link: Link::Unopened,
            header: HeaderScan::new(),
            octets: 0,
            data_begun: false,
            reason: None,
            decided: Decided::Upstream,
        }
    }

    /// What is known of the message.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The recipients that the upstream has accepted.
    pub const fn accepted(&self) -> &Paths {
        &self.accepted
    }

    /// Octets of content so far.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// What went wrong with the upstream, if anything did.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The name of the upstream.
    pub fn upstream_name(&self) -> &str {
        self.outlet.name()
    }

    /// How long a client that stalls may hold a connection of the upstream.
    pub fn client_stall(&self) -> Duration {
        self.outlet.upstream.config().client_stall
    }

    /// What the client hears of trouble, which is kept for the log.
    fn troubled(&mut self, trouble: &Trouble) -> Reply {
        self.reason = Some(trouble.to_string().into());
        tracing::debug!(upstream = self.outlet.name(), %trouble, "the upstream failed");
        self.outlet.suffer(trouble)
    }
}

// Data.
impl Handoff {
    /// Whether a connection of the upstream is held.
    pub const fn holds_connection(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    /// The client has been silent for too long: its connection is needed elsewhere.
    pub fn stalled(&mut self) {
        if self.holds_connection() {
            self.link = Link::Closed(trouble::CLIENT_STALLED);
        }
    }

    /// Sends DATA upstream, if it did not go with the recipients. The client may be told to go on
    /// at once: if the upstream does not, the end of data is where the client hears of it.
    pub async fn data(&mut self) -> Result<(), Reply> {
        match &mut self.link {
            Link::Open(transaction) => match transaction.data().await {
                Ok(()) => Ok(()),
                Err(trouble) => {
                    let reply = self.troubled(&trouble);
                    Err(self.close(reply))
                }
            },
            Link::Closed(reply) => Err(reply.clone()),
            // A caller that asked for nobody has nobody to send data to.
            Link::Unopened => Err(gatepost_smtp::server::replies::NO_VALID_RECIPIENTS),
        }
    }

    /// Puts header fields in front of the message, before its first content.
    pub fn put_in_front(&mut self, fields: &[u8]) {
        let received = &self.message.received;
        self.message.received = [received, fields].concat().into();
    }

    /// Hands content on. After a failure it is thrown away: the client's data is read to its end,
    /// and [`Handoff::complete`] says what happened.
    pub async fn content(&mut self, content: Bytes) {
        if self.inspect(&content) && self.go_ahead().await {
            let Link::Open(transaction) = &mut self.link else { return };
            match transaction.send(content).await {
                Ok(Sent::All) => {}
                Ok(Sent::Interrupted(reply)) => {
                    self.close(self.outlet.hear(Stage::Data, &reply));
                }
                Err(trouble) => {
                    let reply = self.troubled(&trouble);
                    self.close(reply);
                }
            }
        }
    }

    /// Hands the last content over, and brings back the upstream's word.
    pub async fn complete(mut self, last: Last, origin: Origin<'_>) -> DataReply {
        let content_octets = self.octets + last.content_octets();
        let (Last::Terminated(last) | Last::OfChunk(last)) = last;
        if self.inspect(&last) {
            self.go_ahead().await;
        }
        let ended = match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Open(transaction) => self.finish(transaction, last).await,
            Link::Closed(reply) => Err(reply),
            Link::Unopened => Err(gatepost_smtp::server::replies::NO_VALID_RECIPIENTS),
        };
        self.octets = content_octets;
        let (reply, granted) = match ended {
            Ok(reply) => (reply, true),
            Err(reply) => (reply, false),
        };
        self.record(&reply, origin);
        if granted { DataReply::Granted(Grant(reply)) } else { DataReply::Refused(reply) }
    }

    /// DATA went out with recipients of whom none stands: ends the upstream's transaction. The
    /// client's goes on, and the next recipient begins a new one.
    pub fn withdraw_data(&mut self) {
        match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Open(transaction) => transaction.abandon(),
            link => self.link = link,
        }
    }

    /// Gives up a transaction in which nobody stands, for another upstream to be asked; brings the
    /// message back as the client has sent it.
    pub fn begin_again(self) -> Message {
        let message = self.message.clone();
        self.abandon();
        Message { reverse_path: Arc::clone(&message.sender), ..message }
    }

    /// Gives the transaction up before its data, and the connection back.
    pub fn abandon(self) {
        if let Link::Open(transaction) = self.link {
            transaction.abandon();
        }
    }

    /// The upstream's word on the message: `Ok` is 2yz and nothing else.
    async fn finish(&mut self, transaction: Transaction, last: Bytes) -> Result<Reply, Reply> {
        let dot = Instant::now();
        let mut cut_off = CutOff { outlet: &self.outlet, id: &self.message.id, armed: true };
        let finished = transaction.finish(last, self.relay.config.final_reply_timeout).await;
        cut_off.armed = false;
        drop(cut_off);
        self.outlet.metrics.duration.record(dot.elapsed());
        match finished {
            Ok(reply) if reply.is_positive() => {
                self.outlet.accepted();
                Ok(reply.with_status())
            }
            Ok(reply) => Err(self.outlet.hear(Stage::Data, &reply)),
            Err(Unfinished::BeforeDot(trouble)) => Err(self.troubled(&trouble)),
            Err(Unfinished::AfterDot(trouble)) => {
                // RFC 1047: the message may have arrived. The client will send it again; saying
                // 250 could lose it.
                self.decided = Decided::Nobody;
                tracing::warn!(
                    upstream = self.outlet.name(),
                    id = &*self.message.id,
                    %trouble,
                    "the upstream fell silent after the end of data: the message may arrive twice"
                );
                Err(self.troubled(&trouble))
            }
        }
    }

    /// Waits for the upstream's 354 before the first content. False if nothing may be sent.
    async fn go_ahead(&mut self) -> bool {
        let Link::Open(transaction) = &mut self.link else { return false };
        if self.data_begun {
            return true;
        }
        match transaction.go_ahead().await {
            Ok(GoAhead::Data) => {
                transaction.prefix().extend_from_slice(&self.message.received);
                self.data_begun = true;
                true
            }
            Ok(GoAhead::Refused(reply)) => {
                let said = self.outlet.hear(Stage::Data, &reply);
                if let Link::Open(transaction) =
                    std::mem::replace(&mut self.link, Link::Closed(said))
                {
                    transaction.abandon();
                }
                false
            }
            Err(trouble) => {
                let reply = self.troubled(&trouble);
                self.close(reply);
                false
            }
        }
    }

    /// Looks at content before it is sent. False if it must not be.
    fn inspect(&mut self, content: &[u8]) -> bool {
        self.octets += content.len() as u64;
        self.header.scan(content);
        let Link::Open(transaction) = &self.link else { return false };
        let offered = transaction.capabilities();
        let refusal = if self.header.received() > self.relay.config.received_max {
            LOOP
        } else if self.message.smtputf8 && !offered.smtputf8 && self.header.eight_bit() {
            EIGHT_BIT_HEADER_REFUSED
        } else if !offered.eight_bit_mime && !content.is_ascii() {
            EIGHT_BIT_REFUSED
        } else {
            return true;
        };
        self.decided = Decided::Here;
        self.close(refusal);
        false
    }

    fn close(&mut self, reply: Reply) -> Reply {
        self.link = Link::Closed(reply.clone());
        reply
    }

    fn record(&self, reply: &Reply, origin: Origin<'_>) {
        let metrics = &self.outlet.metrics;
        let (counter, r#type) = match (self.decided, reply.severity()) {
            (Decided::Here, _) => (None, EventType::Rejection),
            (Decided::Nobody, _) => (Some(&metrics.ambiguous), EventType::TransientFailure),
            (_, Severity::Transient) => (Some(&metrics.deferred), EventType::TransientFailure),
            (_, Severity::Permanent) => (Some(&metrics.refused), EventType::Bounce),
            (_, _) => (Some(&metrics.delivered), EventType::Delivery),
        };
        if let Some(counter) = counter {
            counter.increment(1);
        }
        if !self.relay.mail_log.is_on() {
            return;
        }
        let event = |r#type, attempt| Event {
            id: Some(&self.message.id),
            sender: Some(Octets(&self.message.sender)),
            recipients: Some(PathList(&self.accepted)),
            size: Some(self.octets),
            mode: Some("sync"),
            upstream: Some(self.outlet.name()),
            attempt,
            duration_ms: Some(self.message.began.elapsed().as_millis() as u64),
            reason: self.reason().map(Cow::from),
            ..Event::new(r#type, origin, reply.to_string())
        };
        if r#type == EventType::Delivery {
            // In mode sync a message is received at the moment it is delivered.
            self.relay.mail_log.write(&event(EventType::Reception, None));
        }
        self.relay.mail_log.write(&event(r#type, Some(1)));
    }
}

impl Last {
    /// How many octets of them are content.
    pub fn content_octets(&self) -> u64 {
        match self {
            Self::Terminated(last) => last.len().saturating_sub(TERMINATOR.len()) as u64,
            Self::OfChunk(last) => last.len() as u64,
        }
    }
}

/// Tells of a message whose session was cut off while its fate was in the upstream's hands.
struct CutOff<'a> {
    outlet: &'a Outlet,
    id: &'a str,
    armed: bool,
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.outlet.metrics.ambiguous.increment(1);
            let upstream = self.outlet.name();
            tracing::warn!(
                upstream,
                id = self.id,
                "cut off before the upstream's word: the message may arrive twice"
            );
        }
    }
}
