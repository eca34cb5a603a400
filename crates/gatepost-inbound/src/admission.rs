//! Who may connect: room first, then policy.
//!
//! There is room for so many connections in all, and for `max_connections` of each listener. A tenth
//! of the latter, and not more, may be taken by clients that are not let in or have yet to
//! authenticate, and of those each address has its own limit: strangers cannot keep the fleet out. Clients that are let in have the
//! limit of their entry.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatepost_policy::check::{self, Greeting, Refusal};
use gatepost_policy::credential::Credential;
use gatepost_policy::date::Moment;
use gatepost_policy::entry::Entry;
use gatepost_policy::generation::Generation;
use gatepost_policy::snapshot::Snapshot;
use gatepost_policy::state::Connection;
use metrics::Gauge;

use crate::config::ListenerConfig;
use crate::hidden::HiddenClients;
use crate::rejections::source;

/// The share of a listener's connections that strangers may take: one in this many.
const STRANGERS_SHARE: usize = 10;

/// Connections that there may be at once.
#[derive(Debug)]
pub(crate) struct Seats {
    open: AtomicUsize,
    open_max: usize,
    /// What the metrics page shows of `open`.
    gauge: Gauge,
}

/// Connections of one listener.
#[derive(Debug)]
pub(crate) struct Room {
    seats: Arc<Seats>,
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

/// A connection's place among others, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

/// A stranger's place, beside its seat.
#[derive(Debug)]
pub(crate) struct StrangerSeat {
    room: Arc<Room>,
    address: IpAddr,
}

/// What policy says to a client that connects.
pub(crate) enum Admission {
    Allowed(Allowed),
    Refused(Refused),
    /// Not on the allow-list, and may authenticate.
    ToAuthenticate(Generation),
}

/// A client that is let in.
pub(crate) struct Allowed {
    pub(crate) entry: Arc<Entry>,
    pub(crate) generation: Generation,
}

/// A client that was let in before and still is.
pub(crate) struct Readmitted {
    pub(crate) entry: Arc<Entry>,
    /// What it has authenticated with, if it has.
    pub(crate) credential: Option<Arc<Credential>>,
    pub(crate) generation: Generation,
}

/// A client that is not.
pub(crate) struct Refused {
    /// The entry that says so, if there is one.
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) generation: Generation,
    pub(crate) refusal: Refusal,
}

impl Seats {
    pub(crate) fn new(open_max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), open_max, gauge })
    }

    /// A seat, if there is one left.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let room = |open| (open < self.open_max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        self.gauge.increment(1);
        Some(Seat(self.clone()))
    }
}

impl Room {
    pub(crate) fn new(config: &ListenerConfig, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self {
            seats: Seats::new(config.max_connections, gauge),
            strangers: Mutex::default(),
            strangers_max: (config.max_connections / STRANGERS_SHARE).max(1),
            strangers_per_address_max: config.max_connections_per_address,
        })
    }

    /// A seat, if there is one left.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.seats.seat()
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
    now: Moment,
) -> Admission {
    let ruleset = policy.load();
    let generation = ruleset.generation();
    match check::greet(&ruleset, listener.id, client, now) {
        Greeting::Allowed(entry) => Admission::Allowed(Allowed { entry, generation }),
        Greeting::Authenticate => Admission::ToAuthenticate(generation),
        Greeting::Refused(entry, refusal) => {
            Admission::Refused(Refused { entry, generation, refusal })
        }
    }
}

/// The same for a session that goes on, and may have authenticated: what it has used for that must
/// still be there too.
pub(crate) fn readmit(
    policy: &Snapshot,
    listener: &ListenerConfig,
    (client, login): (IpAddr, Option<&Credential>),
    now: Moment,
) -> Result<Readmitted, Refused> {
    let ruleset = policy.load();
    let generation = ruleset.generation();
    let refused = |entry, refusal| Refused { entry, generation, refusal };
    let listed = match check::greet(&ruleset, listener.id, client, now) {
        Greeting::Allowed(entry) => Some(entry),
        Greeting::Authenticate => None,
        Greeting::Refused(entry, refusal) => return Err(refused(entry, refusal)),
    };
    let site = ruleset.site();
    let renewed = login.map(|then| {
        let now = ruleset.renewed(listener.id, then).cloned();
        now.ok_or_else(|| refused(None, check::credential_gone(site, then)))
    });
    let credential = renewed.transpose()?;
    let of_credential = || credential.as_ref().map(|credential| Arc::clone(credential.entry()));
    match listed.or_else(of_credential) {
        Some(entry) => Ok(Readmitted { entry, credential, generation }),
        None => Err(refused(None, check::not_listed(site, client))),
    }
}

/// Counts a connection of a client that is let in, if its entry may have one more, and if its address
/// does not stand for others that nobody has let in, where it is all that lets it in.
pub(crate) fn connect(
    allowed: Allowed,
    (hidden, hostname, client): (&HiddenClients, &str, IpAddr),
) -> Result<(Allowed, Connection), Refused> {
    let connected = if !allowed.entry.asks_for_proof() && hidden.refuses(client) {
        Err(check::hides_clients(hostname, client))
    } else {
        check::connect(&allowed.entry)
    };
    match connected {
        Ok(connection) => Ok((allowed, connection)),
        Err(refusal) => {
            let Allowed { entry, generation } = allowed;
            Err(Refused { entry: Some(entry), generation, refusal })
        }
    }
}

#[cfg(test)]
mod tests {
    use gatepost_policy::listener::ListenerId;
    use gatepost_policy::site::AuthOffer;

    use super::*;
    use crate::config::{OnHiddenClients, ProxyProtocol};

    fn room(max_connections: usize, max_connections_per_address: usize) -> Arc<Room> {
        let config = ListenerConfig {
            name: "smtp".into(),
            id: ListenerId::new(0),
            proxy_protocol: ProxyProtocol::Off,
            hidden_clients: OnHiddenClients::Off,
            auth: AuthOffer::Nobody,
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
