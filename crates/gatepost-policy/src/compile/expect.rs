//! One `[[expect]]`: a question, and the answer that the policy must give to it.
//!
//! Whether it gives that answer is not looked at here, only whether it can go on doing so: an
//! expectation about now, of a client whose entry has dates, will be broken by nothing but time.

use std::{net::IpAddr, slice};

use gatepost_smtp::{
    command::{self, Command, Greeting},
    path::{ForwardPath, PathError, ReversePath, ReversePathBuf},
};
use toml::Spanned;

use super::{
    parts::{PlacedExpectation, Tables},
    values::{Subject, Values},
};
use crate::{
    check::SessionTls,
    choice::{self, Choices},
    entry::{Expiry, Terms},
    expectation::{Answer, Expectation, distinct},
    file::{ExpectFile, OneOrMore, Text, WordOrSwitch},
    listener::{ListenerId, View},
    network::client_address,
    report::{Place, Report},
};

const RESULTS: Choices<Answer> = &[
    ("accept", Some(Answer::Accept)),
    ("reject", Some(Answer::Reject)),
    ("defer", Some(Answer::Defer)),
];
const TLS: Choices<SessionTls> = &[
    ("none", Some(SessionTls::Plain)),
    ("1.2", Some(SessionTls::Tls12)),
    ("1.3", Some(SessionTls::Tls13)),
];

const SENDER_FORM: &str = "write user@example.com, or <> for the null sender";
const RECIPIENT_FORM: &str = "write user@example.com";

/// Compiles an expectation; `None` if something is wrong with it. That its entry exists is seen to
/// when all of them are known.
pub(super) fn expectation(
    values: &mut Values<'_>,
    mirror: Spanned<ExpectFile>,
) -> Option<PlacedExpectation> {
    let at = values.offset(&mirror);
    let file = mirror.into_inner();
    let subject = Subject { table: "expect", id: None, is_enabled: true, at };
    let errors_before = values.report.errors();
    let (client, answer) = (client(values, subject, file.ip), answer(values, subject, file.result));
    if let (Some(rcpt), None) = (&file.rcpt, &file.from) {
        // No session gets to RCPT without MAIL: what is expected of it would never be looked at.
        let message =
            "rcpt is not looked at without from; give from too, \"<>\" for the null sender";
        values.error(rcpt, subject, message);
    }
    if let (Some(upstream), Some(Answer::Defer | Answer::Reject)) = (&file.upstream, answer) {
        let message = "upstream means nothing unless the result is \"accept\"; leave it out";
        values.error(upstream, subject, message);
    }
    let entry_at = file.entry.as_ref().map_or(at, |entry| values.offset(entry));
    let listener = file.service.map(|written| listener(values, subject, &written));
    let tls = tls(values, subject, file.tls);
    let helo = helo(values, subject, file.helo);
    let sender = sender(values, subject, file.from);
    let recipients = recipients(values, subject, file.rcpt);
    let moment = values.date(subject, "at", file.at);
    let upstream = values.upstream(subject, file.upstream);
    if values.report.errors() > errors_before {
        return None;
    }
    let expectation = Expectation {
        client: client?,
        // One that is wrong has been reported, and is not left out instead.
        listener: listener.flatten(),
        tls,
        helo,
        sender,
        recipients,
        at: moment,
        answer: answer?,
        entry: file.entry.map(Spanned::into_inner),
        upstream,
    };
    Some(PlacedExpectation { expectation, at, entry_at })
}

/// Warns of expectations that name no time, of clients whose entry is not valid at all times: without
/// an edit, a reload or a restart will fail one day.
pub(crate) fn warn_of_dates(tables: &Tables, views: &[View], report: &mut Report) {
    let all = distinct(views);
    for PlacedExpectation { expectation, at, .. } in &tables.expectations {
        if expectation.at.is_some() {
            continue;
        }
        let client = client_address(expectation.client);
        let listeners = expectation.listener.as_ref().map_or(&*all, slice::from_ref);
        let dated = listeners.iter().find_map(|listener| {
            let index = views.get(listener.index())?.table.longest_match(client)?;
            let entry = &tables.entries.get(index as usize)?.entry;
            Some((entry.id(), dated(entry.terms())?))
        });
        let Some((id, dated)) = dated else { continue };
        let why = match (dated, expectation.answer) {
            (Dated::Expires, Answer::Accept) => {
                format!("once entry {id} has expired it will not hold")
            }
            _ => format!("whether it holds depends on the dates of entry {id}"),
        };
        let message = format_args!("{expectation}: give it at = …; {why}");
        report.warn(Place::At(*at), "expect", message);
    }
}

/// How dates end what an entry says.
#[derive(Clone, Copy)]
enum Dated {
    Begins,
    Expires,
}

/// Which dates of an entry make a difference. One that only warns when it has expired goes on as
/// before.
fn dated(terms: &Terms) -> Option<Dated> {
    match (&terms.not_before, &terms.expires) {
        (_, Some(_)) if terms.expiry != Expiry::Warn => Some(Dated::Expires),
        (Some(_), _) => Some(Dated::Begins),
        _ => None,
    }
}

