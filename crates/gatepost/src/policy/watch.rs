//! Reloading when the policy file has changed on disk.
//!
//! The path is looked at as [`crate::watch`] does it. A file that is being written is waited for: it
//! counts when two reads with a pause between them have found the same text.

use std::path::PathBuf;
use std::sync::Arc;

use gatepost_policy::generation::ContentHash;

use super::live::{Live, ReloadError};
use super::source::{Source, Text};
use crate::watch::{Identity, LOOK, SETTLE, SETTLE_LOOKS_MAX};

/// What a file was found to say, or why it could not be read.
pub(super) struct Found {
    pub(super) hash: Result<ContentHash, String>,
    pub(super) text: Result<Text, ReloadError>,
}

/// A file that is looked at.
pub(super) struct Watch {
    file: PathBuf,
    /// What it was when it was read last.
    identity: Option<Identity>,
    has_looked: bool,
}

impl Live {
    /// Reloads whenever the file has changed, for as long as the task is let run. A store is changed
    /// by edits, and those are taken into use by themselves.
    pub async fn watch(self: Arc<Self>) {
        let Source::File(file) = &self.source else { return };
        let mut watch = Watch::new(file.clone());
        // What was refused last, and under which policy: it is complained of once.
        let mut refused = None;
        loop {
            let Found { hash, text } = watch.next().await;
            let (in_use, generation) = {
                let ruleset = self.snapshot().load();
                (ruleset.content_hash(), ruleset.generation())
            };
            let found = (hash, generation);
            if found.0 == Ok(in_use) || refused.as_ref() == Some(&found) {
                continue;
            }
            let replaced = match text {
                Ok(text) => self.replace(text).await,
                Err(error) => {
                    self.refuse(&error);
                    false
                }
            };
            refused = (!replaced).then_some(found);
        }
    }
}

impl Watch {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file, identity: None, has_looked: false }
    }

    /// Waits until the file is another one, and has come to rest. At first it always is.
    pub(super) async fn next(&mut self) -> Found {
        loop {
            if std::mem::replace(&mut self.has_looked, true) {
                tokio::time::sleep(LOOK).await;
            }
            if let Some(found) = self.look().await {
                return found;
            }
        }
    }

    async fn look(&mut self) -> Option<Found> {
        let file = self.file.clone();
        let identity = tokio::task::spawn_blocking(move || Identity::of(&file)).await.ok()?;
        if identity.is_some() && identity == self.identity {
            return None;
        }
        let found = self.settled().await?;
        // Taken before the reads: what was written since will be seen.
        self.identity = identity;
        Some(found)
    }

    /// What two reads in a row have found alike; none if the file does not come to rest.
    async fn settled(&self) -> Option<Found> {
        let mut before = self.read().await.hash;
        for _ in 0..SETTLE_LOOKS_MAX {
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
        let source = Source::File(self.file.clone());
        let read = tokio::task::spawn_blocking(move || {
            let read = source.read()?;
            Ok((ContentHash::of(&read.text), read))
        });
        match read.await.map_err(ReloadError::from).flatten() {
            Ok((hash, text)) => Found { hash: Ok(hash), text: Ok(text) },
            Err(error) => Found { hash: Err(error.to_string()), text: Err(error) },
        }
    }
}
