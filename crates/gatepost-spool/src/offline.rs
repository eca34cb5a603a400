//! A spool that is looked at from outside: by a command, while the gateway is down or another process
//! has it open. Nothing in it is changed, and nothing is put into order.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::account::{Account, Stats};
use crate::checksum::Checksum;
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::message::StoredMessage;
use crate::metrics::Work;
use crate::read::{Filter, Page, Reader};
use crate::schema::{self, Schema};
use crate::shared::Paths;

/// Octets of a body that are read at once.
const READ_OCTETS: usize = 128 * 1024;

/// A spool, to be read. Every call blocks, and sees what was committed by then.
pub struct OfflineSpool {
    reader: Reader,
    paths: Paths,
}

impl OfflineSpool {
    /// Opens the spool in a directory; none if there is no spool yet.
    ///
    /// SQLite puts two files beside the database (`-wal`, `-shm`): whoever reads must be allowed to
    /// write to the directory, like the gateway.
    pub fn open(directory: &Path) -> Result<Option<Self>, SpoolError> {
        let paths = Paths::of(directory);
        match paths.database.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Err(SpoolError::io(&paths.database, error)),
        }
        let of_sqlite = |error: rusqlite::Error| SpoolError::of_sqlite(&paths.database, &error);
        let reader = Reader::open(&paths.database).map_err(of_sqlite)?;
        match Schema::of(&reader.connection).map_err(of_sqlite)? {
            Schema::Version(version) if version > schema::STEPS.len() => {
                Err(SpoolError::Newer { path: paths.database, version })
            }
            Schema::Version(_) => Ok(Some(Self { reader, paths })),
            Schema::Blank => Ok(None),
            Schema::Foreign => Err(SpoolError::NotSpool(paths.database)),
        }
    }

    /// A page of at most [`LIST_MAX`](crate::LIST_MAX) messages, from behind `after` on.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> Result<Page, SpoolError> {
        self.reader.list(filter, after, limit).map_err(|error| self.reader.failed(&error))
    }

    /// A message with its recipients, if it is there.
    pub fn show(&self, id: QueueId) -> Result<Option<StoredMessage>, SpoolError> {
        self.reader.message(id).map_err(|error| self.reader.failed(&error))
    }

    /// What is in the spool. Counts it, by reading all of it.
    pub fn stats(&self) -> Result<Stats, SpoolError> {
        let count = || {
            let oldest: Option<SystemTime> = self.reader.oldest()?;
            Ok(Account::of(&self.reader.connection)?.stats(oldest, Work::default()))
        };
        count().map_err(|error| self.reader.failed(&error))
    }

    /// Writes the body of a message, if it is there. Answers how many octets that were; if it is damaged,
    /// this is known at the end.
    pub fn write_body(&self, id: QueueId, to: &mut dyn Write) -> Result<Option<u64>, SpoolError> {
        let row = self.reader.body(id).map_err(|error| self.reader.failed(&error))?;
        let Some(row) = row else { return Ok(None) };
        let path = self.paths.body(id);
        let mut from: Box<dyn Read> = match &row.inline {
            Some(octets) => Box::new(&octets[..]),
            None => Box::new(File::open(&path).map_err(|error| SpoolError::io(&path, error))?),
        };
        let mut checksum = Checksum::new();
        let copied = copy(&mut from, to, &mut checksum);
        let octets = copied.map_err(|error| SpoolError::io(&path, error))?;
        if octets != row.octets || checksum.finish() != row.checksum {
            return Err(SpoolError::BodyDamaged { id, reason: "its checksum is wrong".into() });
        }
        Ok(Some(octets))
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, checksum: &mut Checksum) -> io::Result<u64> {
    let mut from = BufReader::with_capacity(READ_OCTETS, from);
    let mut octets = 0;
    loop {
        let some = from.fill_buf()?;
        if some.is_empty() {
            return Ok(octets);
        }
        checksum.update(some);
        to.write_all(some)?;
        let length = some.len();
        octets += length as u64;
        from.consume(length);
    }
}
