//! What can be wrong with the spool, by what a caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::id::QueueId;

/// Why the spool did not do something. Many callers can hear of the same failure, hence `Clone`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpoolError {
    /// A body is not what was committed; the message must not be delivered.
    #[error(
        "{id}: its body is damaged ({reason}); look after the disk, and remove the message with `gatepost queue remove {id}`"
    )]
    BodyDamaged {
        /// The message.
        id: QueueId,
        /// What was found.
        reason: Arc<str>,
    },
    /// Another process holds the lock of the database longer than any command should.
    #[error("{}: locked by another program; end what has it open", .0.display())]
    Busy(PathBuf),
    /// It was closed: the gateway ends.
    #[error("the spool is closed")]
    Closed,
    /// It is a spool, and cannot be read. Nothing of it was changed.
    #[error(
        "{}: the spool is damaged ({reason}); stop the gateway, keep a copy of the whole directory, and \
         recover what can be read with `sqlite3 {} .recover`",
        path.display(),
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: Arc<str>,
    },
    /// A message of that id is there already.
    #[error("the spool has a message {0} already")]
    Exists(QueueId),
    /// There is no room. Nothing was written, and everything that was acknowledged is safe.
    #[error("{}: no room for another message ({reason}); free some space on this disk", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// What said so.
        reason: Arc<str>,
    },
    /// It is open already, here or in another process.
    #[error("{}: in use by another gateway; a gateway needs a spool of its own", .0.display())]
    InUse(PathBuf),
    /// The system does not let us have a file or a directory.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: Arc<io::Error>,
    },
    /// A Gatepost that knows more has written it.
    #[error(
        "{}: written by a newer version of Gatepost (schema {version}); run that version until its queue is empty",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version of its schema.
        version: usize,
    },
    /// There are bodies of messages, or the log of a database, and no database that knows of them.
    /// Nothing was changed.
    #[error(
        "{}: there is mail here without the database that knows of it; put spool.db back to the files \
         that were beside it, or move this whole directory away, and keep it",
        .0.display()
    )]
    NoDatabase(PathBuf),
    /// It is something else.
    #[error("{} is not a spool of Gatepost, or its head is damaged; move the whole directory away, and keep it: if it was one, it has messages in it", .0.display())]
    NotSpool(PathBuf),
    /// Whatever else SQLite has to say. Nothing was written.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What it said.
        reason: Arc<str>,
    },
    /// A commit or a flush has failed before, and nothing is accepted any more.
    #[error(
        "the spool has stopped ({0}); what was acknowledged is on the disk: look after it, and restart the \
         gateway"
    )]
    Stopped(Arc<str>),
}

impl SpoolError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error: Arc::new(error) }
    }

    /// A failure to make or to write a file: a disk that is full is one of its own.
    pub(crate) fn of_writing(path: &Path, error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                Self::Full { path: path.to_owned(), reason: error.to_string().into() }
            }
            _ => Self::io(path, error),
        }
    }

    /// What SQLite says when nothing is at stake: at the opening, when something is read, and in a
    /// transaction that was rolled back.
    pub(crate) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };

        let path = path.to_owned();
        let reason = || error.to_string().into();
        match (error.sqlite_error_code(), error) {
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Self::Busy(path),
            (Some(ErrorCode::DatabaseCorrupt), _)
            | (
                _,
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..),
            ) => Self::Damaged { path, reason: reason() },
            (Some(ErrorCode::DiskFull), _) => Self::Full { path, reason: reason() },
            (Some(ErrorCode::NotADatabase), _) => Self::NotSpool(path),
            _ => Self::Sqlite { path, reason: reason() },
        }
    }
}
