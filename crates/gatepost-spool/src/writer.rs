//! The one thread that writes: whatever waits becomes one transaction.
//!
//! No message is delayed to make a batch larger. While a commit is flushed others come, and they are the
//! next batch: the slower the disk, the larger the batches. What nobody waits for, like the record of
//! a delivery, waits a moment for a message to come in, and shares its flush. Callers hear of their
//! operation after the commit has returned and never before.

use std::collections::VecDeque;
use std::fs::File;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::account::Change;
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::operation::{Batch, End, Operation, Release};
use crate::shared::Shared;
use crate::upkeep::{Checkpoint, Upkeep};

/// Operations in front of the writer; who comes then waits. Some batches' worth.
pub(crate) const QUEUE_MAX: usize = 1024;
/// Operations of one transaction.
const BATCH_OPERATIONS_MAX: usize = 512;
/// Octets of inline bodies in one transaction: what the log takes in a moment.
const BATCH_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Places where what is committed is written: into the log, and into the database.
const PLACES: u64 = 2;
/// How long operations are applied before they are committed: the first one of a batch waits for the
/// last one.
const BATCH_TIME_MAX: Duration = Duration::from_millis(25);
/// How long what can wait does so. Where much comes in it never takes that long, and where little does
/// it does no harm: that much longer a delivery is not recorded, and would be made again after a crash.
const COMPANY_WAIT: Duration = Duration::from_millis(2);

/// An operation and its caller.
pub(crate) trait Job: Send {
    fn grows(&self) -> bool;
    fn can_wait(&self) -> bool;
    /// Whether its caller is still there.
    fn is_awaited(&self) -> bool;
    fn octets(&self) -> usize;
    fn names_file(&self) -> bool;
    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()>;
    /// Tells the caller that it is done.
    fn committed(self: Box<Self>);
    /// Tells the caller that it is not.
    fn failed(self: Box<Self>, end: End, error: SpoolError);
}

/// An operation, what it has answered, and who waits for that.
struct Waiting<O: Operation> {
    operation: O,
    answer: Option<O::Answer>,
    caller: oneshot::Sender<Result<O::Answer, SpoolError>>,
}

/// An operation for the queue.
pub(crate) fn job<O: Operation>(
    operation: O,
    caller: oneshot::Sender<Result<O::Answer, SpoolError>>,
) -> Box<dyn Job> {
    Box::new(Waiting { operation, answer: None, caller })
}

impl<O: Operation> Job for Waiting<O> {
    fn grows(&self) -> bool {
        O::GROWS
    }

    fn can_wait(&self) -> bool {
        O::CAN_WAIT
    }

    fn is_awaited(&self) -> bool {
        !self.caller.is_closed()
    }

    fn octets(&self) -> usize {
        self.operation.octets()
    }

    fn names_file(&self) -> bool {
        self.operation.names_file()
    }

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        self.answer = Some(self.operation.apply(batch)?);
        Ok(())
    }

    fn committed(mut self: Box<Self>) {
        self.operation.end(End::Committed);
        if let Some(answer) = self.answer {
            // The caller may have gone; what it asked for is done all the same.
            let _ = self.caller.send(Ok(answer));
        }
    }

    fn failed(mut self: Box<Self>, end: End, error: SpoolError) {
        self.operation.end(end);
        let _ = self.caller.send(Err(error));
    }
}

/// Why a transaction was not committed.
enum Failure {
    /// There was no room. It was rolled back.
    Full(SpoolError),
    /// It was rolled back, and the next one may be.
    RolledBack(SpoolError),
    /// What the disk holds is not known.
    Unknown(String),
}

/// What follows a commit.
struct Committed {
    changes: Vec<Change>,
    gone: Vec<QueueId>,
    took: Duration,
}

/// The thread's own. What is dropped first stands first: the lock is let go when the database is
/// closed, and that it has ended is told last.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) queue: mpsc::Receiver<Box<dyn Job>>,
    pub(crate) shared: Arc<Shared>,
    /// Taken from the queue, not applied yet.
    pub(crate) waiting: VecDeque<Box<dyn Job>>,
    pub(crate) upkeep: Upkeep,
    pub(crate) _lock: File,
    pub(crate) _ended: watch::Sender<()>,
}

impl Writer {
    /// Writes until nobody can ask for anything any more, or until the spool is closed.
    pub(crate) fn run(mut self) {
        while self.gather() {
            self.turn();
            if self.shared.status.is_closed() {
                // What is in the queue was asked for before, and is still done.
                self.queue.close();
            }
            if self.upkeep.is_due() {
                self.keep_up(Checkpoint::Passing);
            }
        }
        if self.shared.status.has_stopped() {
            // Closing must not copy a log into the database that may not be what it seems.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        } else {
            self.keep_up(Checkpoint::Whole);
        }
    }

