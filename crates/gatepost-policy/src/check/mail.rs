//! The checks at MAIL.

use gatepost_smtp::{path::ReversePath, reply::Reply};

use super::{
    Check, Refusal, Spend, dates, is_refused_at_once, judge_both, not_allowed, quoted, refused,
    too_fast, too_large,
};
use crate::{
    credential::Credential,
    date::Moment,
    entry::{Authentication, Entry, RequiredTls},
    generation::Generation,
};

/// Something that has to be known and is not: a fault of whoever asks. Nothing is let in by it.
const NOT_KNOWN: Reply =
    Reply::fixed(451, (4, 3, 0), "cannot decide about this message, try again");

/// What is known of a session and its message when it says MAIL.
///
/// A session knows all of it, but for the size, which a client need not declare. `explain` may know
/// less; what is not known is refused, and `explain` does not ask for it.
#[derive(Clone, Copy, Debug)]
pub struct MailFacts<'a> {
    /// What time it is.
    pub now: Moment,
    /// The ruleset that the entry was found in.
    pub generation: Generation,
    /// How the session is protected.
    pub tls: Option<SessionTls>,
    /// Names in the certificate that the client has shown; empty if it has shown none.
    pub certificate: Option<&'a [&'a str]>,
    /// Whether the client has authenticated, and as what.
    pub login: Option<Login<'a>>,
    /// What the client calls itself.
    pub helo: Option<&'a [u8]>,
    /// The reverse-path.
    pub sender: Option<ReversePath<'a>>,
    /// Octets that MAIL declares (RFC 1870).
    pub size: Option<u64>,
}

/// What has come of AUTH in a session.
#[derive(Clone, Copy, Debug)]
pub enum Login<'a> {
    /// The client has used a credential. If that is not what has let it in, its terms hold beside
    /// those of the entry that has.
    As(&'a Credential),
    /// Nothing: the client has not authenticated.
    None,
}

impl<'a> Login<'a> {
    /// The name that was used.
    pub fn username(self) -> Option<&'a str> {
        match self {
            Self::As(credential) => Some(credential.username()),
            Self::None => None,
        }
    }
}

/// How a session is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTls {
    /// It is not.
    Plain,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl<'a> MailFacts<'a> {
    /// The terms that hold beside those of an entry: of a credential that was used beside it.
    pub fn beside(&self, entry: &Entry) -> Option<&'a Entry> {
        match self.login {
            Some(Login::As(credential)) => credential.beside(entry),
            Some(Login::None) | None => None,
        }
    }

    /// Whether what a check looks at is known.
    pub const fn knows(&self, check: Check) -> bool {
        match check {
            Check::Tls => self.tls.is_some(),
            Check::Certificate => self.certificate.is_some(),
            Check::Authentication => self.login.is_some(),
            Check::Helo => self.helo.is_some(),
            Check::Sender => self.sender.is_some(),
            Check::Size => self.size.is_some(),
            _ => true,
        }
    }
}

/// Decides about MAIL. What it accepts is counted. Where a credential is used beside the entry, both
/// must allow it, check by check.
pub fn mail(entry: &Entry, facts: &MailFacts<'_>) -> Result<(), Refusal> {
    let beside = facts.beside(entry);
    Check::AT_MAIL.into_iter().try_for_each(|check| {
        judge_both(entry, beside, |entry, spend| judge(check, entry, facts, spend))
    })
}

/// One check at MAIL.
pub(crate) fn judge(
    check: Check,
    entry: &Entry,
    facts: &MailFacts<'_>,
    spend: Spend,
) -> Result<(), Refusal> {
    let judged = match check {
        Check::Dates => valid_now(entry, facts.now),
        Check::Tls => tls(entry, facts.tls),
        Check::Certificate => certificate(entry, facts),
        Check::Authentication => authentication(entry, facts.login),
        Check::Helo => helo(entry, facts),
        Check::Sender => sender(entry, facts),
        Check::Size => size(entry, facts.size),
        Check::MessageRate => message_rate(entry, facts.now, spend),
        _ => Err(NOT_KNOWN),
    };
    judged.map_err(|reply| check.refuses(reply))
}

