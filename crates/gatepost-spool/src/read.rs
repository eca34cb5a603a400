//! Questions to the spool. Each is a short read on a connection of its own: no reader keeps the log
//! from being copied for longer than one answer takes.

mod aged;
mod list;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::account::ReadyLane;
use crate::body::BodyRow;
use crate::columns::{Columns, millis, time};
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::message::{Envelope, Origin, StoredMessage, StoredRecipient};

pub use list::{Filter, LIST_MAX, Page, Summary};

/// The connection for reading.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
}

/// A message that can be taken now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMessage {
    /// Which.
    pub id: QueueId,
    /// Name of its upstream.
    pub upstream: Arc<str>,
    /// Id of its entry.
    pub entry: Arc<str>,
    /// Since when it is due.
    pub due_at: SystemTime,
    /// When it is given up.
    pub expires_at: SystemTime,
    /// Octets of its body.
    pub octets: u64,
}

impl Reader {
    /// What is due in these lanes: they take turns, and none gets more than its share while another
    /// has something left.
    pub(crate) fn due(
        &self,
        lanes: Vec<ReadyLane>,
        now: SystemTime,
        limit: usize,
    ) -> rusqlite::Result<Vec<DueMessage>> {
        let mut lanes: Vec<_> = lanes.into_iter().map(|lane| (lane, Vec::new(), true)).collect();
        let mut found = 0;
        while found < limit {
            let open = lanes.iter().filter(|(_, _, is_open)| *is_open).count();
            if open == 0 {
                break;
            }
            let share = (limit - found).div_ceil(open);
            for (lane, taken, is_open) in lanes.iter_mut().filter(|(_, _, is_open)| *is_open) {
                let wanted = share.min(limit - found);
                let before = taken.len();
                self.due_in_lane(lane, now, wanted, taken)?;
                *is_open = taken.len() - before == wanted;
                found += taken.len() - before;
                if found == limit {
                    break;
                }
            }
        }
        Ok(take_turns(lanes.into_iter().map(|(_, taken, _)| taken)))
    }

    /// Adds what is due in one lane, behind what was taken from it.
    fn due_in_lane(
        &self,
        lane: &ReadyLane,
        now: SystemTime,
        wanted: usize,
        taken: &mut Vec<DueMessage>,
    ) -> rusqlite::Result<()> {
        let (due_at, id) =
            taken.last().map_or((i64::MIN, 0), |last| (millis(last.due_at), last.id.to_sql() + 1));
        let mut statement = self.connection.prepare_cached(
            "SELECT id, due_at, expires_at, octets FROM message
             WHERE lease = 0 AND held = 0 AND phase = 0 AND lane = ?1
             AND due_at <= ?2 AND (due_at, id) >= (?3, ?4)
             ORDER BY due_at, id LIMIT ?5",
        )?;
        let mut rows = statement.query((
            lane.number,
            millis(now),
            due_at,
            id,
            i64::try_from(wanted).unwrap_or(i64::MAX),
        ))?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            taken.push(DueMessage {
                id: columns.id()?,
                due_at: columns.time()?,
                expires_at: columns.time()?,
                octets: columns.octets()?,
                upstream: lane.upstream.clone(),
                entry: lane.entry.clone(),
            });
        }
        Ok(())
    }

    /// When the first message of these lanes is due.
    pub(crate) fn next_due(&self, lanes: &[ReadyLane]) -> rusqlite::Result<Option<SystemTime>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT due_at FROM message WHERE lease = 0 AND held = 0 AND phase = 0 AND lane = ?1
             ORDER BY due_at LIMIT 1",
        )?;
        let mut first = None;
        for lane in lanes {
            let due =
                statement.query_row([lane.number], |row| Columns::of(row).time()).optional()?;
            first = [first, due].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// When the oldest message was accepted for which something is undecided, and that nobody is at
    /// work on.
    pub(crate) fn oldest_waiting(&self) -> rusqlite::Result<Option<SystemTime>> {
        let mut oldest = None;
        let mut statement = self.connection.prepare_cached(
            "SELECT received_at FROM message
             WHERE lease = 0 AND phase = 0 AND held = ?1 AND delay_settled = ?2
             ORDER BY received_at LIMIT 1",
        )?;
        for (is_held, is_settled) in [(false, false), (false, true), (true, false), (true, true)] {
            let first = statement
                .query_row((is_held, is_settled), |row| Columns::of(row).time())
                .optional()?;
            oldest = [oldest, first].into_iter().flatten().min();
        }
        Ok(oldest)
    }

    /// The same, whoever is at work on what. Reads the head of every message.
    pub(crate) fn oldest(&self) -> rusqlite::Result<Option<SystemTime>> {
        self.connection.query_row(
            "SELECT min(received_at) FROM message WHERE phase = 0",
            (),
            |row| Ok(row.get::<_, Option<i64>>(0)?.map(time)),
        )
    }

    /// A message with its recipients.
    pub(crate) fn message(&self, id: QueueId) -> rusqlite::Result<Option<StoredMessage>> {
        let message = self
            .connection
            .prepare_cached(
                "SELECT id, lease, held, phase, due_at, attempts, octets, received_at, expires_at,
                        reverse_path, sender, dsn, body, smtputf8, mode, upstream,
                        session_id, listener, entry, credential, generation, client, helo, tls, paths
                 FROM message JOIN lane ON lane.number = message.lane WHERE id = ?1",
            )?
            .query_row([id.to_sql()], read_message)
            .optional()?;
        let Some(mut message) = message else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(
            "SELECT place, state, after, delay_told, attempts, reply FROM recipient WHERE message = ?1",
        )?;
        let mut rows = statement.query([id.to_sql()])?;
        while let Some(row) = rows.next()? {
            read_note(row, &mut message.recipients)?;
        }
        Ok(Some(message))
    }

    /// What is known of a body, and the body if it is a row.
    pub(crate) fn body(&self, id: QueueId) -> rusqlite::Result<Option<BodyRow>> {
        self.connection
            .prepare_cached(
                "SELECT message.octets, checksum, body.octets
                 FROM message LEFT JOIN body ON body.message = message.id AND filed = 0
                 WHERE id = ?1 AND (filed = 1 OR body.octets IS NOT NULL)",
            )?
            .query_row([id.to_sql()], |row| {
                let mut columns = Columns::of(row);
                Ok(BodyRow {
                    octets: columns.octets()?,
                    checksum: columns.plain()?,
                    inline: columns.plain()?,
                })
            })
            .optional()
    }

    pub(crate) fn failed(&self, error: &rusqlite::Error) -> SpoolError {
        SpoolError::of_sqlite(&self.path, error)
    }
}

