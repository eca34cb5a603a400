//! What the handles of a spool, its writer, and bodies on their way share, and where everything is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::account::{Account, Change};
use crate::body::Budget;
use crate::disk::Disk;
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::metrics::SpoolMetrics;
use crate::open::SpoolOptions;
use crate::room::Room;
use crate::status::Status;
use crate::workers::Workers;

/// What handles, writer, and bodies on their way share.
pub(crate) struct Shared {
    pub(crate) paths: Paths,
    pub(crate) options: SpoolOptions,
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) status: Arc<Status>,
    pub(crate) account: Mutex<Account>,
    pub(crate) metrics: SpoolMetrics,
    pub(crate) files: Workers<()>,
    pub(crate) room: Room,
    pub(crate) budget: Budget,
    /// Leases that nobody has any more, and that were no operation yet.
    pub(crate) abandoned: Mutex<Vec<QueueId>>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) directory: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) bodies: PathBuf,
}

impl Shared {
    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        // Whoever panics while counting leaves wrong numbers and nothing worse.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn abandoned(&self) -> MutexGuard<'_, Vec<QueueId>> {
        // A panic cannot leave a list in the middle of something.
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a committed transaction has changed.
    pub(crate) fn count(&self, changes: Vec<Change>) {
        let mut account = self.account();
        account.apply(changes);
        account.show(&self.metrics);
    }

    /// Whether there is room for another message.
    pub(crate) fn room(&self) -> Result<(), SpoolError> {
        self.room.check(&*self.disk, &self.paths.directory)
    }

    pub(crate) fn stop(&self, why: &str) -> SpoolError {
        self.metrics.stopped();
        self.status.stop(why)
    }

    /// Removes the file of a body that no row names, some time.
    pub(crate) fn remove_body(self: Arc<Self>, id: QueueId) {
        let shared = self.clone();
        self.files.send(move |()| {
            let path = shared.paths.body(id);
            if let Err(error) = shared.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a body; the next start does");
            }
        });
    }

    /// Flushes the names of body files.
    pub(crate) fn flush_directory(&self) -> std::io::Result<()> {
        self.disk.sync_directory(&self.paths.bodies)?;
        self.metrics.directory_flushed();
        Ok(())
    }
}

impl Paths {
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            database: directory.join("spool.db"),
            bodies: directory.join("bodies"),
        }
    }

    pub(crate) fn body(&self, id: QueueId) -> PathBuf {
        self.bodies.join(id.to_string())
    }
}
