//! Ids of sessions, messages and notifications: one kind, so that a word in a log names one thing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// An id that is unique on this machine, across restarts; the queue has messages by it.
pub use gatepost_spool::QueueId as Id;

/// Makes ids: microseconds since 1970 at the start of the process, and one more for each id since. (A
/// process makes fewer than a million a second.)
#[derive(Debug)]
pub struct Ids(AtomicU64);

impl Ids {
    /// Ids from this moment on.
    pub fn new() -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self(AtomicU64::new(micros as u64))
    }

    /// The next one.
    pub fn next(&self) -> Id {
        Id::wrapping(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_age() {
        let ids = Ids::new();
        let (first, second) = (ids.next().to_string(), ids.next().to_string());
        assert!(first < second && first.len() == 11);
    }
}
