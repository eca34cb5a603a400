//! How many connections are opened at the same time: a slow start.
//!
//! When many transactions find no connection at once, each would open its own, and an upstream that
//! is down, starting or throttling would meet all of them together. So the first opens alone, each
//! success lets one more begin, and a failure starts all over. Whoever has no place here yet takes
//! a connection that comes back instead.

use std::sync::Arc;

use super::line::LineFull;
use super::slots::{FairSlots, Slot};

/// Openings at the same time, at most: enough to hide a TLS handshake and AUTH of some hundred
/// milliseconds, few enough for a provider that counts connections by the second.
const OPENINGS_MAX: usize = 8;

/// Openings at the same time before the first success, and after a failure.
const OPENINGS_MIN: usize = 1;

#[derive(Debug)]
pub(crate) struct Openings {
    places: Arc<FairSlots>,
}

impl Openings {
    pub(crate) fn new() -> Self {
        Self { places: FairSlots::new(OPENINGS_MIN) }
    }

    /// A place to open a connection, if there is one now. It is held until the opening has ended.
    pub(crate) fn try_begin(&self, who: &Arc<str>) -> Option<Slot> {
        self.places.try_acquire(who)
    }

    /// A place to open a connection, when it is `who`'s turn.
    pub(crate) async fn begin(&self, who: &Arc<str>) -> Result<Slot, LineFull> {
        self.places.acquire(who).await
    }

    /// How many wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.places.waiting()
    }

    pub(crate) fn succeeded(&self) {
        self.places.change_limit(|places| (places + 1).min(OPENINGS_MAX));
    }

    pub(crate) fn failed(&self) {
        self.places.change_limit(|_| OPENINGS_MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that begin now.
    fn begun(openings: &Openings) -> Vec<Slot> {
        std::iter::from_fn(|| openings.try_begin(&"a".into())).collect()
    }

    #[test]
    fn openings_grow_with_success_and_start_again_after_failure() {
        let openings = Openings::new();
        for expected in [1, 2, 4, 8, 8] {
            let places = begun(&openings);
            assert_eq!(places.len(), expected);
            (0..places.len()).for_each(|_| openings.succeeded());
        }
        openings.failed();
        assert_eq!(begun(&openings).len(), 1);
    }

    #[test]
    fn a_failure_lets_nobody_in_before_the_others_are_done() {
        let openings = Openings::new();
        (0..3).for_each(|_| openings.succeeded());
        let mut places = begun(&openings);
        openings.failed();
        while places.pop().is_some() {
            assert_eq!(openings.try_begin(&"a".into()).is_some(), places.is_empty());
        }
    }
}
