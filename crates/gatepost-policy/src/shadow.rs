//! A candidate policy beside the one in use: who would be answered otherwise?
//!
//! A session leaves an [`Envelope`] of each message, and of what was refused before there was one:
//! what it knew, and what the policy in use has decided. [`compare()`] asks the candidate about the
//! same, by the checks that sessions call, and a [`Tally`] counts what would flip and keeps a few
//! samples of it. Nothing decides here, and nothing of it is on the way of a message.
//!
//! What is held against what was used before (rates, connections) is left out, on both sides: the
//! candidate has served nobody, so what its clients would have used up is not known.

mod compare;
mod envelope;
mod report;
mod tally;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    compare::{Flip, compare},
    envelope::Envelope,
    report::{FlipCount, Sample, ShadowReport},
    tally::{OTHER, Tally, UNKNOWN},
};
use crate::check::{Check, Refusal};

/// What a client is told, as far as it matters to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Go on.
    Accept,
    /// Not now: a 4yz reply.
    Defer,
    /// Go on, and the message goes to another upstream than the policy in use sends it to.
    Elsewhere,
    /// Not ever: a 5yz reply.
    Reject,
}

impl Word {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Defer => "defer",
            Self::Elsewhere => "elsewhere",
            Self::Reject => "reject",
        }
    }

    fn of(refusal: &Refusal) -> Self {
        if refusal.reply.is_transient() { Self::Defer } else { Self::Reject }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a check holds something against what was used before, so that a candidate cannot be asked
/// about what it has refused.
pub const fn is_counted(check: Check) -> bool {
    matches!(
        check,
        Check::HiddenClients | Check::MaxConnections | Check::MessageRate | Check::RecipientRate
    )
}

#[cfg(test)]
mod tests;