fn valid_now(entry: &Entry, now: Moment) -> Result<(), Reply> {
    dates(entry, now).map_err(|text| {
        if is_refused_at_once(entry, now) {
            refused(text)
        } else {
            Reply::new(450, (4, 7, 1), text)
        }
    })
}

fn tls(entry: &Entry, session: Option<SessionTls>) -> Result<(), Reply> {
    let needs = match (entry.terms().tls, session) {
        (RequiredTls::Optional, _)
        | (RequiredTls::Required, Some(SessionTls::Tls12 | SessionTls::Tls13))
        | (RequiredTls::Required13, Some(SessionTls::Tls13)) => return Ok(()),
        (_, None) => return Err(NOT_KNOWN),
        (RequiredTls::Required, Some(_)) => "TLS",
        (RequiredTls::Required13, Some(_)) => "TLS 1.3",
    };
    Err(Reply::new(530, (5, 7, 0), format!("entry {} must use {needs}", entry.id())))
}

fn certificate(entry: &Entry, facts: &MailFacts<'_>) -> Result<(), Reply> {
    let Some(patterns) = &entry.terms().client_certificate else { return Ok(()) };
    let names = facts.certificate.ok_or(NOT_KNOWN)?;
    if names.iter().any(|name| patterns.iter().any(|p| p.matches_name(name.as_bytes()))) {
        return Ok(());
    }
    let (id, generation) = (entry.id(), facts.generation);
    if names.is_empty() {
        let text = format!("entry {id} must use TLS with a client certificate");
        return Err(Reply::new(530, (5, 7, 0), text));
    }
    let text =
        format!("no name in the certificate is allowed for entry {id} (generation {generation})");
    Err(Reply::new(550, (5, 7, 1), text))
}

fn authentication(entry: &Entry, login: Option<Login<'_>>) -> Result<(), Reply> {
    match (entry.terms().authentication, login) {
        (Authentication::Bypass, _) | (Authentication::Required, Some(Login::As(_))) => Ok(()),
        (Authentication::Required, None) => Err(NOT_KNOWN),
        (Authentication::Required, Some(Login::None)) => {
            let text = format!("entry {} must authenticate: send AUTH", entry.id());
            Err(Reply::new(530, (5, 7, 0), text))
        }
    }
}

fn helo(entry: &Entry, facts: &MailFacts<'_>) -> Result<(), Reply> {
    let Some(patterns) = &entry.terms().helo else { return Ok(()) };
    let name = facts.helo.ok_or(NOT_KNOWN)?;
    if patterns.iter().any(|pattern| pattern.matches_name(name)) {
        return Ok(());
    }
    let (name, id, generation) = (quoted(name), entry.id(), facts.generation);
    let text =
        format!("{name} is not an allowed HELO name of entry {id} (generation {generation})");
    Err(Reply::new(550, (5, 7, 1), text))
}

fn sender(entry: &Entry, facts: &MailFacts<'_>) -> Result<(), Reply> {
    let path = facts.sender.ok_or(NOT_KNOWN)?;
    if entry.senders().iter().any(|pattern| pattern.matches(&path)) {
        return Ok(());
    }
    Err(not_allowed(path.as_bytes(), "sender", entry, facts.generation))
}

fn size(entry: &Entry, declared: Option<u64>) -> Result<(), Reply> {
    match declared {
        Some(octets) if octets > entry.terms().max_message_size => Err(too_large(entry)),
        _ => Ok(()),
    }
}

fn message_rate(entry: &Entry, now: Moment, spend: Spend) -> Result<(), Reply> {
    let Some(rate) = entry.terms().message_rate else { return Ok(()) };
    let judged = spend.one_of(&entry.state().messages, rate, now.uptime);
    judged.map_err(|wait| too_fast(entry, "messages", rate, wait))
}
