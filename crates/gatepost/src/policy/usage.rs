//! What entries are used for, kept over restarts: taken from the entries once a minute, and added to
//! what is in the `state_dir`.
//!
//! Who is killed loses the last minute of it, and no mail.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatepost_policy::snapshot::Snapshot;
use gatepost_registry::usage::{UsageError, UsageStore};

use crate::policy;

/// How often it is written down.
const INTERVAL: Duration = Duration::from_mins(1);

/// So often in a day.
const ROUNDS_A_DAY: u32 = 24 * 60;

/// Keeps what is counted.
pub struct UsageKeeper {
    snapshot: Arc<Snapshot>,
    /// Locked where blocking is allowed.
    store: Mutex<UsageStore>,
}

/// Why it could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file does not take it.
    #[error(transparent)]
    Store(#[from] UsageError),
    /// A bug.
    #[error("what entries are used for could not be kept: {0}")]
    Bug(#[from] tokio::task::JoinError),
}

/// Where it is kept.
pub fn usage_path(state_dir: &Path) -> PathBuf {
    state_dir.join("usage.db")
}

impl UsageKeeper {
    /// Keeps what the entries of the policy count, in a `state_dir` that is ours.
    pub fn open(state_dir: &Path, snapshot: Arc<Snapshot>) -> Result<Arc<Self>, UsageError> {
        let store = UsageStore::open(&usage_path(state_dir), policy::now().unix_seconds)?;
        Ok(Arc::new(Self { snapshot, store: Mutex::new(store) }))
    }

    /// Writes down what was counted since the last time.
    pub async fn save(self: &Arc<Self>) -> Result<(), KeepError> {
        let keeper = Arc::clone(self);
        Ok(tokio::task::spawn_blocking(move || keeper.write()).await??)
    }

    /// Writes it down now and then, for as long as the task is let run.
    pub async fn run(self: Arc<Self>) {
        for round in 1_u32.. {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.save().await {
                tracing::error!("what entries are used for is not kept for now: {error}");
            }
            if round % ROUNDS_A_DAY == 0 {
                let keeper = Arc::clone(&self);
                // What could not be forgotten today is forgotten tomorrow.
                let _ = tokio::task::spawn_blocking(move || keeper.forget()).await;
            }
        }
    }

    /// Forgets entries that are long gone.
    fn forget(&self) -> Result<usize, UsageError> {
        let ruleset = Arc::clone(&self.snapshot.load());
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |id: &str| ruleset.entry(id).is_some() || ruleset.credential(id).is_some();
        store.prune(policy::now().unix_seconds, is_known)
    }

    fn write(&self) -> Result<(), UsageError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let ruleset = Arc::clone(&self.snapshot.load());
        let taken: Vec<_> = ruleset
            .states()
            .filter_map(|(id, state)| Some((&**id, state.usage(), state.usage().take()?)))
            .collect();
        let added = store.add(taken.iter().map(|(id, _, delta)| (*id, delta)));
        if added.is_err() {
            for (_, usage, delta) in &taken {
                usage.give_back(delta);
            }
        }
        added
    }
}
