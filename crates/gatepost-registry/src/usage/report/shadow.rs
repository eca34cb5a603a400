//! Networks by which no client is ever found.
//!
//! Of all networks around a client the narrowest decides, among those that the listener sees. So a
//! network is dead when the narrower ones inside it leave no address out, on every listener.
//! Networks nest and never overlap otherwise: sorted by their first address, the widest first, each
//! comes right behind what it is in, and one pass finds the gaps.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use gatepost_policy::entry::Entry;
use gatepost_policy::network::Network;
use gatepost_policy::ruleset::Ruleset;

use super::Matter;

/// A network and the place of its entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    first: IpAddr,
    prefix_length: u8,
    owner: usize,
}

/// A network whose inside is being looked at.
struct Open {
    owned: Owned,
    last: u128,
    /// The last address that is covered without a gap.
    covered: Option<u128>,
    /// Owners of what covers it.
    by: BTreeSet<usize>,
}

/// On how many listeners a network is dead, and by which entries.
#[derive(Default)]
struct Dead {
    listeners: usize,
    by: BTreeSet<usize>,
}

/// The networks that are shadowed.
pub(super) fn matters(ruleset: &Ruleset) -> Vec<Matter> {
    let entries = ruleset.entries();
    let mut all: Vec<_> = entries
        .iter()
        .enumerate()
        .flat_map(|(owner, entry)| entry.networks().iter().map(move |&it| Owned::new(it, owner)))
        .collect();
    all.sort_unstable();
    all.dedup();
    let listeners = &ruleset.site().listeners;
    let mut dead: HashMap<(usize, Network), Dead> = HashMap::new();
    for listener in listeners {
        let seen = all.iter().filter(|owned| sees(listener, &entries[owned.owner]));
        look_through(seen.copied(), &mut dead);
    }
    let is_dead = |((owner, _), dead): &(&(usize, Network), &Dead)| {
        let entry: &Entry = &entries[*owner];
        dead.listeners == listeners.iter().filter(|it| sees(it, entry)).count()
    };
    let mut found: Vec<_> = dead.iter().filter(is_dead).collect();
    found.sort_unstable_by_key(|(key, _)| **key);
    let id = |owner: usize| entries[owner].id().to_string();
    let matter = |(&(owner, network), dead): (&(usize, Network), &Dead)| Matter::Shadowed {
        entry: id(owner),
        network,
        by: dead.by.iter().map(|&owner| id(owner)).collect(),
    };
    found.into_iter().map(matter).collect()
}

fn sees(listener: &str, entry: &Entry) -> bool {
    entry.services().is_none_or(|services| services.iter().any(|it| **it == *listener))
}

/// Goes through what a listener sees, in order.
fn look_through(seen: impl Iterator<Item = Owned>, dead: &mut HashMap<(usize, Network), Dead>) {
    let mut open: Vec<Open> = Vec::new();
    for owned in seen {
        let next = Open::new(owned);
        while let Some(done) = open.pop_if(|outer| !outer.is_around(&next)) {
            done.close(dead);
        }
        if let Some(outer) = open.last_mut() {
            outer.cover(&next);
        }
        open.push(next);
    }
    // What is still open ends here.
    while let Some(done) = open.pop() {
        done.close(dead);
    }
}

impl Owned {
    fn new(network: Network, owner: usize) -> Self {
        Self { first: network.address(), prefix_length: network.prefix_length(), owner }
    }
}

impl Open {
    fn new(owned: Owned) -> Self {
        let host_bits = u32::from(width(owned.first)) - u32::from(owned.prefix_length);
        let hosts = !u128::MAX.checked_shl(host_bits).unwrap_or_default();
        Self { owned, last: bits(owned.first) | hosts, covered: None, by: BTreeSet::new() }
    }

    fn is_around(&self, inner: &Self) -> bool {
        width(self.owned.first) == width(inner.owned.first)
            && bits(self.owned.first) <= bits(inner.owned.first)
            && inner.last <= self.last
    }

    /// One that is directly inside comes next.
    fn cover(&mut self, inner: &Self) {
        let first = bits(inner.owned.first);
        let is_next = match self.covered {
            None => first == bits(self.owned.first),
            Some(covered) => first.checked_sub(1) == Some(covered),
        };
        if is_next {
            self.covered = Some(inner.last);
            self.by.insert(inner.owned.owner);
        }
    }

    /// Nothing more is inside. One that only pieces of its own cover is found by those.
    fn close(mut self, dead: &mut HashMap<(usize, Network), Dead>) {
        let Owned { first, prefix_length, owner } = self.owned;
        self.by.remove(&owner);
        if self.covered != Some(self.last) || self.by.is_empty() {
            return;
        }
        // It was a network before.
        let Ok(network) = Network::new(first, prefix_length) else { return };
        let dead = dead.entry((owner, network)).or_default();
        dead.listeners += 1;
        dead.by.append(&mut self.by);
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
