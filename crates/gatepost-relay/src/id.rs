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
        Self::after(None)
    }

    /// The same, greater than one that was given before: a clock that was set back must not give it to
    /// a second message.
    pub fn after(latest: Option<Id>) -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let next = latest.map_or(0, |latest| latest.as_u64() + 1);
        Self(AtomicU64::new(next.max(micros as u64)))
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

    #[test]
    fn a_clock_that_was_set_back_gives_no_id_twice() {
        let (early, late) = (Id::wrapping(7), Ids::new().next());
        let late = Id::wrapping(late.as_u64() + 3_600_000_000);
        assert_eq!(Ids::after(Some(late)).next(), Id::wrapping(late.as_u64() + 1));
        assert!(Ids::after(Some(early)).next() > Id::wrapping(1_000_000));
    }
}
