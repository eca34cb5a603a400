//! The upstream's side of one message: who was asked for, what was said, what is sent.
//!
//! ```text
//! new ─► name, ask (RCPT by RCPT, or in groups) ─► data ─► content … ─► finish
//!            ├─► begin_chunk ─► content … ─► end_chunk, or finish
//!            └──────────────► abandon, or drop
//! ```
//!
//! A connection is opened with the first recipient. Whatever goes wrong closes it and is kept as
//! the reply for everything that follows, so that there is one consistent story. Dropping a leg
//! closes its connection without the final dot: the upstream cannot have the message.
//!
//! The replies of a leg are what a client would hear in mode `sync`; what else may follow from them
//! is decided by whoever drives it: a hand-over with its client, or the queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatepost_delivery::{Answers, GoAhead, Paths, Sent, Transaction, Trouble, Unfinished};
use gatepost_smtp::command::Body;
use gatepost_smtp::header::HeaderScan;
use gatepost_smtp::reply::Reply;
use tokio::time::Instant;

use crate::id::Id;
use crate::outlet::Outlet;
use crate::trouble::{self, Stage};

mod chunks;
mod recipients;

const EIGHT_BIT_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 3), "the upstream does not take 8-bit content");
const EIGHT_BIT_HEADER_REFUSED: Reply =
    Reply::fixed(554, (5, 6, 9), "the upstream does not take a header that is not ASCII");
const LOOP: Reply =
    Reply::fixed(554, (5, 4, 6), "too many Received fields: the message goes in a loop");

/// What MAIL says upstream, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct LegMail {
    pub(crate) id: Id,
    /// Who shares the upstream with others: the id of the policy entry.
    pub(crate) entry: Arc<str>,
    pub(crate) reverse_path: Arc<[u8]>,
    /// Octets of the whole message, with what is put in front (RFC 1870 §6.4).
    pub(crate) size: Option<u64>,
    pub(crate) body: Option<Body>,
    pub(crate) smtputf8: bool,
    /// RET and ENVID as the client has sent them, each with a space in front.
    pub(crate) dsn: Arc<[u8]>,
}

/// What a leg has to keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LegTerms {
    /// How long the upstream may take to answer the final dot.
    pub(crate) final_reply_timeout: Duration,
    /// `Received:` fields at which a message is taken to be in a loop.
    pub(crate) received_max: u32,
    /// How long its recipients may wait for what the upstream may be given.
    pub(crate) patience: Duration,
    /// Who tells a sender of success that has asked for it, if the upstream does not.
    pub(crate) success: TellsSuccess,
}

/// Who tells of success where the upstream offers no DSN (RFC 3461 §5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TellsSuccess {
    /// Whoever drives this leg.
    Driver,
    /// Nobody: such a recipient is not asked for, and the reply is 4yz.
    Nobody,
}

/// A message on its way to one upstream.
pub(crate) struct Leg {
    outlet: Arc<Outlet>,
    mail: LegMail,
    terms: LegTerms,
    /// What goes in front of the content.
    front: Bytes,
    /// Named, not yet asked for.
    pending: Paths,
    /// Asked for last; [`Leg::answers`] has the replies to them.
    asked: Paths,
    /// The upstream has accepted these.
    accepted: Paths,
    answers: Answers,
    /// Recipients that the upstream was asked for in this transaction, the last group apart.
    asked_before: u32,
    replies: Vec<Reply>,
    link: Link,
    header: HeaderScan,
    /// What is put in front is on its way.
    data_begun: bool,
    /// What went wrong, for the log.
    reason: Option<Box<str>>,
    decided: Decided,
    is_unreached: bool,
    has_put_off: bool,
}

#[allow(clippy::large_enum_variant)] // one per transaction, and nearly always the large one
enum Link {
    /// No connection yet.
    Unopened,
    Open(Transaction),
    /// Given up: this is what there is to say from now on.
    Closed(Reply),
}

/// Who decided about the message: what is counted and logged depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    /// We did, by what is in it: nobody is to have it.
    Here,
    /// Nobody knows: the upstream has the final dot and did not answer.
    Nobody,
    /// The upstream, by its reply or by its trouble.
    Upstream,
}

/// How a leg has ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The upstream has the message: 2yz, and nothing else.
    Accepted(Reply),
    /// It has not, as far as anybody can tell.
    Refused(Refused),
}

