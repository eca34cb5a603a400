//! What the client hears when the upstream does not say yes: one table.
//!
//! A row is chosen by what happened and where; it names the scope of the fault, the reply in mode
//! `sync`, and whether somebody has to be alarmed. Replies that are in no row go to the client as
//! the upstream said them: its word on a recipient or a message is the client's. The rows are
//! those of the design (§5) and of RFC 5321 §4.2.5: an upstream's complaint about *us* must never
//! reach an application as if its message were at fault.

use gatepost_delivery::Trouble;
use gatepost_smtp::reply::{Reply, Severity};

/// How far a fault reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This sender, recipient or message.
    Envelope,
    /// This connection; another may do.
    Connection,
    /// Everything that goes to this upstream, until somebody mends the set-up.
    Upstream,
}

/// Which command a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The greeting, EHLO.
    Opening,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, and the end of data.
    Data,
}

/// What a fault means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How far it reaches.
    pub scope: Scope,
    /// What the client hears in mode `sync`.
    pub reply: Reply,
    /// Whether our own set-up is at fault and an operator must act.
    pub configuration_fault: bool,
}

/// The upstream is leaving, or has too much to do: not the application's business.
const UPSTREAM_BUSY: Reply = Reply::fixed(451, (4, 3, 2), "the upstream is busy, try again later");
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
    scope: Scope,
    answer: Answer,
    configuration_fault: bool,
}

enum Answer {
    Say(Reply),
    /// The upstream's text under another code and class.
    Recode(u16, (u8, u16, u16)),
}

const ANYWHERE: &[Stage] = &[Stage::Opening, Stage::Mail, Stage::Recipient, Stage::Data];

static REPLIES: [Row; 4] = [
    Row {
        codes: &[421],
        stages: ANYWHERE,
        scope: Scope::Connection,
        answer: Answer::Say(UPSTREAM_BUSY),
        configuration_fault: false,
    },
    Row {
        codes: &[500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 555],
        stages: ANYWHERE,
        scope: Scope::Upstream,
        answer: Answer::Say(SETUP_FAULT),
        configuration_fault: true,
    },
    // RFC 5321 §4.5.3.1.10: old servers say 552 where they mean "too many recipients".
    Row {
        codes: &[552],
        stages: &[Stage::Recipient],
        scope: Scope::Envelope,
        answer: Answer::Recode(452, (4, 5, 3)),
        configuration_fault: false,
    },
    // A greeting or EHLO that is refused in any other way: the application did nothing wrong.
    Row {
        codes: &[],
        stages: &[Stage::Opening],
        scope: Scope::Upstream,
        answer: Answer::Say(NO_CONNECTION),
        configuration_fault: false,
    },
];

/// What a reply that is not a yes means. A reply that can be neither yes nor no at its stage
/// (3yz to RCPT) is a fault of the upstream.
pub fn of_reply(stage: Stage, reply: &Reply) -> Outcome {
    let code = reply.code().as_u16();
    let row = REPLIES.iter().find(|row| {
        row.stages.contains(&stage) && (row.codes.is_empty() || row.codes.contains(&code))
    });
    if let Some(row) = row {
        let reply = match &row.answer {
            Answer::Say(reply) => reply.clone(),
            Answer::Recode(code, status) => {
                Reply::new(*code, *status, String::from_utf8_lossy(reply.text()))
            }
        };
        return Outcome { scope: row.scope, reply, configuration_fault: row.configuration_fault };
    }
    let reply = match reply.severity() {
        Severity::Transient | Severity::Permanent => reply.clone().with_status(),
        Severity::Positive | Severity::Intermediate => CONNECTION_LOST,
    };
    Outcome { scope: Scope::Envelope, reply, configuration_fault: false }
}

/// What it means that there was no usable reply.
pub fn of_trouble(trouble: &Trouble) -> Outcome {
    let (scope, reply) = match trouble {
        Trouble::Refused(reply) => return of_reply(Stage::Opening, reply),
        Trouble::Busy | Trouble::Unreachable(_) => (Scope::Upstream, NO_CONNECTION),
        Trouble::Desync(_) | Trouble::Lost(_) | Trouble::Silent => {
            (Scope::Connection, CONNECTION_LOST)
        }
    };
    Outcome { scope, reply, configuration_fault: false }
}

/// What it means that no connection became ready, whatever the reason.
pub fn of_opening(trouble: &Trouble) -> Outcome {
    match trouble {
        Trouble::Refused(reply) => of_reply(Stage::Opening, reply),
        _ => Outcome { scope: Scope::Upstream, reply: NO_CONNECTION, configuration_fault: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stage: Stage, code: u16) -> (u16, bool) {
        let outcome = of_reply(stage, &Reply::plain(code, "text"));
        (outcome.reply.code().as_u16(), outcome.configuration_fault)
    }

    /// The rows of the design's table, for mode sync.
    #[test]
    fn the_table_is_that_of_the_design() {
        for stage in ANYWHERE {
            assert_eq!(said(*stage, 421), (451, false));
            for code in [500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 555] {
                assert_eq!(
                    said(*stage, code),
                    (451, true),
                    "{code} is our fault, not the client's"
                );
            }
        }
        assert_eq!(said(Stage::Recipient, 552), (452, false));
        assert_eq!(said(Stage::Data, 552), (552, false));
        for code in [450, 451, 452, 550, 551, 553, 554] {
            assert_eq!(said(Stage::Mail, code), (code, false));
            assert_eq!(said(Stage::Recipient, code), (code, false));
        }
        assert_eq!(said(Stage::Opening, 554), (451, false));
        assert_eq!(said(Stage::Recipient, 354), (451, false));
    }

    #[test]
    fn silence_and_loss_are_temporary() {
        for trouble in
            [Trouble::Busy, Trouble::Silent, Trouble::Lost("reset".into()), Trouble::Desync("x")]
        {
            assert_eq!(of_trouble(&trouble).reply.severity(), Severity::Transient);
            assert_eq!(of_opening(&trouble).reply, NO_CONNECTION);
        }
    }

    #[test]
    fn what_is_passed_on_has_a_status() {
        let outcome = of_reply(Stage::Recipient, &Reply::plain(550, "no such user"));
        assert_eq!(outcome.reply.to_string(), "550 5.0.0 no such user");
    }
}
