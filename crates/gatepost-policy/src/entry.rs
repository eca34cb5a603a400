//! An entry of the allow-list: who its clients are, and what they may do. The terms of a credential
//! are an entry too, without networks.
//!
//! Entries are made by the compiler only, and never change. They are shared: a session keeps its
//! entry, not the ruleset it came from. What clients use up of their limits is not part of an
//! entry; it is kept in a state that entries of the same id share.

use std::sync::Arc;

use crate::{
    date::{Date, Moment},
    exposure::Exposure,
    network::Network,
    pattern::Pattern,
    rate::Rate,
    site::UpstreamId,
    state::{Connection, EntryState},
};

/// Octets of an entry id: it stands in replies, log lines and metric labels.
pub const ID_OCTETS_MAX: usize = 64;

/// One `[[entry]]` of the policy, checked.
///
/// Text that many entries of a fleet have in common is stored once.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) id: Arc<str>,
    pub(crate) networks: Box<[Network]>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) services: Option<Arc<[Box<str>]>>,
    pub(crate) acknowledge: Option<Box<str>>,
    pub(crate) action: Action,
    pub(crate) senders: Arc<[Pattern]>,
    pub(crate) terms: Arc<Terms>,
    /// Every mode that its messages can have keeps them: its own, or those of routes and gateway.
    pub(crate) keeps_messages: bool,
    pub(crate) state: Arc<EntryState>,
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Its clients may send.
    #[default]
    Allow,
    /// Its clients are refused, whatever a wider network says.
    Deny,
}

/// What clients of an entry may do, beside the senders they may use. Most entries of a fleet have
/// the same terms, and share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Forward-paths that may be named; `None` is any.
    pub recipients: Option<Arc<[Pattern]>>,
    /// Names that may be given in EHLO or HELO; `None` is any.
    pub helo: Option<Arc<[Pattern]>>,
    /// Whether the addresses of the From field are held against the senders too.
    pub header_from: HeaderFrom,
    /// The TLS that a session must have.
    pub tls: RequiredTls,
    /// A name that the client's certificate must have; `None` asks for no certificate.
    pub client_certificate: Option<Arc<[Pattern]>>,
    /// Whether AUTH is asked for beside the address.
    pub authentication: Authentication,
    /// Where its messages go, before any route is looked at.
    pub upstream: Option<UpstreamId>,
    /// How they are handed over, before any route is looked at.
    pub mode: Option<Mode>,
    /// Octets of a message: the entry's own limit, or the gateway's.
    pub max_message_size: u64,
    /// Recipients of a message: the entry's own limit, or the gateway's.
    pub max_recipients: u32,
    /// The limit on recipients is the entry's own, so its clients are told of it.
    pub tells_max_recipients: bool,
    /// Connections at once.
    pub max_connections: Option<u32>,
    /// Messages, counted at MAIL.
    pub message_rate: Option<Rate>,
    /// Recipients, counted at RCPT.
    pub recipient_rate: Option<Rate>,
    /// The same message again and again, counted at the end of its data.
    pub duplicate_rate: Option<Rate>,
    /// What becomes of a bare LF in a message.
    pub bare_newlines: BareNewlines,
    /// Header fields that are put in front of a message that has none.
    pub add_missing_headers: MissingHeaders,
    /// Before it nobody is let in.
    pub not_before: Option<Date>,
    /// After it, what [`Terms::expiry`] says.
    pub expires: Option<Date>,
    /// What happens after `expires`.
    pub expiry: Expiry,
}

/// What is asked of the From field of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderFrom {
    /// Each of its addresses must be an allowed sender.
    Allowed,
    /// Nothing.
    #[default]
    Off,
}

/// The TLS that a session must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RequiredTls {
    /// None.
    #[default]
    Optional,
    /// Any version that the listener speaks.
    Required,
    /// TLS 1.3.
    Required13,
}

/// Whether clients of an entry have to authenticate too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// The address is enough.
    #[default]
    Bypass,
    /// A credential must be used, and its terms hold beside those of the entry.
    Required,
}

/// How a message is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As [`Mode::Sync`] while the upstream answers, as [`Mode::Spool`] when it does not.
    #[default]
    Hybrid,
    /// It is stored before the client hears 250, and delivered later.
    Spool,
    /// Nothing is stored: the upstream's word is the client's.
    Sync,
}

impl Mode {
    /// Whether a message may be kept after its client has gone: only then can anybody be told later
    /// what became of it.
    pub const fn keeps_messages(self) -> bool {
        match self {
            Self::Hybrid | Self::Spool => true,
            Self::Sync => false,
        }
    }
}

/// What becomes of a bare LF in mail data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BareNewlines {
    /// It becomes CRLF.
    Normalize,
    /// The message is refused.
    #[default]
    Reject,
}

/// Header fields that are added where they are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MissingHeaders {
    /// `Date`, required by RFC 5322 §3.6.
    pub date: bool,
    /// `Message-ID`, which RFC 5322 §3.6.4 wants of every message.
    pub message_id: bool,
}

/// What happens after an entry has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// Clients are greeted, and MAIL is deferred.
    Defer,
    /// Clients are refused with the greeting.
    #[default]
    Reject,
    /// Nothing, but that it is logged and counted.
    Warn,
}

