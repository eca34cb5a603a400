//! Opening a spool: the directory, its lock, the database, and what the last process has left.
//!
//! Nothing that is not understood is changed. The database is never opened but through SQLite: closing
//! any other descriptor of it would let go of the locks that SQLite holds on it (POSIX).

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, watch};

use crate::account::Account;
use crate::body::Budget;
use crate::disk::{Disk, FILE_MODE, RealDisk};
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::metrics::SpoolMetrics;
use crate::read::Reader;
use crate::recovery::{self, Recovery};
use crate::room::Room;
use crate::schema::{self, Schema};
use crate::shared::{Paths, Shared};
use crate::spool::{Inner, Spool};
use crate::status::Status;
use crate::upkeep::Upkeep;
use crate::workers::Workers;
use crate::writer::{QUEUE_MAX, Writer};

/// Threads that write and flush body files: while one waits for the disk, others give it more to do.
const FILE_THREADS: usize = 4;
/// How long to wait for a program that looks at the database from outside.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Octets of the log that stay on the disk; what is there already need not be found when the disk is
/// full.
const LOG_OCTETS_KEPT: u32 = 64 * 1024 * 1024;
/// KiB of pages in memory, taken when they are needed.
const CACHE_KIBIBYTES: i32 = 16 * 1024;
/// Statements that are kept prepared: all there are.
const STATEMENTS: usize = 64;
/// Mail is its owner's alone.
const DIRECTORY_MODE: u32 = 0o700;

/// What is configured for a spool.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Octets that stay free on the disk: with less, no message is taken.
    pub free_space_floor: u64,
    /// Octets that all bodies together hold in memory before they are committed.
    pub body_memory: u64,
    /// Octets that one body holds in memory.
    pub body_memory_each: u64,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            free_space_floor: 1024 * 1024 * 1024,
            body_memory: 256 * 1024 * 1024,
            body_memory_each: 8 * 1024 * 1024,
        }
    }
}

impl Spool {
    /// Opens the spool in a directory of its own; makes it if it is not there. Reads the database once
    /// from its beginning to its end. Blocks: for the start of the program, not for a task.
    pub fn open(
        directory: &Path,
        options: SpoolOptions,
        now: SystemTime,
    ) -> Result<(Self, Recovery), SpoolError> {
        Self::open_on(directory, options, now, Box::new(RealDisk))
    }

    pub(crate) fn open_on(
        directory: &Path,
        options: SpoolOptions,
        now: SystemTime,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, Recovery), SpoolError> {
        let paths = Paths::of(directory);
        make_directory(directory)?;
        let lock = lock(&directory.join("lock"))?;
        make_directory(&paths.bodies)?;
        refuse_log(&paths)?;
        make_database(&paths)?;
        let mut connection = connect(&paths.database)?;
        let recovery = recovery::recover(&mut connection, &paths, now)?;
        let of_sqlite = |error| SpoolError::of_sqlite(&paths.database, &error);
        let account = Account::of(&connection).map_err(of_sqlite)?;
        let reader = Reader::open(&paths.database).map_err(of_sqlite)?;

        let status = Arc::<Status>::default();
        let of_threads = |error| SpoolError::io(directory, error);
        let files = Workers::start("spool-files", [(); FILE_THREADS], status.clone());
        let shared = Arc::new(Shared {
            disk,
            status: status.clone(),
            account: Mutex::new(account),
            metrics: SpoolMetrics::new(),
            files: files.map_err(of_threads)?,
            room: Room::new(options.free_space_floor),
            budget: Budget::new(options.body_memory),
            abandoned: Mutex::default(),
            options,
            paths,
        });
        shared.count(Vec::new());
        let reader = Workers::start("spool-reader", [reader], status).map_err(of_threads)?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let (is_running, ended) = watch::channel(());
        let writer = Writer {
            connection,
            queue,
            shared: shared.clone(),
            waiting: VecDeque::new(),
            upkeep: Upkeep::default(),
            _lock: lock,
            _ended: is_running,
        };
        let thread = thread::Builder::new().name("spool-writer".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(of_threads)?.thread().clone();
        Ok((Self::new(Inner { shared, jobs, writer, reader, ended, turn: 0.into() }), recovery))
    }
}

fn make_directory(path: &Path) -> Result<(), SpoolError> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => flush_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| SpoolError::io(path, error))
}

