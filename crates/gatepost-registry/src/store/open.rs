//! Opening the file: to edit it, or to look at it while others edit.
//!
//! The file is never opened but through SQLite: closing any other descriptor of it would let go of
//! the locks that this process holds on it (POSIX), and with them of what keeps two processes apart.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    Store, StoreError,
    schema::{self, Schema},
};

/// How long an edit waits for that of another process. Edits take milliseconds; one of a million
/// entries takes seconds, and whoever comes then is told to come again.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Octets of the write-ahead log that stay on the disk after a long edit.
const LOG_OCTETS_KEPT: u32 = 16 * 1024 * 1024;
/// KiB of pages in memory, taken when they are needed: a long edit finds its indexes there.
const CACHE_KIBIBYTES: i32 = 32 * 1024;
/// The policy says who may relay, and has hashes of passwords: it is its owner's alone.
const MODE: u32 = 0o600;

impl Store {
    /// Opens a store to edit it. One that is not there is made, readable by its owner only; one of
    /// an older version is brought to this one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            connect(path, flags).map_err(|error| StoreError::of_sqlite(path, error))?;
        is_ours(path, &connection)?;
        prepare(&mut connection).map_err(|error| StoreError::of_sqlite(path, error))?;
        Ok(Self { connection, path: path.to_owned(), broken: None })
    }

    /// Opens a store to read it, whether or not another process has it open; `None` if there is
    /// none, or one that was never finished. Nothing in it is changed: one of an older version is
    /// refused.
    ///
    /// SQLite puts two files beside it (`-wal`, `-shm`), through which it keeps out of the way of
    /// writers. Where the directory cannot be written to, the file alone is read if no log is
    /// beside it: nobody can be writing there then, unless under another user.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io { path: path.to_owned(), error }),
            Ok(_) => {}
        }
        let connection =
            connect_to_read(path).map_err(|error| match StoreError::of_sqlite(path, error) {
                StoreError::ReadOnly(path) => StoreError::NotOpened {
                    path,
                    reason: "its last edits are in the log beside it, and the directory cannot be \
                             written to"
                        .to_owned(),
                },
                error => error,
            })?;
        let path = path.to_owned();
        match is_ours(&path, &connection)? {
            Schema::Version(version) if version < schema::STEPS.len() => {
                Err(StoreError::Older { path, version })
            }
            Schema::Version(_) => Ok(Some(Self { connection, path, broken: None })),
            Schema::Blank | Schema::Foreign => Ok(None),
        }
    }
}

/// Makes the file if it is not there, and sees to it that nobody else reads it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        // The name of the file is flushed too.
        Ok(_) => path.parent().map_or(Ok(()), |directory| {
            File::open(if directory == "" { Path::new(".") } else { directory })?.sync_all()
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => keep_private(path),
        Err(error) => Err(error),
    };
    made.map_err(|error| StoreError::Io { path: path.to_owned(), error })
}

fn keep_private(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == MODE {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // SQLite opens nothing before it is asked something.
    Schema::of(&connection)?;
    Ok(connection)
}

fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite has a code for each of the reasons that it cannot put its files beside the store.
    let is_shut_out = |error: &rusqlite::Error| {
        matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
    };
    match connect(path, flags) {
        Err(error) if is_shut_out(&error) && !has_log(path) => {
            connect(&unchanging(path), flags | OpenFlags::SQLITE_OPEN_URI)
        }
        result => result,
    }
}

fn is_ours(path: &Path, connection: &Connection) -> Result<Schema, StoreError> {
    let schema = Schema::of(connection).map_err(|error| StoreError::of_sqlite(path, error))?;
    let path = || path.to_owned();
    match schema {
        Schema::Foreign => Err(StoreError::NotStore { path: path() }),
        Schema::Version(version) if version > schema::STEPS.len() => {
            Err(StoreError::Newer { path: path(), version })
        }
        Schema::Blank | Schema::Version(_) => Ok(schema),
    }
}

/// What a connection must know before it writes.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        let mode: String = row.get(0)?;
        // Without the log a reader would stop the writer; some network file systems have none.
        if mode == "wal" { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    })?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_OCTETS_KEPT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    schema::migrate(connection, &schema::STEPS)
}

/// Whether there may be edits that are not in the file itself.
fn has_log(path: &Path) -> bool {
    let mut log = OsString::from(path);
    log.push("-wal");
    fs::metadata(log)
        .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |metadata| metadata.len() > 0)
}

/// The name by which SQLite reads a file without locks and without a log.
pub(super) fn unchanging(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = String::from("file://");
    for &octet in path.as_os_str().as_bytes() {
        // A string takes any text.
        let _ = match octet {
            b'/' | b'.' | b'-' | b'_' => uri.write_char(octet.into()),
            _ if octet.is_ascii_alphanumeric() => uri.write_char(octet.into()),
            _ => write!(uri, "%{octet:02x}"),
        };
    }
    uri.push_str("?immutable=1");
    uri.into()
}