/// A message that did not get through.
#[derive(Debug)]
pub(crate) struct Refused {
    /// 4yz or 5yz.
    pub(crate) reply: Reply,
    /// What was wrong, if it was not a reply.
    pub(crate) reason: Option<Box<str>>,
    pub(crate) decided: Decided,
}

impl Leg {
    pub(crate) fn new(outlet: Arc<Outlet>, mail: LegMail, terms: LegTerms) -> Self {
        Self {
            outlet,
            mail,
            terms,
            front: Bytes::new(),
            pending: Paths::default(),
            asked: Paths::default(),
            accepted: Paths::default(),
            answers: Answers::default(),
            asked_before: 0,
            replies: Vec::new(),
            link: Link::Unopened,
            header: HeaderScan::new(),
            data_begun: false,
            reason: None,
            decided: Decided::Upstream,
            is_unreached: false,
            has_put_off: false,
        }
    }

    /// The leg, for whoever brings it to its end; a new one of the same message stays.
    pub(crate) fn take(&mut self) -> Self {
        let new = Self::new(self.outlet.clone(), self.mail.clone(), self.terms);
        std::mem::replace(self, new)
    }

    /// The upstream.
    pub(crate) const fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// The recipients that the upstream has accepted.
    pub(crate) const fn accepted(&self) -> &Paths {
        &self.accepted
    }

    /// The same, for whoever answers for them from here on.
    pub(crate) fn take_accepted(&mut self) -> Paths {
        std::mem::take(&mut self.accepted)
    }

    /// What went wrong with the upstream, if anything did.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What there is to say from now on, if it was given up.
    pub(crate) const fn closed(&self) -> Option<&Reply> {
        match &self.link {
            Link::Closed(reply) => Some(reply),
            Link::Unopened | Link::Open(_) => None,
        }
    }

    /// Whether the message itself is at fault: no upstream is to have it.
    pub(crate) const fn is_unfit(&self) -> bool {
        matches!((&self.link, self.decided), (Link::Closed(_), Decided::Here))
    }

    /// Whether no word on this message was heard: the upstream rests, or no connection was to be had.
    pub(crate) const fn is_unreached(&self) -> bool {
        self.is_unreached
    }

    /// Whether anybody was put off who would be put off again at once: by the upstream's word, by its
    /// rate, or because it was lost.
    pub(crate) const fn has_put_off(&self) -> bool {
        self.has_put_off || matches!(self.link, Link::Closed(_)) && !self.is_unreached
    }

    /// Whether the upstream offers DSN: then it tells a sender of success itself that has asked for it.
    pub(crate) fn offers_dsn(&self) -> bool {
        matches!(&self.link, Link::Open(transaction) if transaction.capabilities().dsn)
    }

    /// Whether a connection of the upstream is held.
    pub(crate) const fn holds_connection(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    /// The client has been silent for too long: its connection is needed elsewhere.
    pub(crate) fn stalled(&mut self) {
        if self.holds_connection() {
            self.link = Link::Closed(trouble::CLIENT_STALLED);
        }
    }
}

// Data.
impl Leg {
    /// What goes out in front of the content: to be said before there is any.
    pub(crate) fn put_in_front(&mut self, front: Bytes) {
        self.front = front;
    }

    /// Sends DATA, if it did not go with the recipients. Content may follow at once: if the upstream
    /// does not go on, that is heard there.
    pub(crate) async fn data(&mut self) -> Result<(), Reply> {
        match &mut self.link {
            Link::Open(transaction) => match transaction.data().await {
                Ok(()) => Ok(()),
                Err(trouble) => {
                    let reply = self.troubled(&trouble);
                    Err(self.close(reply))
                }
            },
            Link::Closed(reply) => Err(reply.clone()),
            // Who asked for nobody has nobody to send data to.
            Link::Unopened => Err(gatepost_smtp::server::replies::NO_VALID_RECIPIENTS),
        }
    }

