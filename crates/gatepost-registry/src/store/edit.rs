//! An edit: what is to be done, by whom and why; and what came of it.
//!
//! Edits are made of operations on items, and travel as JSON between the command line and the
//! gateway. A key that is not known is refused: an `if_revision` with a slip in its name must not
//! be taken for none.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::{
    Difference, EditError, InvalidEdit, Stale, Store, StoreError,
    changes::{Changes, TEXT_OCTETS_MAX},
    draft::Draft,
    error::EditFault,
    history, write,
};
use crate::item::Kind;

/// Items that the operations of one edit name: an import of a million entries is one edit, and
/// there is room for what goes with them.
pub const EDIT_ITEMS_MAX: usize = 1 << 20;
/// Octets of the text of one item. An entry of this size has some hundred thousand networks.
pub const BODY_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Octets of the name of an author: a user, a host, and how they came.
pub const AUTHOR_OCTETS_MAX: usize = 256;
/// Octets of a reason: a sentence and the number of a ticket, not the ticket.
pub const REASON_OCTETS_MAX: usize = 1024;

/// An edit of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// What is done, one after the other. All of it is done, or nothing.
    pub operations: Vec<Operation>,
    /// Who does it; at most [`AUTHOR_OCTETS_MAX`] in one line.
    pub author: String,
    /// Why; at most [`REASON_OCTETS_MAX`] in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision that the author has seen: if another one holds, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
}

/// A step of an edit. Bodies are TOML, the keys and values of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// A new item comes at the end of its kind. One of that name must not be there.
    Add {
        /// What it is.
        kind: Kind,
        /// All of it, with its id.
        body: String,
    },
    /// An item is what the body says. It keeps its place if it was there, and else comes at the end.
    Put {
        /// What it is.
        kind: Kind,
        /// All of it, with its id.
        body: String,
    },
    /// Some keys of an item get other values; the others stay.
    Set {
        /// What it is.
        kind: Kind,
        /// Its name, which stays.
        id: String,
        /// The keys that get values.
        #[serde(default)]
        body: String,
        /// The keys that go. One that is not there is no error.
        #[serde(default)]
        unset: Vec<String>,
    },
    /// An item goes.
    Remove {
        /// What it is.
        kind: Kind,
        /// Its name.
        id: String,
    },
    /// The whole policy is exactly this, in this order within each kind.
    Replace {
        /// All items.
        bodies: Vec<(Kind, String)>,
    },
    /// The whole policy is what it was at a revision. That is a new revision: nothing of the
    /// history goes.
    Revert {
        /// The revision; 0 is the empty policy.
        revision: u64,
    },
}

/// The policy that would come of an edit, to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Proposed<'p> {
    /// What a policy file would say.
    pub text: &'p str,
    /// The revision that it would be.
    pub revision: u64,
}

/// What came of an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<T> {
    /// All was as it should be already. No revision was made, and nobody judged.
    Unchanged {
        /// The revision that holds.
        revision: u64,
    },
    /// The policy is another one.
    Changed {
        /// Its revision.
        revision: u64,
        /// What the judge made of it.
        judged: T,
        /// What is different, in the order of the kinds and of the ids.
        differences: Vec<Difference>,
    },
}

/// What an edit would change, before it is judged.
struct Draw {
    /// The revision that it would be.
    revision: u64,
    changes: Changes,
    /// The policy after the edit; empty if nothing changes.
    text: String,
}

impl Store {
    pub(super) fn edit_with<T, E>(
        &mut self,
        edit: &Edit,
        now: Timestamp,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>> {
        let Self { connection, path, broken } = self;
        if let Some(reason) = broken {
            let (path, reason) = (path.clone(), reason.clone());
            return Err(EditError::Store(StoreError::Broken { path, reason }));
        }
        let failed = |error| EditError::Store(StoreError::of_sqlite(path, error));
        // SQLite would tell when the edit is written: too late for whoever has judged it.
        if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
            return Err(EditError::Store(StoreError::ReadOnly(path.clone())));
        }
        edit.check().map_err(EditError::Invalid)?;
        // What is not committed at the end is rolled back when the transaction is dropped.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let mut draw = Draw::of(edit, &transaction).map_err(|fault| fault.of_store(path))?;
        let Some(judged) = draw.judged(judge)? else { return Ok(draw.unchanged()) };
        match write::revision(&transaction, draw.revision, edit, now, &draw.changes)
            .and_then(|()| transaction.commit())
        {
            Ok(()) => Ok(draw.changed(judged)),
            Err(error) => Err(EditError::Store(not_written(path, error, broken))),
        }
    }

