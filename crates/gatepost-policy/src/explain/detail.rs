//! What was seen at a check that accepts, in words.

use std::fmt::{self, Write as _};

use gatepost_smtp::path::{Mailbox, ReversePath};

use crate::{
    check::{Check, Login, MailFacts, RcptFacts, SessionTls},
    entry::{Entry, HeaderFrom, RequiredTls, Standing},
    pattern::Pattern,
    rate::Rate,
    route::{Routes, Way},
    units::ByteSize,
};

/// The id, and what helps a human to recognise the entry.
pub(super) fn summary(entry: &Entry) -> String {
    let description = entry.description().map(|text| format!(": {text}"));
    let owner = entry.owner().map(|text| format!(" (owner {text})"));
    [Some(entry.id().to_string()), description, owner].into_iter().flatten().collect()
}

pub(super) fn connections(entry: &Entry, open: u32) -> String {
    match (entry.terms().max_connections, open) {
        (None, _) => "no limit".to_owned(),
        (Some(most), 0) => format!("at most {most}"),
        (Some(most), open) => format!("{open} of {most} are open"),
    }
}

pub(super) fn mail(check: Check, entry: &Entry, facts: &MailFacts<'_>) -> String {
    let terms = entry.terms();
    match check {
        Check::Dates => dates(entry, facts),
        Check::Tls => {
            let session = facts.tls.map_or("unknown", session_tls);
            match terms.tls {
                RequiredTls::Optional => format!("{session}; none is required"),
                required => format!("{session}; {} here", required.name()),
            }
        }
        Check::Certificate => match &terms.client_certificate {
            None => "none is required".to_owned(),
            Some(patterns) => format!("a name matches one of {}", list(patterns)),
        },
        Check::Authentication => match facts.login {
            Some(Login::As(credential)) => {
                format!("{} is credential {}", credential.username(), credential.id())
            }
            Some(Login::None) | None => "none is required".to_owned(),
        },
        Check::Helo => {
            let name = String::from_utf8_lossy(facts.helo.unwrap_or_default());
            match &terms.helo {
                None => format!("{name}: any name is allowed"),
                Some(patterns) => {
                    let matches = |p: &&Pattern| p.matches_name(facts.helo.unwrap_or_default());
                    format!("{name} matches {}", patterns.iter().find(matches).shown())
                }
            }
        }
        Check::Sender => {
            let Some(path) = facts.sender else { return String::new() };
            let pattern = entry.senders().iter().find(|pattern| pattern.matches(&path));
            format!("{} matches {}", bracketed(path.as_bytes()), pattern.shown())
        }
        Check::Size => {
            let limit = ByteSize::new(terms.max_message_size);
            format!("{} octets; the limit is {limit}", facts.size.unwrap_or_default())
        }
        _ => rate(terms.message_rate),
    }
}

fn dates(entry: &Entry, facts: &MailFacts<'_>) -> String {
    let terms = entry.terms();
    match (&terms.not_before, &terms.expires) {
        (_, Some(until)) if terms.standing(facts.now) == Standing::Expired => {
            format!("expired at {until}; accepted with a warning")
        }
        (_, Some(until)) => format!("valid until {until}"),
        (Some(from), None) => format!("valid since {from}"),
        (None, None) => "always valid".to_owned(),
    }
}

pub(super) fn rcpt(
    check: Check,
    entry: &Entry,
    (routes, way): (&Routes, Option<Way>),
    asked: &RcptFacts<'_>,
) -> String {
    let shown = bracketed(asked.recipient.as_bytes());
    if check == Check::Recipient {
        let Some(patterns) = &entry.terms().recipients else {
            return format!("{shown}: any recipient is allowed");
        };
        let pattern = patterns.iter().find(|p| p.matches_recipient(&asked.recipient));
        return format!("{shown} matches {}", pattern.shown());
    }
    match way.and_then(|way| routes.route(way)) {
        Some(route) => format!("{shown} takes route {}", route.id()),
        None => format!("{shown}: no route matches"),
    }
}

/// Where a message goes, and who says so.
pub(super) fn way(
    entry: &Entry,
    (routes, way): (&Routes, Way),
    upstream: &str,
    sender: &ReversePath<'_>,
) -> String {
    let by = if entry.terms().upstream.is_some() {
        "by the entry"
    } else if routes.route(way).is_some_and(|route| route.upstream.is_some()) {
        "by the route"
    } else {
        "the default"
    };
    let mut detail = format!("{upstream} ({by}), mode {}", way.mode.name());
    if let Some(path) = routes.reverse_path(way, sender) {
        // Writing to a String cannot fail.
        let _ = write!(detail, ", MAIL FROM becomes {}", bracketed(&path));
    }
    detail
}

/// What would have been accepted where a pattern decides.
pub(super) fn allowed(check: Check, entry: &Entry) -> Option<String> {
    let terms = entry.terms();
    match check {
        Check::Certificate => terms.client_certificate.as_deref().map(list),
        Check::Helo => terms.helo.as_deref().map(list),
        Check::Recipient => terms.recipients.as_deref().map(list),
        Check::Sender | Check::HeaderFrom => Some(list(entry.senders())),
        _ => None,
    }
}

pub(super) fn header_from(entry: &Entry, mailbox: &Mailbox<'_>) -> String {
    let shown = bracketed(mailbox.as_bytes());
    if entry.terms().header_from == HeaderFrom::Off {
        return format!("{shown}: the From field is not looked at");
    }
    let pattern = entry.senders().iter().find(|pattern| pattern.matches_mailbox(mailbox));
    format!("{shown} matches {}", pattern.shown())
}

fn rate(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "no limit".to_owned(), |rate| format!("within {rate}"))
}

const fn session_tls(tls: SessionTls) -> &'static str {
    match tls {
        SessionTls::Plain => "plain text",
        SessionTls::Tls12 => "TLS 1.2",
        SessionTls::Tls13 => "TLS 1.3",
    }
}

/// A path as it is sent.
fn bracketed(octets: &[u8]) -> String {
    format!("<{}>", String::from_utf8_lossy(octets))
}

/// `[a, b]`, shortened after a few.
fn list(items: &[impl fmt::Display]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut shown: Vec<_> = items.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if items.len() > SHOWN_MAX {
        shown.push(format!("and {} more", items.len() - SHOWN_MAX));
    }
    format!("[{}]", shown.join(", "))
}

trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Option<&Pattern> {
    fn shown(&self) -> String {
        self.map(ToString::to_string).unwrap_or_default()
    }
}