    /// Sends content. After a failure it is thrown away, and [`Leg::finish`] says what happened.
    pub(crate) async fn content(&mut self, content: Bytes) {
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

    /// Sends the last octets, with the terminator or as the rest of the last chunk, and brings the
    /// upstream's word on the message back.
    pub(crate) async fn finish(mut self, last: Bytes) -> Ending {
        if self.inspect(&last) {
            self.go_ahead().await;
        }
        match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Open(transaction) => self.end(transaction, last).await,
            Link::Closed(reply) => self.refused(reply),
            Link::Unopened => self.refused(gatepost_smtp::server::replies::NO_VALID_RECIPIENTS),
        }
    }

    /// DATA went out with recipients of whom none stands: ends the upstream's transaction. The next
    /// recipient begins a new one.
    pub(crate) fn withdraw_data(&mut self) {
        match std::mem::replace(&mut self.link, Link::Unopened) {
            Link::Open(transaction) => transaction.abandon(),
            link => self.link = link,
        }
    }

    /// Gives the transaction up before its data, and the connection back.
    pub(crate) fn abandon(self) {
        if let Link::Open(transaction) = self.link {
            transaction.abandon();
        }
    }

    async fn end(mut self, transaction: Transaction, last: Bytes) -> Ending {
        let dot = Instant::now();
        let mut cut_off = CutOff { outlet: &self.outlet, id: self.mail.id, armed: true };
        let finished = transaction.finish(last, self.terms.final_reply_timeout).await;
        cut_off.armed = false;
        drop(cut_off);
        self.outlet.metrics.duration.record(dot.elapsed());
        let reply = match finished {
            Ok(reply) if reply.is_positive() => {
                self.outlet.accepted();
                return Ending::Accepted(reply.with_status());
            }
            Ok(reply) => self.outlet.hear(Stage::Data, &reply),
            Err(Unfinished::BeforeDot(trouble)) => self.troubled(&trouble),
            Err(Unfinished::AfterDot(trouble)) => {
                // RFC 1047: the message may have arrived. It will be sent again: taking it for
                // delivered could lose it.
                self.decided = Decided::Nobody;
                tracing::warn!(
                    upstream = self.outlet.name(),
                    id = %self.mail.id,
                    %trouble,
                    "the upstream fell silent after the end of data: the message may arrive twice"
                );
                self.troubled(&trouble)
            }
        };
        self.refused(reply)
    }

    /// Waits for the upstream's 354 before the first content. False if nothing may be sent.
    async fn go_ahead(&mut self) -> bool {
        let Link::Open(transaction) = &mut self.link else { return false };
        if self.data_begun {
            return true;
        }
        match transaction.go_ahead().await {
            Ok(GoAhead::Data) => {
                transaction.prefix().extend_from_slice(&self.front);
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

    /// Looks at content, whether it can be sent or not. False if it must not be.
    fn inspect(&mut self, content: &[u8]) -> bool {
        self.header.scan(content);
        if self.header.received() > self.terms.received_max {
            return self.find_unfit(LOOP);
        }
        let Link::Open(transaction) = &self.link else { return false };
        let offered = transaction.capabilities();
        if self.mail.smtputf8 && !offered.smtputf8 && self.header.eight_bit() {
            self.find_unfit(EIGHT_BIT_HEADER_REFUSED)
        } else if !offered.eight_bit_mime && !content.is_ascii() {
            self.find_unfit(EIGHT_BIT_REFUSED)
        } else {
            true
        }
    }

    fn find_unfit(&mut self, refusal: Reply) -> bool {
        self.decided = Decided::Here;
        self.close(refusal);
        false
    }

    fn close(&mut self, reply: Reply) -> Reply {
        self.link = Link::Closed(reply.clone());
        reply
    }

    fn refused(self, reply: Reply) -> Ending {
        Ending::Refused(Refused { reply, reason: self.reason, decided: self.decided })
    }

    /// What there is to say of trouble, which is kept for the log.
    fn troubled(&mut self, trouble: &Trouble) -> Reply {
        self.reason = Some(trouble.to_string().into());
        tracing::debug!(upstream = self.outlet.name(), %trouble, "the upstream failed");
        self.outlet.suffer(trouble)
    }
}

/// Tells of a message whose leg was cut off while its fate was in the upstream's hands.
struct CutOff<'a> {
    outlet: &'a Outlet,
    id: Id,
    armed: bool,
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.outlet.metrics.ambiguous.increment(1);
            tracing::warn!(
                upstream = self.outlet.name(),
                id = %self.id,
                "cut off before the upstream's word: the message may arrive twice"
            );
        }
    }
}
