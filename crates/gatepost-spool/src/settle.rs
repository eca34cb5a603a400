//! What is left of a message once something was decided about its recipients: one rule, in one place.
//!
//! While a recipient is pending the message waits; then, while a notification is owed, for that; then,
//! if a failure is to be kept, for somebody who looks at it; and otherwise it goes.

use rusqlite::Connection;

use crate::columns::{Coded, Phase};
use crate::id::QueueId;
use crate::message::{After, RecipientState};
use crate::recipients::{Fate, fates};

/// The rule: what a message waits for whose recipients stand like this. None if it goes.
pub(crate) fn phase(fates: &[Fate]) -> Option<Phase> {
    if fates.iter().any(|fate| fate.state == RecipientState::Pending) {
        return Some(Phase::Waiting);
    }
    match fates.iter().map(|fate| fate.after).max()? {
        After::Notify => Some(Phase::Owing),
        After::Keep => Some(Phase::Dead),
        After::Forget => None,
    }
}

/// Applies the rule to a message that has so many recipients.
pub(crate) fn settle(
    connection: &Connection,
    id: QueueId,
    recipients: u32,
) -> rusqlite::Result<()> {
    let Some(phase) = phase(&fates(connection, id, recipients)?) else {
        return remove(connection, id);
    };
    connection
        .prepare_cached("UPDATE message SET phase = ?2 WHERE id = ?1")?
        .execute((id.to_sql(), phase.code()))?;
    Ok(())
}

/// Removes a message, what was recorded about its recipients, and its inline body.
pub(crate) fn remove(connection: &Connection, id: QueueId) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM recipient WHERE message = ?1",
        "DELETE FROM body WHERE message = ?1",
        "DELETE FROM message WHERE id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id.to_sql()])?;
    }
    Ok(())
}
