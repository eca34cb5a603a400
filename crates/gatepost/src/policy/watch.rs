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

use gatepost_policy::generation::ContentHash;

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
#[derive(PartialEq, Eq)]
enum Found {
    Text(ContentHash),
    Unreadable(String),
}

/// What was found last, so that it is not reloaded, and not complained of, twice.
struct Watch {
    live: Arc<Live>,
    identity: Option<Identity>,
    found: Option<Found>,
}

impl Live {
    /// Reloads whenever the file has changed, for as long as the task is let run.
    pub async fn watch(self: Arc<Self>) {
        let mut watch = Watch { live: self, identity: None, found: None };
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
        let Some(settled) = self.settled().await else { return };
        // Taken before the reads: what was written since will be seen.
        self.identity = identity;
        let found = match &settled {
            Ok(text) => Found::Text(ContentHash::of(text)),
            Err(error) => Found::Unreadable(error.to_string()),
        };
        if self.found.as_ref() == Some(&found) || self.is_in_use(&found) {
            self.found = Some(found);
            return;
        }
        self.found = Some(found);
        match settled {
            Ok(text) => self.live.replace(text).await,
            Err(error) => self.live.refuse(&error),
        }
    }

    /// What two reads in a row have found alike; none if the file does not come to rest.
    async fn settled(&self) -> Option<Result<String, ReloadError>> {
        let mut before = self.read().await;
        for _ in 0..READS_MAX {
            tokio::time::sleep(SETTLE).await;
            let now = self.read().await;
            let alike = match (&before, &now) {
                (Ok(before), Ok(now)) => before == now,
                (Err(before), Err(now)) => before.to_string() == now.to_string(),
                _ => false,
            };
            if alike {
                return Some(now);
            }
            before = now;
        }
        None
    }

    async fn read(&self) -> Result<String, ReloadError> {
        let file = self.live.file.clone();
        Ok(tokio::task::spawn_blocking(move || policy::text(&file)).await??)
    }

    fn is_in_use(&self, found: &Found) -> bool {
        matches!(found, Found::Text(hash) if *hash == self.live.snapshot().load().content_hash())
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
