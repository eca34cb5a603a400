//! Whether the spool takes anything. One failed flush stops it for good; so does closing it.

use std::sync::{Arc, OnceLock};

use crate::error::SpoolError;

/// Seen by everyone who has a part in writing.
#[derive(Debug, Default)]
pub(crate) struct Status {
    closed: OnceLock<()>,
    stopped: OnceLock<Arc<str>>,
}

impl Status {
    /// The reason why nothing is taken, if there is one.
    pub(crate) fn check(&self) -> Result<(), SpoolError> {
        match (self.stopped.get(), self.closed.get()) {
            (Some(why), _) => Err(SpoolError::Stopped(why.clone())),
            (None, Some(())) => Err(SpoolError::Closed),
            (None, None) => Ok(()),
        }
    }

    /// The same, for what was asked for before the spool was closed.
    pub(crate) fn stopped(&self) -> Result<(), SpoolError> {
        self.stopped.get().map_or(Ok(()), |why| Err(SpoolError::Stopped(why.clone())))
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// Stops the spool; the first reason stays. Says what every later caller hears.
    pub(crate) fn stop(&self, why: &str) -> SpoolError {
        if self.stopped.set(why.into()).is_ok() {
            tracing::error!(
                why,
                "the spool has stopped: no message is accepted into it until the gateway is restarted"
            );
        }
        SpoolError::Stopped(self.stopped.get_or_init(|| why.into()).clone())
    }

    pub(crate) fn close(&self) {
        // Closing twice is closing.
        let _ = self.closed.set(());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// What a caller hears whose thread is gone: either the spool was closed, or a thread has panicked.
    pub(crate) fn gone(&self) -> SpoolError {
        match self.check() {
            Err(error) => error,
            Ok(()) => self.stop("one of its threads has ended; this is a bug"),
        }
    }
}
