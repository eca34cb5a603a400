//! What an attempt means for each recipient: every one of them ends in exactly one decision. Pure.

use gatepost_smtp::reply::{EnhancedStatus, Reply, Severity};

use crate::leg::{Decided, Ending};

/// What was said about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It was asked for, and this is the answer.
    Asked(Reply),
    /// It was not even asked for: the upstream takes no more at once, or not so fast.
    Unasked,
}

/// What is decided about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Tried, and not now.
    Deferred(Reply),
    Delivered(Reply),
    /// Tried for the last time.
    Expired(Reply),
    Failed(Reply),
    /// Not tried: it has its turn with the next attempt.
    Left,
}

/// Whether there is another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Left,
    Over,
}

/// Decides about each recipient, in order. There is an ending if one of them was accepted.
pub(super) fn judge(words: &[Word], ending: Option<&Ending>, time: Time) -> Vec<Decision> {
    let any_accepted = words.iter().any(|word| matches!(word, Word::Asked(it) if it.is_positive()));
    let not_now = |reply: &Reply| match time {
        Time::Left => Decision::Deferred(reply.clone()),
        Time::Over => Decision::Expired(reply.clone()),
    };
    let of_reply = |reply: &Reply| match reply.severity() {
        Severity::Permanent => Decision::Failed(reply.clone()),
        _ => not_now(reply),
    };
    let of_word = |word: &Word| match word {
        Word::Unasked => Decision::Left,
        Word::Asked(reply) if reply.is_positive() => match ending {
            Some(Ending::Accepted(reply)) => Decision::Delivered(reply.clone()),
            // Whoever may have it is not told that it was refused.
            Some(Ending::Refused(refused)) if refused.decided == Decided::Nobody => {
                not_now(&refused.reply)
            }
            Some(Ending::Refused(refused)) => of_reply(&refused.reply),
            None => not_now(&UNFINISHED),
        },
        Word::Asked(reply) if any_accepted && is_too_many(reply) => Decision::Left,
        Word::Asked(reply) => of_reply(reply),
    };
    words.iter().map(of_word).collect()
}

/// Whether the upstream has been heard at all: what stands for a connection that could not be made or
/// was lost has a status of the network.
pub(super) fn is_heard(words: &[Word]) -> bool {
    let is_of_network =
        |reply: &Reply| reply.enhanced().is_some_and(|status| OF_NETWORK.contains(&status));
    words.iter().any(|word| matches!(word, Word::Asked(reply) if !is_of_network(reply)))
}

/// RFC 5321 §4.5.3.1.10: those beyond the limit are to be tried again, once the others are sent.
fn is_too_many(reply: &Reply) -> bool {
    reply.code().as_u16() == 452 && reply.enhanced() == Some(TOO_MANY_RECIPIENTS)
}

impl Decision {
    /// Whether it will not be tried again.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Delivered(_) | Self::Expired(_) | Self::Failed(_))
    }
}

const TOO_MANY_RECIPIENTS: EnhancedStatus = EnhancedStatus::new(4, 5, 3);
/// No connection, and one that was lost: see [`crate::trouble`].
const OF_NETWORK: [EnhancedStatus; 2] =
    [EnhancedStatus::new(4, 4, 1), EnhancedStatus::new(4, 4, 2)];
/// What is recorded where there is no word on the message at all.
const UNFINISHED: Reply = Reply::fixed(451, (4, 4, 2), "the upstream was not asked to the end");

#[cfg(test)]
mod tests;
