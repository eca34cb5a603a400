//! Messages that go on at once when they are committed, and as a rule from memory: the spool is not
//! asked for what is here anyway.
//!
//! How many they are is bounded, and what they hold in memory. An upstream has at most as much of it as
//! it leaves to the others, so that a slow one cannot shut out a fast one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gatepost_spool::{LeaseGuard, Message};

use super::way::Way;

/// Messages in all; one upstream has at most half of them.
const MESSAGES_MAX: usize = 512;
/// Octets of their bodies in all; one upstream has at most half of them.
const OCTETS_MAX: u64 = 32 * 1024 * 1024;

/// A message that was just committed, leased.
pub(crate) struct Fresh {
    /// What was committed.
    pub(crate) message: Message,
    /// All of its body; none if it was too large to be kept: then it is read back.
    pub(crate) body: Option<Bytes>,
    /// Its lease.
    pub(crate) lease: LeaseGuard,
    /// The place that was taken for it.
    pub(crate) room: Room,
}

/// A place for a fresh message. Dropping it gives it back.
pub(crate) struct Room {
    rooms: Arc<Rooms>,
    way: Arc<Way>,
    octets: u64,
}

#[derive(Default)]
pub(super) struct Rooms(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    all: Share,
    each: BTreeMap<Arc<str>, Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    messages: usize,
    octets: u64,
}

impl Rooms {
    pub(super) fn take(self: &Arc<Self>, way: &Arc<Way>, octets: u64) -> Option<Room> {
        self.taken().take(way.name(), octets).then(|| Room {
            rooms: self.clone(),
            way: way.clone(),
            octets,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Numbers that are added to one after the other, without anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn take(&mut self, upstream: &Arc<str>, octets: u64) -> bool {
        let its = self.each.get(upstream).copied().unwrap_or_default();
        let free = Share {
            messages: MESSAGES_MAX.saturating_sub(self.all.messages),
            octets: OCTETS_MAX.saturating_sub(self.all.octets),
        };
        let its = Share { messages: its.messages + 1, octets: its.octets.saturating_add(octets) };
        if its.messages > free.messages || its.octets > free.octets {
            return false;
        }
        self.each.insert(upstream.clone(), its);
        self.all.messages += 1;
        self.all.octets += octets;
        true
    }

    fn give_back(&mut self, upstream: &Arc<str>, octets: u64) {
        self.all.messages -= 1;
        self.all.octets -= octets;
        if let Some(its) = self.each.get_mut(upstream) {
            its.messages -= 1;
            its.octets -= octets;
        }
    }
}

impl Room {
    pub(super) const fn way(&self) -> &Arc<Way> {
        &self.way
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.taken().give_back(self.way.name(), self.octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_upstream_leaves_room_for_others() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut taken = Taken::default();
        let of_a = std::iter::repeat_with(|| taken.take(&a, 1)).take_while(|&took| took).count();
        assert_eq!(of_a, MESSAGES_MAX / 2);
        let of_b = std::iter::repeat_with(|| taken.take(&b, 1)).take_while(|&took| took).count();
        assert!(of_b >= MESSAGES_MAX / 5, "{of_b}");
        (0..of_a).for_each(|_| taken.give_back(&a, 1));
        (0..of_b).for_each(|_| taken.give_back(&b, 1));
        assert_eq!(taken.all, Share::default());
        assert!(taken.each.values().all(|its| *its == Share::default()));
    }

    #[test]
    fn large_ones_have_no_room() {
        let mut taken = Taken::default();
        let a = "a".into();
        assert!(!taken.take(&a, u64::MAX));
        assert!(!taken.take(&a, OCTETS_MAX + 1));
        assert!(taken.take(&a, OCTETS_MAX / 2));
        assert!(!taken.take(&a, 1));
    }
}
