//! What happens to messages that are in the spool.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Batch, Found, Operation};
use crate::account::Change;
use crate::columns::{Coded, Phase, millis};
use crate::id::QueueId;
use crate::message::{About, Attempt, Notice, Recipient, Standing};
use crate::recipients::{attempted, fates, note, note_delay, write};
use crate::settle::{phase, remove, settle};

/// Nobody is to be told of a delay any more.
const DELAY_SETTLED: &str = "UPDATE message SET delay_settled = 1 WHERE id = ?1";

/// Messages that one operation on many of them changes: others wait no longer than that takes.
pub(crate) const CHUNK: u32 = 1000;

const fn is_leased(standing: Standing) -> bool {
    matches!(standing, Standing::InDoubt | Standing::Leased)
}

const fn is_undecided(standing: Standing) -> bool {
    !matches!(standing, Standing::Dead | Standing::Owing)
}

/// Changes each of some messages that stands as it must; answers which these were.
fn each(
    batch: &mut Batch<'_>,
    ids: &[QueueId],
    may: impl Fn(Standing) -> bool,
    mut what: impl FnMut(&mut Batch<'_>, QueueId, Found) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<QueueId>> {
    let mut changed = Vec::with_capacity(ids.len());
    for &id in ids {
        if batch.change(id, &may, |batch, found| what(batch, id, found))? {
            changed.push(id);
        }
    }
    Ok(changed)
}

/// Takes messages to work on them.
pub(crate) struct LeaseThem {
    pub(crate) ids: Vec<QueueId>,
}

impl Operation for LeaseThem {
    type Answer = Vec<QueueId>;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let may = |standing| standing == Standing::Queued;
        each(batch, &self.ids, may, |batch, id, _| {
            batch.run("UPDATE message SET lease = 1 WHERE id = ?1", id)
        })
    }
}

/// Gives messages back as they were.
pub(crate) struct Release {
    pub(crate) ids: Vec<QueueId>,
}

impl Operation for Release {
    type Answer = Vec<QueueId>;

    const CAN_WAIT: bool = true;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        each(batch, &self.ids, is_leased, |batch, id, _| {
            batch.run("UPDATE message SET lease = 0 WHERE id = ?1", id)
        })
    }
}

/// Gives a message back for another time.
pub(crate) struct Reschedule {
    pub(crate) id: QueueId,
    pub(crate) due_at: SystemTime,
}

impl Operation for Reschedule {
    type Answer = bool;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        batch.change(self.id, is_undecided, |batch, _| {
            batch
                .connection
                .prepare_cached("UPDATE message SET lease = 0, due_at = ?2 WHERE id = ?1")?
                .execute((self.id.to_sql(), millis(self.due_at)))?;
            Ok(())
        })
    }
}

/// An upstream was given all of a message that is leased, and has not answered.
pub(crate) struct Doubt {
    pub(crate) id: QueueId,
    pub(crate) joining: Vec<Recipient>,
}

impl Operation for Doubt {
    type Answer = bool;

    const GROWS: bool = true;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        batch.change(self.id, is_leased, |batch, found| {
            batch.run("UPDATE message SET lease = 2 WHERE id = ?1", self.id)?;
            if self.joining.is_empty() {
                return Ok(());
            }
            let mut list: Vec<u8> = batch
                .connection
                .prepare_cached("SELECT paths FROM message WHERE id = ?1")?
                .query_row([self.id.to_sql()], |row| row.get(0))?;
            write(&mut list, &self.joining);
            let recipients = found.recipients + self.joining.len() as u32;
            batch
                .connection
                .prepare_cached("UPDATE message SET recipients = ?2, paths = ?3 WHERE id = ?1")?
                .execute((self.id.to_sql(), recipients, list))?;
            Ok(())
        })
    }
}

/// What an attempt has done. The lease is given back.
pub(crate) struct Record {
    pub(crate) id: QueueId,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) due_at: SystemTime,
}

impl Operation for Record {
    type Answer = Option<Standing>;

    const CAN_WAIT: bool = true;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let Some(found) = batch.look(self.id)? else { return Ok(None) };
        if !is_leased(found.counted.standing) {
            return Ok(Some(found.counted.standing));
        }
        let mut fates = fates(batch.connection, self.id, found.recipients)?;
        let notes = attempted(&mut fates, &self.attempts);
        let Some(phase) = phase(&fates) else {
            // What would be noted goes with it.
            batch.remove(self.id, found)?;
            return Ok(None);
        };
        for (attempt, fate) in notes {
            let heard = (1, attempt.reply.as_ref());
            note(batch.connection, self.id, attempt.place, fate, heard)?;
        }
        batch.change(self.id, is_leased, |batch, _| self.give_back(batch, phase))?;
        Ok(batch.look(self.id)?.map(|found| found.counted.standing))
    }
}

impl Record {
    fn give_back(&self, batch: &Batch<'_>, phase: Phase) -> rusqlite::Result<()> {
        batch
            .connection
            .prepare_cached(
                "UPDATE message SET lease = 0, phase = ?3, due_at = ?2, attempts = attempts + 1
                 WHERE id = ?1",
            )?
            .execute((self.id.to_sql(), millis(self.due_at), phase.code()))?;
        Ok(())
    }
}

/// A notification is not made: who was not delivered is kept instead.
pub(crate) struct Withhold {
    pub(crate) about: About,
}

