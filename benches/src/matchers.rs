//! Ways to find the narrowest network around an address: the one that gatepost-policy has chosen, and
//! those that it could have.
//!
//! All of them are filled once and then only read, and number the networks in the order given. The
//! fastest way into each is taken; nothing is tuned.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::RwLock,
};

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;
use poptrie::Poptrie;
use prefix_trie::PrefixMap;

/// A way to find the number of the narrowest network around an address.
pub trait Matcher {
    /// Its name in the rows.
    const NAME: &'static str;

    /// Takes networks as first address and prefix length, each once.
    fn new(networks: &[(IpAddr, u8)]) -> Self;

    /// The number of the narrowest network around an address.
    fn longest_match(&self, client: IpAddr) -> Option<u32>;
}

/// What gatepost-policy uses: a tree bitmap, four bits a step.
pub struct TreeBitmap(IpNetworkTable<u32>);

impl Matcher for TreeBitmap {
    const NAME: &'static str = "ip_network_table";

    fn new(networks: &[(IpAddr, u8)]) -> Self {
        let mut table = IpNetworkTable::new();
        for (number, &(address, length)) in (0..).zip(networks) {
            let network = IpNetwork::new(address, length).expect("a network has no host bits");
            table.insert(network, number);
        }
        Self(table)
    }

    fn longest_match(&self, client: IpAddr) -> Option<u32> {
        match client {
            IpAddr::V4(client) => self.0.longest_match_ipv4(client).map(|(_, number)| *number),
            IpAddr::V6(client) => self.0.longest_match_ipv6(client).map(|(_, number)| *number),
        }
    }
}

/// Another tree bitmap, five bits a step.
pub struct PrefixTrie {
    ipv4: PrefixMap<(u32, u8), u32>,
    ipv6: PrefixMap<(u128, u8), u32>,
}

impl Matcher for PrefixTrie {
    const NAME: &'static str = "prefix-trie";

    fn new(networks: &[(IpAddr, u8)]) -> Self {
        Self { ipv4: numbered_v4(networks).collect(), ipv6: numbered_v6(networks).collect() }
    }

    fn longest_match(&self, client: IpAddr) -> Option<u32> {
        match client {
            IpAddr::V4(client) => self.ipv4.get_lpm(&(client.to_bits(), 32)).map(|(_, n)| *n),
            IpAddr::V6(client) => self.ipv6.get_lpm(&(client.to_bits(), 128)).map(|(_, n)| *n),
        }
    }
}

/// A trie without gaps in its memory, six bits a step.
pub struct PopulationTrie {
    ipv4: Poptrie<(u32, u8), u32>,
    ipv6: Poptrie<(u128, u8), u32>,
}

impl Matcher for PopulationTrie {
    const NAME: &'static str = "poptrie";

    fn new(networks: &[(IpAddr, u8)]) -> Self {
        Self { ipv4: numbered_v4(networks).collect(), ipv6: numbered_v6(networks).collect() }
    }

    fn longest_match(&self, client: IpAddr) -> Option<u32> {
        match client {
            IpAddr::V4(client) => self.ipv4.lookup(client.to_bits()).copied(),
            IpAddr::V6(client) => self.ipv6.lookup(client.to_bits()).copied(),
        }
    }
}

/// No tree at all: networks begin and end in places, and between two places one network is the
/// narrowest. A binary search finds the place before an address.
pub struct SortedPlaces {
    ipv4: (Vec<u32>, Vec<Option<u32>>),
    ipv6: (Vec<u128>, Vec<Option<u32>>),
}

impl Matcher for SortedPlaces {
    const NAME: &'static str = "sorted";

    fn new(networks: &[(IpAddr, u8)]) -> Self {
        let ipv4 = numbered_v4(networks).map(|((first, length), number)| {
            let last = first | u32::MAX.checked_shr(length.into()).unwrap_or(0);
            (first.into(), last.into(), number)
        });
        let ipv6 = numbered_v6(networks).map(|((first, length), number)| {
            (first, first | u128::MAX.checked_shr(length.into()).unwrap_or(0), number)
        });
        let in_ipv4 = |(at, number)| Some((u32::try_from(at).ok()?, number));
        Self {
            ipv4: places(ipv4.collect()).into_iter().filter_map(in_ipv4).unzip(),
            ipv6: places(ipv6.collect()).into_iter().unzip(),
        }
    }

