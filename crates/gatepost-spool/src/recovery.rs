//! What the last process has left, and what becomes of it: the right column of the table in the
//! documentation of this crate.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::SystemTime;

use gatepost_smtp::reply::Reply;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use crate::columns::{Coded as _, Columns, Lease, millis};
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::message::{After, RecipientState};
use crate::recipients::{Fate, fates, note};
use crate::settle::settle;
use crate::shared::Paths;

/// Messages that are named one by one in the log: the rest is a number.
const NAMED_MAX: usize = 100;
/// The reply of a message that cannot be delivered because its body is gone.
const BODY_GONE: Reply = Reply::fixed(554, (5, 3, 0), "the body of this message is damaged");

/// What was found when a spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Messages in the spool.
    pub messages: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// Messages that the last process was at work on; they are due again. Those in doubt are among them.
    pub leases: u64,
    /// Of these, those that an upstream may have accepted: they may arrive twice.
    pub in_doubt: Vec<QueueId>,
    /// The greatest id of a message that is there: whoever makes ids goes on behind it.
    pub latest: Option<QueueId>,
    /// Body files without a message, now removed: it was not acknowledged, or is delivered.
    pub orphans: u64,
    /// Messages whose body is gone or has another length; they are dead letters now.
    pub bodies_lost: Vec<QueueId>,
    /// Files among the bodies that are none, and were left alone.
    pub strange_files: u64,
}

/// Brings a spool into order. `now` is when what was leased becomes due, at the latest.
pub(crate) fn recover(
    connection: &mut Connection,
    paths: &Paths,
    now: SystemTime,
) -> Result<Recovery, SpoolError> {
    let found = Files::list(paths)?;
    let mut recovery = Recovery { strange_files: found.strange, ..Recovery::default() };
    let of_sqlite = |error: rusqlite::Error| SpoolError::of_sqlite(&paths.database, &error);
    let filed = rows(connection, paths, now, &mut recovery).map_err(of_sqlite)?;
    for &orphan in found.bodies.difference(&filed) {
        let path = paths.body(orphan);
        fs::remove_file(&path).map_err(|error| SpoolError::io(&path, error))?;
        recovery.orphans += 1;
    }
    recovery.tell();
    Ok(recovery)
}

/// Files among the bodies.
struct Files {
    bodies: HashSet<QueueId>,
    strange: u64,
}

impl Files {
    fn list(paths: &Paths) -> Result<Self, SpoolError> {
        let mut files = Self { bodies: HashSet::new(), strange: 0 };
        let mut list = || -> io::Result<()> {
            for file in fs::read_dir(&paths.bodies)? {
                match file?.file_name().to_str().and_then(|name| name.parse().ok()) {
                    Some(id) => {
                        files.bodies.insert(id);
                    }
                    None => files.strange += 1,
                }
            }
            Ok(())
        };
        list().map_err(|error| SpoolError::io(&paths.bodies, error))?;
        Ok(files)
    }
}

/// The part that is about rows, in one transaction. Answers which messages have a file.
fn rows(
    connection: &mut Connection,
    paths: &Paths,
    now: SystemTime,
    recovery: &mut Recovery,
) -> rusqlite::Result<HashSet<QueueId>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    recovery.in_doubt = ids(
        &transaction,
        "SELECT id FROM message WHERE lease = ?1 ORDER BY id",
        Lease::InDoubt.code(),
    )?;
    recovery.leases = transaction.execute(
        "UPDATE message SET lease = 0, due_at = min(due_at, ?1) WHERE lease <> 0",
        [millis(now)],
    )? as u64;
    let filed = lost_bodies(&transaction, paths, recovery)?;
    transaction
        .execute("DELETE FROM lane WHERE number NOT IN (SELECT DISTINCT lane FROM message)", ())?;
    (recovery.messages, recovery.octets) = transaction.query_row(
        "SELECT count(*), coalesce(sum(octets), 0) FROM message",
        (),
        |row| {
            let mut columns = Columns::of(row);
            Ok((columns.octets()?, columns.octets()?))
        },
    )?;
    recovery.latest = transaction
        .query_row("SELECT id FROM message ORDER BY id DESC LIMIT 1", (), |row| {
            Columns::of(row).id()
        })
        .optional()?;
    transaction.commit()?;
    Ok(filed)
}

/// Makes dead letters of messages without a body. Answers which messages have, or should have, a file.
fn lost_bodies(
    connection: &Connection,
    paths: &Paths,
    recovery: &mut Recovery,
) -> rusqlite::Result<HashSet<QueueId>> {
    let (mut filed, mut lost) = (HashSet::new(), Vec::new());
    {
        let mut statement = connection
            .prepare("SELECT id, octets, phase, recipients FROM message WHERE filed = 1")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let (id, octets, phase) = (columns.id()?, columns.octets()?, columns.plain::<i64>()?);
            let length = fs::metadata(paths.body(id)).map(|metadata| metadata.len());
            if phase == 0 && !length.is_ok_and(|length| length == octets) {
                recovery.bodies_lost.push(id);
                lost.push((id, columns.plain()?));
            }
            filed.insert(id);
        }
    }
    let gone = Fate { state: RecipientState::Failed, after: After::Keep };
    for (id, recipients) in lost {
        for (place, fate) in (0..).zip(fates(connection, id, recipients)?) {
            if fate == Fate::PENDING {
                note(connection, id, place, gone, (0, Some(&BODY_GONE)))?;
            }
        }
        settle(connection, id, recipients)?;
    }
    Ok(filed)
}

fn ids(connection: &Connection, sql: &str, value: i64) -> rusqlite::Result<Vec<QueueId>> {
    let mut statement = connection.prepare(sql)?;
    statement.query_map([value], |row| Columns::of(row).id())?.collect()
}

impl Recovery {
    /// Tells the operator what is not as it should be.
    fn tell(&self) {
        for id in self.bodies_lost.iter().take(NAMED_MAX) {
            tracing::error!(%id, "the body of a message is gone or was cut: it is a dead letter now");
        }
        if self.bodies_lost.len() > NAMED_MAX {
            let more = self.bodies_lost.len() - NAMED_MAX;
            tracing::error!(more, "bodies of more messages are gone or were cut");
        }
        for id in self.in_doubt.iter().take(NAMED_MAX) {
            tracing::warn!(%id, "an upstream may have accepted this message when the last process ended: it may arrive twice");
        }
        if self.strange_files > 0 {
            tracing::warn!(
                files = self.strange_files,
                "there are files among the bodies that are none; they were left alone"
            );
        }
    }
}
