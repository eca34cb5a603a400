//! What is left of a message once something was decided about its recipients: one rule, in one place.
//!
//! While a recipient is pending the message waits; then, while a notification is owed, for that; then,
//! if a failure is to be kept, for somebody who looks at it; and otherwise it goes.

use rusqlite::Connection;

use crate::columns::{Coded, Phase};
use crate::id::QueueId;
use crate::message::After;

/// Applies the rule. Rows that refer to the message go with it.
pub(crate) fn settle(connection: &Connection, id: QueueId) -> rusqlite::Result<()> {
    let (pending, after): (u32, Option<i64>) = connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 0), max(after) FROM recipient WHERE message = ?1",
        )?
        .query_row([id.to_sql()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let phase = match after.and_then(After::decode).unwrap_or(After::Forget) {
        _ if pending > 0 => Phase::Waiting,
        After::Notify => Phase::Owing,
        After::Keep => Phase::Dead,
        After::Forget => return remove(connection, id),
    };
    connection
        .prepare_cached("UPDATE message SET phase = ?2 WHERE id = ?1")?
        .execute((id.to_sql(), phase.code()))?;
    Ok(())
}

/// Removes a message with its recipients and its inline body.
pub(crate) fn remove(connection: &Connection, id: QueueId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id.to_sql()])?;
    Ok(())
}
