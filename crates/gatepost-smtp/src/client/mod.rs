//! The side that talks to an upstream: one struct per state of a connection (RFC 5321 §3, RFC 2920).
//!
//! ```text
//!     220, EHLO, TLS, AUTH      MAIL sent             DATA answered 354
//! Opening ──────────► Ready ──────────────► Envelope ──────────────────► Body
//!                     ▲   ▲                    │                          │ final dot sent
//!                     │   └──── Resetting ◄────┘ RSET sent                ▼
//!                     ├──────────────────────────────────────────────── Final
//!                     └─── last chunk ──── Chunks ◄── BDAT, from Envelope
//! ```
//!
//! Commands are appended to a buffer of the caller, as many as it likes before they are sent:
//! [`Envelope`] counts what is owed, and gives each reply to the command it answers. A reply that
//! answers nothing is a [`Desync`]: the connection is closed and nothing on it is believed. Only a
//! [`Ready`] may be kept for the next transaction, so a connection in doubt cannot be reused.

mod chunks;
mod envelope;
mod login;
mod opening;
mod replies;
mod transaction;

pub use chunks::{Chunked, Chunks, SentChunk};
pub use envelope::{Answer, Envelope, MailParameters};
pub use login::{Login, Mechanism, SECRET_OCTETS_MAX};
pub use opening::{Handshake, Opened, Opening, OpeningFault, Plan};
pub use replies::{ReplyFault, next_reply};
pub use transaction::{Body, Final, Resetting};

use bytes::BytesMut;

use crate::extension::Capabilities;

/// QUIT, to be polite when a connection is closed.
pub const QUIT: &[u8] = b"QUIT\r\n";

/// Whether a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// Plain text.
    #[default]
    None,
    /// STARTTLS where it is to be had, plain text where it is not. Anybody on the way decides which,
    /// so this keeps out those who only listen.
    Opportunistic,
    /// STARTTLS, or no mail.
    Required,
    /// TLS before anything else (RFC 8314 §3.3).
    Implicit,
}

/// A reply that no command asked for, or one that cannot follow what was said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream sent a reply that answers nothing")]
pub struct Desync;

/// A connection between transactions: the only state in which it may be kept or closed in peace.
#[derive(Debug)]
pub struct Ready {
    capabilities: Capabilities,
}

impl Ready {
    /// What the upstream offers.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Begins a transaction: appends MAIL to `out`.
    pub fn mail(self, mail: &MailParameters<'_>, out: &mut BytesMut) -> Envelope {
        Envelope::begin(self, mail, out)
    }
}

#[cfg(test)]
mod tests;
