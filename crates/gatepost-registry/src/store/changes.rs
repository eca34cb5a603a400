//! What differs between two states of the policy, and a policy with differences made in it.
//!
//! The store has the items of the last revision only. Any other state (an older revision, or one
//! that is proposed) is those items and the changes that lead there; both are read as streams, so
//! that a million items are in memory once, as what is made of them.

use std::collections::{BTreeMap, btree_map::Entry};

use rusqlite::{Connection, Row};

use super::{Difference, error::ReadFault, history};
use crate::item::{Item, Kind, policy_text};

/// Octets of the text of a policy: as many as of a policy file.
pub(super) const TEXT_OCTETS_MAX: usize = 512 * 1024 * 1024;

/// An item as it is kept, under its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Where it stands among its kind. Positions grow, and have room between them.
    pub(super) position: i64,
    pub(super) body: String,
}

/// What becomes of an item; nothing means that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: Option<Kept>,
    pub(super) after: Option<Kept>,
}

/// Changes by kind and name. Those of items that stay as they are may be among them until
/// [`Changes::settle`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes(BTreeMap<Kind, BTreeMap<String, Change>>);

/// The changes from a revision to a later one.
pub(super) fn between(connection: &Connection, from: u64, to: u64) -> Result<Changes, ReadFault> {
    let last = history::last_revision(connection)?;
    if to > last {
        return Err(ReadFault::UnknownRevision { wanted: to, last });
    }
    let mut statement = connection.prepare_cached(
        "SELECT kind, id, before_position, before_body, after_position, after_body FROM change
         WHERE revision > ?1 AND revision <= ?2 ORDER BY revision",
    )?;
    let mut rows = statement.query((history::to_sql(from), history::to_sql(to)))?;
    let mut changes = Changes::default();
    while let Some(row) = rows.next()? {
        let after = kept(row, 4)?;
        match changes.of_kind(history::kind(row, 0)?).entry(row.get(1)?) {
            // What was there first is what was there before.
            Entry::Occupied(mut change) => change.get_mut().after = after,
            Entry::Vacant(place) => {
                place.insert(Change { before: kept(row, 2)?, after });
            }
        }
    }
    changes.settle();
    Ok(changes)
}

/// The changes from a revision to the last one.
pub(super) fn since(connection: &Connection, revision: u64) -> Result<Changes, ReadFault> {
    let last = history::last_revision(connection)?;
    if revision > last {
        return Err(ReadFault::UnknownRevision { wanted: revision, last });
    }
    between(connection, revision, last)
}

fn kept(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Kept>> {
    let position: Option<i64> = row.get(column)?;
    position.map(|position| Ok(Kept { position, body: row.get(column + 1)? })).transpose()
}

impl Changes {
    /// Those of a kind.
    pub(super) fn of_kind(&mut self, kind: Kind) -> &mut BTreeMap<String, Change> {
        self.0.entry(kind).or_default()
    }

    /// Forgets what changes nothing.
    pub(super) fn settle(&mut self) {
        for changes in self.0.values_mut() {
            changes.retain(|_, change| change.before != change.after);
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// Whether every item that there was says what it said, and none is new.
    pub(super) fn only_move(&self) -> bool {
        self.iter().all(|(_, _, Change { before, after })| {
            before.as_ref().map(|kept| &kept.body) == after.as_ref().map(|kept| &kept.body)
        })
    }

    /// All of them, in the order of kinds and names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Kind, &str, &Change)> {
        self.0.iter().flat_map(|(&kind, changes)| {
            changes.iter().map(move |(id, change)| (kind, id.as_str(), change))
        })
    }

    /// The way back.
    pub(super) fn reversed(mut self) -> Self {
        for change in self.0.values_mut().flat_map(BTreeMap::values_mut) {
            std::mem::swap(&mut change.before, &mut change.after);
        }
        self
    }

    /// As it is told to others.
    pub(super) fn into_differences(self) -> Vec<Difference> {
        let of_kind = |(kind, changes): (Kind, BTreeMap<String, Change>)| {
            changes.into_iter().map(move |(id, change)| Difference {
                kind,
                id,
                before: change.before.map(|kept| kept.body),
                after: change.after.map(|kept| kept.body),
            })
        };
        self.0.into_iter().flat_map(of_kind).collect()
    }

    /// The policy with these changes, as items.
    pub(super) fn items(&self, connection: &Connection) -> rusqlite::Result<Vec<Item>> {
        let mut items = Vec::new();
        self.walk(connection, |kind, id, body| {
            items.push(Item::kept(kind, id.to_owned(), body.to_owned()));
        })?;
        Ok(items)
    }

    /// The policy with these changes, as text. It ends behind [`TEXT_OCTETS_MAX`].
    pub(super) fn text(&self, connection: &Connection) -> rusqlite::Result<String> {
        let mut text = String::new();
        self.walk(connection, |kind, id, body| {
            if text.len() <= TEXT_OCTETS_MAX {
                let separator = if text.is_empty() { "" } else { "\n" };
                let item = Item::kept(kind, id.to_owned(), body.to_owned());
                text.extend([separator, &policy_text([&item])]);
            }
        })?;
        Ok(text)
    }

    /// Visits the policy with these changes, in its order.
    fn walk(
        &self,
        connection: &Connection,
        mut visit: impl FnMut(Kind, &str, &str),
    ) -> rusqlite::Result<()> {
        let none = BTreeMap::new();
        let mut statement = connection.prepare_cached(
            "SELECT id, position, body FROM item WHERE kind = ?1 ORDER BY position",
        )?;
        for kind in Kind::ALL {
            let changes = self.0.get(&kind).unwrap_or(&none);
            let mut put: Vec<_> = changes
                .iter()
                .filter_map(|(id, change)| Some((id, change.after.as_ref()?)))
                .collect();
            put.sort_unstable_by_key(|(_, kept)| kept.position);
            let mut put = put.into_iter().peekable();
            let mut rows = statement.query([kind.name()])?;
            while let Some(row) = rows.next()? {
                let id = row.get_ref(0)?.as_str()?;
                if changes.contains_key(id) {
                    continue;
                }
                let position: i64 = row.get(1)?;
                while let Some((id, kept)) = put.next_if(|(_, kept)| kept.position < position) {
                    visit(kind, id, &kept.body);
                }
                visit(kind, id, row.get_ref(2)?.as_str()?);
            }
            put.for_each(|(id, kept)| visit(kind, id, &kept.body));
        }
        Ok(())
    }
}
