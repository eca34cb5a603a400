//! What upstreams have offered in EHLO, kept over restarts: whether an offer is new is asked of all
//! that were ever seen, and providers change theirs while nobody looks.
//!
//! One small file in the `state_dir`, written when something is new. Without it nothing is lost but
//! the comparison with what was before: a file that cannot be read is told, and written anew.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatepost_delivery::{KnownOffers, Upstream};
use serde::{Deserialize, Serialize};

use crate::{load, state_dir};

/// How often it is looked whether something is new.
const LOOK: Duration = Duration::from_mins(1);
/// A hundred upstreams, each with all the offers that are remembered, are half of this.
const FILE_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// The form of the file; another one is not guessed at.
const VERSION: u32 = 1;

/// Keeps what all upstreams have offered.
pub struct OfferKeeper {
    path: PathBuf,
    upstreams: Arc<[Arc<Upstream>]>,
    /// What this gateway has written last.
    written: Mutex<Option<OffersFile>>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct OffersFile {
    version: u32,
    upstreams: BTreeMap<String, KnownOffers>,
}

impl OfferKeeper {
    /// Tells the upstreams what was known before.
    pub fn open(state_dir: &Path, upstreams: Arc<[Arc<Upstream>]>) -> Arc<Self> {
        let path = state_dir.join("upstream-offers.json");
        let mut known = read(&path);
        for upstream in &*upstreams {
            if let Some(before) = known.remove(&*upstream.config().name) {
                upstream.restore_offers(&before);
            }
        }
        Arc::new(Self { path, upstreams, written: Mutex::default() })
    }

    /// Writes down what is new, for as long as the task is let run.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.clone().save().await;
        }
    }

    /// Writes down what is new, if anything is.
    pub async fn save(self: Arc<Self>) {
        match tokio::task::spawn_blocking(move || self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("what upstreams offer is not kept: {error}"),
            Err(bug) => tracing::error!("what upstreams offer is not kept: {bug}"),
        }
    }
}

impl OfferKeeper {
    fn write(&self) -> io::Result<()> {
        let known = |upstream: &Arc<Upstream>| {
            (upstream.config().name.to_string(), upstream.known_offers())
        };
        let upstreams = self.upstreams.iter().map(known).collect();
        let file = OffersFile { version: VERSION, upstreams };
        // Locked for a whole writing, where blocking is allowed.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() != Some(&file) {
            state_dir::replace(&self.path, &serde_json::to_vec(&file)?)?;
            // Only now: what could not be written is tried again.
            *written = Some(file);
        }
        Ok(())
    }
}

/// What a file says; nothing, and a word about it, if it cannot be understood.
fn read(path: &Path) -> BTreeMap<String, KnownOffers> {
    if matches!(std::fs::exists(path), Ok(false)) {
        return BTreeMap::new();
    }
    let understood = load::text(path, FILE_OCTETS_MAX).map_err(|error| error.to_string());
    let understood = understood.and_then(|text| {
        let file: OffersFile = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match file.version {
            VERSION => Ok(file.upstreams),
            other => Err(format!("it is of version {other}, and not of {VERSION}")),
        }
    });
    understood.unwrap_or_else(|reason| {
        tracing::warn!("{}: {reason}; what upstreams offer is learned anew", path.display());
        BTreeMap::new()
    })
}
