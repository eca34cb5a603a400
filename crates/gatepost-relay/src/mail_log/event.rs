//! What an event says, and the line that it becomes.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use gatepost_delivery::Paths;
use gatepost_smtp::ascii;
use gatepost_smtp::reply::Reply;

use super::line::Lines;
use crate::id::Id;

/// What an event is about; the words are those of KumoMTA's log, so that tools carry over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The upstream refused the message or its recipients for good.
    Bounce,
    /// The upstream took the message.
    Delivery,
    /// No upstream took the message in the time it had.
    Expiration,
    /// The message was accepted from the client.
    Reception,
    /// The client was refused.
    Rejection,
    /// The upstream could not take the message now.
    TransientFailure,
}

impl EventType {
    const fn name(self) -> &'static str {
        match self {
            Self::Bounce => "Bounce",
            Self::Delivery => "Delivery",
            Self::Expiration => "Expiration",
            Self::Reception => "Reception",
            Self::Rejection => "Rejection",
            Self::TransientFailure => "TransientFailure",
        }
    }
}

/// Where a message comes from. Borrowed from the session for the moment of logging.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Id of the session.
    pub session_id: &'a str,
    /// Name of the listener.
    pub listener: &'a str,
    /// Id of the entry, if one matched.
    pub entry: Option<&'a str>,
    /// Id of the credential, if one was used.
    pub credential: Option<&'a str>,
    /// Generation of the ruleset.
    pub generation: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// What the client calls itself.
    pub helo: Option<&'a str>,
    /// TLS version, if any.
    pub tls: Option<&'a str>,
}

impl Origin<'_> {
    /// The same, as the spool keeps it. Whoever comes by no entry of a list has a share of its own.
    pub(crate) fn stored(&self, share: &Arc<str>) -> gatepost_spool::Origin {
        let own = |text: Option<&str>| text.map(Arc::from);
        gatepost_spool::Origin {
            session_id: self.session_id.into(),
            listener: self.listener.into(),
            entry: Arc::clone(share),
            credential: own(self.credential),
            generation: self.generation.into(),
            client: self.client,
            helo: own(self.helo),
            tls: own(self.tls),
        }
    }
}

impl<'a> From<&'a gatepost_spool::Origin> for Origin<'a> {
    fn from(stored: &'a gatepost_spool::Origin) -> Self {
        Self {
            session_id: &stored.session_id,
            listener: &stored.listener,
            entry: Some(&stored.entry),
            credential: stored.credential.as_deref(),
            generation: &stored.generation,
            client: stored.client,
            helo: stored.helo.as_deref(),
            tls: stored.tls.as_deref(),
        }
    }
}

/// One line of the mail log; the contract lists the fields. What is `None` is not in it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What it is about.
    pub r#type: EventType,
    /// When, RFC 3339.
    pub time: jiff::Timestamp,
    /// Id of the message; none if there was none.
    pub id: Option<Id>,
    /// Who sent it.
    pub origin: Origin<'a>,
    /// Reverse-path, empty if null, as the client has sent it.
    pub sender: Option<&'a [u8]>,
    /// Forward-paths the event is about.
    pub recipients: Option<&'a Paths>,
    /// Octets of content as received.
    pub size: Option<u64>,
    /// How it was handed over.
    pub mode: Option<&'a str>,
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// The reply that decided; empty, if there was nobody to say it to.
    pub reply: Option<&'a Reply>,
    /// Which attempt it was.
    pub attempt: Option<u32>,
    /// From MAIL to this event.
    pub duration_ms: Option<u64>,
    /// Why, for people.
    pub reason: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// An event of this moment, about nothing in particular yet.
    pub fn new(r#type: EventType, origin: Origin<'a>, reply: Option<&'a Reply>) -> Self {
        Self {
            r#type,
            time: jiff::Timestamp::now(),
            id: None,
            origin,
            sender: None,
            recipients: None,
            size: None,
            mode: None,
            upstream: None,
            reply,
            attempt: None,
            duration_ms: None,
            reason: None,
        }
    }

    /// Its lines under several names, each with its number of an attempt.
    pub fn lines(&self, names: &[(EventType, Option<u32>)]) -> Vec<u8> {
        /// Most events are a few hundred octets, and few messages have more than two.
        const EVENT_OCTETS: usize = 512;
        let mut lines = Lines::with_capacity(names.len() * EVENT_OCTETS);
        let mut members = None;
        for &(r#type, attempt) in names {
            lines.begin(r#type.name());
            if let Some(attempt) = attempt {
                lines.number("attempt", attempt.into());
            }
            match members.clone() {
                Some(members) => lines.repeat(members),
                None => members = Some(self.encode(&mut lines)),
            }
            lines.end();
        }
        lines.into_octets()
    }

    /// All members of its line but those that two events of one message differ in, and where they stand.
    fn encode(&self, line: &mut Lines) -> Range<usize> {
        let start = line.len();
        line.time("time", self.time);
        if let Some(id) = self.id {
            line.plain("id", id.text().as_bytes());
        }
        self.origin.encode(line);
        if let Some(sender) = self.sender {
            line.octets("sender", sender);
        }
        if let Some(recipients) = self.recipients {
            line.list("recipients", recipients.iter());
        }
        if let Some(size) = self.size {
            line.number("size", size);
        }
        if let Some(mode) = self.mode {
            line.text("mode", mode);
        }
        if let Some(upstream) = self.upstream {
            line.text("upstream", upstream);
        }
        line.reply("reply", self.reply);
        if let Some(milliseconds) = self.duration_ms {
            line.number("duration_ms", milliseconds);
        }
        if let Some(reason) = &self.reason {
            line.text("reason", reason);
        }
        start..line.len()
    }
}

impl Origin<'_> {
    fn encode(&self, line: &mut Lines) {
        line.text("session_id", self.session_id);
        line.text("listener", self.listener);
        line.text_or_null("entry", self.entry);
        if let Some(credential) = self.credential {
            line.text("credential", credential);
        }
        line.text("generation", self.generation);
        line.plain("client", ascii::address(self.client).as_bytes());
        line.text_or_null("helo", self.helo);
        line.text_or_null("tls", self.tls);
    }
}