/// The address of the client, as it is, or as a socket shows it: an IPv4-mapped one is known by its
/// IPv4 address here as everywhere.
fn client(values: &mut Values<'_>, subject: Subject<'_>, written: Text) -> Option<IpAddr> {
    let Some(written) = written else {
        let message = "ip is missing; give the address of a client";
        values.report.error(Place::At(subject.at), subject, message);
        return None;
    };
    let address = written.get_ref().parse().ok();
    if address.is_none() {
        let message = format_args!(
            "ip {:?} is not the address of one client; write it like 10.20.1.1 or 2001:db8:20::1",
            written.get_ref(),
        );
        values.error(&written, subject, message);
    }
    address
}

fn answer(values: &mut Values<'_>, subject: Subject<'_>, written: Text) -> Option<Answer> {
    if written.is_none() {
        let message = "result is missing; write \"accept\", \"reject\" or \"defer\"";
        values.report.error(Place::At(subject.at), subject, message);
    }
    values.choice(subject, "result", written, RESULTS)
}

/// The listener that is named.
fn listener(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    written: &Spanned<Box<str>>,
) -> Option<ListenerId> {
    let site = values.site;
    let index = site.listeners.iter().position(|name| **name == **written.get_ref());
    if index.is_none() {
        let message = format_args!(
            "service {:?} is not a listener; known are {}",
            written.get_ref(),
            site.listeners.join(", "),
        );
        values.error(written, subject, message);
    }
    index.map(ListenerId::new)
}

/// What `--tls` of `explain` means; `true` is any TLS that can be required.
fn tls(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    written: Option<Spanned<WordOrSwitch>>,
) -> Option<SessionTls> {
    let written = written?;
    match written.get_ref() {
        WordOrSwitch::Switch(true) => Some(SessionTls::Tls13),
        WordOrSwitch::Switch(false) => Some(SessionTls::Plain),
        WordOrSwitch::Word(word) => {
            let told = |error| values.error(&written, subject, format_args!("tls {error}"));
            choice::choose(word, TLS).map_err(told).ok()
        }
    }
}

/// What a session would take as well.
fn helo(values: &mut Values<'_>, subject: Subject<'_>, written: Text) -> Option<Box<str>> {
    let written = written?;
    let name = &**written.get_ref();
    let line = format!("EHLO {name}");
    let parsed = command::parse(line.as_bytes(), Greeting::Ehlo);
    if !matches!(parsed, Ok(Command::Hello(_, taken)) if taken == name) {
        let message =
            format_args!("helo {name:?} is not a name of 1 to 255 printable ASCII characters");
        values.error(&written, subject, message);
    }
    Some(written.into_inner())
}

fn sender(values: &mut Values<'_>, subject: Subject<'_>, written: Text) -> Option<ReversePathBuf> {
    let written = written?;
    let path = bracketed(written.get_ref());
    let read = match ReversePath::split_from(path.as_bytes()) {
        // Nothing at all is more often a mistake than the null sender.
        Ok((path, b"")) if !written.get_ref().is_empty() => return Some(path.into()),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    not_a_path(values, subject, "from", &written, (read, SENDER_FORM));
    None
}

/// The forward-paths in their brackets. What is wrong is reported, and stays.
fn recipients(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    written: Option<Spanned<OneOrMore>>,
) -> Box<[Box<str>]> {
    let Some(written) = written else { return Box::default() };
    let (span, list) = (written.span(), written.into_inner());
    let list = match list {
        OneOrMore::One(path) => vec![Spanned::new(span, path)],
        OneOrMore::More(list) if list.is_empty() => {
            let message = "rcpt is empty; name a recipient, or leave it out";
            values.error(&Spanned::new(span, ()), subject, message);
            list
        }
        OneOrMore::More(list) => list,
    };
    let mut paths = Vec::with_capacity(list.len());
    for written in &list {
        let path = bracketed(written.get_ref());
        match ForwardPath::split_from(path.as_bytes()) {
            Ok((_, b"")) => {}
            Ok(_) => not_a_path(values, subject, "rcpt", written, (None, RECIPIENT_FORM)),
            Err(error) => {
                not_a_path(values, subject, "rcpt", written, (Some(error), RECIPIENT_FORM));
            }
        }
        paths.push(path);
    }
    paths.into()
}

/// A path in its brackets, which may be left out in a policy.
fn bracketed(text: &str) -> Box<str> {
    if text.starts_with('<') { text.into() } else { format!("<{text}>").into() }
}

fn not_a_path(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    key: &str,
    written: &Spanned<Box<str>>,
    (error, form): (Option<PathError>, &str),
) {
    let why = error.map(|error| format!("{error}; ")).unwrap_or_default();
    values.error(written, subject, format_args!("{key} {:?}: {why}{form}", written.get_ref()));
}

#[cfg(test)]
mod tests;
