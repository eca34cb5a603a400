//! What is counted about the spool. Handles are made once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::message::Standing;

/// What the spool has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Transactions that were committed, each with one flush.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Body files that were flushed.
    pub body_flushes: u64,
    /// Flushes of the directory of body files, at most one for each commit.
    pub directory_flushes: u64,
    /// Times that the log was copied into the database.
    pub checkpoints: u64,
    /// Octets of bodies that were copied in memory: to make one piece of many small ones, or of a row.
    /// A body of few pieces that is dropped before it is committed was never copied.
    pub octets_copied: u64,
}

pub(crate) struct SpoolMetrics {
    pub(crate) batch_messages: Histogram,
    pub(crate) flush_duration: Histogram,
    pub(crate) oldest_age: Gauge,
    messages: [Gauge; Standing::ALL.len()],
    octets: [Gauge; Standing::ALL.len()],
    stopped: Gauge,
    commits: (Counter, AtomicU64),
    operations: AtomicU64,
    body_flushes: AtomicU64,
    directory_flushes: AtomicU64,
    checkpoints: AtomicU64,
    octets_copied: AtomicU64,
}

impl SpoolMetrics {
    pub(crate) fn new() -> Self {
        describe_gauge!("gatepost_spool_messages", "Messages in the spool, by where they stand");
        describe_gauge!(
            "gatepost_spool_bytes",
            Unit::Bytes,
            "Octets of their bodies, by where they stand"
        );
        describe_gauge!(
            "gatepost_spool_oldest_age_seconds",
            Unit::Seconds,
            "Age of the oldest message that waits"
        );
        describe_gauge!("gatepost_spool_stopped", "1 after a commit or a flush has failed");
        describe_counter!("gatepost_spool_commits_total", "Transactions, each with one flush");
        describe_histogram!(
            "gatepost_spool_commit_batch_messages",
            "Operations that were committed together"
        );
        describe_histogram!(
            "gatepost_spool_fsync_duration_seconds",
            Unit::Seconds,
            "How long a commit, or the flush of a body file, takes"
        );
        let commits = counter!("gatepost_spool_commits_total");
        commits.increment(0);
        let stopped = gauge!("gatepost_spool_stopped");
        stopped.set(0);
        Self {
            batch_messages: histogram!("gatepost_spool_commit_batch_messages"),
            flush_duration: histogram!("gatepost_spool_fsync_duration_seconds"),
            oldest_age: gauge!("gatepost_spool_oldest_age_seconds"),
            messages: Standing::ALL
                .map(|standing| gauge!("gatepost_spool_messages", "state" => standing.name())),
            octets: Standing::ALL
                .map(|standing| gauge!("gatepost_spool_bytes", "state" => standing.name())),
            stopped,
            commits: (commits, AtomicU64::new(0)),
            operations: AtomicU64::new(0),
            body_flushes: AtomicU64::new(0),
            directory_flushes: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            octets_copied: AtomicU64::new(0),
        }
    }

    pub(crate) fn committed(&self, operations: usize, took: Duration) {
        self.commits.0.increment(1);
        self.commits.1.fetch_add(1, Relaxed);
        self.operations.fetch_add(operations as u64, Relaxed);
        self.batch_messages.record(u32::try_from(operations).unwrap_or(u32::MAX));
        self.flush_duration.record(took);
    }

    pub(crate) fn body_flushed(&self, took: Duration) {
        self.body_flushes.fetch_add(1, Relaxed);
        self.flush_duration.record(took);
    }

    pub(crate) fn directory_flushed(&self) {
        self.directory_flushes.fetch_add(1, Relaxed);
    }

    pub(crate) fn checkpointed(&self) {
        self.checkpoints.fetch_add(1, Relaxed);
    }

    pub(crate) fn copied(&self, octets: usize) {
        self.octets_copied.fetch_add(octets as u64, Relaxed);
    }

    pub(crate) fn stopped(&self) {
        self.stopped.set(1);
    }

    pub(crate) fn hold(&self, standing: Standing, messages: u64, octets: u64) {
        // Gauges are floating-point numbers; what they round away does not matter.
        #[expect(clippy::cast_precision_loss)]
        let (messages, octets) = (messages as f64, octets as f64);
        self.messages[standing as usize].set(messages);
        self.octets[standing as usize].set(octets);
    }

    pub(crate) fn work(&self) -> Work {
        Work {
            commits: self.commits.1.load(Relaxed),
            operations: self.operations.load(Relaxed),
            body_flushes: self.body_flushes.load(Relaxed),
            directory_flushes: self.directory_flushes.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            octets_copied: self.octets_copied.load(Relaxed),
        }
    }
}
