//! Who changed what, when and why.
//!
//! Lists are bounded: of many revisions the newest are told, and of many changes the first. The
//! rest is counted, and can be asked for.

use std::{collections::HashMap, fmt};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, types::Type};
use serde::{Deserialize, Serialize};

use crate::item::{self, Kind};

/// Revisions of one answer. Older ones are asked for with [`HistoryWanted::before`].
pub const REVISIONS_MAX: u32 = 1000;
/// Changes that are told of one revision. [`Registry::difference`](super::Registry::difference)
/// tells all of them.
pub const CHANGES_MAX: u32 = 20;

/// Which part of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryWanted {
    /// How many revisions; at most [`REVISIONS_MAX`] are told.
    pub limit: u32,
    /// Only those older than this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only those that changed this item. Of their changes only that one is told; the others are
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<(Kind, String)>,
}

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub author: String,
    /// Why, if they said it.
    pub reason: Option<String>,
    /// What it did, in some words.
    pub summary: String,
    /// What it changed, at most [`CHANGES_MAX`] items.
    pub changes: Vec<ChangeSummary>,
    /// How many more items it changed.
    pub more: u64,
}

/// What a revision did to an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSummary {
    /// What the item is.
    pub kind: Kind,
    /// Its name.
    pub id: String,
    /// What was done.
    pub what: What,
}

/// What can be done to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was not there before.
    Added,
    /// It says something else.
    Changed,
    /// It says the same, and stands in another place among its kind.
    Moved,
    /// It is not there any more.
    Removed,
}

/// An item that is not the same at two revisions. If it is there at both and says the same, it was put
/// into a place anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub id: String,
    /// What it said, if it was there.
    pub before: Option<String>,
    /// What it says, if it is there.
    pub after: Option<String>,
}

impl Difference {
    /// The same as it may be shown: without password hashes, but for what tells one from another.
    #[must_use]
    pub fn masked(self) -> Self {
        let masked = |body: Option<String>| body.map(|body| item::masked(self.kind, body));
        let (before, after) = (masked(self.before), masked(self.after));
        Self { before, after, ..self }
    }
}

impl What {
    pub(super) const ALL: [Self; 4] = [Self::Added, Self::Changed, Self::Moved, Self::Removed];

    pub(super) fn of(before: Option<&str>, after: Option<&str>) -> Self {
        match (before, after) {
            (None, _) => Self::Added,
            (_, None) => Self::Removed,
            (before, after) if before == after => Self::Moved,
            _ => Self::Changed,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Removed => "removed",
        })
    }
}

impl Difference {
    /// What was done to it.
    pub fn what(&self) -> What {
        What::of(self.before.as_deref(), self.after.as_deref())
    }
}

/// The revision that holds.
pub(super) fn last_revision(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT max(number) FROM revision")?;
    statement
        .query_one((), |row| row.get::<_, Option<i64>>(0))
        .map(|last| from_sql(last.unwrap_or(0)))
}

/// Who made a revision, and when.
pub(super) fn author(
    connection: &Connection,
    revision: u64,
) -> rusqlite::Result<Option<(String, Timestamp)>> {
    connection
        .prepare_cached("SELECT author, at FROM revision WHERE number = ?1")?
        .query_one([to_sql(revision)], |row| Ok((row.get(0)?, timestamp(row, 1)?)))
        .optional()
}

/// When the items of a kind were added.
pub(super) fn added(
    connection: &Connection,
    kind: Kind,
) -> rusqlite::Result<HashMap<String, Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT item.id, revision.at FROM item
         JOIN change ON change.kind = item.kind AND change.id = item.id AND before_body IS NULL
         JOIN revision ON number = revision
         WHERE item.kind = ?1 ORDER BY revision",
    )?;
    // Of several times the last one stays.
    statement.query_map([kind.name()], |row| Ok((row.get(0)?, timestamp(row, 1)?)))?.collect()
}

pub(super) fn records(
    connection: &Connection,
    wanted: &HistoryWanted,
) -> rusqlite::Result<Vec<RevisionRecord>> {
    let limit = wanted.limit.min(REVISIONS_MAX);
    let before = wanted.before.map_or(i64::MAX, to_sql);
    let (kind, id) = match &wanted.item {
        Some((kind, id)) => (Some(kind.name()), Some(id.as_str())),
        None => (None, None),
    };
    let mut statement = connection.prepare_cached(if kind.is_none() {
        "SELECT number, at, author, reason, summary, changes FROM revision
         WHERE number < ?1 AND ?3 IS NULL AND ?4 IS NULL ORDER BY number DESC LIMIT ?2"
    } else {
        "SELECT number, at, author, reason, summary, changes
         FROM change JOIN revision ON number = revision
         WHERE revision < ?1 AND kind = ?3 AND id = ?4 ORDER BY revision DESC LIMIT ?2"
    })?;
    let mut rows = statement.query((before, limit, kind, id))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        let changes = summaries(connection, number, kind, id)?;
        records.push(RevisionRecord {
            number: from_sql(number),
            at: timestamp(row, 1)?,
            author: row.get(2)?,
            reason: row.get(3)?,
            summary: row.get(4)?,
            more: from_sql(row.get(5)?).saturating_sub(changes.len() as u64),
            changes,
        });
    }
    Ok(records)
}

fn summaries(
    connection: &Connection,
    revision: i64,
    kind: Option<&str>,
    id: Option<&str>,
) -> rusqlite::Result<Vec<ChangeSummary>> {
    let mut statement = connection.prepare_cached(if kind.is_none() {
        "SELECT kind, id, before_body, after_body FROM change
         WHERE revision = ?1 AND ?2 IS NULL AND ?3 IS NULL LIMIT ?4"
    } else {
        "SELECT kind, id, before_body, after_body FROM change
         WHERE revision = ?1 AND kind = ?2 AND id = ?3 LIMIT ?4"
    })?;
    let summary = |row: &Row<'_>| {
        let what = What::of(row.get_ref(2)?.as_str_or_null()?, row.get_ref(3)?.as_str_or_null()?);
        Ok(ChangeSummary { kind: self::kind(row, 0)?, id: row.get(1)?, what })
    };
    statement.query_map((revision, kind, id, CHANGES_MAX), summary)?.collect()
}

/// SQLite counts to 2^63.
pub(super) fn to_sql(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// Numbers that we have written are not negative.
fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    let name = row.get_ref(column)?.as_str()?;
    Kind::of_name(name).ok_or_else(|| foreign(column, format!("{name:?} is no kind of item")))
}

fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| foreign(column, error))
}

/// Something that we have not written.
fn foreign(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}
