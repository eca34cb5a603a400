//! What an upstream's word means for the connections that are opened to it next.
//!
//! Whoever understands a reply says so here; what follows from it is the pool's affair.

use std::time::Duration;

use crate::upstream::Upstream;

/// What an upstream's word, or its silence, means for the next connections to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It took what was given.
    Fine,
    /// It wants less, or not for a while (421, 4.7.x, a provider's own throttling).
    Throttled {
        /// For how long it wants nothing at all, where that is known.
        pause: Option<Duration>,
    },
    /// It does not accept how it is used: nothing goes until somebody mends the set-up, a probe now
    /// and then apart. A fault of one envelope is never signalled.
    Misconfigured,
    /// No connection could be opened, or it died.
    Unreachable,
}

impl Upstream {
    /// Takes note of what the upstream did.
    ///
    /// The pool sees some of it by itself: that no connection could be opened, and that a message
    /// was accepted. To signal those again does no harm. What a reply *means* is not decided here.
    pub fn signal(&self, signal: Signal) {
        self.pool.signal(signal);
    }
}
