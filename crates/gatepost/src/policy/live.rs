//! The published ruleset, where it comes from, and how it is replaced: whole, or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatepost_policy::generation::Generation;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::snapshot::{Snapshot, is_unused};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::{Mutex, MutexGuard};

use crate::load::LoadError;
use crate::policy;

/// A policy in use.
pub struct Live {
    snapshot: Arc<Snapshot>,
    pub(super) file: PathBuf,
    /// The revision in use. Held while a policy is read and compiled: reloads come one by one, so
    /// that the one asked for last is the one that stays.
    turn: Mutex<u64>,
    /// Whether a reload waits for its turn.
    is_reload_waiting: AtomicBool,
    entries: Gauge,
    revision_gauge: Gauge,
    reloaded: Counter,
    refused: Counter,
}

/// Why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file cannot be read, or is not right.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is right, and would let nobody in.
    #[error(
        "{}: no enabled allow entry is left; a gateway that nobody may use is started, not reloaded",
        .0.display()
    )]
    AllowsNobody(PathBuf),
    /// The compiler has panicked, which is a bug.
    #[error("the compiler of the policy failed: {0}")]
    Bug(#[from] tokio::task::JoinError),
}

impl Live {
    /// Begins with a ruleset that was compiled from a file.
    pub fn new(ruleset: Ruleset, file: PathBuf) -> Arc<Self> {
        describe_counter!(
            "gatepost_policy_reloads_total",
            "Reloads of the policy, by how they ended"
        );
        describe_gauge!("gatepost_policy_entries", "Enabled entries of the ruleset in use");
        describe_gauge!(
            "gatepost_policy_revision",
            "Revision of the ruleset in use, counted by this process"
        );
        let reloads = |result: &'static str| {
            let counter = counter!("gatepost_policy_reloads_total", "result" => result);
            counter.increment(0);
            counter
        };
        let live = Self {
            entries: gauge!("gatepost_policy_entries"),
            revision_gauge: gauge!("gatepost_policy_revision"),
            reloaded: reloads("ok"),
            refused: reloads("refused"),
            turn: Mutex::new(1),
            is_reload_waiting: AtomicBool::new(false),
            snapshot: Arc::new(Snapshot::new(ruleset.with_revision(1))),
            file,
        };
        live.show();
        Arc::new(live)
    }

    /// Where the ruleset is found.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Reads the file once more, and tells the log what came of it. One that is asked for while
    /// another waits for its turn is that one: it reads what is there when it begins.
    pub async fn reload(self: Arc<Self>) {
        if self.is_reload_waiting.swap(true, Ordering::SeqCst) {
            return;
        }
        let turn = self.turn.lock().await;
        self.is_reload_waiting.store(false, Ordering::SeqCst);
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Ok(policy::text(&file)?)).await;
        match read.map_err(ReloadError::from).flatten() {
            Ok(text) => drop(self.replace_in(turn, text).await),
            Err(error) => self.refuse(&error),
        }
    }

    /// Puts a policy in the place of the one in use, and tells the log what came of it. Whether it
    /// is in use now.
    pub(super) async fn replace(self: &Arc<Self>, text: String) -> bool {
        let turn = self.turn.lock().await;
        self.replace_in(turn, text).await
    }

    async fn replace_in(self: &Arc<Self>, turn: MutexGuard<'_, u64>, text: String) -> bool {
        match self.publish(turn, text).await {
            Ok(generation) => {
                self.reloaded.increment(1);
                tracing::info!(%generation, "policy reloaded");
                true
            }
            Err(error) => {
                self.refuse(&error);
                false
            }
        }
    }

    pub(super) fn refuse(&self, error: &ReloadError) {
        self.refused.increment(1);
        tracing::error!("policy not reloaded, the old one stays: {error}");
    }

    async fn publish(
        self: &Arc<Self>,
        mut revision: MutexGuard<'_, u64>,
        text: String,
    ) -> Result<Generation, ReloadError> {
        let live = Arc::clone(self);
        // Compiling a million entries takes seconds: not on a thread that carries mail.
        let compiled = tokio::task::spawn_blocking(move || {
            let previous = Arc::clone(&live.snapshot.load());
            previous.recompile(&text, &policy::origin(&live.file))
        });
        let compiled = compiled.await?.map_err(LoadError::Policy)?;
        for warning in &compiled.warnings {
            tracing::warn!("{warning}");
        }
        if compiled.ruleset.allows_nobody() {
            return Err(ReloadError::AllowsNobody(self.file.clone()));
        }
        *revision += 1;
        let ruleset = compiled.ruleset.with_revision(*revision);
        let generation = ruleset.generation();
        let retired = self.snapshot.publish(ruleset);
        tokio::spawn(free(retired));
        self.show();
        Ok(generation)
    }

    #[allow(clippy::cast_precision_loss)] // a gauge is a float; no policy has 2^53 entries
    fn show(&self) {
        let ruleset = self.snapshot.load();
        self.entries.set(ruleset.entries().len() as f64);
        self.revision_gauge.set(ruleset.generation().revision() as f64);
    }
}

/// Takes a retired ruleset apart where no mail waits for it, once no session reads it any more.
async fn free(retired: Arc<Ruleset>) {
    /// A guard is held for a decision: microseconds.
    const PAUSE: Duration = Duration::from_millis(10);
    while !is_unused(&retired) {
        tokio::time::sleep(PAUSE).await;
    }
    tokio::task::spawn_blocking(move || drop(retired));
}
