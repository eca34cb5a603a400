//! Whether a file is another one than it was: how files are watched that the program is told by.
//!
//! What a path leads to is looked at once a second, links followed: so an edit in place, an editor's
//! rename, a ConfigMap's swapped symlink and a swapped directory are all the same, on every file
//! system (ADR 8).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a path is looked at: a stat call.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// The pause between two looks that must agree (contract §2).
pub(crate) const SETTLE: Duration = Duration::from_millis(250);
/// Looks at something that changes all the time, before it is left alone for a while.
pub(crate) const SETTLE_LOOKS_MAX: usize = 20;

/// Which file a path leads to, and which state of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    octets: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// None if the path leads nowhere.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Calls `changed` whenever one of several files has changed and all of them have come to rest, for as
/// long as the task is let run. Two files are rarely replaced in one moment.
pub(crate) async fn follow<F>(files: Arc<[PathBuf]>, changed: impl Fn() -> F)
where
    F: Future<Output = ()>,
{
    if files.is_empty() {
        return;
    }
    // What was loaded at the start may have been replaced since: the first look is a change.
    let mut known = None;
    loop {
        let mut found = look(&files).await;
        if found != known {
            for _ in 0..SETTLE_LOOKS_MAX {
                tokio::time::sleep(SETTLE).await;
                let before = std::mem::replace(&mut found, look(&files).await);
                if found == before {
                    break;
                }
            }
            changed().await;
            known = found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(files: &Arc<[PathBuf]>) -> Option<Vec<Option<Identity>>> {
    let files = Arc::clone(files);
    let look = move || files.iter().map(|file| Identity::of(file)).collect();
    tokio::task::spawn_blocking(look).await.ok()
}
