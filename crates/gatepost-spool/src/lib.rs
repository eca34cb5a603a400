//! The durable queue: messages that were acknowledged to a client and no upstream has accepted yet.
//!
//! A [`Spool`] is a directory: `spool.db`, an SQLite database with a write-ahead log and
//! `synchronous = FULL`, and `bodies/`, one file for each body that is too large for a row. One
//! thread writes; it takes everything that waits and commits it in one transaction, so that one
//! flush acknowledges many messages. Reads have a connection and a thread of their own and are short.
//!
//! # Invariants
//!
//! 1. A call that has returned `Ok` has happened and stays: its transaction is flushed, and so are the
//!    body file that it names and the directory that has this file.
//! 2. A row never names a body file that was not flushed before the row was committed.
//! 3. What was removed does not come back.
//! 4. After a commit or a flush has failed nothing is accepted until the spool is opened again: what
//!    the disk holds then is unknown, and a second try could turn the unknown into a lie.
//! 5. A full disk is no such failure: the transaction is rolled back, the call that asked for it is
//!    told ([`SpoolError::Full`]), and what needs no room for good is tried again without it. That there
//!    is room in the log for removals is what [`SpoolOptions::free_space_floor`] is for.
//! 6. Nothing is deleted because it could not be understood: a damaged database is not opened, a body
//!    that is gone makes a dead letter.
//! 7. A lease has no owner written down. A spool is open once, so the leases that are found at the
//!    opening are of a process that is gone.
//! 8. Memory and time have limits: of the operations that wait, of a batch, of a page of a list, of what
//!    bodies hold in memory.
//!
//! # What is on the disk when the process is killed or the power fails
//!
//! | at which moment | what is there | what the next [`Spool::open`] does |
//! |---|---|---|
//! | the database is being made | an empty file, or one without tables | makes the tables |
//! | a body is received, or flushed | at most a file that no row names | removes the file |
//! | a batch is written, its commit is not flushed | such files; pages without the mark of a commit | SQLite drops the pages; the files are removed |
//! | the commit is flushed, the caller has not heard | the message | it is delivered; a client that heard no 250 sends it again: twice, never not at all |
//! | a message is leased | the lease | it is due again; [`Recovery`] counts it |
//! | the same, and the upstream had been given all of it | the lease, in doubt | it is due again; [`Recovery`] names it: it may arrive twice |
//! | an upstream has accepted it, that is not recorded yet | the lease | the same: at most what was in flight arrives twice |
//! | outcomes are recorded | states of recipients | only those who are pending are tried again |
//! | a notification is committed | it, and in the same transaction that nobody is owed one any more | it is sent once |
//! | a removal is flushed, its body file is not gone yet | a file that no row names | removes the file |
//! | the log is copied into the database | both | SQLite copies it again |
//! | a commit or a flush has failed | the batch or nothing of it | takes what there is; nothing of the batch was acknowledged |
//! | the disk was full | nothing of the batch, or parts without the mark of a commit | SQLite drops them |
//! | somebody has removed a body file, or cut it | the row | the message becomes a dead letter, and is named in the log |
//! | somebody has damaged the database | – | says so, and changes nothing |
//! | somebody has moved the database away | its log, or bodies | the same: they are not taken for orphans |
//!
//! # Who uses it how
//!
//! A hand-over asks for a [`BodyWriter`], gives it the body as it passes, and either commits or drops
//! it; dropped, it has cost neither a copy nor a flush ([`Work`] counts both). One that is delivered at once
//! is committed [leased](Entrance::Leased), with its body [kept](Spool::commit_and_keep) in memory: it goes
//! through no index, and its record shares the flush of the next message. The queue runner asks what is
//! [`due`](Spool::due) and what has [aged](Spool::aged), [leases](Spool::lease) it, and
//! [records](Spool::record) what became of it. Commands list, hold, retry and remove. This crate decides nothing about mail: it
//! knows no wall clock, no upstream and no reply's meaning.
#![forbid(unsafe_code)]

mod account;
mod body;
mod checksum;
mod columns;
mod disk;
mod error;
mod id;
mod lease;
mod message;
mod metrics;
mod offline;
mod open;
mod operation;
mod read;
mod recipients;
mod recovery;
mod room;
mod schema;
mod settle;
mod shared;
mod spool;
mod status;
#[cfg(test)]
mod tests;
mod upkeep;
mod workers;
mod writer;

pub use self::account::{Stats, Tally};
pub use self::body::{BodyReader, BodyWriter};
pub use self::error::SpoolError;
pub use self::id::{InvalidQueueId, QueueId};
pub use self::lease::LeaseGuard;
pub use self::message::{
    About, After, Attempt, Entrance, Envelope, Message, Mode, Notice, Origin, Outcome, Recipient,
    RecipientState, Standing, StoredMessage, StoredRecipient,
};
pub use self::metrics::Work;
pub use self::offline::OfflineSpool;
pub use self::open::SpoolOptions;
pub use self::read::{DueMessage, Filter, LIST_MAX, Page, Summary};
pub use self::recovery::Recovery;
pub use self::spool::Spool;
