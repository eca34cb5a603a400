//! What is known of a message when it is over, and what policy has said to it.

use std::{net::IpAddr, sync::Arc};

use gatepost_smtp::path::{ForwardPath, Mailbox, ReversePath, ReversePathBuf};

use super::{Word, is_counted};
use crate::{
    check::{Check, Login, MailFacts, RcptFacts, Refusal, SessionTls},
    date::Moment,
    entry::Entry,
    generation::Generation,
    listener::ListenerId,
    route::Way,
    site::UpstreamId,
};

/// Recipients of a message that are kept: a list that is longer is one of many like each other, and
/// what a policy says of the first hundred and of the last it says of those between.
const RECIPIENTS_MAX: usize = 100;
/// Octets of their paths. Envelopes wait in a queue: its memory is bounded by what each may have.
const RECIPIENTS_OCTETS_MAX: usize = 16 * 1024;

/// A message, or a client that did not come to one, and the words of the policy in use.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub(super) listener: ListenerId,
    pub(super) client: IpAddr,
    /// The id of the entry that served it.
    pub(super) entry: Option<Arc<str>>,
    pub(super) generation: Generation,
    pub(super) now: Moment,
    /// None if it was refused with the greeting.
    pub(super) mail: Option<Mail>,
    /// What has refused the connection, or MAIL.
    pub(super) refused: Option<Refused>,
    pub(super) recipients: Vec<Recipient>,
    recipients_octets: usize,
}

/// What was known at MAIL.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) tls: Option<SessionTls>,
    pub(super) certificate: Option<Box<[Box<str>]>>,
    /// The name with which the client has authenticated.
    login: Option<Box<str>>,
    pub(super) helo: Option<Box<[u8]>>,
    sender: Option<ReversePathBuf>,
    pub(super) size: Option<u64>,
}

/// A refusal without its reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) check: Check,
    pub(super) word: Word,
}

#[derive(Clone, Debug)]
pub(super) struct Recipient {
    pub(super) octets: Box<[u8]>,
    /// Recipients that stood when it was named: those that the upstream has refused do not count.
    pub(super) named: u32,
    /// Where it goes. What the upstream says of it is not policy's word.
    pub(super) said: Result<UpstreamId, Refused>,
}

impl Envelope {
    /// A client that was refused with the greeting, or whose entry was gone at MAIL.
    pub fn at_greeting(
        listener: ListenerId,
        client: IpAddr,
        now: Moment,
        entry: Option<&Entry>,
        generation: Generation,
        refusal: &Refusal,
    ) -> Self {
        Self {
            listener,
            client,
            entry: entry.map(|entry| Arc::clone(entry.id())),
            generation,
            now,
            mail: None,
            refused: Some(Refused::of(refusal)),
            recipients: Vec::new(),
            recipients_octets: 0,
        }
    }

    /// A client that has said MAIL. It is taken to be accepted until [`Envelope::refuse`].
    pub fn at_mail(
        listener: ListenerId,
        client: IpAddr,
        entry: &Entry,
        facts: &MailFacts<'_>,
    ) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Self {
            listener,
            client,
            entry: Some(Arc::clone(entry.id())),
            generation: facts.generation,
            now: facts.now,
            mail: Some(Mail {
                tls: facts.tls,
                certificate: facts.certificate.map(names),
                login: facts.login.and_then(Login::username).map(Box::from),
                helo: facts.helo.map(Box::from),
                sender: facts.sender.map(ReversePathBuf::from),
                size: facts.size,
            }),
            refused: None,
            recipients: Vec::new(),
            recipients_octets: 0,
        }
    }

    /// MAIL was refused.
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.refused = Some(Refused::of(refusal));
    }

    /// A recipient was named, and this was said to it. Of more than are kept, it is the last.
    pub fn name(&mut self, facts: &RcptFacts<'_>, judged: &Result<Way, Refusal>) {
        let octets: Box<[u8]> = facts.recipient.as_bytes().into();
        let has_room = self.recipients.len() < RECIPIENTS_MAX
            && self.recipients_octets + octets.len() <= RECIPIENTS_OCTETS_MAX;
        if has_room {
            self.recipients_octets += octets.len();
        } else {
            self.recipients.pop();
        }
        let said = judged.as_ref().map(|way| way.upstream).map_err(Refused::of);
        self.recipients.push(Recipient { octets, named: facts.named, said });
    }

    /// The id of the entry that served its client.
    pub const fn entry(&self) -> Option<&Arc<str>> {
        self.entry.as_ref()
    }

    /// The name with which its client has authenticated, if it has.
    pub(super) fn login(&self) -> Option<&[u8]> {
        Some(self.mail.as_ref()?.login.as_ref()?.as_bytes())
    }

    /// Whether a candidate can be asked about it: not if it was refused for what was used before.
    pub fn is_comparable(&self) -> bool {
        !self.refused.is_some_and(|refused| is_counted(refused.check))
    }
}

impl Mail {
    pub(super) fn sender(&self) -> Option<ReversePath<'_>> {
        self.sender.as_ref().map(ReversePathBuf::path)
    }
}

impl Refused {
    fn of(refusal: &Refusal) -> Self {
        Self { check: refusal.check, word: Word::of(refusal) }
    }
}

impl Recipient {
    /// The path, which was one when it was kept.
    pub(super) fn path(&self) -> Option<ForwardPath<'_>> {
        if self.octets.eq_ignore_ascii_case(b"postmaster") {
            return Some(ForwardPath::Postmaster(&self.octets));
        }
        Mailbox::parse(&self.octets).ok().map(ForwardPath::Mailbox)
    }
}
