//! What the clients of an entry may do: the keys that are not about who they are.

use toml::Spanned;

use super::values::{Meant, Subject, Values};
use crate::{
    choice::Choices,
    entry::{Authentication, BareNewlines, Expiry, HeaderFrom, MissingHeaders, RequiredTls, Terms},
    file::{EntryFile, Strings, Text},
    report::Place,
    units::ByteSize,
};

const HEADER_FROM: Choices<HeaderFrom> =
    &[("off", Some(HeaderFrom::Off)), ("allowed", Some(HeaderFrom::Allowed))];
const TLS: Choices<RequiredTls> = &[
    ("optional", Some(RequiredTls::Optional)),
    ("required", Some(RequiredTls::Required)),
    ("required-1.3", Some(RequiredTls::Required13)),
];
const AUTHENTICATION: Choices<Authentication> =
    &[("bypass", Some(Authentication::Bypass)), ("required", Some(Authentication::Required))];
const BARE_NEWLINES: Choices<BareNewlines> =
    &[("reject", Some(BareNewlines::Reject)), ("normalize", Some(BareNewlines::Normalize))];
const EXPIRY: Choices<Expiry> = &[
    ("reject", Some(Expiry::Reject)),
    ("defer", Some(Expiry::Defer)),
    ("warn", Some(Expiry::Warn)),
];

const NO_LIMIT: &str = "leave it out for no limit";
const OF_THE_GATEWAY: &str = "leave it out for the limit of the gateway";

/// The keys that a deny entry has no use for.
pub(super) fn of_denied(values: &mut Values<'_>, subject: Subject<'_>, file: &EntryFile) {
    for (key, written) in [("not_before", &file.not_before), ("expires", &file.expires)] {
        if let Some(written) = written {
            let message = format_args!(
                "{key} on a deny entry could open what it blocks; take the date out, and the entry \
                 itself when it is not needed any more"
            );
            values.error(written, subject, message);
        }
    }
    let list = |list: &Option<Strings>| list.as_ref().map(|Strings(list)| values.place(list));
    let text = |text: &Text| text.as_ref().map(|text| values.place(text));
    let number = |number: &Option<Spanned<u32>>| number.as_ref().map(|n| values.place(n));
    let useless = [
        ("senders", list(&file.senders)),
        ("recipients", list(&file.recipients)),
        ("helo", list(&file.helo)),
        ("header_from", text(&file.header_from)),
        ("tls", text(&file.tls)),
        ("client_certificate", list(&file.client_certificate)),
        ("authentication", text(&file.authentication)),
        ("upstream", text(&file.upstream)),
        ("mode", text(&file.mode)),
        ("max_message_size", text(&file.max_message_size)),
        ("max_recipients", number(&file.max_recipients)),
        ("max_connections", number(&file.max_connections)),
        ("message_rate", text(&file.message_rate)),
        ("recipient_rate", text(&file.recipient_rate)),
        ("duplicate_rate", text(&file.duplicate_rate)),
        ("bare_newlines", text(&file.bare_newlines)),
        ("add_missing_headers", list(&file.add_missing_headers)),
        ("expiry", text(&file.expiry)),
        ("acknowledge", file.acknowledge.as_ref().map(|_| Place::At(subject.at))),
    ];
    for (key, place) in useless.into_iter().filter_map(|(key, place)| Some((key, place?))) {
        let message = format_args!("{key} means nothing on a deny entry; leave it out");
        values.report.warn(place, subject, message);
    }
}

/// The terms of an allow entry. What is wrong is reported, and has its default.
pub(super) fn of_allowed(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    file: &mut EntryFile,
) -> Terms {
    let mut terms = values.terms();
    let written = file.authentication.take();
    let authentication = values.choice(subject, "authentication", written, AUTHENTICATION);
    terms.authentication = authentication.unwrap_or_default();
    who_and_how(values, subject, file, &mut terms);
    limits(values, subject, file, &mut terms);
    dates(values, subject, file, &mut terms);
    terms.upstream = values.upstream(subject, file.upstream.take());
    terms.mode = values.mode(subject, file.mode.take());
    let newlines =
        values.choice(subject, "bare_newlines", file.bare_newlines.take(), BARE_NEWLINES);
    terms.bare_newlines = newlines.unwrap_or_default();
    terms.add_missing_headers = missing_headers(values, subject, file.add_missing_headers.take());
    terms
}

