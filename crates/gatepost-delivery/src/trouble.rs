//! In what way an upstream gave no usable answer.

use std::io;

use gatepost_smtp::client::{Desync, ReplyFault};
use gatepost_smtp::reply::Reply;
use gatepost_stream::StreamError;

/// What went wrong with a connection. A reply of the upstream to a command is not trouble.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Every connection was busy until the deadline.
    #[error("all connections are busy")]
    Busy,
    /// It said something that no command asked for, or no reply at all.
    #[error("protocol fault: {0}")]
    Desync(&'static str),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// It did not want our connection or our EHLO, and said so.
    #[error("refused: {0}")]
    Refused(Reply),
    /// It said nothing until the deadline.
    #[error("no reply in time")]
    Silent,
    /// No host could be connected to.
    #[error("cannot connect: {0}")]
    Unreachable(String),
}

impl From<StreamError> for Trouble {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Elapsed => Self::Silent,
            StreamError::Closed | StreamError::Io(_) | StreamError::Tls(_) => {
                Self::Lost(error.to_string())
            }
        }
    }
}

impl From<ReplyFault> for Trouble {
    fn from(fault: ReplyFault) -> Self {
        Self::Desync(match fault {
            ReplyFault::CodeChanged => "the lines of a reply have different codes",
            ReplyFault::Malformed => "what came is not an SMTP reply",
            ReplyFault::TooLong => "a reply without an end",
        })
    }
}

impl From<Desync> for Trouble {
    fn from(_: Desync) -> Self {
        Self::Desync("a reply that answers nothing")
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}
