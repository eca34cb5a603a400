//! What a simulator has seen: totals, refusals by rule, and what clients did that they must not do.
//!
//! This is the judge's notebook. A refusal is part of a provider's life; a violation is a fault of
//! the client, and a correct client has none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limit::Limit;

/// Violations that are kept with their details; the rest is only counted.
const VIOLATIONS_KEPT: usize = 100;

/// Octets of a client's line that a violation shows.
const DETAIL_OCTETS: usize = 120;

/// What a simulator has seen since it was started.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Connections accepted.
    pub connections: u64,
    /// Those of them that are open now.
    pub connections_open: u64,
    /// The most of them that were open at the same time.
    pub connections_at_once: u64,
    /// Connections that ended without QUIT and without a reply that closes.
    pub lost_connections: u64,
    /// TLS handshakes that were finished.
    pub tls_handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub tls_resumed: u64,
    /// TLS handshakes that failed.
    pub tls_failed: u64,
    /// AUTH commands that were accepted.
    pub logins: u64,
    /// Bearer tokens that were handed out.
    pub tokens: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Recipients of those messages.
    pub recipients: u64,
    /// Octets of those messages, as on the wire, without the final dot.
    pub octets: u64,
    /// The most messages that one connection has brought.
    pub messages_on_one_connection: u64,
    /// How often a rule has refused something.
    pub refusals: BTreeMap<Rule, u64>,
    /// How often clients did what they must not do.
    pub violation_count: u64,
    /// What it was: the first hundred.
    pub violations: Vec<Violation>,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// AUTH is needed, and there was none.
    AuthenticationRequired,
    /// The client's address is not on the list.
    Address,
    /// Wrong user name, password or token.
    Credentials,
    /// A limit of connections at the same time.
    Connections,
    /// A name in EHLO that the provider does not take.
    Hello,
    /// The connection was idle for too long.
    Idle,
    /// The mechanism is not offered to anybody.
    Mechanism,
    /// A limit of octets of a message.
    MessageOctets,
    /// A limit of messages on a connection.
    MessagesPerConnection,
    /// A limit of messages in a time; those that were merely delayed count, too.
    MessageRate,
    /// The null reverse-path.
    NullReversePath,
    /// A limit of recipients of a message.
    RecipientsPerMessage,
    /// A limit of recipients in a time.
    RecipientRate,
    /// The client belongs to nobody, or not to the sender's domain.
    Relay,
    /// A sender that the client may not use.
    Sender,
    /// The connection has lasted too long.
    SessionAge,
    /// Not a command, or not in this state.
    Syntax,
    /// TLS is needed, and there was none.
    Tls,
}

impl From<Limit> for Rule {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Connections => Self::Connections,
            Limit::MessageOctets => Self::MessageOctets,
            Limit::MessagesPerConnection => Self::MessagesPerConnection,
            Limit::MessagesPerMinute => Self::MessageRate,
            Limit::RecipientsPerMessage => Self::RecipientsPerMessage,
            Limit::RecipientsPerDay
            | Limit::RecipientsPerHour
            | Limit::RecipientsPerSecond
            | Limit::RecipientsPerTenMinutes => Self::RecipientRate,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::AuthenticationRequired => "authentication-required",
            Self::Address => "address",
            Self::Credentials => "credentials",
            Self::Connections => "connections",
            Self::Hello => "hello",
            Self::Idle => "idle",
            Self::Mechanism => "mechanism",
            Self::MessageOctets => "message-octets",
            Self::MessagesPerConnection => "messages-per-connection",
            Self::MessageRate => "message-rate",
            Self::NullReversePath => "null-reverse-path",
            Self::RecipientsPerMessage => "recipients-per-message",
            Self::RecipientRate => "recipient-rate",
            Self::Relay => "relay",
            Self::Sender => "sender",
            Self::SessionAge => "session-age",
            Self::Syntax => "syntax",
            Self::Tls => "tls",
        })
    }
}

/// Something that a client must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub kind: ViolationKind,
    /// The connection, counted from 1.
    pub session: u64,
    /// The client's words, shortened and escaped; never what it says in AUTH.
    pub detail: String,
}

