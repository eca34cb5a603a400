//! A message on its way out: what a delivery has to know of it, wherever it comes from.

use std::time::SystemTime;

use bytes::Bytes;
use gatepost_smtp::reply::Reply;
use gatepost_spool::{BodyReader, Envelope, Message, Recipient, RecipientState, StoredMessage};

/// A message, and who of its recipients is pending.
pub(super) struct Letter {
    pub(super) envelope: Envelope,
    /// Attempts before this one.
    pub(super) attempts: u32,
    /// Octets of its body.
    pub(super) octets: u64,
    /// Those who were tried least come first: where an upstream takes only some, others have their turn.
    pub(super) recipients: Vec<Pending>,
}

/// A recipient for whom nothing is decided.
pub(super) struct Pending {
    pub(super) place: u32,
    pub(super) recipient: Recipient,
    /// Attempts before this one.
    pub(super) attempts: u32,
    /// What was said of it last.
    pub(super) reply: Option<Reply>,
}

/// Where the body is.
pub(super) enum Content {
    Memory(Bytes),
    Stored(BodyReader),
}

impl Letter {
    pub(super) fn of_stored(message: StoredMessage) -> Self {
        let pending = |it: &gatepost_spool::StoredRecipient| it.state == RecipientState::Pending;
        let mut recipients: Vec<Pending> = message
            .recipients
            .into_iter()
            .filter(pending)
            .map(|it| Pending {
                place: it.place,
                recipient: it.recipient,
                attempts: it.attempts,
                reply: it.reply,
            })
            .collect();
        recipients.sort_by_key(|it| it.attempts);
        Self {
            envelope: message.envelope,
            attempts: message.attempts,
            octets: message.octets,
            recipients,
        }
    }

    pub(super) fn of_fresh(message: Message, body: &Bytes) -> Self {
        let pending = |(place, recipient)| Pending { place, recipient, attempts: 0, reply: None };
        Self {
            envelope: message.envelope,
            attempts: 0,
            octets: body.len() as u64,
            recipients: (0..).zip(message.recipients).map(pending).collect(),
        }
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        now >= self.envelope.expires_at
    }
}
