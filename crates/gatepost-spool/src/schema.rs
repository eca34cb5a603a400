//! The tables, and how those of an older version become those of this one.
//!
//! A step that was released is never changed: what comes after it is a new step. The number of
//! steps that a file has been through stands in its `user_version`.

use rusqlite::{Connection, TransactionBehavior};

/// What each version added.
///
/// A *lane* is an entry at an upstream: deliveries take turns between lanes, and everything is counted
/// by lane. An upstream is renamed for all of its messages by renaming its lanes, so that two lanes may
/// come to have the same names.
///
/// `lease`, `held` and `phase` say where a message stands; `columns` has their values. A body is a row
/// of its own, so that what changes often is short, or a file (`filed`). The list of recipients is one
/// value, `paths`, and `recipients` how many it has; `recipient` has rows only for those of whom
/// something was recorded. `delay_settled` is 1 once nobody is to be told of a delay any more.
///
/// A message that is committed leased and delivered at once is two rows, one if its body is a file, and
/// in no index: what is in an index waits. Rows are removed in one place (`settle`), not by cascades:
/// these would look for rows that are seldom there.
pub(crate) const STEPS: [&str; 1] = ["
    CREATE TABLE lane (
        number INTEGER PRIMARY KEY,
        upstream TEXT NOT NULL,
        entry TEXT NOT NULL
    ) STRICT;
    CREATE INDEX lane_name ON lane (upstream, entry);
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        lane INTEGER NOT NULL REFERENCES lane (number),
        lease INTEGER NOT NULL,
        held INTEGER NOT NULL,
        phase INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        delay_settled INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        filed INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        reverse_path BLOB NOT NULL,
        sender BLOB NOT NULL,
        dsn BLOB NOT NULL,
        body INTEGER NOT NULL,
        smtputf8 INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        session_id TEXT NOT NULL,
        listener TEXT NOT NULL,
        credential TEXT,
        generation TEXT NOT NULL,
        client TEXT NOT NULL,
        helo TEXT,
        tls TEXT,
        recipients INTEGER NOT NULL,
        paths BLOB NOT NULL
    ) STRICT;
    CREATE INDEX message_due ON message (lane, due_at) WHERE lease = 0 AND held = 0 AND phase = 0;
    CREATE INDEX message_expiring ON message (expires_at) WHERE lease = 0 AND held = 0 AND phase = 0;
    CREATE INDEX message_waiting ON message (held, delay_settled, received_at)
        WHERE lease = 0 AND phase = 0;
    CREATE TABLE recipient (
        message INTEGER NOT NULL,
        place INTEGER NOT NULL,
        state INTEGER NOT NULL,
        after INTEGER NOT NULL,
        delay_told INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        reply BLOB,
        PRIMARY KEY (message, place)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE body (
        message INTEGER PRIMARY KEY,
        octets BLOB NOT NULL
    ) STRICT;
"];

/// Marks the file as ours, for `file` and for ourselves.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"GpsQ");

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// A database without tables: one that was begun and not finished.
    Blank,
    /// A database of another program.
    Foreign,
    /// Ours, after that many steps.
    Version(usize),
}

impl Schema {
    /// Looks at a file, and changes nothing.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
        Ok(match (application, usize::try_from(version)) {
            (0, Ok(0)) if tables == 0 => Self::Blank,
            (APPLICATION_ID, Ok(version)) => Self::Version(version),
            _ => Self::Foreign,
        })
    }
}

/// Takes a file through the steps that it lacks, in one transaction.
pub(crate) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let done = match Schema::of(connection)? {
        Schema::Version(version) => version,
        Schema::Blank | Schema::Foreign => 0,
    };
    if done >= steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as u32)?;
    transaction.commit()
}