fn who_and_how(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    file: &mut EntryFile,
    terms: &mut Terms,
) {
    let recipients = file.recipients.take();
    terms.recipients =
        values.optional_patterns(subject, "recipient", recipients, Meant::Recipients);
    terms.helo = values.optional_patterns(subject, "helo", file.helo.take(), Meant::Names);
    let from = values.choice(subject, "header_from", file.header_from.take(), HEADER_FROM);
    terms.header_from = from.unwrap_or_default();
    terms.tls = values.choice(subject, "tls", file.tls.take(), TLS).unwrap_or_default();
    if let Some(Strings(list)) = file.client_certificate.take() {
        if list.get_ref().is_empty() {
            let message = "client_certificate is empty; name what must be in the certificate, or leave it out";
            values.error(&list, subject, message);
        }
        let list = list.into_inner();
        let names = values.patterns(subject, "client_certificate", &list, Meant::Names);
        terms.client_certificate = names.map(Into::into);
    }
}

fn limits(values: &mut Values<'_>, subject: Subject<'_>, file: &mut EntryFile, terms: &mut Terms) {
    let written = file.max_message_size.take();
    if let Some(size) = values.parsed::<ByteSize>(subject, "max_message_size", written.as_ref()) {
        if let Some(written) = written.filter(|_| size.octets() == 0) {
            let message = format_args!("max_message_size must not be zero; {OF_THE_GATEWAY}");
            values.error(&written, subject, message);
        }
        terms.max_message_size = size.octets();
    }
    let recipients = file.max_recipients.take();
    if let Some(most) = values.positive(subject, "max_recipients", recipients, OF_THE_GATEWAY) {
        terms.max_recipients = most;
        terms.tells_max_recipients = true;
    }
    let connections = file.max_connections.take();
    terms.max_connections = values.positive(subject, "max_connections", connections, NO_LIMIT);
    terms.message_rate = values.parsed(subject, "message_rate", file.message_rate.as_ref());
    terms.recipient_rate = values.parsed(subject, "recipient_rate", file.recipient_rate.as_ref());
    terms.duplicate_rate = values.parsed(subject, "duplicate_rate", file.duplicate_rate.as_ref());
}

fn dates(values: &mut Values<'_>, subject: Subject<'_>, file: &mut EntryFile, terms: &mut Terms) {
    terms.not_before = values.date(subject, "not_before", file.not_before.take());
    let expires = file.expires.take();
    let place = expires.as_ref().map(|expires| values.place(expires));
    terms.expires = values.date(subject, "expires", expires);
    terms.expiry = values.choice(subject, "expiry", file.expiry.take(), EXPIRY).unwrap_or_default();
    if let (Some(place), Some(from), Some(until)) = (place, &terms.not_before, &terms.expires)
        && from.unix_seconds() >= until.unix_seconds()
    {
        let message =
            format_args!("expires {until} is not after not_before {from}; it would never be valid");
        values.report.error(place, subject, message);
    }
}

fn missing_headers(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    written: Option<Strings>,
) -> MissingHeaders {
    let mut headers = MissingHeaders::default();
    let list = written.map(|Strings(list)| list.into_inner()).unwrap_or_default();
    for name in &list {
        match &**name.get_ref() {
            "date" => headers.date = true,
            "message-id" => headers.message_id = true,
            other => {
                let message = format_args!(
                    "add_missing_headers {other:?} is unknown; write \"message-id\" or \"date\""
                );
                values.error(name, subject, message);
            }
        }
    }
    headers
}
