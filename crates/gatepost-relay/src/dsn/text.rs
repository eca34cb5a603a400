//! What a notification says to people: what has happened, to whom, what the next mail server has
//! answered, and what there is to do. Plain words, and lines that fit on a screen.

use gatepost_spool::{RecipientState, StoredRecipient};

use super::fields::{paragraph, text};
use super::original::Extent;
use super::report::{Kind, Report, date, reply_in_a_line};

/// Recipients that are named here; the part for programs has all of them.
const NAMED_MAX: usize = 50;
/// What stands in front of a recipient, and of what is said of it.
const INDENT: &str = "  ";
const INDENT_MORE: &str = "    ";

pub(super) fn text_for_people(report: &Report<'_>) -> String {
    let mut out = String::new();
    for kind in [Kind::Failed, Kind::Delayed, Kind::Relayed] {
        let of_kind = |recipient: &&&StoredRecipient| report.kind(recipient) == kind;
        let recipients: Vec<_> = report.told.iter().filter(of_kind).copied().collect();
        if recipients.is_empty() {
            continue;
        }
        say(&mut out, &opening(report, kind, recipients.len()));
        for recipient in recipients.iter().take(NAMED_MAX) {
            paragraph(&mut out, INDENT, &text(&recipient.recipient.path));
            paragraph(&mut out, INDENT_MORE, &what_happened(report, kind, recipient));
            if let Some(reply) = &recipient.reply {
                paragraph(&mut out, INDENT_MORE, &reply_in_a_line(reply));
            }
            out.push_str("\r\n");
        }
        if recipients.len() > NAMED_MAX {
            let more = recipients.len() - NAMED_MAX;
            say(&mut out, &format!("And {more} more: the report that is attached names them."));
        }
        say(&mut out, &advice(report, kind));
    }
    closing(&mut out, report);
    out
}

fn opening(report: &Report<'_>, kind: Kind, recipients: usize) -> String {
    let hostname = report.hostname;
    let whom = match recipients {
        1 => "this recipient".to_owned(),
        some => format!("these {some} recipients"),
    };
    match kind {
        Kind::Delayed => format!(
            "This is the mail relay {hostname}. Your message could not be delivered to {whom} yet. It \
             is still being tried."
        ),
        Kind::Failed => format!(
            "This is the mail relay {hostname}. Your message could not be delivered to {whom}, and it \
             will not be tried again."
        ),
        Kind::Relayed => format!(
            "This is the mail relay {hostname}. As you have asked for, it tells you that your message \
             was handed over for {whom}."
        ),
    }
}

fn what_happened(report: &Report<'_>, kind: Kind, recipient: &StoredRecipient) -> String {
    let upstream = &report.message.envelope.upstream;
    let since = date(report.message.envelope.received_at);
    match (kind, recipient.state, recipient.reply.is_some()) {
        (Kind::Relayed, ..) => format!("The next mail server ({upstream}) has accepted it."),
        (Kind::Delayed, _, true) => {
            format!("It has waited since {since}. The last answer on the way to {upstream} was:")
        }
        (Kind::Delayed, _, false) => {
            format!("It has waited since {since}: {upstream} could not be reached.")
        }
        (Kind::Failed, RecipientState::Expired, true) => format!(
            "It has waited since {since}, and its time is over. The last answer on the way to \
             {upstream} was:"
        ),
        (Kind::Failed, RecipientState::Expired, false) => format!(
            "It has waited since {since}, and its time is over: {upstream} could not be reached."
        ),
        (Kind::Failed, _, true) => {
            format!("The next mail server ({upstream}) does not accept it. The answer was:")
        }
        (Kind::Failed, _, false) => {
            format!("The next mail server ({upstream}) does not accept it, and has not said why.")
        }
    }
}

fn advice(report: &Report<'_>, kind: Kind) -> String {
    let hostname = report.hostname;
    match kind {
        Kind::Delayed => format!(
            "There is nothing that you have to do; do not send it again. It will be tried until {}.",
            date(report.message.envelope.expires_at)
        ),
        Kind::Failed => format!(
            "What you can do: check the address. If it is right, the answer says what was wrong; the \
             people at that address can help with what concerns their side, and \
             postmaster@{hostname} with the rest. To try again, send the message anew."
        ),
        Kind::Relayed => {
            "There is nothing that you have to do. That mail server sends no such notifications: you \
             will hear no more of this unless delivery fails."
                .to_owned()
        }
    }
}

fn closing(out: &mut String, report: &Report<'_>) {
    let envelope = &report.message.envelope;
    say(
        out,
        &format!(
            "The message came here on {}; its id is {}. Tell this id to whoever you ask for help.",
            date(envelope.received_at),
            envelope.id
        ),
    );
    let attached = match report.original.extent {
        Extent::Headers => "A report for programs and the header of your message are attached.",
        Extent::Nothing => "A report for programs is attached.",
        Extent::Whole => "A report for programs and your message are attached.",
    };
    paragraph(out, "", attached);
}

/// A paragraph, and the empty line behind it.
fn say(out: &mut String, words: &str) {
    paragraph(out, "", words);
    out.push_str("\r\n");
}