/// A new name is on the disk when the directory that has it is.
fn flush_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != "").unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The lock is the kernel's and ends with its file: two openings of one process know of each other, too.
fn lock(path: &Path) -> Result<File, SpoolError> {
    let failed = |error| SpoolError::io(path, error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(SpoolError::InUse(path.parent().unwrap_or(path).to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Makes the file of the database if it is not there, so that it is private from its beginning.
fn make_database(Paths { database, .. }: &Paths) -> Result<(), SpoolError> {
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(database) {
        Ok(_) => flush_parent(database),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| SpoolError::io(database, error))
}

/// Opens the database to write it, and makes its tables if it has none.
fn connect(path: &Path) -> Result<Connection, SpoolError> {
    let of_sqlite = |error: rusqlite::Error| SpoolError::of_sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(of_sqlite)?;
    connection.busy_timeout(BUSY_WAIT).map_err(of_sqlite)?;
    let owned = || path.to_owned();
    match Schema::of(&connection).map_err(of_sqlite)? {
        Schema::Foreign => return Err(SpoolError::NotSpool(owned())),
        Schema::Version(version) if version > schema::STEPS.len() => {
            return Err(SpoolError::Newer { path: owned(), version });
        }
        Schema::Version(_) => examine(path, &connection)?,
        Schema::Blank => refuse_bodies(path)?,
    }
    if prepare(&connection).map_err(of_sqlite)? != "wal" {
        // Without the log readers would stop the writer; some network file systems have none.
        let reason = "it cannot have a write-ahead log here; a spool needs a local disk".into();
        return Err(SpoolError::Sqlite { path: owned(), reason });
    }
    schema::migrate(&mut connection, &schema::STEPS).map_err(of_sqlite)?;
    Ok(connection)
}

/// SQLite removes a log whose database is empty, and there is mail in it.
fn refuse_log(paths: &Paths) -> Result<(), SpoolError> {
    let is_empty =
        |path: &Path| std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0);
    let log = paths.directory.join("spool.db-wal");
    if is_empty(&paths.database) && !is_empty(&log) {
        return Err(SpoolError::NoDatabase(paths.directory.clone()));
    }
    Ok(())
}

/// A database without tables knows of no message: if there are bodies beside it, it is another one that
/// knew them, and they would be taken for what nobody needs.
fn refuse_bodies(database: &Path) -> Result<(), SpoolError> {
    let paths = Paths::of(database.parent().unwrap_or(database));
    let failed = |error| SpoolError::io(&paths.bodies, error);
    for file in std::fs::read_dir(&paths.bodies).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if name.to_str().is_some_and(|name| name.parse::<QueueId>().is_ok()) {
            return Err(SpoolError::NoDatabase(paths.directory));
        }
    }
    Ok(())
}

fn examine(path: &Path, connection: &Connection) -> Result<(), SpoolError> {
    let found = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0));
    let found = found.map_err(|error| SpoolError::of_sqlite(path, &error))?;
    if found == "ok" {
        return Ok(());
    }
    Err(SpoolError::Damaged { path: path.to_owned(), reason: found.into() })
}

/// What a connection must know before it writes. Answers through what commits go.
fn prepare(connection: &Connection) -> rusqlite::Result<String> {
    // Only a database without tables takes this: with it, room can be given back to the disk.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    let journal = journal(connection)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The writer copies the log itself, between batches: a failure must be seen.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_OCTETS_KEPT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(journal)
}

/// Sets the write-ahead log up. The answer comes before the commit that makes it true, so that
/// the statement is followed to its end: an error is told there.
fn journal(connection: &Connection) -> rusqlite::Result<String> {
    let mut statement = connection.prepare("PRAGMA journal_mode = wal")?;
    let mut rows = statement.query(())?;
    let journal = rows.next()?.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    while rows.next()?.is_some() {}
    Ok(journal)
}

impl Reader {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let path: PathBuf = path.to_owned();
        Ok(Self { connection, path })
    }
}
