//! Writing a revision, inside of the transaction that reads what it is made from.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    Edit, What,
    changes::{Change, Changes, Kept},
    history,
};

/// Writes a revision, its changes, and the items as they are after it.
pub(super) fn revision(
    connection: &Connection,
    number: u64,
    edit: &Edit,
    at: Timestamp,
    changes: &Changes,
) -> rusqlite::Result<()> {
    let number = history::to_sql(number);
    connection.execute(
        "INSERT INTO revision (number, at, author, reason, summary, changes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            number,
            at.to_string(),
            &edit.author,
            &edit.reason,
            summary(changes),
            history::to_sql(changes.iter().count() as u64),
        ),
    )?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO change
         (revision, kind, id, before_position, before_body, after_position, after_body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (kind, id, change) in changes.iter() {
        let (before_position, before_body) = columns(change.before.as_ref());
        let (after_position, after_body) = columns(change.after.as_ref());
        statement.execute((
            number,
            kind.name(),
            id,
            before_position,
            before_body,
            after_position,
            after_body,
        ))?;
    }
    items(connection, changes)
}

fn items(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM item WHERE kind = ?1 AND id = ?2")?;
    let mut update =
        connection.prepare_cached("UPDATE item SET body = ?3 WHERE kind = ?1 AND id = ?2")?;
    let mut insert = connection
        .prepare_cached("INSERT INTO item (kind, id, position, body) VALUES (?1, ?2, ?3, ?4)")?;
    // What goes and what moves makes room first: two items never have the same position.
    for (kind, id, change) in changes.iter() {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) if before.position == after.position => {
                update.execute((kind.name(), id, &after.body))?;
            }
            (Some(_), _) => {
                delete.execute((kind.name(), id))?;
            }
            (None, _) => {}
        }
    }
    for (kind, id, change) in changes.iter() {
        let position = change.before.as_ref().map(|before| before.position);
        if let Some(after) = change.after.as_ref().filter(|after| Some(after.position) != position)
        {
            insert.execute((kind.name(), id, after.position, &after.body))?;
        }
    }
    Ok(())
}

fn columns(kept: Option<&Kept>) -> (Option<i64>, Option<&str>) {
    (kept.map(|kept| kept.position), kept.map(|kept| kept.body.as_str()))
}

/// A revision in some words: the item if it is one, and else how many of what.
fn summary(changes: &Changes) -> String {
    let what = |Change { before, after }: &Change| {
        What::of(columns(before.as_ref()).1, columns(after.as_ref()).1)
    };
    let mut all = changes.iter();
    if let (Some((kind, id, change)), None) = (all.next(), all.next()) {
        return format!("{kind} {id:?} {}", what(change));
    }
    let counts = What::ALL.map(|wanted| {
        (changes.iter().filter(|(_, _, change)| what(change) == wanted).count(), wanted)
    });
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