/// Where a moment stands in the life of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// After `expires`.
    Expired,
    /// Before `not_before`.
    NotYet,
    /// In between.
    Valid,
}

impl Entry {
    /// The unique name.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Where its clients are.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Those that are right only for a reason: wide ones, and public ones that are wide or free in
    /// their senders. Of an entry that is compiled, `acknowledge` has the reason.
    pub fn exposed_networks(&self) -> impl Iterator<Item = Network> {
        let any_sender = self.senders.iter().any(Pattern::is_any);
        let is_exposed = move |it: &Network| Exposure::of(*it, any_sender).is_some();
        let networks = if self.action == Action::Allow { self.networks() } else { &[] };
        networks.iter().copied().filter(is_exposed)
    }

    /// What it is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Whom to ask.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The listeners it exists for; `None` is every listener.
    pub fn services(&self) -> Option<&[Box<str>]> {
        self.services.as_deref()
    }

    /// Why a wide or public network is right here.
    pub fn acknowledge(&self) -> Option<&str> {
        self.acknowledge.as_deref()
    }

    /// Whether its clients are let in at all.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The reverse-paths its clients may use. Empty: they may connect, and send nothing.
    pub fn senders(&self) -> &[Pattern] {
        &self.senders
    }

    /// What else its clients may do.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether every message of its clients is one that may be kept, whatever its sender and its
    /// recipients are: only then can it be promised that somebody is told what became of it.
    pub const fn keeps_messages(&self) -> bool {
        self.keeps_messages
    }

    /// Whether the address alone lets nobody send, so that it does not matter who else comes by it.
    pub fn asks_for_proof(&self) -> bool {
        self.terms.authentication == Authentication::Required
    }

    /// What its clients have used up.
    pub const fn state(&self) -> &Arc<EntryState> {
        &self.state
    }

    /// Counts a connection, if there may be one more.
    pub fn connect(&self) -> Option<Connection> {
        self.state.connect(self.terms.max_connections)
    }

    /// A connection that was let in before and belongs to this entry now: it is counted here, over
    /// the limit if need be, because a reload ends no session.
    pub fn adopt(&self, connection: Connection) -> Connection {
        if connection.is_of(&self.state) {
            return connection;
        }
        self.join().unwrap_or(connection)
    }

    /// Counts a connection that goes on, over the limit if need be.
    pub fn join(&self) -> Option<Connection> {
        self.state.connect(None)
    }
}

impl Terms {
    /// Those of an entry that says nothing about them.
    pub const fn new(max_message_size: u64, max_recipients: u32) -> Self {
        Self {
            recipients: None,
            helo: None,
            header_from: HeaderFrom::Off,
            tls: RequiredTls::Optional,
            client_certificate: None,
            authentication: Authentication::Bypass,
            upstream: None,
            mode: None,
            max_message_size,
            max_recipients,
            tells_max_recipients: false,
            max_connections: None,
            message_rate: None,
            recipient_rate: None,
            duplicate_rate: None,
            bare_newlines: BareNewlines::Reject,
            add_missing_headers: MissingHeaders { date: false, message_id: false },
            not_before: None,
            expires: None,
            expiry: Expiry::Reject,
        }
    }

    /// Whether anything is limited that has to be counted.
    pub const fn counts(&self) -> bool {
        self.max_connections.is_some()
            || self.message_rate.is_some()
            || self.recipient_rate.is_some()
            || self.duplicate_rate.is_some()
    }

    /// Whether a moment is before, within or after its dates.
    pub fn standing(&self, now: Moment) -> Standing {
        let has_come = |date: &Date| date.has_come(now);
        if self.expires.as_ref().is_some_and(has_come) {
            Standing::Expired
        } else if self.not_before.as_ref().is_some_and(|date| !date.has_come(now)) {
            Standing::NotYet
        } else {
            Standing::Valid
        }
    }
}

impl MissingHeaders {
    /// Whether there is any to add.
    pub const fn any(self) -> bool {
        self.date || self.message_id
    }
}

impl Action {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Authentication {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Required => "required",
        }
    }
}

impl BareNewlines {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normalize => "normalize",
            Self::Reject => "reject",
        }
    }
}

impl Expiry {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Reject => "reject",
            Self::Warn => "warn",
        }
    }
}

impl HeaderFrom {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Off => "off",
        }
    }
}

impl RequiredTls {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
            Self::Required13 => "required-1.3",
        }
    }
}

impl Mode {
    /// As it is written in a policy, and in the mail log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Spool => "spool",
            Self::Sync => "sync",
        }
    }
}

/// Whether a text can be an entry id: lower-case letters, digits, `.`, `-` and `_`, beginning with
/// a letter or digit, [`ID_OCTETS_MAX`] at most. Capitals would make ids that look alike differ.
pub fn is_id(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    text.len() <= ID_OCTETS_MAX
        && text.bytes().next().is_some_and(is_plain)
        && text.bytes().all(|octet| is_plain(octet) || matches!(octet, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_slugs() {
        for good in ["a", "billing", "4", "billing-eu.west_1", &"a".repeat(ID_OCTETS_MAX)] {
            assert!(is_id(good), "{good}");
        }
        let long = "a".repeat(ID_OCTETS_MAX + 1);
        for bad in ["", "-a", ".a", "_a", "Billing", "a b", "a\n", "ä", "a/b", "a:b", &long] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
