//! The published ruleset, where it comes from, and how it is replaced: whole, or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::generation::Generation;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::snapshot::{Snapshot, is_unused};
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::Mutex;

use crate::load::LoadError;
use crate::policy;

/// A policy in use.
pub struct Live {
    snapshot: Arc<Snapshot>,
    pub(super) file: PathBuf,
    /// The revision in use. Held while a policy is compiled: reloads come one by one, so that the
    /// one asked for last is the one that stays.
    revision: Mutex<u64>,
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
            revision: Mutex::new(1),
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

    /// Reads the file once more, and tells the log what came of it.
    pub async fn reload(self: Arc<Self>) {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || policy::text(&file)).await;
        let text = match read {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return self.refuse(&error.into()),
            Err(error) => return self.refuse(&error.into()),
        };
        self.replace(text).await;
    }

    /// Puts a policy in the place of the one in use, and tells the log what came of it.
    pub(super) async fn replace(self: &Arc<Self>, text: String) {
        match self.publish(text).await {
            Ok(generation) => {
                self.reloaded.increment(1);
                tracing::info!(%generation, "policy reloaded");
            }
            Err(error) => self.refuse(&error),
        }
    }

    pub(super) fn refuse(&self, error: &ReloadError) {
        self.refused.increment(1);
        tracing::error!("policy not reloaded, the old one stays: {error}");
    }

    async fn publish(self: &Arc<Self>, text: String) -> Result<Generation, ReloadError> {
        let mut revision = self.revision.lock().await;
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
