//! In what way an upstream gave no usable answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::client::{Desync, Mechanism, OpeningFault, ReplyFault};
use gatepost_smtp::reply::Reply;
use gatepost_stream::StreamError;

use crate::token::TokenError;

/// What went wrong with a connection. A reply of the upstream to a command is not trouble.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It did not take our login.
    #[error("AUTH refused: {0}")]
    AuthRefused(Reply),
    /// Every connection was busy until the deadline.
    #[error("all connections are busy")]
    Busy,
    /// It said something that no command asked for, or no reply at all.
    #[error("protocol fault: {0}")]
    Desync(&'static str),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// It does not offer the mechanism that is configured.
    #[error("AUTH {0} is not offered")]
    NoMechanism(Mechanism),
    /// TLS is needed; it is not offered, or was refused like this.
    #[error("no TLS: {}", said_to_starttls(.0.as_ref()))]
    NoTls(Option<Reply>),
    /// There is no access token to log in with.
    #[error("no access token: {0}")]
    NoToken(TokenError),
    /// It did not want our connection or our EHLO, and said so.
    #[error("refused: {0}")]
    Refused(Reply),
    /// It has failed so often, or in such a way, that it is left alone for a while.
    #[error("{}", resting(why, *next))]
    Resting {
        /// What went wrong last.
        why: Arc<str>,
        /// How long until the next attempt; zero while one is under way.
        next: Duration,
    },
    /// It said nothing until the deadline.
    #[error("no reply in time")]
    Silent,
    /// TLS did not come about: it speaks it wrong, or is not whom we take for it.
    #[error("TLS: {0}")]
    Tls(String),
    /// No host could be connected to.
    #[error("cannot connect: {0}")]
    Unreachable(String),
}

/// Characters of what TLS has to say: a certificate may have any number of names.
const TLS_TEXT_MAX: usize = 300;

fn said_to_starttls(said: Option<&Reply>) -> String {
    said.map_or_else(|| "STARTTLS is not offered".to_owned(), |reply| format!("STARTTLS: {reply}"))
}

impl Trouble {
    /// What a stream came to while its opening was under way: an alert that comes behind the
    /// handshake, like one about our certificate, belongs to it (RFC 8446 §4.4.2.4).
    pub(crate) fn of_opening(error: StreamError) -> Self {
        match error {
            StreamError::Tls(error) => {
                Self::Tls(error.to_string().chars().take(TLS_TEXT_MAX).collect())
            }
            error => error.into(),
        }
    }

    /// What a stream came to in the middle of a handshake: whoever hangs up there does not want it.
    pub(crate) fn of_handshake(error: StreamError) -> Self {
        match Self::of_opening(error) {
            Self::Lost(reason) => Self::Tls(reason),
            trouble => trouble,
        }
    }
}

impl From<OpeningFault> for Trouble {
    fn from(fault: OpeningFault) -> Self {
        match fault {
            OpeningFault::LoginRefused(reply) => Self::AuthRefused(reply),
            OpeningFault::NoMechanism(mechanism) => Self::NoMechanism(mechanism),
            OpeningFault::NoTls(said) => Self::NoTls(said),
            OpeningFault::Refused(reply) => Self::Refused(reply),
        }
    }
}

fn resting(why: &str, next: Duration) -> String {
    if next.is_zero() {
        return format!("resting until an attempt that is under way succeeds: {why}");
    }
    format!("resting, next attempt in {:.1} s: {why}", next.as_secs_f64())
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

impl From<TokenError> for Trouble {
    fn from(error: TokenError) -> Self {
        Self::NoToken(error)
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
