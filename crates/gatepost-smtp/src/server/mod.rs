//! The side that clients talk to: one struct per state of a session (RFC 5321 §3, §4.1.4).
//!
//! ```text
//!            EHLO, HELO            MAIL accepted           DATA, a recipient stands
//! Connected ────────────► Ready ────────────────► Open ────────────────────────► Receiving
//!                         ▲  ▲                     │                                  │
//!                         │  └──── RSET, EHLO ─────┘                                  │
//!                         ├──────────────────── end of data ──────────────────────────┘
//!                         │                        │ BDAT
//!                         └─── last chunk ───── Chunking
//! Ready, after STARTTLS and the handshake: Connected again (RFC 3207 §4.2).
//! Locked: as Ready, until AUTH has succeeded, and without transactions (RFC 4954 §6).
//! Refused: a client that is not allowed; only QUIT is heard.
//! HealthCheck: a proxy that speaks for itself; everything but mail is answered.
//! ```
//!
//! A state is consumed by its transition, so a stale envelope cannot be written down: whatever
//! ends a transaction gives back a [`Ready`], which knows nothing of it. Each state's `handle`
//! takes one framed line without CRLF and returns a [`Step`]: what the machine has to say itself,
//! or what the caller has to decide. The caller owns the octets, policy and time.
//!
//! ```
//! use gatepost_smtp::server::{Connected, OpenEvent, ReadyEvent, Step};
//!
//! let Step::Take(hello) = Connected.handle(b"EHLO app.example.com") else { unreachable!() };
//! let ready = Connected.greet(hello);
//! let Step::Take(ReadyEvent::Mail(_)) = ready.handle(b"MAIL FROM:<a@example.com>") else { unreachable!() };
//! let mut open = ready.open();
//! let Step::Take(OpenEvent::Rcpt(_)) = open.handle(b"RCPT TO:<b@example.net>") else { unreachable!() };
//! open.count_recipient(true);
//! let Step::Take(OpenEvent::Data) = open.handle(b"DATA") else { unreachable!() };
//! let receiving = open.receive().expect("a recipient stands");
//! let ready = receiving.end();
//! assert_eq!(&*ready.hello().name, "app.example.com");
//! ```

mod chunking;
mod connected;
mod health_check;
mod locked;
mod open;
mod ready;
mod receiving;
mod refused;
pub mod replies;

pub use chunking::{Chunking, ChunkingEvent};
pub use connected::Connected;
pub use health_check::HealthCheck;
pub use locked::{Locked, LockedEvent};
pub use open::{Open, OpenEvent};
pub use ready::{Ready, ReadyEvent};
pub use receiving::Receiving;
pub use refused::Refused;

use std::convert::Infallible;

use crate::command::{self, Command, CommandError, Greeting};
use crate::reply::Reply;

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// EHLO or HELO.
    pub greeting: Greeting,
    /// The name it gave, unverified.
    pub name: Box<str>,
}

/// What one line leads to. `T` is what the caller of the state has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Say this, then close.
    Close(Reply),
    /// Say this, and count a fault of the client.
    Fault(Reply),
    /// Say this; nothing has changed.
    Reply(Reply),
    /// Decide, then say.
    Take(T),
}

impl<T> Step<T> {
    /// What has to be decided, or else what the machine says itself.
    pub fn decision(self) -> Result<T, Step<Infallible>> {
        match self {
            Self::Take(decision) => Ok(decision),
            Self::Close(reply) => Err(Step::Close(reply)),
            Self::Fault(reply) => Err(Step::Fault(reply)),
            Self::Reply(reply) => Err(Step::Reply(reply)),
        }
    }
}

/// Parses a line, and answers what every state answers alike.
fn parse<T>(line: &[u8], greeting: Greeting) -> Result<Command<'_>, Step<T>> {
    match command::parse(line, greeting) {
        Ok(Command::Noop) => Err(Step::Reply(replies::OK)),
        Ok(Command::Vrfy) => Err(Step::Reply(replies::VRFY)),
        Ok(Command::Expn) => Err(Step::Fault(replies::EXPN)),
        Ok(Command::Help) => Err(Step::Reply(replies::HELP)),
        Ok(Command::Quit) => Err(Step::Close(replies::BYE)),
        Ok(other) => Ok(other),
        Err(error) => Err(fault(error)),
    }
}

fn fault<T>(error: CommandError) -> Step<T> {
    if error.ends_session() { Step::Close(error.reply()) } else { Step::Fault(error.reply()) }
}

#[cfg(test)]
mod tests;