/// One of each, then the next of each, as long as there are any.
fn take_turns(lists: impl Iterator<Item = Vec<DueMessage>>) -> Vec<DueMessage> {
    let mut lists: Vec<_> = lists.map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(lists.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

/// Names of upstreams, for look-ups.
pub(crate) fn resting(upstreams: &[Arc<str>]) -> HashSet<Arc<str>> {
    upstreams.iter().cloned().collect()
}

fn read_message(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let mut columns = Columns::of(row);
    let (id, standing, due_at) = (columns.id()?, columns.standing()?, columns.time()?);
    let (attempts, octets) = (columns.plain()?, columns.octets()?);
    let envelope = Envelope {
        id,
        received_at: columns.time()?,
        expires_at: columns.time()?,
        reverse_path: columns.blob()?.into(),
        sender: columns.blob()?.into(),
        dsn: columns.blob()?.into(),
        body: columns.coded()?,
        smtputf8: columns.plain()?,
        mode: columns.coded()?,
        upstream: columns.text()?,
        origin: Origin {
            session_id: columns.text()?,
            listener: columns.text()?,
            entry: columns.text()?,
            credential: columns.text_if_any()?,
            generation: columns.text()?,
            client: columns.address()?,
            helo: columns.text_if_any()?,
            tls: columns.text_if_any()?,
        },
    };
    let recipients = columns.recipients()?.into_iter();
    let recipients = (0..).zip(recipients).map(|(place, it)| StoredRecipient::new(place, it));
    let recipients = recipients.collect();
    Ok(StoredMessage { envelope, standing, due_at, attempts, octets, recipients })
}

/// Reads what was recorded about one of these recipients.
fn read_note(row: &Row<'_>, recipients: &mut [StoredRecipient]) -> rusqlite::Result<()> {
    let mut columns = Columns::of(row);
    let place: u32 = columns.plain()?;
    let Some(recipient) = recipients.get_mut(place as usize) else {
        return Err(columns.damaged("is no place of a recipient"));
    };
    recipient.state = columns.coded()?;
    recipient.after = columns.coded()?;
    recipient.delay_told = columns.plain()?;
    recipient.attempts = columns.plain()?;
    recipient.reply = columns.reply()?;
    Ok(())
}
