//! Items and revisions in SQLite.
//!
//! A [`Store`] has the items as they are now, and for every edit a revision: who made it, when,
//! why, and what each changed item was before and after. All revisions are kept: they are small
//! (the text of what changed, twice), and nothing is ever forgotten. So the policy of any revision
//! can be told and brought back. Revisions count from 1 without gaps; 0 is the empty policy.
//!
//! An edit is one transaction, and is judged before anything of it is written. What is on the disk
//! when the process is killed or the power fails (write-ahead log, `synchronous = FULL`):
//!
//! | at which moment | what is there | what the next [`Store::open`] does |
//! |---|---|---|
//! | the file is being made | an empty file, or one without tables | makes the tables; to a reader it is no store yet |
//! | tables are made or brought to a new version | the tables as they were | does it again, whole |
//! | an edit is judged | nothing of it | the revision before holds |
//! | an edit is written, its commit is not flushed | pages without the mark of a commit | SQLite drops them; the revision before holds |
//! | the commit is flushed, the caller has not heard | the edit | it holds, and the history tells whose it is |
//! | the log is copied into the file | both | SQLite copies it again |
//! | a commit or its flush has failed | the edit or nothing of it | tells which; until then no edit is taken |
//!
//! `edit` says what an edit is, `draft` applies it in memory, `order` keeps items where
//! they are while a list is replaced, `changes` knows what differs between two revisions.

mod changes;
mod draft;
mod edit;
mod error;
mod history;
mod open;
mod order;
mod schema;
mod write;

use std::{collections::HashMap, path::PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use self::{changes::Changes, error::ReadFault};
pub use self::{
    edit::{
        AUTHOR_OCTETS_MAX, BODY_OCTETS_MAX, EDIT_ITEMS_MAX, Edit, Operation, Outcome, Proposed,
        REASON_OCTETS_MAX,
    },
    error::{EditError, InvalidEdit, Stale, StoreError},
    history::{
        CHANGES_MAX, ChangeSummary, Difference, HistoryWanted, REVISIONS_MAX, RevisionRecord, What,
    },
};
use crate::item::{Item, Kind};

/// The operations on an editable policy, whatever keeps it.
pub trait Registry {
    /// The revision that holds; 0 if nothing was ever put in.
    fn revision(&self) -> Result<u64, StoreError>;

    /// The text of the policy, to be compiled: what [`policy_text`](crate::item::policy_text)
    /// makes of the items, without a copy of each.
    fn text(&self) -> Result<StoredText, StoreError>;

    /// All items, in the order of the kinds, and in their own within each.
    fn policy(&self) -> Result<Stored, StoreError>;

    /// All items as they were at a revision.
    fn policy_at(&self, revision: u64) -> Result<Stored, StoreError>;

    /// One item, if there is one of that name.
    fn item(&self, kind: Kind, id: &str) -> Result<Option<Item>, StoreError>;

    /// Makes an edit: all of it or nothing. `judge` is asked whether the policy that would come of
    /// it is right; if it refuses, nothing has happened. It is not asked about an edit that
    /// changes nothing. The edit is on stable storage when this returns.
    fn edit<T, E>(
        &mut self,
        edit: &Edit,
        now: Timestamp,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>>;

    /// Tells what [`Registry::edit`] would do, and does not do it. Needs a store that can be read,
    /// no more; the revision in the outcome is the one that the edit would become.
    fn propose<T, E>(
        &self,
        edit: &Edit,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>>;

    /// When each item of a kind was added that is there now; the last time, if it had gone before.
    fn added(&self, kind: Kind) -> Result<HashMap<String, Timestamp>, StoreError>;

    /// Revisions, the newest first.
    fn history(&self, wanted: &HistoryWanted) -> Result<Vec<RevisionRecord>, StoreError>;

    /// What is different at revision `to` from what it was at `from`, in the order of the kinds and
    /// of the ids. What was changed and changed back in between is not. `to` may be the older one.
    fn difference(&self, from: u64, to: u64) -> Result<Vec<Difference>, StoreError>;
}

/// The store in a file of its own. One handle is for one thread at a time; handles of several
/// threads and processes on one file see each other's edits, and take turns.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Why no edit is taken any more, once a commit has failed.
    broken: Option<String>,
}

/// A policy and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The revision.
    pub revision: u64,
    /// The items, in the order of a policy.
    pub items: Vec<Item>,
}

/// The text of a policy and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredText {
    /// The revision.
    pub revision: u64,
    /// What a policy file would say.
    pub text: String,
}

impl Registry for Store {
    fn revision(&self) -> Result<u64, StoreError> {
        history::last_revision(&self.connection).map_err(|error| self.failed(error))
    }

    fn text(&self) -> Result<StoredText, StoreError> {
        self.read(|connection| {
            let revision = history::last_revision(connection)?;
            Ok(StoredText { revision, text: Changes::default().text(connection)? })
        })
    }

    fn policy(&self) -> Result<Stored, StoreError> {
        self.read(|connection| {
            let revision = history::last_revision(connection)?;
            Ok(Stored { revision, items: Changes::default().items(connection)? })
        })
    }

    fn policy_at(&self, revision: u64) -> Result<Stored, StoreError> {
        self.read(|connection| {
            let since = changes::since(connection, revision)?;
            Ok(Stored { revision, items: since.reversed().items(connection)? })
        })
    }

    fn item(&self, kind: Kind, id: &str) -> Result<Option<Item>, StoreError> {
        let body = self
            .connection
            .prepare_cached("SELECT body FROM item WHERE kind = ?1 AND id = ?2")
            .and_then(|mut body| body.query_one((kind.name(), id), |row| row.get(0)).optional())
            .map_err(|error| self.failed(error))?;
        Ok(body.map(|body| Item::kept(kind, id.to_owned(), body)))
    }

    fn edit<T, E>(
        &mut self,
        edit: &Edit,
        now: Timestamp,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>> {
        self.edit_with(edit, now, judge)
    }

    fn propose<T, E>(
        &self,
        edit: &Edit,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>> {
        self.propose_with(edit, judge)
    }

    fn added(&self, kind: Kind) -> Result<HashMap<String, Timestamp>, StoreError> {
        self.read(|connection| Ok(history::added(connection, kind)?))
    }

    fn history(&self, wanted: &HistoryWanted) -> Result<Vec<RevisionRecord>, StoreError> {
        self.read(|connection| Ok(history::records(connection, wanted)?))
    }

    fn difference(&self, from: u64, to: u64) -> Result<Vec<Difference>, StoreError> {
        self.read(|connection| {
            let changes = changes::between(connection, from.min(to), from.max(to))?;
            let changes = if from <= to { changes } else { changes.reversed() };
            Ok(changes.into_differences())
        })
    }
}

impl Store {
    /// Reads in one transaction: nothing changes in between.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadFault>,
    ) -> Result<T, StoreError> {
        Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)
            .map_err(ReadFault::Sqlite)
            .and_then(|transaction| read(&transaction))
            .map_err(|fault| fault.of_store(&self.path))
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of_sqlite(&self.path, error)
    }
}

#[cfg(test)]
mod tests;
