//! The policy that is tried beside the one in use: read, watched, and given to the shadow.
//!
//! It decides nothing, so nothing that is wrong with it stops anything: it is told, and the candidate
//! before stays.

use std::path::PathBuf;
use std::sync::Arc;

use gatepost_policy::ruleset::Compiled;

use super::live::{Live, ReloadError};
use super::shadow::Shadow;
use super::source::Source;
use super::watch::{Found, Watch};
use crate::policy;

impl Shadow {
    /// Tries what is in the file, and again whenever it has changed, for as long as the task is let
    /// run.
    pub async fn follow(self: Arc<Self>, file: PathBuf, live: Arc<Live>) {
        let source = Source::File(file.clone());
        let mut watch = Watch::new(file);
        let mut told = None;
        loop {
            let Found { hash, text } = watch.next().await;
            if told.as_ref() == Some(&hash) {
                continue;
            }
            told = Some(hash);
            let (site, source) = (live.snapshot().load().site().clone(), source.clone());
            // Compiling a million entries takes seconds: not on a thread that carries mail.
            let compiled = tokio::task::spawn_blocking(move || {
                Ok(policy::compile(&text?.text, &source, &site)?)
            });
            match compiled.await.map_err(ReloadError::from).flatten() {
                Ok(Compiled { ruleset, warnings }) => {
                    for warning in warnings {
                        tracing::warn!("{warning}");
                    }
                    let generation = ruleset.generation();
                    self.try_candidate(Some(ruleset));
                    // Whoever reads it may rely on it: from here on envelopes are compared.
                    tracing::info!(%generation, "a candidate policy is tried");
                }
                Err(error) => tracing::error!("the candidate policy is not tried: {error}"),
            }
        }
    }
}