    /// Waits until there is something to do. False if there will be nothing any more.
    fn gather(&mut self) -> bool {
        if self.waiting.is_empty() {
            let Some(job) = self.queue.blocking_recv() else { return false };
            self.waiting.push_back(job);
        }
        let mut can_wait = self.waiting.iter().all(|job| job.can_wait());
        let until = Instant::now() + COMPANY_WAIT;
        while self.waiting.len() < BATCH_OPERATIONS_MAX {
            match self.queue.try_recv() {
                Ok(job) => {
                    can_wait &= job.can_wait();
                    self.waiting.push_back(job);
                }
                Err(TryRecvError::Empty) if can_wait => {
                    let Some(rest) = until.checked_duration_since(Instant::now()) else { break };
                    // What cannot wait ends this.
                    thread::park_timeout(rest);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let ids = mem::take(&mut *self.shared.abandoned());
        if !ids.is_empty() {
            self.waiting.push_back(job(Release { ids }, oneshot::channel().0));
        }
        true
    }

    /// Writes one batch and tells everyone in it.
    fn turn(&mut self) {
        let room = self.shared.room();
        let mut jobs: VecDeque<Box<dyn Job>> = VecDeque::with_capacity(self.waiting.len());
        for job in mem::take(&mut self.waiting) {
            match (self.shared.status.stopped(), &room) {
                (Err(error), _) => job.failed(End::RolledBack, error),
                (Ok(()), _) if job.grows() && !job.is_awaited() => {
                    job.failed(End::RolledBack, SpoolError::Closed);
                }
                (Ok(()), Err(error)) if job.grows() => job.failed(End::RolledBack, error.clone()),
                (Ok(()), _) => jobs.push_back(job),
            }
        }
        if jobs.is_empty() {
            return;
        }
        let mut batch = Vec::with_capacity(jobs.len());
        let written = self.write(&mut jobs, &mut batch);
        self.waiting = jobs;
        match written {
            Ok(committed) => self.succeeded(committed, batch),
            Err(Failure::Full(error)) => self.found_no_room(&error, batch),
            Err(Failure::RolledBack(error)) => {
                tracing::error!(%error, operations = batch.len(), "the spool could not write a batch");
                fail(batch, End::RolledBack, &error);
            }
            Err(Failure::Unknown(why)) => {
                let error = self.shared.stop(&why);
                fail(batch, End::Unknown, &error);
            }
        }
    }

    /// Applies operations from the front of `jobs` and commits them; those that were applied, or
    /// have failed, are in `batch` then.
    fn write(
        &mut self,
        jobs: &mut VecDeque<Box<dyn Job>>,
        batch: &mut Vec<Box<dyn Job>>,
    ) -> Result<Committed, Failure> {
        let shared = &*self.shared;
        let fault = |error: rusqlite::Error| failure(shared, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| {
                batch.extend(jobs.drain(..));
                fault(error)
            })?;
        let mut changing = Batch::new(&transaction);
        let (begin, mut octets) = (Instant::now(), 0);
        while octets < BATCH_OCTETS_MAX
            && (batch.is_empty() || begin.elapsed() < BATCH_TIME_MAX)
            && let Some(mut job) = jobs.pop_front()
        {
            octets += job.octets();
            let applied = job.apply(&mut changing);
            batch.push(job);
            applied.map_err(fault)?;
        }
        let Batch { changes, gone, .. } = changing;
        if batch.iter().any(|job| job.names_file()) {
            shared.flush_directory().map_err(|error| Failure::Unknown(error.to_string()))?;
        }
        let begin = Instant::now();
        shared.disk.commit(transaction).map_err(|error| match failure(shared, &error) {
            // A commit that fails otherwise than for room may have reached the disk.
            Failure::RolledBack(error) => Failure::Unknown(error.to_string()),
            failure => failure,
        })?;
        shared.room.spend(octets as u64 * PLACES);
        self.upkeep.note(octets);
        Ok(Committed { changes, gone, took: begin.elapsed() })
    }

    fn succeeded(&self, committed: Committed, batch: Vec<Box<dyn Job>>) {
        let Committed { changes, gone, took } = committed;
        self.shared.count(changes);
        self.shared.metrics.committed(batch.len(), took);
        for job in batch {
            job.committed();
        }
        for id in gone {
            self.shared.clone().remove_body(id);
        }
    }

    /// What needs room hears that there is none. The rest is tried again without it: the queue must
    /// be emptied, above all when the disk is full.
    fn found_no_room(&mut self, error: &SpoolError, batch: Vec<Box<dyn Job>>) {
        if !self.connection.is_autocommit() {
            let error = self.shared.stop(&format!("{error}; it was not rolled back"));
            return fail(batch, End::Unknown, &error);
        }
        // A log that was copied begins anew, in the room that it has.
        self.keep_up(Checkpoint::Passing);
        let (growing, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|job| job.grows());
        if growing.is_empty() {
            fail(rest, End::RolledBack, error);
        } else {
            fail(growing, End::RolledBack, error);
            for job in rest.into_iter().rev() {
                self.waiting.push_front(job);
            }
        }
    }

    /// Copies the log into the database.
    fn keep_up(&mut self, checkpoint: Checkpoint) {
        let Err(error) = self.upkeep.run(&self.connection, checkpoint) else {
            return self.shared.metrics.checkpointed();
        };
        match failure(&self.shared, &error) {
            // Everything is in the log, which grows until there is room again.
            Failure::Full(error) | Failure::RolledBack(error) => {
                tracing::warn!(%error, "the log of the spool could not be copied into its database");
            }
            Failure::Unknown(why) => {
                self.shared.stop(&why);
            }
        }
    }
}

/// What an error of SQLite means for a transaction. That a full disk rolls back is SQLite's promise
/// (`SQLITE_FULL`); what is said of I/O is that nobody knows.
fn failure(shared: &Shared, error: &rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Failure::Full(SpoolError::Full {
            path: shared.paths.directory.clone(),
            reason: error.to_string().into(),
        }),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NotADatabase
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => Failure::Unknown(format!("{}: {error}", shared.paths.database.display())),
        _ => Failure::RolledBack(SpoolError::of_sqlite(&shared.paths.database, error)),
    }
}

fn fail(jobs: Vec<Box<dyn Job>>, end: End, error: &SpoolError) {
    for job in jobs {
        job.failed(end, error.clone());
    }
}
