//! Taking a message into the spool.

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{Batch, End, Found, Operation};
use crate::account::{Change, Counted};
use crate::body::StoredBody;
use crate::columns::{Coded, Lease, Phase, millis, standing};
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::message::{About, Entrance, Message, Notice};
use crate::recipients::{note_delay, write};
use crate::settle::settle;

/// A message with its body, which is flushed already if it is a file.
pub(crate) struct Commit {
    message: Message,
    body: StoredBody,
    /// Whether its row was inserted, when it was applied the last time.
    is_stored: bool,
}

impl Operation for Commit {
    type Answer = Result<QueueId, SpoolError>;

    const GROWS: bool = true;

    fn octets(&self) -> usize {
        let recipients = self.message.recipients.iter();
        let paths: usize = recipients.map(|it| it.path.len() + it.dsn.len()).sum();
        paths + self.body.inline().map_or(0, Bytes::len)
    }

    fn names_file(&self) -> bool {
        self.body.inline().is_none()
    }

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<Self::Answer> {
        let id = self.message.envelope.id;
        let origin = &self.message.envelope.origin;
        let lane = batch.lane(&self.message.envelope.upstream, &origin.entry)?;
        let lease = match self.message.entrance {
            Entrance::Due(_) => Lease::None,
            Entrance::Leased => Lease::Leased,
            Entrance::InDoubt => Lease::InDoubt,
        };
        self.is_stored = self.insert(batch.connection, lane, lease)?;
        if !self.is_stored {
            return Ok(Err(SpoolError::Exists(id)));
        }
        if let Some(octets) = self.body.inline() {
            batch
                .connection
                .prepare_cached("INSERT INTO body (message, octets) VALUES (?1, ?2)")?
                .execute((id.to_sql(), &octets[..]))?;
        }
        batch.changes.push(Change::Entered(Counted {
            lane,
            standing: standing(lease, false, Phase::Waiting),
            octets: self.body.octets(),
            received_at: millis(self.message.envelope.received_at),
        }));
        if let Some(about) = &self.message.about {
            told(batch, about)?;
        }
        Ok(Ok(id))
    }

    fn end(&mut self, end: End) {
        // The file of a message that may be there must be there, too.
        if self.is_stored && end != End::RolledBack {
            self.body.keep();
        }
    }
}

impl Commit {
    pub(crate) const fn new(message: Message, body: StoredBody) -> Self {
        Self { message, body, is_stored: false }
    }

    /// Inserts the row of the message. False if there is one of that id.
    fn insert(&self, connection: &Connection, lane: i64, lease: Lease) -> rusqlite::Result<bool> {
        let envelope = &self.message.envelope;
        let origin = &envelope.origin;
        let due_at = match self.message.entrance {
            Entrance::Due(at) => at,
            // Should nobody say what becomes of it, it is due from its beginning.
            Entrance::InDoubt | Entrance::Leased => envelope.received_at,
        };
        let mut paths = Vec::new();
        write(&mut paths, &self.message.recipients);
        let inserted = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO message
                 (id, lane, lease, held, phase, due_at, attempts, delay_settled, octets, checksum,
                  filed, received_at, expires_at, reverse_path, sender, dsn, body, smtputf8, mode,
                  session_id, listener, credential, generation, client, helo, tls, recipients, paths)
                 VALUES (?1, ?2, ?3, 0, 0, ?4, 0, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
                         ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
            )?
            .execute(params![
                envelope.id.to_sql(),
                lane,
                lease.code(),
                millis(due_at),
                self.body.octets().cast_signed(),
                self.body.checksum(),
                self.body.inline().is_none(),
                millis(envelope.received_at),
                millis(envelope.expires_at),
                &envelope.reverse_path[..],
                &envelope.sender[..],
                &envelope.dsn[..],
                envelope.body.code(),
                envelope.smtputf8,
                envelope.mode.code(),
                origin.session_id,
                origin.listener,
                origin.credential,
                origin.generation,
                origin.client.to_string(),
                origin.helo,
                origin.tls,
                self.message.recipients.len() as u32,
                paths,
            ])?;
        Ok(inserted == 1)
    }
}

/// Notes that recipients of another message were told about.
fn told(batch: &mut Batch<'_>, about: &About) -> rusqlite::Result<()> {
    let what = |batch: &mut Batch<'_>, found: Found| match about.notice {
        Notice::Delay => {
            for &place in &about.recipients {
                note_delay(batch.connection, about.id, place)?;
            }
            batch.run("UPDATE message SET delay_settled = 1 WHERE id = ?1", about.id)
        }
        Notice::End => {
            // 2 is After::Notify, and 0 After::Forget.
            let mut statement = batch.connection.prepare_cached(
                "UPDATE recipient SET after = 0 WHERE message = ?1 AND place = ?2 AND after = 2",
            )?;
            for place in &about.recipients {
                statement.execute((about.id.to_sql(), place))?;
            }
            settle(batch.connection, about.id, found.recipients)
        }
    };
    batch.change(about.id, |_| true, what)?;
    Ok(())
}
