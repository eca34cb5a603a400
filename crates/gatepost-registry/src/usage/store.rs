//! Totals by entry id, in an SQLite file of their own.
//!
//! The gateway adds what was counted about once a minute, in one transaction. It is written without
//! waiting for the disk (`synchronous = NORMAL`): after a power failure the last minutes may be
//! missing, and the file is whole. A crash of the process alone loses what was not added yet.
//! Commands read the file while the gateway writes it, and while there is no gateway.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_policy::registers::Registers;
use gatepost_policy::total::UsageTotal;
use gatepost_policy::usage::UsageDelta;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

/// How long the total of an id is kept that no entry has, after its last use: an entry that comes
/// back next year finds its past.
pub const UNKNOWN_KEPT: Duration = Duration::from_hours(24 * 400);

/// What a file looks like now; one step of [`MIGRATIONS`] leads to each version.
const VERSION: u32 = MIGRATIONS.len() as u32;
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE counting (since INTEGER NOT NULL) STRICT;
    CREATE TABLE usage (
        id TEXT PRIMARY KEY,
        hits INTEGER NOT NULL,
        messages INTEGER NOT NULL,
        refusals INTEGER NOT NULL,
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL,
        addresses TEXT NOT NULL, -- with a space between each two
        registers BLOB -- if there were more addresses than those
    ) STRICT, WITHOUT ROWID;
"];
/// How long to wait for another process: a reader never waits, a second writer is a mistake.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Totals by entry id.
#[derive(Debug)]
pub struct UsageStore {
    path: PathBuf,
    connection: Connection,
}

/// Why usage could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The file cannot be made.
    #[error("{}: cannot be made: {source}; see who owns the directory", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something in it is not what was written.
    #[error("{}: the row of entry {id} is damaged; move the file away, and counting begins afresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The row.
        id: String,
    },
    /// It is of a later version.
    #[error("{}: was written by a newer gatepost (version {found}, this one knows {VERSION}); use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version that it has.
        found: u32,
    },
    /// SQLite says no.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl UsageStore {
    /// Opens a file to add to it. One that is not there is made, readable by its owner only, and
    /// counting begins now. Times are in seconds since 1970.
    pub fn open(path: &Path, now: i64) -> Result<Self, UsageError> {
        // SQLite would make it as open as the umask lets it; its other files take after this one.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(UsageError::Create { path: path.into(), source }),
        }
        let mut store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.check_version()?;
        store.prepare(now).map_err(|source| store.error(source))?;
        Ok(store)
    }

    /// Opens a file to look at it; adding to it fails. `None` if there is none, or nothing in it yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, UsageError> {
        if !path.exists() {
            return Ok(None);
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok((store.check_version()? == VERSION).then_some(store))
    }

    /// Adds what was counted, all of it or nothing.
    pub fn add<'a>(
        &mut self,
        deltas: impl IntoIterator<Item = (&'a str, &'a UsageDelta)>,
    ) -> Result<(), UsageError> {
        let path = &self.path;
        let error = |source| UsageError::Sqlite { path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(error)?;
        for (id, delta) in deltas {
            let total = match find(&transaction, path, id)? {
                Some(mut total) => {
                    total.add(delta);
                    total
                }
                None => UsageTotal::from(delta),
            };
            put(&transaction, id, &total).map_err(error)?;
        }
        transaction.commit().map_err(error)
    }

    /// Forgets ids that no entry has and that were not used for [`UNKNOWN_KEPT`]; says how many.
    pub fn prune(
        &mut self,
        now: i64,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<usize, UsageError> {
        let oldest = now.saturating_sub_unsigned(UNKNOWN_KEPT.as_secs());
        let path = &self.path;
        let error = |source| UsageError::Sqlite { path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(error)?;
        let mut ids = last_used_before(&transaction, oldest).map_err(error)?;
        ids.retain(|id| !is_known(id));
        for id in &ids {
            transaction.execute("DELETE FROM usage WHERE id = ?1", [id]).map_err(error)?;
        }
        transaction.commit().map_err(error)?;
        Ok(ids.len())
    }

    /// How an entry was used, if it was.
    pub fn total(&self, id: &str) -> Result<Option<UsageTotal>, UsageError> {
        find(&self.connection, &self.path, id)
    }

    /// How all entries were used, those that are gone among them.
    pub fn totals(&self) -> Result<HashMap<String, UsageTotal>, UsageError> {
        let error = |source| self.error(source);
        let sql = "SELECT hits, messages, refusals, first_seen, last_seen, addresses, registers, id
                   FROM usage";
        let mut statement = self.connection.prepare(sql).map_err(error)?;
        let mut rows = statement.query([]).map_err(error)?;
        let mut totals = HashMap::new();
        while let Some(row) = rows.next().map_err(error)? {
            let id: String = row.get(7).map_err(error)?;
            let total = read(row).map_err(error)?.ok_or_else(|| damaged(&self.path, &id))?;
            totals.insert(id, total);
        }
        Ok(totals)
    }

    /// When counting began, in seconds since 1970.
    pub fn since(&self) -> Result<i64, UsageError> {
        let since = self.connection.query_row("SELECT since FROM counting", [], |row| row.get(0));
        since.map_err(|source| self.error(source))
    }

    fn connect(path: &Path, access: OpenFlags) -> Result<Self, UsageError> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection))
            .map_err(|source| UsageError::Sqlite { path: path.into(), source })?;
        Ok(Self { path: path.into(), connection })
    }

    /// Brings the file to the version of today.
    fn prepare(&mut self, now: i64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = self.connection.transaction()?;
        let found = version(&transaction)?;
        for migration in MIGRATIONS.iter().skip(found as usize) {
            transaction.execute_batch(migration)?;
        }
        if found == 0 {
            transaction.execute("INSERT INTO counting (since) VALUES (?1)", [now])?;
        }
        if found < VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()
    }

    fn check_version(&self) -> Result<u32, UsageError> {
        let found = version(&self.connection).map_err(|source| self.error(source))?;
        if found > VERSION {
            return Err(UsageError::Newer { path: self.path.clone(), found });
        }
        Ok(found)
    }

    fn error(&self, source: rusqlite::Error) -> UsageError {
        UsageError::Sqlite { path: self.path.clone(), source }
    }
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn damaged(path: &Path, id: &str) -> UsageError {
    UsageError::Damaged { path: path.into(), id: id.to_owned() }
}

