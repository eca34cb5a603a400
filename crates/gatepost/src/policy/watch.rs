//! Reloading when the policy file has changed on disk.
//!
//! What the path leads to is looked at once a second, links followed: so an edit in place, an
//! editor's rename, a ConfigMap's swapped symlink and a swapped directory are all the same, on every
//! file system (ADR 8). A file that is being written is waited for: it counts when two reads with a
//! pause between them have found the same text.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_policy::generation::{ContentHash, Generation};

use super::live::{Live, ReloadError};
use crate::policy;

/// How often the path is looked at: a stat call.
const LOOK: Duration = Duration::from_secs(1);
/// The pause between two reads that must agree (contract §2).
const SETTLE: Duration = Duration::from_millis(250);
/// Reads of a file that changes all the time, before it is left alone until the next look.
const READS_MAX: usize = 20;

/// Which file the path leads to, and which state of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    octets: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a file was found to say, or why it could not be read.
struct Found {
    hash: Result<ContentHash, String>,
    text: Result<String, ReloadError>,
}

/// What was found last.
struct Watch {
    live: Arc<Live>,
    identity: Option<Identity>,
    /// What was refused, and under which policy: it is complained of once.
    refused: Option<(Result<ContentHash, String>, Generation)>,
}

impl Live {
    /// Reloads whenever the file has changed, for as long as the task is let run.
    pub async fn watch(self: Arc<Self>) {
        let mut watch = Watch { live: self, identity: None, refused: None };
        loop {
            watch.look().await;
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Watch {
    async fn look(&mut self) {
        let file = self.live.file.clone();
        let Ok(identity) = tokio::task::spawn_blocking(move || Identity::of(&file)).await else {
            return;
        };
        if identity.is_some() && identity == self.identity {
            return;
        }
        let Some(Found { hash, text }) = self.settled().await else { return };
        // Taken before the reads: what was written since will be seen.
        self.identity = identity;
        let (in_use, generation) = {
            let ruleset = self.live.snapshot().load();
            (ruleset.content_hash(), ruleset.generation())
        };
        if hash == Ok(in_use) {
            return;
        }
        let found = (hash, generation);
        if self.refused.as_ref() == Some(&found) {
            return;
        }
        let replaced = match text {
            Ok(text) => self.live.replace(text).await,
            Err(error) => {
                self.live.refuse(&error);
                false
            }
        };
        self.refused = (!replaced).then_some(found);
    }

    /// What two reads in a row have found alike; none if the file does not come to rest.
    async fn settled(&self) -> Option<Found> {
        let mut before = self.read().await.hash;
        for _ in 0..READS_MAX {
            tokio::time::sleep(SETTLE).await;
            let now = self.read().await;
            if now.hash == before {
                return Some(now);
            }
            before = now.hash;
        }
        None
    }

    /// Reads and hashes where no mail waits for it: a large policy takes a while.
    async fn read(&self) -> Found {
        let file = self.live.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let text = policy::text(&file)?;
            Ok((ContentHash::of(&text), text))
        });
        match read.await.map_err(ReloadError::from).flatten() {
            Ok((hash, text)) => Found { hash: Ok(hash), text: Ok(text) },
            Err(error) => Found { hash: Err(error.to_string()), text: Err(error) },
        }
    }
}

impl Identity {
    /// None if the path leads nowhere.
    fn of(path: &Path) -> Option<Self> {
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
