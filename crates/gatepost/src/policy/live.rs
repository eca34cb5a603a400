//! The published ruleset, where it comes from, and how it is replaced: whole, or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gatepost_admin::control::{EditCause, EditRefusal, EditRequest, EditView};
use gatepost_policy::generation::Generation;
use gatepost_policy::printable::Printable;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::snapshot::{Snapshot, is_unused};
use gatepost_registry::store::Store;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinError;

use super::edit::{self, Edited};
use super::source::{Source, Text};
use crate::load::LoadError;
use crate::policy;

/// A policy in use.
pub struct Live {
    snapshot: Arc<Snapshot>,
    pub(super) source: Source,
    /// The store, if that is the source. Locked where blocking is allowed, by whoever has the turn.
    store: Option<std::sync::Mutex<Store>>,
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
    /// The policy cannot be read, or is not right.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is right, and would let nobody in.
    #[error(
        "{0}: no enabled allow entry is left; a gateway that nobody may use is started, not reloaded"
    )]
    AllowsNobody(Source),
    /// The store is an older one than the gateway has.
    #[error(
        "the store is at revision {revision}, and revision {in_use} is in use: it was replaced by an \
         older one; restart the gateway if that is meant"
    )]
    Older {
        /// Of the store.
        revision: u64,
        /// Of the policy in use.
        in_use: u64,
    },
    /// The compiler has panicked, which is a bug.
    #[error("the compiler of the policy failed: {0}")]
    Bug(#[from] JoinError),
}

