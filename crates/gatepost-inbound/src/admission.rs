//! Who may connect: room first, then policy.
//!
//! A listener has room for `max_connections`. A tenth of it, and not more, may be taken by clients
//! that are not on the allow-list, and of those each address has its own limit: strangers cannot
//! keep the fleet out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatepost_policy::check::{self, Greeting};
use gatepost_policy::entry::Entry;
use gatepost_policy::generation::Generation;
use gatepost_policy::snapshot::Snapshot;
use gatepost_smtp::reply::Reply;
use metrics::Gauge;

use crate::config::ListenerConfig;
use crate::rejections::source;

/// The share of a listener's connections that strangers may take: one in this many.
const STRANGERS_SHARE: usize = 10;

/// Connections of one listener.
#[derive(Debug)]
pub(crate) struct Room {
    open: AtomicUsize,
    open_max: usize,
    /// What the metrics page shows of `open`.
    gauge: Gauge,
    strangers: Mutex<Strangers>,
    strangers_max: usize,
    strangers_per_address_max: usize,
}

#[derive(Debug, Default)]
struct Strangers {
    open: usize,
    /// Never more addresses than strangers.
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place in the room, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Room>);

/// A stranger's place, beside its seat.
#[derive(Debug)]
pub(crate) struct StrangerSeat {
    room: Arc<Room>,
    address: IpAddr,
}

/// What policy says to a client that connects.
pub(crate) enum Admission {
    Allowed(Arc<Entry>, Generation),
    Refused(Reply, Generation),
}

impl Room {
    pub(crate) fn new(config: &ListenerConfig, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            open_max: config.max_connections,
            gauge,
            strangers: Mutex::default(),
            strangers_max: (config.max_connections / STRANGERS_SHARE).max(1),
            strangers_per_address_max: config.max_connections_per_address,
        })
    }

    /// A seat, if there is one left.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let room = |open| (open < self.open_max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        self.gauge.increment(1);
        Some(Seat(self.clone()))
    }

    /// A stranger's seat, if strangers in all and those of its address have one left.
    pub(crate) fn stranger_seat(self: &Arc<Self>, address: IpAddr) -> Option<StrangerSeat> {
        let address = source(address);
        let mut strangers = self.strangers();
        if strangers.open >= self.strangers_max {
            return None;
        }
        let of_address = strangers.by_address.entry(address).or_default();
        if *of_address >= self.strangers_per_address_max {
            return None;
        }
        *of_address += 1;
        strangers.open += 1;
        Some(StrangerSeat { room: self.clone(), address })
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        // Counts are changed together and cannot panic in between.
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.decrement(1);
    }
}

impl Drop for StrangerSeat {
    fn drop(&mut self) {
        let mut strangers = self.room.strangers();
        strangers.open -= 1;
        if let Some(of_address) = strangers.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                strangers.by_address.remove(&self.address);
            }
        }
    }
}

/// One snapshot load, one lookup.
pub(crate) fn admit(
    policy: &Snapshot,
    listener: &ListenerConfig,
    client: IpAddr,
    hostname: &str,
) -> Admission {
    let ruleset = policy.load();
    match check::greet(&ruleset, listener.id, client, hostname) {
        Greeting::Allowed(entry) => Admission::Allowed(entry, ruleset.generation()),
        Greeting::Refused(reply) => Admission::Refused(reply, ruleset.generation()),
    }
}

#[cfg(test)]
mod tests {
    use gatepost_policy::listener::ListenerId;

    use super::*;

    fn room(max_connections: usize, max_connections_per_address: usize) -> Arc<Room> {
        let config = ListenerConfig {
            name: "smtp".into(),
            id: ListenerId::new(0),
            max_connections,
            max_connections_per_address,
        };
        Room::new(&config, Gauge::noop())
    }

    #[test]
    fn seats_come_back() {
        let room = room(2, 1);
        let (first, second) = (room.seat(), room.seat());
        assert!(first.is_some() && second.is_some() && room.seat().is_none());
        drop(first);
        assert!(room.seat().is_some());
    }

    #[test]
    fn strangers_have_a_tenth_and_a_limit_each() {
        let room = room(30, 2);
        let (one, two) = (IpAddr::from([203, 0, 113, 1]), IpAddr::from([203, 0, 113, 2]));
        let seats = [
            room.stranger_seat(one),
            room.stranger_seat(one),
            room.stranger_seat(one),
            room.stranger_seat(two),
        ];
        assert_eq!(seats.each_ref().map(Option::is_some), [true, true, false, true]);
        assert!(room.stranger_seat(two).is_none(), "a tenth is taken");
        drop(seats);
        assert!(room.strangers().by_address.is_empty() && room.strangers().open == 0);
    }
}
