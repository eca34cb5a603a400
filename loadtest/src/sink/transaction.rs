//! One message on its way in, from MAIL to the end of its content (RFC 5321 §3.3).
//!
//! Content passes: it is counted, and kept or hashed only where somebody asked for that. What is
//! too big is read to its end, counted and refused, but not held.

use std::sync::PoisonError;

use tokio::sync::mpsc;

use super::verify::{Finding, Verifier};
use super::{Received, Shared, SinkOptions, Verification};
use crate::end_of_data::FINAL_DOT_OCTETS;

/// The state of one transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    recipients: u64,
    /// Octets of content so far, with the final dot once it came.
    octets: u64,
    /// What is handed on; `None` when nobody asked, so that load costs nothing.
    received: Option<Received>,
    /// `None` without verification; boxed, since a session is mostly without it.
    verifier: Option<Box<Verifier>>,
}

impl Transaction {
    pub(super) fn new(options: &SinkOptions, reverse_path: &str) -> Self {
        let received = options.deliver.as_ref().map(|_| Received {
            reverse_path: reverse_path.to_owned(),
            forward_paths: Vec::new(),
            content: Vec::new(),
        });
        let verifier = match options.verification {
            Verification::Off => None,
            Verification::On => Some(Box::default()),
        };
        Self { recipients: 0, octets: 0, received, verifier }
    }

    pub(super) fn recipients(&self) -> u64 {
        self.recipients
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn add_recipient(&mut self, forward_path: &str) {
        self.recipients += 1;
        if let Some(received) = &mut self.received {
            received.forward_paths.push(forward_path.to_owned());
        }
    }

    /// The next piece of what follows DATA.
    pub(super) fn take_data(&mut self, piece: &[u8], size_max: u64) {
        if let Some(verifier) = &mut self.verifier {
            verifier.take_data(piece);
        }
        self.count(piece, size_max.saturating_add(FINAL_DOT_OCTETS as u64));
    }

    /// The final dot was the end of what was taken last.
    pub(super) fn end_data(&mut self) {
        self.octets -= FINAL_DOT_OCTETS as u64;
        if let Some(received) = &mut self.received {
            received.content.truncate(self.octets as usize);
        }
    }

    /// The next piece of a chunk.
    pub(super) fn take_chunk(&mut self, piece: &[u8], size_max: u64) {
        if let Some(verifier) = &mut self.verifier {
            verifier.take_chunk(piece);
        }
        self.count(piece, size_max);
    }

    fn count(&mut self, piece: &[u8], octets_max: u64) {
        self.octets += piece.len() as u64;
        let Some(received) = &mut self.received else { return };
        if self.octets <= octets_max {
            received.content.extend_from_slice(piece);
        } else {
            received.content = Vec::new();
        }
    }

    /// Takes the message. `Some` if somebody has asked for it, who is to have it first.
    pub(super) fn finish(self, shared: &Shared) -> Option<Delivery<'_>> {
        let (recipients, octets) = (self.recipients, self.octets);
        let finding = self.verifier.map(|verifier| verifier.finish());
        let taken = Taken { recipients, octets, finding };
        if let (Some(received), Some(channel)) = (self.received, &shared.options.deliver) {
            return Some(Delivery { shared, channel, received, taken });
        }
        taken.count(shared);
        None
    }
}

/// What is left of a message that was taken.
#[derive(Debug)]
struct Taken {
    recipients: u64,
    octets: u64,
    finding: Option<Finding>,
}

impl Taken {
    fn count(&self, shared: &Shared) {
        shared.counters.count_message(self.recipients, self.octets);
        if let (Some(finding), Some(ledger)) = (self.finding, &shared.ledger) {
            // Nothing panics under this lock, so what it holds is whole.
            ledger.lock().unwrap_or_else(PoisonError::into_inner).enter(finding);
        }
    }
}

/// A message on its way to the channel of [`SinkOptions::deliver`].
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    shared: &'a Shared,
    channel: &'a mpsc::Sender<Received>,
    received: Received,
    taken: Taken,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// Nobody takes messages any more.
    NotAtAll,
    Taken,
}

impl Delivery<'_> {
    /// Waits for room in the channel.
    pub(super) async fn finish(self) -> Delivered {
        let Ok(room) = self.channel.reserve().await else { return Delivered::NotAtAll };
        // Counted first: whoever sees the message sees it counted.
        self.taken.count(self.shared);
        room.send(self.received);
        Delivered::Taken
    }
}