impl Live {
    /// Begins with a ruleset that was compiled from its source. The `state_dir` must be ours.
    pub fn new(ruleset: Ruleset, source: Source) -> Result<Arc<Self>, LoadError> {
        describe_counter!(
            "gatepost_policy_reloads_total",
            "Reloads of the policy, by how they ended"
        );
        describe_gauge!("gatepost_policy_entries", "Enabled entries of the ruleset in use");
        describe_gauge!(
            "gatepost_policy_revision",
            "Revision of the ruleset in use: the store's, or counted by this process"
        );
        let reloads = |result: &'static str| {
            let counter = counter!("gatepost_policy_reloads_total", "result" => result);
            counter.increment(0);
            counter
        };
        let store = match &source {
            Source::File(_) => None,
            Source::Store(path) => Some(Store::open(path).map_err(LoadError::Store)?),
        };
        // Without a store there is no revision yet, and the first is 1.
        let revision = ruleset.generation().revision().max(u64::from(store.is_none()));
        let live = Self {
            entries: gauge!("gatepost_policy_entries"),
            revision_gauge: gauge!("gatepost_policy_revision"),
            reloaded: reloads("ok"),
            refused: reloads("refused"),
            turn: Mutex::new(revision),
            is_reload_waiting: AtomicBool::new(false),
            snapshot: Arc::new(Snapshot::new(ruleset.with_revision(revision))),
            store: store.map(std::sync::Mutex::new),
            source,
        };
        live.show();
        Ok(Arc::new(live))
    }

    /// Where the ruleset is found.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Reads the policy once more, and tells the log what came of it. One that is asked for while
    /// another waits for its turn is that one: it reads what is there when it begins.
    pub async fn reload(self: Arc<Self>) {
        if self.is_reload_waiting.swap(true, Ordering::SeqCst) {
            return;
        }
        let turn = self.turn.lock().await;
        self.is_reload_waiting.store(false, Ordering::SeqCst);
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || Ok(source.read()?)).await;
        match read.map_err(ReloadError::from).flatten() {
            Ok(text) => drop(self.replace_in(turn, text).await),
            Err(error) => self.refuse(&error),
        }
    }

    /// Puts a policy in the place of the one in use, and tells the log what came of it. Whether it
    /// is in use now.
    pub(super) async fn replace(self: &Arc<Self>, text: Text) -> bool {
        let turn = self.turn.lock().await;
        self.replace_in(turn, text).await
    }

    async fn replace_in(self: &Arc<Self>, turn: MutexGuard<'_, u64>, text: Text) -> bool {
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
        turn: MutexGuard<'_, u64>,
        Text { text, revision }: Text,
    ) -> Result<Generation, ReloadError> {
        let live = Arc::clone(self);
        // Compiling a million entries takes seconds: not on a thread that carries mail.
        let compiled = tokio::task::spawn_blocking(move || {
            policy::recompile(&text, &live.source, &live.snapshot_now())
        });
        let compiled = compiled.await??;
        for warning in &compiled.warnings {
            tracing::warn!("{warning}");
        }
        if compiled.ruleset.allows_nobody() {
            return Err(ReloadError::AllowsNobody(self.source.clone()));
        }
        let revision = revision.unwrap_or(*turn + 1);
        if revision < *turn {
            return Err(ReloadError::Older { revision, in_use: *turn });
        }
        Ok(self.take_into_use(turn, compiled.ruleset, revision))
    }

    /// Edits the policy in its store, and takes it into use. Whoever asks need not stay: once it has
    /// begun, it is done.
    pub async fn edit(self: Arc<Self>, request: EditRequest) -> Result<EditView, EditRefusal> {
        tokio::spawn(self.edit_in_turn(request)).await.unwrap_or_else(|bug| Err(lost(&bug)))
    }

    async fn edit_in_turn(self: Arc<Self>, request: EditRequest) -> Result<EditView, EditRefusal> {
        let turn = self.turn.lock().await;
        let editor = Arc::clone(&self);
        let author = Printable(&request.edit.author).to_string();
        // Compiling takes long, and so may the disk.
        let edited = tokio::task::spawn_blocking(move || editor.edit_store(&request)).await;
        let edited = edited.unwrap_or_else(|bug| Err(lost(&bug)));
        let Edited { mut view, compiled } = edited.inspect_err(|refusal| {
            tracing::warn!(author, "policy not edited: {refusal}");
        })?;
        if let Some(compiled) = compiled {
            let generation = self.take_into_use(turn, compiled.ruleset, view.revision);
            tracing::info!(%generation, author, "policy edited");
        }
        view.generation = Some(self.snapshot.load().generation().to_string());
        Ok(view)
    }

    fn edit_store(&self, request: &EditRequest) -> Result<Edited, EditRefusal> {
        let Some(store) = &self.store else { return Err(edit::in_a_file(&self.source)) };
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.snapshot_now();
        policy::edit(&mut store, request, |text| {
            let compiled = policy::compile_after(text, &self.source, &previous)?;
            if compiled.ruleset.allows_nobody() && !previous.allows_nobody() {
                return Err(ReloadError::AllowsNobody(self.source.clone()));
            }
            Ok(compiled)
        })
    }

    fn snapshot_now(&self) -> Arc<Ruleset> {
        Arc::clone(&self.snapshot.load())
    }

    fn take_into_use(
        &self,
        mut turn: MutexGuard<'_, u64>,
        ruleset: Ruleset,
        revision: u64,
    ) -> Generation {
        *turn = revision;
        let ruleset = ruleset.with_revision(revision);
        let generation = ruleset.generation();
        let retired = self.snapshot.publish(ruleset);
        tokio::spawn(free(retired));
        self.show();
        generation
    }

    #[allow(clippy::cast_precision_loss)] // a gauge is a float; no policy has 2^53 entries
    fn show(&self) {
        let ruleset = self.snapshot.load();
        self.entries.set(ruleset.entries().len() as f64);
        self.revision_gauge.set(ruleset.generation().revision() as f64);
    }
}

/// A bug has ended an edit, nobody knows where.
fn lost(bug: &JoinError) -> EditRefusal {
    let error = format!("the edit has failed, and may be made or not: {bug}");
    EditRefusal { cause: EditCause::Store, error }
}

/// Takes a retired ruleset apart where no mail waits for it, once no session reads it any more.
pub(super) async fn free(retired: Arc<Ruleset>) {
    /// A guard is held for a decision: microseconds.
    const PAUSE: Duration = Duration::from_millis(10);
    while !is_unused(&retired) {
        tokio::time::sleep(PAUSE).await;
    }
    tokio::task::spawn_blocking(move || drop(retired));
}
