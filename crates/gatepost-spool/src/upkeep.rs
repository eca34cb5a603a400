//! What the database needs from time to time, between batches: its log is copied into it, and room
//! that it does not use any more is given back to the disk.

use rusqlite::Connection;

/// Commits after which the log is copied: it stays at some MiB.
const COMMITS: u32 = 200;
/// Octets of bodies after which it is copied, too.
const OCTETS: usize = 8 * 1024 * 1024;
/// Pages without content that stay in the database, for the next messages: 64 MiB of them.
const FREE_PAGES_KEPT: u32 = 16 * 1024;
/// Pages that are given back at once: each may have to be moved, and commits wait for that.
const FREE_PAGES_AT_ONCE: u32 = 2 * 1024;

/// How the log is copied.
#[derive(Clone, Copy)]
pub(crate) enum Checkpoint {
    /// As far as readers let it.
    Passing,
    /// All of it, and the log is cut: the database alone is the spool.
    Whole,
}

/// What was written since the last time.
#[derive(Default)]
pub(crate) struct Upkeep {
    commits: u32,
    octets: usize,
}

impl Upkeep {
    /// Notes a commit.
    pub(crate) const fn note(&mut self, octets: usize) {
        self.commits += 1;
        self.octets += octets;
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.commits >= COMMITS || self.octets >= OCTETS
    }

    /// Does it. A failure leaves everything where it was: in the log.
    pub(crate) fn run(
        &mut self,
        connection: &Connection,
        checkpoint: Checkpoint,
    ) -> rusqlite::Result<()> {
        *self = Self::default();
        give_back(connection, FREE_PAGES_KEPT, FREE_PAGES_AT_ONCE)?;
        let sql = match checkpoint {
            Checkpoint::Passing => "PRAGMA wal_checkpoint(PASSIVE)",
            Checkpoint::Whole => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        connection.query_row(sql, (), |_| Ok(()))
    }
}

/// Gives some pages back, if more are free than are kept. After a queue was long, the disk has its room
/// back while the queue is emptied.
fn give_back(connection: &Connection, kept: u32, at_once: u32) -> rusqlite::Result<()> {
    let free: u32 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let pages = free.saturating_sub(kept).min(at_once);
    if pages == 0 {
        return Ok(());
    }
    // Each step of the statement gives one page back.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_are_given_back_a_few_at_a_time() {
        let connection = Connection::open_in_memory().expect("opens");
        connection
            .execute_batch("PRAGMA auto_vacuum = incremental; CREATE TABLE t (x)")
            .expect("is made");
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))", ()).expect("is inserted");
        connection.execute("DELETE FROM t", ()).expect("is there");
        let free = || -> u32 {
            connection.pragma_query_value(None, "freelist_count", |row| row.get(0)).expect("reads")
        };
        let before = free();
        assert!(before > 200);
        give_back(&connection, 100, 50).expect("is given back");
        assert_eq!(free(), before - 50);
        for _ in 0..10 {
            give_back(&connection, 100, 50).expect("is given back");
        }
        assert_eq!(free(), 100);
    }
}