fn find(connection: &Connection, path: &Path, id: &str) -> Result<Option<UsageTotal>, UsageError> {
    let sql = "SELECT hits, messages, refusals, first_seen, last_seen, addresses, registers
               FROM usage WHERE id = ?1";
    let found = connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([id], read).optional())
        .map_err(|source| UsageError::Sqlite { path: path.into(), source })?;
    found.map(|total| total.ok_or_else(|| damaged(path, id))).transpose()
}

fn last_used_before(connection: &Connection, moment: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT id FROM usage WHERE last_seen < ?1")?;
    statement.query_map([moment], |row| row.get(0))?.collect()
}

/// A row, if it is what was written.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<UsageTotal>> {
    let number = |column| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(column)?).ok());
    let addresses: String = row.get(5)?;
    let addresses = addresses.split_ascii_whitespace().map(str::parse::<IpAddr>).collect();
    let registers: Option<Vec<u8>> = row.get(6)?;
    let registers = registers.map(|octets| Registers::try_from(&*octets).map(Box::new)).transpose();
    let (
        Some(hits),
        Some(messages),
        Some(refusals),
        Some(first_seen),
        Some(last_seen),
        Ok(addresses),
        Ok(registers),
    ) = (number(0)?, number(1)?, number(2)?, number(3)?, number(4)?, addresses, registers)
    else {
        return Ok(None);
    };
    let total =
        UsageTotal { hits, messages, refusals, first_seen, last_seen, addresses, registers };
    Ok(Some(total))
}

fn put(connection: &Connection, id: &str, total: &UsageTotal) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO usage
                   (id, hits, messages, refusals, first_seen, last_seen, addresses, registers)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    // SQLite's integers end here, and no counter comes near it.
    let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let addresses: Vec<_> = total.addresses.iter().map(ToString::to_string).collect();
    connection.prepare_cached(sql)?.execute(params![
        id,
        integer(total.hits),
        integer(total.messages),
        integer(total.refusals),
        integer(total.first_seen),
        integer(total.last_seen),
        addresses.join(" "),
        total.registers.as_deref().map(Registers::as_bytes),
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
