//! How many connections are opened at the same time: a slow start.
//!
//! When many transactions find no connection at once, each would open its own, and an upstream that
//! is down, starting or throttling would meet all of them together. So the first opens alone, each
//! success lets one more begin, and a failure starts all over. Whoever has no place here yet takes
//! a connection that comes back instead.
//!
//! Nor are there ever more than the upstream is asked to bear. Each connection has its room from
//! before it is opened until it is closed, and one that is said goodbye to until the upstream has let
//! go of it. To wait for that is only for those who find all room taken.

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
    rooms: Arc<FairSlots>,
}

/// The right to open one connection now. It is held until the opening has ended.
#[derive(Debug)]
pub(crate) struct Place {
    /// What the connection has for as long as it is open.
    pub(crate) room: Slot,
    _place: Slot,
}

impl Openings {
    /// For an upstream that is asked to bear so many connections.
    pub(crate) fn new(connections_max: usize) -> Self {
        let (places, rooms) = (FairSlots::new(OPENINGS_MIN), FairSlots::new(connections_max));
        Self { places, rooms }
    }

    /// A place to open a connection, if there is one now.
    pub(crate) fn try_begin(&self, who: &Arc<str>) -> Option<Place> {
        let place = self.places.try_acquire(who)?;
        let room = self.rooms.try_acquire(who)?;
        Some(Place { room, _place: place })
    }

    /// A place to open a connection, when it is `who`'s turn and there is room for one more.
    pub(crate) async fn begin(&self, who: &Arc<str>) -> Result<Place, LineFull> {
        // Who waits for room keeps the others waiting, and there is none for them either.
        let place = self.places.acquire(who).await?;
        let room = self.rooms.acquire(who).await?;
        Ok(Place { room, _place: place })
    }

    /// How many wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.places.waiting() + self.rooms.waiting()
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
    fn begun(openings: &Openings) -> Vec<Place> {
        std::iter::from_fn(|| openings.try_begin(&"a".into())).collect()
    }

    #[test]
    fn openings_grow_with_success_and_start_again_after_failure() {
        let openings = Openings::new(100);
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
        let openings = Openings::new(100);
        (0..3).for_each(|_| openings.succeeded());
        let mut places = begun(&openings);
        openings.failed();
        while places.pop().is_some() {
            assert_eq!(openings.try_begin(&"a".into()).is_some(), places.is_empty());
        }
    }

    /// One of two has ended, and what it has opened is still there.
    #[test]
    fn there_are_no_more_than_there_is_room_for() {
        let openings = Openings::new(2);
        (0..3).for_each(|_| openings.succeeded());
        let mut places = begun(&openings);
        assert_eq!(places.len(), 2, "of four that might begin");
        let open = places.pop().map(|place| place.room);
        assert!(openings.try_begin(&"a".into()).is_none());
        drop(open);
        assert!(openings.try_begin(&"a".into()).is_some());
    }
}
