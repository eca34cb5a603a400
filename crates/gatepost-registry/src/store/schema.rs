//! The tables, and how those of an older version become those of this one.
//!
//! A step that was released is never changed: what comes after it is a new step. The number of
//! steps that a file has been through stands in its `user_version`.

use rusqlite::{Connection, TransactionBehavior};

/// What each version added.
pub(super) const STEPS: [&str; 1] = ["
    CREATE TABLE revision (
        number INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        author TEXT NOT NULL,
        reason TEXT,
        summary TEXT NOT NULL,
        changes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE item (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        position INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, id),
        UNIQUE (kind, position)
    ) STRICT;
    CREATE TABLE change (
        revision INTEGER NOT NULL REFERENCES revision (number),
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        before_position INTEGER,
        before_body TEXT,
        after_position INTEGER,
        after_body TEXT,
        PRIMARY KEY (revision, kind, id),
        CHECK ((before_position IS NULL) = (before_body IS NULL)),
        CHECK ((after_position IS NULL) = (after_body IS NULL))
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX change_of_item ON change (kind, id, revision);
"];

/// Marks the file as ours, for `file` and for ourselves.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Gpst");

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// A database without tables: one that was begun and not finished.
    Blank,
    /// A database of another program.
    Foreign,
    /// Ours, after that many steps.
    Version(usize),
}

impl Schema {
    /// Looks at a file, and changes nothing.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
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

    /// How many steps it has been through.
    const fn steps(self) -> usize {
        match self {
            Self::Version(version) => version,
            Self::Blank | Self::Foreign => 0,
        }
    }
}

/// Takes a file through the steps that it lacks, in one transaction.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    if Schema::of(connection)?.steps() >= steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    let done = Schema::of(&transaction)?.steps();
    for step in steps.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len().max(done) as u32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_once_and_together() {
        let mut connection = Connection::open_in_memory().expect("opens");
        assert_eq!(Schema::of(&connection), Ok(Schema::Blank));
        let steps = ["CREATE TABLE a (x); INSERT INTO a VALUES (1);", "ALTER TABLE a ADD y;"];
        migrate(&mut connection, &steps[..1]).expect("is new");
        migrate(&mut connection, &steps[..1]).expect("has nothing to do");
        assert_eq!(Schema::of(&connection), Ok(Schema::Version(1)));

        let wrong = [steps[0], steps[1], "ALTER TABLE b ADD z;"];
        migrate(&mut connection, &wrong).expect_err("there is no table b");
        assert_eq!(Schema::of(&connection), Ok(Schema::Version(1)));
        connection.prepare("SELECT y FROM a").expect_err("step two is undone with step three");

        migrate(&mut connection, &steps).expect("is right");
        assert_eq!(Schema::of(&connection), Ok(Schema::Version(2)));
        let rows: u32 =
            connection.query_row("SELECT count(*) FROM a", (), |row| row.get(0)).expect("is there");
        assert_eq!(rows, 1);
    }

    #[test]
    fn the_file_of_another_program_is_known() {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch("CREATE TABLE mine (x)").expect("is made");
        assert_eq!(Schema::of(&connection), Ok(Schema::Foreign));
    }
}