    fn longest_match(&self, client: IpAddr) -> Option<u32> {
        match client {
            IpAddr::V4(client) => number_before(&self.ipv4, &client.to_bits()),
            IpAddr::V6(client) => number_before(&self.ipv6, &client.to_bits()),
        }
    }
}

/// Sorted, with the network that is the narrowest from there on. Of places that are the same, the last
/// one counts.
fn places(mut ranges: Vec<(u128, u128, u32)>) -> Vec<(u128, Option<u32>)> {
    ranges.sort_unstable_by_key(|&(first, last, _)| (first, Reverse(last)));
    let mut places = vec![(0, None)];
    // Networks that have begun: each lies in the one before.
    let mut open: Vec<(u128, u32)> = Vec::new();
    for (first, last, number) in ranges {
        end(&mut open, &mut places, |last| last < first);
        places.push((first, Some(number)));
        open.push((last, number));
    }
    end(&mut open, &mut places, |_| true);
    places
}

/// Ends the networks whose last address says so: behind it, the one around is the narrowest again.
fn end(
    open: &mut Vec<(u128, u32)>,
    places: &mut Vec<(u128, Option<u32>)>,
    is_over: impl Fn(u128) -> bool,
) {
    while let Some((last, _)) = open.pop_if(|(last, _)| is_over(*last)) {
        let around = open.last().map(|&(_, number)| number);
        places.extend(last.checked_add(1).map(|after| (after, around)));
    }
}

fn number_before<A: Ord>(
    (places, numbers): &(Vec<A>, Vec<Option<u32>>),
    client: &A,
) -> Option<u32> {
    numbers[places.partition_point(|place| place <= client) - 1]
}

/// The naive way: a map for each prefix length, asked one after the other, behind one lock.
pub struct LockedMaps {
    ipv4: RwLock<MapsByLength>,
    ipv6: RwLock<MapsByLength>,
}

type MapsByLength = Vec<(u8, HashMap<u128, u32>)>;

impl Matcher for LockedMaps {
    const NAME: &'static str = "RwLock<HashMap>";

    fn new(networks: &[(IpAddr, u8)]) -> Self {
        let ipv4 = numbered_v4(networks).map(|((first, length), n)| (left(first), length, n));
        let ipv6 = numbered_v6(networks).map(|((first, length), n)| (first, length, n));
        Self { ipv4: RwLock::new(by_length(ipv4)), ipv6: RwLock::new(by_length(ipv6)) }
    }

    fn longest_match(&self, client: IpAddr) -> Option<u32> {
        let (maps, client) = match client {
            IpAddr::V4(client) => (&self.ipv4, left(client.to_bits())),
            IpAddr::V6(client) => (&self.ipv6, client.to_bits()),
        };
        let maps = maps.read().expect("no writer has panicked");
        maps.iter().find_map(|(length, map)| {
            // Lengths are from 1 to 128, so the shift is less than 128.
            map.get(&(client & u128::MAX << (128 - length))).copied()
        })
    }
}

/// The longest prefixes first.
fn by_length(networks: impl Iterator<Item = (u128, u8, u32)>) -> MapsByLength {
    let mut maps = BTreeMap::<_, HashMap<_, _>>::new();
    for (first, length, number) in networks {
        maps.entry(length).or_default().insert(first, number);
    }
    maps.into_iter().rev().collect()
}

/// An IPv4 address where the prefix of an IPv6 address is.
fn left(address: u32) -> u128 {
    u128::from(address) << 96
}

fn numbered_v4(networks: &[(IpAddr, u8)]) -> impl Iterator<Item = ((u32, u8), u32)> {
    (0..).zip(networks).filter_map(|(number, &(address, length))| match address {
        IpAddr::V4(address) => Some(((address.to_bits(), length), number)),
        IpAddr::V6(_) => None,
    })
}

