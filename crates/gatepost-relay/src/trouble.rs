//! What the client hears when the upstream does not say yes: the provider's rules, then one table.
//!
//! A rule of the upstream's profile or a row is chosen by what happened and where; it names the
//! scope of the fault, the reply in mode `sync`, what the pool should know, and whether somebody
//! has to be alarmed. Replies that are in neither go to the client as the upstream said them: its
//! word on a recipient or a message is the client's. The rows are those of the design (§5) and of
//! RFC 5321 §4.2.5: an upstream's complaint about *us* must never reach an application as if its
//! message were at fault.

pub use gatepost_delivery::profile::{Means, Scope, Stage};
use gatepost_delivery::profile::{Profile, ReplyRule};
use gatepost_delivery::{Signal, TokenError, Trouble};
use gatepost_smtp::reply::{Reply, Severity};

/// What a fault means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the upstream means by it.
    pub means: Means,
    /// How far it reaches.
    pub scope: Scope,
    /// What the client hears in mode `sync`.
    pub reply: Reply,
    /// What the pool should know. Nothing that one envelope can provoke.
    pub signal: Option<Signal>,
    /// The place in the profile of the rule that decided; none: the table did.
    pub rule: Option<usize>,
}

/// The upstream is leaving, or has too much to do: not the application's business.
pub(crate) const UPSTREAM_BUSY: Reply =
    Reply::fixed(451, (4, 3, 2), "the upstream is busy, try again later");
/// It does not like how we talk to it.
const SETUP_FAULT: Reply =
    Reply::fixed(451, (4, 3, 5), "the relay's upstream is not set up right, try again later");
/// It cannot be reached.
const NO_CONNECTION: Reply =
    Reply::fixed(451, (4, 4, 1), "no connection to the upstream, try again later");
/// It went away, or fell silent.
const CONNECTION_LOST: Reply = Reply::fixed(451, (4, 4, 2), "lost the upstream, try again later");

/// The client was silent for so long that its upstream connection was closed.
pub const CLIENT_STALLED: Reply =
    Reply::fixed(451, (4, 4, 2), "waited too long for you, try again");

struct Row {
    codes: &'static [u16],
    stages: &'static [Stage],
    means: Means,
    scope: Scope,
    answer: Answer,
    signal: Option<Signal>,
}

enum Answer {
    Say(Reply),
    /// The upstream's text under another code and class.
    Recode(u16, (u8, u16, u16)),
}

/// Complaints about us: never a client's to hear.
const SETUP_FAULTS: &[u16] = &[500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 555];

static REPLIES: [Row; 6] = [
    // It waited for a message for too long, or did not like this one: that is no word about others.
    Row {
        codes: &[421],
        stages: &[Stage::Data],
        means: Means::Retry,
        scope: Scope::Connection,
        answer: Answer::Say(UPSTREAM_BUSY),
        signal: None,
    },
    Row {
        codes: &[421],
        stages: &[Stage::Opening, Stage::Mail, Stage::Recipient],
        means: Means::Throttled,
        scope: Scope::Connection,
        answer: Answer::Say(UPSTREAM_BUSY),
        signal: Some(Signal::Throttled { pause: None }),
    },
    // What we said ourselves is at fault, for everybody.
    Row {
        codes: SETUP_FAULTS,
        stages: &[Stage::Opening],
        means: Means::ConfigurationFault,
        scope: Scope::Upstream,
        answer: Answer::Say(SETUP_FAULT),
        signal: Some(Signal::Misconfigured),
    },
    // Senders, parameters and paths are the client's, and one client must not hold up the others. A
    // profile knows where such a reply is meant for all.
    Row {
        codes: SETUP_FAULTS,
        stages: &[Stage::Mail, Stage::Recipient, Stage::Data],
        means: Means::ConfigurationFault,
        scope: Scope::Envelope,
        answer: Answer::Say(SETUP_FAULT),
        signal: None,
    },
    // RFC 5321 §4.5.3.1.10: old servers say 552 where they mean "too many recipients".
    Row {
        codes: &[552],
        stages: &[Stage::Recipient],
        means: Means::Retry,
        scope: Scope::Envelope,
        answer: Answer::Recode(452, (4, 5, 3)),
        signal: None,
    },
    // A greeting or EHLO that is refused in any other way: the application did nothing wrong.
    Row {
        codes: &[],
        stages: &[Stage::Opening],
        means: Means::Retry,
        scope: Scope::Upstream,
        answer: Answer::Say(NO_CONNECTION),
        signal: None,
    },
];

/// What a reply that is not a yes means. A reply that can be neither yes nor no at its stage
/// (3yz to RCPT) is a fault of the upstream.
pub fn of_reply(profile: &Profile, stage: Stage, reply: &Reply) -> Outcome {
    let Some(index) = profile.rule(stage, reply) else { return by_table(stage, reply) };
    let rule = &profile.replies[index];
    Outcome {
        means: rule.means,
        scope: rule.scope,
        reply: by_rule(rule, stage, reply),
        signal: signal(rule),
        rule: Some(index),
    }
}

