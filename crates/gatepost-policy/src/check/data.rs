//! The checks of mail data: its header section, its size, and how often it has come.

use std::time::Duration;

use gatepost_smtp::{header, path::Mailbox, reply::Reply};

use super::{Check, Refusal, Spend, judge_both, not_allowed, whole_seconds};
use crate::{
    duplicate::{Fingerprint, TooOften},
    entry::{Entry, HeaderFrom},
    generation::Generation,
    units::ByteSize,
};

/// Octets of a header section that is held back while it is looked at. What is larger is refused:
/// no mail program writes such a one, and each session that may make one costs as much memory.
pub const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// A header section that has to be looked at and is too large for it.
pub const HEADER_TOO_LARGE: Reply =
    Reply::fixed(554, (5, 6, 0), "the header section is larger than 64 KiB");

/// A message that is larger than its entry allows, whether that was declared or turned out.
pub fn too_large(entry: &Entry) -> Reply {
    let limit = ByteSize::new(entry.terms().max_message_size);
    let text = format!("the message is larger than the {limit} that entry {} may send", entry.id());
    Reply::new(552, (5, 3, 4), text)
}

/// Decides about the From field of a header section, as it came: if the entry asks for it, every
/// address in it must be an allowed sender, and there must be no doubt which those are.
pub fn header_from(entry: &Entry, generation: Generation, section: &[u8]) -> Result<(), Refusal> {
    if entry.terms().header_from == HeaderFrom::Off {
        return Ok(());
    }
    let unreadable = |fault: header::FromFault| {
        let text = format!("{fault} (entry {} checks it, generation {generation})", entry.id());
        Check::HeaderFrom.refuses(Reply::new(550, (5, 7, 1), text))
    };
    for mailbox in header::from_mailboxes(section).map_err(unreadable)? {
        header_mailbox(entry, generation, &mailbox.map_err(unreadable)?)?;
    }
    Ok(())
}

/// Decides about one address of a From field.
pub fn header_mailbox(
    entry: &Entry,
    generation: Generation,
    mailbox: &Mailbox<'_>,
) -> Result<(), Refusal> {
    let is_off = entry.terms().header_from == HeaderFrom::Off;
    if is_off || entry.senders().iter().any(|pattern| pattern.matches_mailbox(mailbox)) {
        return Ok(());
    }
    let what = "sender in the From field";
    Err(Check::HeaderFrom.refuses(not_allowed(mailbox.as_bytes(), what, entry, generation)))
}

/// Decides about a message whose end is here, by how often the same one has come of late. What it
/// accepts is counted. Where a credential is used beside the entry, both must allow it.
pub fn duplicate(
    entry: &Entry,
    beside: Option<&Entry>,
    message: Fingerprint,
    uptime: Duration,
) -> Result<(), Refusal> {
    judge_both(entry, beside, |entry, spend| {
        let judged = duplicate_rate(entry, message, uptime, spend);
        judged.map_err(|reply| Check::DuplicateRate.refuses(reply))
    })
}

fn duplicate_rate(
    entry: &Entry,
    message: Fingerprint,
    uptime: Duration,
    spend: Spend,
) -> Result<(), Reply> {
    let Some(rate) = entry.terms().duplicate_rate else { return Ok(()) };
    let seen = &entry.state().duplicates;
    let judged = match spend {
        Spend::Take => seen.take(message, rate, uptime),
        Spend::Look(_) | Spend::LookAfresh(_) => seen.look(message, rate, uptime),
    };
    judged.map_err(|TooOften { times, wait }| {
        let (id, seconds) = (entry.id(), whole_seconds(wait));
        let text = format!(
            "the same message {times} times, entry {id} takes {rate} of it, retry in {seconds} s"
        );
        Reply::new(450, (4, 7, 1), text)
    })
}
