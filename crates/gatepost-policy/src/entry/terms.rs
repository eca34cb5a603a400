//! What the clients of an entry may do, as the words of a policy file say it.

use std::sync::Arc;

use crate::date::{Date, Moment};
use crate::pattern::Pattern;
use crate::rate::Rate;
use crate::site::UpstreamId;

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