/// What it means that there was no usable reply.
pub fn of_trouble(profile: &Profile, trouble: &Trouble) -> Outcome {
    match trouble {
        Trouble::Desync(_) | Trouble::Lost(_) | Trouble::Silent => Outcome {
            means: Means::Retry,
            scope: Scope::Connection,
            reply: CONNECTION_LOST,
            signal: None,
            rule: None,
        },
        _ => of_opening(profile, trouble),
    }
}

/// What it means that no connection became ready, whatever the reason. The pool knows that it could
/// not open one; what the upstream meant by refusing it is told here.
pub fn of_opening(profile: &Profile, trouble: &Trouble) -> Outcome {
    let (means, reply, signal) = match trouble {
        Trouble::Refused(reply) => return of_reply(profile, Stage::Opening, reply),
        Trouble::AuthRefused(reply) => return of_login(profile, reply),
        // Nothing goes until somebody looks: at our settings, at theirs, or at who is in between.
        Trouble::NoMechanism(_)
        | Trouble::NoTls(_)
        | Trouble::Tls(_)
        | Trouble::NoToken(TokenError::Refused(_)) => {
            (Means::ConfigurationFault, NO_CONNECTION, None)
        }
        _ => (Means::Retry, NO_CONNECTION, None),
    };
    Outcome { means, scope: Scope::Upstream, reply, signal, rule: None }
}

/// What it means that our login was not taken. For good, it is ours to mend whatever the code, and
/// trying it again is how accounts are locked.
fn of_login(profile: &Profile, reply: &Reply) -> Outcome {
    let outcome = of_reply(profile, Stage::Opening, reply);
    if outcome.rule.is_some() || reply.severity() != Severity::Permanent {
        return outcome;
    }
    Outcome {
        means: Means::ConfigurationFault,
        reply: SETUP_FAULT,
        signal: Some(Signal::Misconfigured),
        ..outcome
    }
}

/// Whether a reply only means that this connection is at its end: 421 (RFC 5321 §3.8), or what the
/// provider says in its place.
pub fn is_leaving(profile: &Profile, stage: Stage, reply: &Reply) -> bool {
    let is_over = |index: usize| {
        let rule = &profile.replies[index];
        rule.means == Means::Retry && rule.scope == Scope::Connection
    };
    reply.code().as_u16() == 421
        || !reply.is_positive() && profile.rule(stage, reply).is_some_and(is_over)
}

/// What the client hears where the provider's own rule decides.
fn by_rule(rule: &ReplyRule, stage: Stage, reply: &Reply) -> Reply {
    if let Some(answer) = rule.answer {
        let is_ours = rule.means == Means::ConfigurationFault && answer.code < 500;
        // What passes is none of the application's business, and the provider's words name our
        // account or address: they are for the log.
        let said = if is_ours { SETUP_FAULT } else { reply.clone() };
        return recode(&said, answer.code, answer.status);
    }
    match (rule.means, rule.scope, stage) {
        (Means::ConfigurationFault, Scope::Connection | Scope::Upstream, _)
        | (Means::ConfigurationFault, Scope::Envelope, Stage::Opening) => SETUP_FAULT,
        (Means::Throttled | Means::Quota, _, Stage::Opening) => UPSTREAM_BUSY,
        // It is no refusal of the message that the upstream has had enough of us.
        (_, Scope::Connection | Scope::Upstream, _) if !reply.is_transient() => UPSTREAM_BUSY,
        // The table knows what is never a client's to hear.
        _ => by_table(stage, reply).reply,
    }
}

/// What the pool should know of it.
const fn signal(rule: &ReplyRule) -> Option<Signal> {
    match (rule.scope, rule.means) {
        (Scope::Upstream, Means::ConfigurationFault) => Some(Signal::Misconfigured),
        (Scope::Connection | Scope::Upstream, Means::Throttled | Means::Quota) => {
            Some(Signal::Throttled { pause: rule.pause })
        }
        (Scope::Connection | Scope::Upstream, Means::Retry) if rule.pause.is_some() => {
            Some(Signal::Throttled { pause: rule.pause })
        }
        _ => None,
    }
}

fn by_table(stage: Stage, reply: &Reply) -> Outcome {
    let code = reply.code().as_u16();
    let row = REPLIES.iter().find(|row| {
        row.stages.contains(&stage) && (row.codes.is_empty() || row.codes.contains(&code))
    });
    if let Some(row) = row {
        let reply = match &row.answer {
            Answer::Say(reply) => reply.clone(),
            Answer::Recode(code, status) => recode(reply, *code, *status),
        };
        return Outcome {
            means: row.means,
            scope: row.scope,
            reply,
            signal: row.signal,
            rule: None,
        };
    }
    let (means, reply) = match reply.severity() {
        Severity::Transient => (Means::Retry, reply.clone().with_status()),
        Severity::Permanent => (Means::Refused, reply.clone().with_status()),
        Severity::Positive | Severity::Intermediate => (Means::Retry, CONNECTION_LOST),
    };
    Outcome { means, scope: Scope::Envelope, reply, signal: None, rule: None }
}

fn recode(reply: &Reply, code: u16, status: (u8, u16, u16)) -> Reply {
    Reply::new(code, status, String::from_utf8_lossy(reply.text()))
}

#[cfg(test)]
mod tests;