    pub(super) fn propose_with<T, E>(
        &self,
        edit: &Edit,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Outcome<T>, EditError<E>> {
        edit.check().map_err(EditError::Invalid)?;
        let mut draw = Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)
            .map_err(EditFault::from)
            .and_then(|transaction| Draw::of(edit, &transaction))
            .map_err(|fault| fault.of_store(&self.path))?;
        let judged = draw.judged(judge)?;
        Ok(match judged {
            Some(judged) => draw.changed(judged),
            None => draw.unchanged(),
        })
    }
}

/// An edit that could not be written. If there was no room for it, the mark of its commit is not in
/// the log. Of any other failure nobody knows what it has left there.
fn not_written(path: &Path, error: rusqlite::Error, broken: &mut Option<String>) -> StoreError {
    let reason = error.to_string();
    match StoreError::of_sqlite(path, error) {
        full @ StoreError::Full(_) => full,
        _ => StoreError::Broken { path: path.to_owned(), reason: broken.insert(reason).clone() },
    }
}

impl Edit {
    /// Whether it is an edit at all, before anything is looked up.
    fn check(&self) -> Result<(), InvalidEdit> {
        if self.author.trim().is_empty() {
            return Err(InvalidEdit::NoAuthor);
        }
        line("author", &self.author, AUTHOR_OCTETS_MAX)?;
        line("reason", self.reason.as_deref().unwrap_or_default(), REASON_OCTETS_MAX)?;
        let items = self.operations.iter().map(Operation::items).fold(0, usize::saturating_add);
        short_enough("edit", items, "items", EDIT_ITEMS_MAX)?;
        self.operations.iter().flat_map(Operation::bodies).try_for_each(|body| {
            short_enough("text of an item", body.len(), "octets", BODY_OCTETS_MAX)
        })
    }
}

impl Operation {
    /// How many items it names.
    const fn items(&self) -> usize {
        match self {
            Self::Replace { bodies } => bodies.len(),
            Self::Set { unset, .. } => 1 + unset.len(),
            Self::Add { .. } | Self::Put { .. } | Self::Remove { .. } | Self::Revert { .. } => 1,
        }
    }

    fn bodies(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Add { body, .. } | Self::Put { body, .. } | Self::Set { body, .. } => {
                (Some(body), &[][..])
            }
            Self::Replace { bodies } => (None, &bodies[..]),
            Self::Remove { .. } | Self::Revert { .. } => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|(_, body)| body)).map(String::as_str)
    }
}

impl Draw {
    fn of(edit: &Edit, connection: &Connection) -> Result<Self, EditFault> {
        let last = history::last_revision(connection)?;
        if let Some(wanted) = edit.if_revision.filter(|&wanted| wanted != last) {
            let by = history::author(connection, last)?;
            return Err(EditFault::Stale(Stale { wanted, is: last, by }));
        }
        let mut draft = Draft::new(connection);
        for (number, operation) in (1..).zip(&edit.operations) {
            draft.apply(operation, &format!("operation {number}"))?;
        }
        let mut changes = draft.into_changes();
        let mut text = if changes.is_empty() { String::new() } else { changes.text(connection)? };
        // Items that have gone and come back may have other positions in the same order.
        if changes.only_move() && text == Changes::default().text(connection)? {
            (changes, text) = (Changes::default(), String::new());
        }
        short_enough("text of the policy", text.len(), "octets", TEXT_OCTETS_MAX)?;
        Ok(Self { revision: last + 1, changes, text })
    }

    /// What the judge says, who is not asked about nothing.
    fn judged<T, E>(
        &mut self,
        judge: impl FnOnce(Proposed<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, EditError<E>> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        // A text of a million entries need not be there while they are written.
        let text = std::mem::take(&mut self.text);
        let proposed = Proposed { text: &text, revision: self.revision };
        judge(proposed).map(Some).map_err(EditError::Refused)
    }

    fn changed<T>(self, judged: T) -> Outcome<T> {
        let differences = self.changes.into_differences();
        Outcome::Changed { revision: self.revision, judged, differences }
    }

    fn unchanged<T>(self) -> Outcome<T> {
        Outcome::Unchanged { revision: self.revision - 1 }
    }
}

/// A text that is shown in one line.
fn line(what: &'static str, text: &str, most: usize) -> Result<(), InvalidEdit> {
    short_enough(what, text.len(), "octets", most)?;
    if text.contains(char::is_control) { Err(InvalidEdit::NotPrintable(what)) } else { Ok(()) }
}

const fn short_enough(
    what: &'static str,
    is: usize,
    unit: &'static str,
    most: usize,
) -> Result<(), InvalidEdit> {
    if is > most { Err(InvalidEdit::TooLong { what, is, unit, most }) } else { Ok(()) }
}