fn numbered_v6(networks: &[(IpAddr, u8)]) -> impl Iterator<Item = ((u128, u8), u32)> {
    (0..).zip(networks).filter_map(|(number, &(address, length))| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(((address.to_bits(), length), number)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        noise::noise,
        policy::{Family, LISTENER, Outcome, Policy},
    };

    fn all(networks: &[(IpAddr, u8)]) -> impl Fn(IpAddr) -> [Option<u32>; 5] + use<> {
        let tree_bitmap = TreeBitmap::new(networks);
        let prefix_trie = PrefixTrie::new(networks);
        let population_trie = PopulationTrie::new(networks);
        let sorted_places = SortedPlaces::new(networks);
        let locked_maps = LockedMaps::new(networks);
        move |client| {
            [
                tree_bitmap.longest_match(client),
                prefix_trie.longest_match(client),
                population_trie.longest_match(client),
                sorted_places.longest_match(client),
                locked_maps.longest_match(client),
            ]
        }
    }

    /// Few bits differ between any two, so that networks nest and touch.
    fn address(bits: u64) -> IpAddr {
        let (high, low) = (bits >> 8 & 7, bits >> 16 & 7);
        if bits & 1 == 0 {
            IpAddr::V4(
                ((high << 29 | low) as u32 ^ 0_u32.wrapping_sub((bits >> 1 & 1) as u32)).into(),
            )
        } else {
            IpAddr::V6((u128::from(high) << 125 | u128::from(low) << 60 | u128::from(low)).into())
        }
    }

    fn network(bits: u64) -> (IpAddr, u8) {
        let length = |bits_max| 1 + (bits >> 32) as u8 % bits_max;
        match address(bits) {
            IpAddr::V4(address) => {
                let length = length(32);
                (IpAddr::V4((address.to_bits() & u32::MAX << (32 - length)).into()), length)
            }
            IpAddr::V6(address) => {
                let length = length(128);
                (IpAddr::V6((address.to_bits() & u128::MAX << (128 - length)).into()), length)
            }
        }
    }

    #[test]
    fn all_agree_on_random_networks() {
        let mut noise = noise();
        for count in (0..60).cycle().take(600) {
            let networks: BTreeSet<_> = noise.by_ref().take(count).map(network).collect();
            let networks: Vec<_> = networks.into_iter().collect();
            let longest_matches = all(&networks);
            let firsts = networks.iter().map(|(address, _)| *address);
            for client in noise.by_ref().take(50).map(address).chain(firsts) {
                let around =
                    (0..).zip(&networks).filter(|(_, network)| contains(**network, client));
                let narrowest = around.max_by_key(|(_, (_, length))| *length).map(|(n, _)| n);
                assert_eq!(longest_matches(client), [narrowest; 5], "{client} in {networks:?}");
            }
        }
    }

    fn contains((first, length): (IpAddr, u8), client: IpAddr) -> bool {
        match (first, client) {
            (IpAddr::V4(first), IpAddr::V4(client)) => {
                (first.to_bits() ^ client.to_bits()) >> (32 - length) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(client)) => {
                (first.to_bits() ^ client.to_bits()) >> (128 - length) == 0
            }
            _ => false,
        }
    }

    #[test]
    fn all_agree_with_the_ruleset() {
        let policy = Policy::with_entries(1000);
        let ruleset = policy.compile();
        let longest_matches = all(&policy.networks().collect::<Vec<_>>());
        for family in [Family::V4, Family::V6] {
            for outcome in [Outcome::Hit, Outcome::Miss] {
                for client in policy.clients(family, outcome) {
                    let found = ruleset.lookup(LISTENER, client).map(|found| found.id());
                    for number in longest_matches(client) {
                        let id = number.map(|number| ruleset.entries()[number as usize].id());
                        assert_eq!(id, found, "{client}");
                    }
                }
            }
        }
    }
}
