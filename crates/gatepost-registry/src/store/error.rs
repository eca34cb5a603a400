//! What can be wrong: with the store, and with an edit.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::ErrorCode;

use crate::item::{ItemError, Kind};

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A commit has failed. What the disk holds after that is unknown, and a second try could turn
    /// the unknown into a lie.
    #[error(
        "{}: an edit could not be committed ({reason}); whether it holds is known when the store is \
         opened again: look after the disk, restart the gateway, and look at `gatepost history`",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Another process is in the middle of an edit.
    #[error("{}: another edit is being made; try again when it is done", .0.display())]
    Busy(PathBuf),
    /// It is a store, and can not be read.
    #[error(
        "{}: the store is damaged ({reason}); move it away with its -wal and -shm files, and restore \
         the last export with `gatepost entry import`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// There is no room for an edit.
    #[error("{}: the disk is full; nothing was changed", .0.display())]
    Full(PathBuf),
    /// The system does not let us have the file.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A Gatepost that knows more has written it.
    #[error(
        "{}: written by a newer version of Gatepost (schema {version}); run that version, or restore \
         an export that was made before the update",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        version: usize,
    },
    /// The system does not let SQLite have the file, or what it puts beside it.
    #[error(
        "{}: cannot be opened ({reason}); run this as the user who owns it and its directory",
        path.display()
    )]
    NotOpened {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// It is something else.
    #[error(
        "{} is not a store of Gatepost; move it away, and restore the last export with `gatepost \
         entry import`",
        path.display()
    )]
    NotStore {
        /// The file.
        path: PathBuf,
    },
    /// It has to be brought to this version first.
    #[error(
        "{}: written by an older version of Gatepost (schema {version}); start the gateway once, \
         which brings it to this version",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        version: usize,
    },
    /// It can be read, and not written.
    #[error("{}: cannot be written; run this as the user who owns it", .0.display())]
    ReadOnly(PathBuf),
    /// Whatever else SQLite has to say.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: rusqlite::Error,
    },
    /// There is no such revision.
    #[error("there is no revision {wanted}; the last one is {last}")]
    UnknownRevision {
        /// The one that was asked for.
        wanted: u64,
        /// The one that holds.
        last: u64,
    },
}

/// Why an edit was not made. `E` is what the judge says.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    /// The edit itself is wrong.
    #[error(transparent)]
    Invalid(InvalidEdit),
    /// The policy that would come of it is wrong.
    #[error("{0}")]
    Refused(E),
    /// Somebody else has edited in between.
    #[error(transparent)]
    Stale(Stale),
    /// The store could not do it.
    #[error(transparent)]
    Store(StoreError),
}

/// The revision that an edit was made for does not hold any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy is at revision {is}{}, and the edit is for revision {wanted}; see what has changed \
     with `gatepost diff`, and edit again",
    self.last()
)]
pub struct Stale {
    /// The revision that the edit was made for.
    pub wanted: u64,
    /// The revision that holds.
    pub is: u64,
    /// Who made that one, and when. Nobody made revision 0.
    pub by: Option<(String, Timestamp)>,
}

/// What is wrong with an edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEdit {
    /// A key is to be set and unset at once.
    #[error("the key {0:?} is to be set and unset at once; say one of both")]
    Both(String),
    /// There is an item of that name.
    #[error("the {kind} {id:?} is there already; edit it, or give the new one another id")]
    Exists {
        /// What it is.
        kind: Kind,
        /// Its name.
        id: String,
    },
    /// Expectations have no names that would stay.
    #[error("an expectation is named by what it says; remove it, and add another")]
    Expectation,
    /// A text is no item.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// There is nothing of that name.
    #[error("there is no {kind} {id:?}")]
    Missing {
        /// What it should be.
        kind: Kind,
        /// The name.
        id: String,
    },
    /// Who made it is not said.
    #[error("an edit needs an author")]
    NoAuthor,
    /// A text would do something to the terminal that shows it.
    #[error("the {0} has control characters in it; write it as plain text in one line")]
    NotPrintable(&'static str),
    /// The name of an item would be another one.
    #[error("the id of the {kind} {id:?} stays; to rename it, remove it, and add it anew")]
    Renamed {
        /// What it is.
        kind: Kind,
        /// Its name.
        id: String,
    },
    /// Too much of something.
    #[error("the {what} is {is} {unit} long; {most} are the most")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How much it is.
        is: usize,
        /// Of which measure.
        unit: &'static str,
        /// How much it may be.
        most: usize,
    },
    /// A list that replaces all has two items of one name.
    #[error("the {kind} {id:?} is there twice; leave one of them out")]
    Twice {
        /// What they are.
        kind: Kind,
        /// Their name.
        id: String,
    },
}

/// What is wrong with reading, before it is said of which file.
#[derive(Debug)]
pub(super) enum ReadFault {
    Sqlite(rusqlite::Error),
    UnknownRevision { wanted: u64, last: u64 },
}

/// What is wrong with an edit, before it is said of which file.
#[derive(Debug)]
pub(super) enum EditFault {
    Invalid(InvalidEdit),
    Read(ReadFault),
    Stale(Stale),
}

impl StoreError {
    pub(super) fn of_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };

        let path = path.to_owned();
        match (error.sqlite_error_code(), &error) {
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Self::Busy(path),
            (Some(ErrorCode::DiskFull), _) => Self::Full(path),
            (Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied), _) => {
                Self::NotOpened { path, reason: error.to_string() }
            }
            (Some(ErrorCode::NotADatabase), _) => Self::NotStore { path },
            (Some(ErrorCode::ReadOnly), _) => Self::ReadOnly(path),
            (Some(ErrorCode::DatabaseCorrupt), _)
            | (
                _,
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..),
            ) => Self::Damaged { path, reason: error.to_string() },
            _ => Self::Sqlite { path, error },
        }
    }
}

impl Stale {
    fn last(&self) -> String {
        self.by.as_ref().map_or_else(String::new, |(author, at)| format!(" (by {author}, {at})"))
    }
}

impl ReadFault {
    pub(super) fn of_store(self, path: &Path) -> StoreError {
        match self {
            Self::Sqlite(error) => StoreError::of_sqlite(path, error),
            Self::UnknownRevision { wanted, last } => StoreError::UnknownRevision { wanted, last },
        }
    }
}

impl From<rusqlite::Error> for ReadFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl EditFault {
    pub(super) fn of_store<E>(self, path: &Path) -> EditError<E> {
        match self {
            Self::Invalid(error) => EditError::Invalid(error),
            Self::Read(fault) => EditError::Store(fault.of_store(path)),
            Self::Stale(stale) => EditError::Stale(stale),
        }
    }
}

impl From<InvalidEdit> for EditFault {
    fn from(error: InvalidEdit) -> Self {
        Self::Invalid(error)
    }
}

impl From<ItemError> for EditFault {
    fn from(error: ItemError) -> Self {
        Self::Invalid(error.into())
    }
}

impl From<ReadFault> for EditFault {
    fn from(fault: ReadFault) -> Self {
        Self::Read(fault)
    }
}

impl From<rusqlite::Error> for EditFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error.into())
    }
}
