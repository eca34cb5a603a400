//! What can be written: each operation applied inside of the transaction of its batch.
//!
//! An operation can be applied more than once: a batch that was rolled back may be tried without
//! those that were too large for the disk. Whoever counts is [`Batch::change`]: it looks at a message
//! before and after.

mod commit;
mod queue;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

pub(crate) use self::commit::Commit;
pub(crate) use self::queue::{
    CHUNK, Doubt, Hold, LeaseThem, Record, Release, Remove, RenameUpstream, Reschedule, Retry,
    RetryChunk, SettleDelay, Wake, Withdraw, Withhold,
};
use crate::account::{Change, Counted};
use crate::columns::Columns;
use crate::id::QueueId;
use crate::message::Standing;
use crate::settle::remove;

/// Something to write.
pub(crate) trait Operation: Send + 'static {
    /// What its caller hears once it is committed.
    type Answer: Send + 'static;

    /// Whether it takes room and promises something: refused where there is no room, and not done if
    /// its caller has gone before it began.
    const GROWS: bool = false;

    /// Whether nobody is hurt if it waits a moment for another operation to share its flush with.
    const CAN_WAIT: bool = false;

    /// Octets that it adds to a transaction.
    fn octets(&self) -> usize {
        0
    }

    /// Whether it names a body file, whose directory has to be flushed before the commit.
    fn names_file(&self) -> bool {
        false
    }

    /// Does it, in a transaction that may still be rolled back.
    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer>;

    /// Hears how the transaction has ended.
    fn end(&mut self, _end: End) {}
}

/// How a transaction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is flushed.
    Committed,
    /// It was rolled back.
    RolledBack,
    /// Nobody knows before the next opening.
    Unknown,
}

/// A transaction, and what has to follow its commit.
pub(crate) struct Batch<'c> {
    pub(crate) connection: &'c Connection,
    /// For the account.
    pub(crate) changes: Vec<Change>,
    /// Messages whose body files are to be removed.
    pub(crate) gone: Vec<QueueId>,
}

/// What is known of a message before it is changed.
#[derive(Clone, Copy)]
struct Found {
    counted: Counted,
    /// Whether its body is a file.
    is_filed: bool,
    recipients: u32,
}

impl<'c> Batch<'c> {
    pub(crate) const fn new(connection: &'c Connection) -> Self {
        Self { connection, changes: Vec::new(), gone: Vec::new() }
    }

    /// Changes a message if it is there and stands as it must. Whether that was so.
    fn change(
        &mut self,
        id: QueueId,
        may: impl FnOnce(Standing) -> bool,
        what: impl FnOnce(&mut Self, Found) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<bool> {
        let Some(before) = self.look(id)? else { return Ok(false) };
        if !may(before.counted.standing) {
            return Ok(false);
        }
        what(self, before)?;
        match self.look(id)? {
            Some(after) => {
                self.changes.push(Change::Left(before.counted));
                self.changes.push(Change::Entered(after.counted));
            }
            None => self.left(id, before),
        }
        Ok(true)
    }

    /// Removes a message that was found.
    fn remove(&mut self, id: QueueId, found: Found) -> rusqlite::Result<()> {
        remove(self.connection, id)?;
        self.left(id, found);
        Ok(())
    }

    /// Nothing is left of a message.
    fn left(&mut self, id: QueueId, before: Found) {
        self.changes.push(Change::Left(before.counted));
        if before.is_filed {
            self.gone.push(id);
        }
    }

    fn look(&self, id: QueueId) -> rusqlite::Result<Option<Found>> {
        self.connection
            .prepare_cached(
                "SELECT lane, lease, held, phase, octets, received_at, filed, recipients
                 FROM message WHERE id = ?1",
            )?
            .query_row([id.to_sql()], |row| {
                let mut columns = Columns::of(row);
                let counted = Counted {
                    lane: columns.plain()?,
                    standing: columns.standing()?,
                    octets: columns.octets()?,
                    received_at: columns.plain()?,
                };
                Ok(Found { counted, is_filed: columns.plain()?, recipients: columns.plain()? })
            })
            .optional()
    }

    /// The lane of an entry at an upstream; a new one if there is none.
    fn lane(&mut self, upstream: &Arc<str>, entry: &Arc<str>) -> rusqlite::Result<i64> {
        let found = self
            .connection
            .prepare_cached("SELECT number FROM lane WHERE upstream = ?1 AND entry = ?2 LIMIT 1")?
            .query_row((upstream, entry), |row| row.get(0))
            .optional()?;
        let lane = match found {
            Some(lane) => lane,
            None => self
                .connection
                .prepare_cached("INSERT INTO lane (upstream, entry) VALUES (?1, ?2)")?
                .insert((upstream, entry))?,
        };
        self.changes.push(Change::Named { lane, upstream: upstream.clone(), entry: entry.clone() });
        Ok(lane)
    }

    /// Runs a statement that concerns one message and takes nothing else.
    fn run(&self, sql: &'static str, id: QueueId) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([id.to_sql()])?;
        Ok(())
    }
}
