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
use gatepost_delivery::{Answers, Paths, Transaction, Trouble};
use gatepost_smtp::command::Body;
use gatepost_smtp::header::HeaderScan;
use gatepost_smtp::reply::Reply;

use crate::id::Id;
use crate::outlet::Outlet;
use crate::trouble;

mod chunks;
mod data;
mod recipients;

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
    /// Asked for last; [`Leg::answers`] has the replies to them. Empty if they are all who are accepted.
    asked: Paths,
    asked_are: Asked,
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

/// Where those stand who were asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// In a list of their own.
    Apart,
    /// In the list of those who are accepted: they are all of it, as in most transactions, and no list
    /// is copied.
    Accepted,
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
            asked_are: Asked::Apart,
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

    fn close(&mut self, reply: Reply) -> Reply {
        self.link = Link::Closed(reply.clone());
        reply
    }

    /// What there is to say of trouble, which is kept for the log.
    fn troubled(&mut self, trouble: &Trouble) -> Reply {
        self.reason = Some(trouble.to_string().into());
        tracing::debug!(upstream = self.outlet.name(), %trouble, "the upstream failed");
        self.outlet.suffer(trouble)
    }
}
