//! Operations applied in memory: which items change, and to what.
//!
//! Nothing is written here. An operation sees what those before it have done; what comes of all of
//! them is a [`Changes`], in which an item that was changed and changed back does not occur.

use std::collections::{BTreeMap, HashMap};

use gatepost_policy::document;
use rusqlite::{Connection, OptionalExtension};
use toml::Table;

use super::{
    Operation,
    changes::{self, Change, Changes, Kept},
    error::{EditFault, InvalidEdit},
    order::{STRIDE, positions},
};
use crate::item::{Item, Kind};

/// A policy that is being edited.
pub(super) struct Draft<'c> {
    connection: &'c Connection,
    changes: Changes,
    /// The last position of a kind that is taken, once it was asked for.
    ends: BTreeMap<Kind, i64>,
}

impl<'c> Draft<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, changes: Changes::default(), ends: BTreeMap::new() }
    }

    /// What all operations together have changed.
    pub(super) fn into_changes(mut self) -> Changes {
        self.changes.settle();
        self.changes
    }

    /// Applies one operation. `origin` names it in errors.
    pub(super) fn apply(&mut self, operation: &Operation, origin: &str) -> Result<(), EditFault> {
        match operation {
            Operation::Add { kind, body } => {
                let item = Item::from_body(*kind, body, origin)?;
                if self.change(*kind, item.id())?.after.is_some() {
                    let id = item.id().to_owned();
                    return Err(InvalidEdit::Exists { kind: *kind, id }.into());
                }
                self.put(&item)
            }
            Operation::Put { kind, body } => self.put(&Item::from_body(*kind, body, origin)?),
            Operation::Set { kind, id, body, unset } => {
                let body = document::parse(body, origin).map_err(crate::item::ItemError::from)?;
                self.set(*kind, id, body, unset)
            }
            Operation::Remove { kind, id } => match self.change(*kind, id)?.after.take() {
                Some(_) => Ok(()),
                None => Err(InvalidEdit::Missing { kind: *kind, id: id.clone() }.into()),
            },
            Operation::Replace { bodies } => self.replace(bodies, origin),
            Operation::Revert { revision } => {
                self.ends.clear();
                self.changes = changes::since(self.connection, *revision)?.reversed();
                Ok(())
            }
        }
    }

    /// An item in its place, or at the end if it has none.
    fn put(&mut self, item: &Item) -> Result<(), EditFault> {
        let body = item.body().to_owned();
        if let Some(kept) = &mut self.change(item.kind(), item.id())?.after {
            kept.body = body;
            return Ok(());
        }
        let position = self.next_position(item.kind())?;
        self.change(item.kind(), item.id())?.after = Some(Kept { position, body });
        Ok(())
    }

    /// Some keys of an item.
    fn set(
        &mut self,
        kind: Kind,
        id: &str,
        keys: Table,
        unset: &[String],
    ) -> Result<(), EditFault> {
        let change = self.change(kind, id)?;
        let Some(kept) = &mut change.after else {
            return Err(InvalidEdit::Missing { kind, id: id.to_owned() }.into());
        };
        if kind == Kind::Expect {
            return Err(InvalidEdit::Expectation.into());
        }
        if let Some(key) = unset.iter().find(|key| keys.contains_key(*key)) {
            return Err(InvalidEdit::Both(key.clone()).into());
        }
        let mut table = Item::kept(kind, id.to_owned(), std::mem::take(&mut kept.body)).table();
        for key in unset {
            table.remove(key);
        }
        table.extend(keys);
        match Item::new(kind, &table) {
            Ok(item) if item.id() == id => item.body().clone_into(&mut kept.body),
            _ => return Err(InvalidEdit::Renamed { kind, id: id.to_owned() }.into()),
        }
        Ok(())
    }

    /// The whole policy. What operations before it have done does not count any more.
    fn replace(&mut self, bodies: &[(Kind, String)], origin: &str) -> Result<(), EditFault> {
        let mut wanted: BTreeMap<Kind, Vec<Item>> = BTreeMap::new();
        for (number, (kind, body)) in (1..).zip(bodies) {
            let item = Item::from_body(*kind, body, &format!("{origin}, item {number}"))?;
            wanted.entry(*kind).or_default().push(item);
        }
        self.ends.clear();
        self.changes = Changes::default();
        for kind in Kind::ALL {
            self.replace_kind(kind, wanted.remove(&kind).unwrap_or_default())?;
        }
        Ok(())
    }

    fn replace_kind(&mut self, kind: Kind, items: Vec<Item>) -> Result<(), EditFault> {
        let items = distinct(kind, items)?;
        let index: HashMap<_, _> =
            items.iter().enumerate().map(|(index, item)| (item.id(), index)).collect();
        let mut before: Vec<Option<i64>> = vec![None; items.len()];
        let changes = self.changes.of_kind(kind);
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, position, body FROM item WHERE kind = ?1")?;
        let mut rows = statement.query([kind.name()])?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let position = row.get(1)?;
            let kept = index.get(id).map(|&index| {
                before[index] = Some(position);
                items[index].body()
            });
            let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            if kept != Some(body) {
                let before = Some(Kept { position, body: body.to_owned() });
                changes.insert(id.to_owned(), Change { before, after: None });
            }
        }
        for ((item, before), after) in items.iter().zip(&before).zip(positions(&before)) {
            let body = || item.body().to_owned();
            match changes.get_mut(item.id()) {
                Some(change) => change.after = Some(Kept { position: after, body: body() }),
                None if *before == Some(after) => {}
                None => {
                    // It says what it said, or was not there.
                    let before = before.map(|position| Kept { position, body: body() });
                    let after = Some(Kept { position: after, body: body() });
                    changes.insert(item.id().to_owned(), Change { before, after });
                }
            }
        }
        Ok(())
    }

    /// What becomes of an item; at first it stays as it is kept.
    fn change(&mut self, kind: Kind, id: &str) -> rusqlite::Result<&mut Change> {
        let changes = self.changes.of_kind(kind);
        if !changes.contains_key(id) {
            let mut statement = self
                .connection
                .prepare_cached("SELECT position, body FROM item WHERE kind = ?1 AND id = ?2")?;
            let kept = statement
                .query_one((kind.name(), id), |row| {
                    Ok(Kept { position: row.get(0)?, body: row.get(1)? })
                })
                .optional()?;
            changes.insert(id.to_owned(), Change { before: kept.clone(), after: kept });
        }
        Ok(changes.entry(id.to_owned()).or_default())
    }

    /// A position behind all others of a kind.
    fn next_position(&mut self, kind: Kind) -> rusqlite::Result<i64> {
        let last = match self.ends.get(&kind) {
            Some(last) => *last,
            None => self.last_position(kind)?,
        };
        // No store sees 2^39 edits.
        let next = last.saturating_add(STRIDE);
        self.ends.insert(kind, next);
        Ok(next)
    }

    fn last_position(&mut self, kind: Kind) -> rusqlite::Result<i64> {
        let mut statement =
            self.connection.prepare_cached("SELECT max(position) FROM item WHERE kind = ?1")?;
        let kept: Option<i64> = statement.query_one([kind.name()], |row| row.get(0))?;
        let changes = self.changes.of_kind(kind).values();
        let drafted = changes.filter_map(|change| Some(change.after.as_ref()?.position)).max();
        Ok(kept.max(drafted).unwrap_or(0))
    }
}

/// No two items of one name. Expectations that say the same are one.
fn distinct(kind: Kind, mut items: Vec<Item>) -> Result<Vec<Item>, InvalidEdit> {
    let mut seen = std::collections::HashSet::with_capacity(items.len());
    let again: Vec<bool> = items.iter().map(|item| !seen.insert(item.id().to_owned())).collect();
    if kind != Kind::Expect
        && let Some(item) = items.iter().zip(&again).find_map(|(item, again)| again.then_some(item))
    {
        return Err(InvalidEdit::Twice { kind, id: item.id().to_owned() });
    }
    let mut again = again.into_iter();
    items.retain(|_| again.next() == Some(false));
    Ok(items)
}
