//! Why a command has no answer, by what its user can do about it.

use std::{io, path::PathBuf};

use super::{client::ANSWER_OCTETS_MAX, host::EditRefusal, queue::QueueRefusal};

/// Why the gateway has not answered.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens: what can be answered from the files should be.
    #[error("no gateway is running here: nobody answers at {}", .0.display())]
    NotRunning(PathBuf),
    /// The gateway is another user's.
    #[error(
        "{} is not ours to use; run the command as the user of the gateway, or as root",
        .0.display()
    )]
    Permission(PathBuf),
    /// No socket can be there: the path is too long for one.
    #[error(transparent)]
    Path(io::Error),
    /// The system cannot connect to it, for another reason.
    #[error("cannot connect to the control socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// It listens, and says nothing.
    #[error("the gateway has not answered in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the gateway has not answered the question")]
    Exchange(#[from] hyper::Error),
    /// The answer ended early, or has no end.
    #[error("the answer of the gateway is cut short, or longer than {ANSWER_OCTETS_MAX} octets")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what it should be: the program at the other end has another version.
    #[error("the answer of the gateway is not understood; is it of another version?")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The gateway has answered that it cannot.
    #[error("the gateway refuses to answer ({status}): {message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// It will not edit its policy so.
    #[error(transparent)]
    Edit(#[from] EditRefusal),
    /// It cannot look into its queue, or will not change it so.
    #[error(transparent)]
    Queue(#[from] QueueRefusal),
    /// What it has answered cannot be written where it is to go.
    #[error("cannot write the message")]
    Sink(#[source] io::Error),
    /// Part of a listing has been handed out, and the rest of that policy is gone.
    #[error("the policy has changed while it was listed; list it again")]
    PolicyChanged,
}
