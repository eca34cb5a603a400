//! The checks at RCPT.

use std::time::Duration;

use gatepost_smtp::{
    path::{ForwardPath, ReversePath},
    reply::Reply,
};

use super::{Check, Refusal, Spend, judge_both, not_allowed, too_fast};
use crate::{
    entry::Entry,
    generation::Generation,
    route::{Routes, Way},
};

const APART: Reply =
    Reply::fixed(452, (4, 5, 3), "this recipient goes to another upstream, send it separately");
/// The compiler refuses a policy for which this could be true.
const NO_WAY: Reply =
    Reply::fixed(451, (4, 3, 5), "no upstream for this recipient, try again later");

/// What is known of a transaction when it names a recipient.
#[derive(Clone, Copy, Debug)]
pub struct RcptFacts<'a> {
    /// Since a moment that is always the same.
    pub uptime: Duration,
    /// The ruleset that the entry was found in.
    pub generation: Generation,
    /// The reverse-path, as the client has sent it.
    pub sender: ReversePath<'a>,
    /// The forward-path.
    pub recipient: ForwardPath<'a>,
    /// Recipients of this message so far.
    pub named: u32,
    /// Terms that hold beside those of the entry: of a credential that was used beside it.
    pub beside: Option<&'a Entry>,
    /// The way that they take; none if this is the first.
    pub way: Option<Way>,
}

/// Decides about RCPT, and says which way the message takes. What it accepts is counted.
pub fn rcpt(entry: &Entry, routes: &Routes, facts: &RcptFacts<'_>) -> Result<Way, Refusal> {
    let way = routes.way(entry, &facts.sender, &facts.recipient);
    for check in Check::AT_RCPT {
        judge_both(entry, facts.beside, |entry, spend| {
            judge(check, entry, (routes, way), facts, spend)
        })?;
    }
    way.ok_or_else(|| Check::Route.refuses(NO_WAY))
}

/// One check at RCPT. The way is that of this recipient.
pub(crate) fn judge(
    check: Check,
    entry: &Entry,
    (routes, way): (&Routes, Option<Way>),
    facts: &RcptFacts<'_>,
    spend: Spend,
) -> Result<(), Refusal> {
    let judged = match check {
        Check::Recipient => recipient(entry, facts),
        Check::MaxRecipients => max_recipients(entry, facts.named),
        Check::RecipientRate => recipient_rate(entry, facts.uptime, spend),
        _ => route(routes, way, facts.way),
    };
    judged.map_err(|reply| check.refuses(reply))
}

fn recipient(entry: &Entry, facts: &RcptFacts<'_>) -> Result<(), Reply> {
    let Some(patterns) = &entry.terms().recipients else { return Ok(()) };
    if patterns.iter().any(|pattern| pattern.matches_recipient(&facts.recipient)) {
        return Ok(());
    }
    Err(not_allowed(facts.recipient.as_bytes(), "recipient", entry, facts.generation))
}

fn max_recipients(entry: &Entry, named: u32) -> Result<(), Reply> {
    let most = entry.terms().max_recipients;
    if named < most {
        return Ok(());
    }
    let text = format!(
        "too many recipients, entry {} may name {most}; send the others separately",
        entry.id()
    );
    Err(Reply::new(452, (4, 5, 3), text))
}

fn route(routes: &Routes, way: Option<Way>, others: Option<Way>) -> Result<(), Reply> {
    match (way, others) {
        (None, _) => Err(NO_WAY),
        // What is kept can be sent on its own later; without that, the client has to.
        (Some(way), Some(others))
            if !way.mode.keeps_messages() && !routes.lead_together(way, others) =>
        {
            Err(APART)
        }
        _ => Ok(()),
    }
}

fn recipient_rate(entry: &Entry, uptime: Duration, spend: Spend) -> Result<(), Reply> {
    let Some(rate) = entry.terms().recipient_rate else { return Ok(()) };
    let judged = spend.one_of(&entry.state().recipients, rate, uptime);
    judged.map_err(|wait| too_fast(entry, "recipients", rate, wait))
}
