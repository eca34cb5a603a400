//! Which messages are old: wherever their upstream stands, and though no attempt brings them to mind.

use std::time::SystemTime;

use super::{DueMessage, Reader};
use crate::columns::{Columns, millis};

impl Reader {
    /// What is past its time, and then what is older than is waited before a delay is told; of neither
    /// anything that somebody is at work on, or that is held.
    pub(crate) fn aged(
        &self,
        now: SystemTime,
        delayed: SystemTime,
        limit: usize,
    ) -> rusqlite::Result<Vec<DueMessage>> {
        let mut aged = Vec::new();
        for sql in [EXPIRED, DELAYED] {
            let wanted = i64::try_from(limit - aged.len()).unwrap_or(i64::MAX);
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query((millis(now), millis(delayed), wanted))?;
            while let Some(row) = rows.next()? {
                let mut columns = Columns::of(row);
                aged.push(DueMessage {
                    id: columns.id()?,
                    due_at: columns.time()?,
                    expires_at: columns.time()?,
                    octets: columns.octets()?,
                    upstream: columns.text()?,
                    entry: columns.text()?,
                });
            }
        }
        Ok(aged)
    }
}

/// Messages past their time. CROSS: the index is read from its beginning, and no further than is asked for.
const EXPIRED: &str = "
    SELECT id, due_at, expires_at, octets, upstream, entry
    FROM message INDEXED BY message_expiring CROSS JOIN lane ON lane.number = message.lane
    WHERE lease = 0 AND held = 0 AND phase = 0 AND expires_at <= ?1
    ORDER BY expires_at LIMIT ?3";
/// Messages whose delay nobody has settled, and that the other list does not have.
const DELAYED: &str = "
    SELECT id, due_at, expires_at, octets, upstream, entry
    FROM message INDEXED BY message_waiting CROSS JOIN lane ON lane.number = message.lane
    WHERE lease = 0 AND held = 0 AND phase = 0 AND delay_settled = 0 AND received_at <= ?2
    AND expires_at > ?1
    ORDER BY received_at LIMIT ?3";