impl Operation for Withhold {
    type Answer = bool;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let About { id, recipients, notice } = &self.about;
        let what = |batch: &mut Batch<'_>, found: Found| {
            if *notice == Notice::Delay {
                for &place in recipients {
                    note_delay(batch.connection, *id, place)?;
                }
                return batch.run(DELAY_SETTLED, *id);
            }
            // After: 0 is Forget, 1 Keep, 2 Notify. State: 1 is Delivered.
            let mut statement = batch.connection.prepare_cached(
                "UPDATE recipient SET after = CASE state WHEN 1 THEN 0 ELSE 1 END
                 WHERE message = ?1 AND place = ?2 AND after = 2",
            )?;
            for place in recipients {
                statement.execute((id.to_sql(), place))?;
            }
            settle(batch.connection, *id, found.recipients)
        };
        batch.change(*id, |_| true, what)
    }
}

/// Notes that nobody is to be told that these messages are delayed.
pub(crate) struct SettleDelay {
    pub(crate) ids: Vec<QueueId>,
}

impl Operation for SettleDelay {
    type Answer = Vec<QueueId>;

    const CAN_WAIT: bool = true;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        each(batch, &self.ids, |_| true, |batch, id, _| batch.run(DELAY_SETTLED, id))
    }
}

/// Removes a message on behalf of whoever has leased it.
pub(crate) struct Withdraw {
    pub(crate) id: QueueId,
}

impl Operation for Withdraw {
    type Answer = bool;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        match batch.look(self.id)? {
            Some(found) if is_leased(found.counted.standing) => {
                batch.remove(self.id, found)?;
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }
}

/// Removes messages that nobody is at work on.
pub(crate) struct Remove {
    pub(crate) ids: Vec<QueueId>,
}

impl Operation for Remove {
    type Answer = Vec<QueueId>;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let may = |standing| !is_leased(standing);
        each(batch, &self.ids, may, |batch, id, _| remove(batch.connection, id))
    }
}

/// Puts messages aside, or back.
pub(crate) enum Hold {
    Aside(Vec<QueueId>),
    Back(Vec<QueueId>),
}

impl Operation for Hold {
    type Answer = Vec<QueueId>;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let (ids, sql) = match self {
            Self::Aside(ids) => (ids, "UPDATE message SET held = 1 WHERE id = ?1"),
            Self::Back(ids) => (ids, "UPDATE message SET held = 0 WHERE id = ?1"),
        };
        each(batch, ids, is_undecided, |batch, id, _| batch.run(sql, id))
    }
}

/// Makes messages due, held and dead ones too, and lets them go elsewhere.
pub(crate) struct Retry {
    pub(crate) ids: Vec<QueueId>,
    pub(crate) now: SystemTime,
    pub(crate) upstream: Option<Arc<str>>,
}

impl Operation for Retry {
    type Answer = Vec<QueueId>;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let may = |standing| matches!(standing, Standing::Dead | Standing::Held | Standing::Queued);
        let (now, upstream) = (millis(self.now), self.upstream.clone());
        each(batch, &self.ids, may, |batch, id, found| {
            // Phase::Dead is 2, After::Keep is 1: who was refused and told is not tried again.
            batch.run(
                "UPDATE recipient SET state = 0, after = 0 WHERE message = ?1 AND after = 1
                 AND (SELECT phase FROM message WHERE id = ?1) = 2",
                id,
            )?;
            if let Some(upstream) = &upstream {
                let entry: String = batch
                    .connection
                    .prepare_cached(
                        "SELECT entry FROM lane WHERE number = (SELECT lane FROM message WHERE id = ?1)",
                    )?
                    .query_row([id.to_sql()], |row| row.get(0))?;
                let lane = batch.lane(upstream, &entry.into())?;
                batch
                    .connection
                    .prepare_cached("UPDATE message SET lane = ?2 WHERE id = ?1")?
                    .execute((id.to_sql(), lane))?;
            }
            batch
                .connection
                .prepare_cached("UPDATE message SET due_at = ?2, held = 0 WHERE id = ?1")?
                .execute((id.to_sql(), now))?;
            settle(batch.connection, id, found.recipients)
        })
    }
}

/// Makes some of what waits for later due now. Answers how many these were: fewer than [`CHUNK`] were
/// the last.
pub(crate) struct RetryChunk {
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) now: SystemTime,
}

impl Operation for RetryChunk {
    type Answer = usize;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        // Nobody is counted differently for it. CROSS: by lanes, so that what is done already is not
        // looked at again for each chunk.
        batch
            .connection
            .prepare_cached(
                "UPDATE message SET due_at = ?1 WHERE id IN
                 (SELECT message.id FROM lane CROSS JOIN message ON message.lane = lane.number
                  WHERE lease = 0 AND held = 0 AND phase = 0 AND due_at > ?1
                  AND (?2 IS NULL OR lane.upstream = ?2) LIMIT ?3)",
            )?
            .execute((millis(self.now), &self.upstream, CHUNK))
    }
}

/// Gives everything of an upstream to another one. Answers how many lanes that were.
pub(crate) struct RenameUpstream {
    pub(crate) from: Arc<str>,
    pub(crate) to: Arc<str>,
}

impl Operation for RenameUpstream {
    type Answer = usize;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let renamed = batch
            .connection
            .prepare_cached("UPDATE lane SET upstream = ?2 WHERE upstream = ?1")?
            .execute((&self.from, &self.to))?;
        batch.changes.push(Change::Renamed { from: self.from.clone(), to: self.to.clone() });
        Ok(renamed)
    }
}

/// Nothing, for a writer that has to look up.
pub(crate) struct Wake;

impl Operation for Wake {
    type Answer = ();

    fn apply(&mut self, _batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        Ok(())
    }
}