/// What a client must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// A CR without LF in content.
    BareCr,
    /// An LF without CR in content.
    BareLf,
    /// A password or a token on a connection without TLS.
    CredentialsInClear,
    /// Octets before the greeting.
    EarlyTalk,
    /// A parameter or a command that needs an extension which is not offered.
    ExtensionNotOffered,
    /// A line longer than the protocol has it.
    LineTooLong,
    /// Not a command, or not with these arguments.
    Malformed,
    /// MAIL or AUTH behind STARTTLS without a new EHLO (RFC 3207 §4.2).
    NoHelloAfterTls,
    /// A NUL in content.
    Nul,
    /// A command that has no place in this state.
    OutOfSequence,
    /// Something sent behind a command without waiting for its reply, where PIPELINING is not
    /// offered or the command must be the last of a group (RFC 2920 §3.1).
    Pipelined,
    /// Something sent in clear behind STARTTLS.
    PipelinedBehindStarttls,
    /// More messages on a connection than the provider allows.
    TooManyMessages,
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::BareCr => "bare CR in content",
            Self::BareLf => "bare LF in content",
            Self::CredentialsInClear => "credentials without TLS",
            Self::EarlyTalk => "talk before the greeting",
            Self::ExtensionNotOffered => "use of an extension that is not offered",
            Self::LineTooLong => "line too long",
            Self::Malformed => "malformed command",
            Self::NoHelloAfterTls => "no EHLO after STARTTLS",
            Self::Nul => "NUL in content",
            Self::OutOfSequence => "command out of sequence",
            Self::Pipelined => "did not wait for a reply",
            Self::PipelinedBehindStarttls => "talk in clear behind STARTTLS",
            Self::TooManyMessages => "too many messages on a connection",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "connection {}: {}", self.session, self.kind)?;
        if self.detail.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.detail) }
    }
}

impl Record {
    /// How often a rule has refused something.
    pub fn refused(&self, rule: Rule) -> u64 {
        self.refusals.get(&rule).copied().unwrap_or(0)
    }
}

impl fmt::Display for Record {
    /// The totals in one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} messages, {} recipients, {} octets, {} connections ({} at once), {} with TLS ({} \
             resumed), {} logins, ",
            self.messages,
            self.recipients,
            self.octets,
            self.connections,
            self.connections_at_once,
            self.tls_handshakes,
            self.tls_resumed,
            self.logins,
        )?;
        let refused: u64 = self.refusals.values().sum();
        write!(formatter, "{refused} refused")?;
        for (position, (rule, count)) in self.refusals.iter().enumerate() {
            write!(formatter, "{}{count} {rule}", if position == 0 { " (" } else { ", " })?;
        }
        let end = if self.refusals.is_empty() { "" } else { ")" };
        write!(formatter, "{end}, {} violations", self.violation_count)
    }
}

/// The record while it is written: one lock, held for a few additions.
#[derive(Debug, Default)]
pub(super) struct Notebook(Mutex<Record>);

impl Notebook {
    pub(super) fn snapshot(&self) -> Record {
        self.open().clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.open());
    }

    pub(super) fn refuse(&self, rule: Rule) {
        *self.open().refusals.entry(rule).or_default() += 1;
    }

    /// Notes a violation, with as much of the client's words as fits.
    pub(super) fn violate(&self, kind: ViolationKind, session: u64, words: &[u8]) {
        let shown = &words[..words.len().min(DETAIL_OCTETS)];
        let detail = shown.escape_ascii().to_string();
        let mut record = self.open();
        record.violation_count += 1;
        if record.violations.len() < VIOLATIONS_KEPT {
            record.violations.push(Violation { kind, session, detail });
        }
    }

    fn open(&self) -> MutexGuard<'_, Record> {
        // Poisoned only by a panic in one of the additions, and those do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_one_line() {
        let notebook = Notebook::default();
        assert!(notebook.snapshot().to_string().ends_with("0 refused, 0 violations"));
        notebook.refuse(Rule::Relay);
        notebook.refuse(Rule::Relay);
        notebook.refuse(Rule::Address);
        notebook.violate(ViolationKind::Malformed, 3, b"X\r\n");
        let record = notebook.snapshot();
        assert!(record.to_string().ends_with("3 refused (1 address, 2 relay), 1 violations"));
        assert_eq!(record.violations[0].to_string(), "connection 3: malformed command: X\\r\\n");
        assert_eq!(record.refused(Rule::Relay), 2);
    }

    #[test]
    fn the_notebook_is_bounded() {
        let notebook = Notebook::default();
        for _ in 0..1000 {
            notebook.violate(ViolationKind::Malformed, 1, &[b'x'; 10_000]);
        }
        let record = notebook.snapshot();
        assert_eq!(record.violation_count, 1000);
        assert_eq!(record.violations.len(), VIOLATIONS_KEPT);
        assert_eq!(record.violations[0].detail.len(), DETAIL_OCTETS);
    }
}
