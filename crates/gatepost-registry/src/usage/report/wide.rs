//! Networks that have far more addresses than were ever seen.
//!
//! IPv4 is counted by address. IPv6 is counted by /64, because hosts move about in theirs (RFC
//! 8981), and nobody gives them less.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatepost_policy::entry::{Action, Entry};
use gatepost_policy::network::Network;
use gatepost_policy::total::Distinct;

use super::{Facts, Matter, Thresholds, count, list};

/// A network with fewer places than two to this power is never too wide: an IPv4 /24, an IPv6 /56.
const PLACES_BITS_MIN: u8 = 8;
/// Networks that are suggested for one: more would be no simplification.
const SUGGESTED_MAX: usize = 4;

/// The networks of an entry that are too wide.
pub(super) fn matters(entry: &Entry, facts: &Facts<'_>, thresholds: &Thresholds) -> Vec<Matter> {
    let counted = facts.elapsed_since(facts.counted_since(entry));
    let Some(total) = facts.total(entry) else { return Vec::new() };
    if entry.action() == Action::Deny || counted < thresholds.counted {
        return Vec::new();
    }
    let is_too_wide = |network: Network, distinct: Distinct| {
        let bits = places_bits(network);
        let seen = u128::from(distinct.number()) * u128::from(thresholds.seen_share);
        bits >= PLACES_BITS_MIN && seen < 1 << bits
    };
    let matter = |&network: &Network| {
        let is_in = |address: &IpAddr| network.contains(*address);
        let addresses: Vec<_> = total.addresses.iter().copied().filter(is_in).collect();
        let (distinct, suggestion) = match total.distinct() {
            Distinct::Exact(_) => {
                (Distinct::Exact(addresses.len() as u64), cover(network, &addresses))
            }
            // They are not known one by one: the network had not more than the entry.
            about @ Distinct::About(_) => (about, Vec::new()),
        };
        is_too_wide(network, distinct).then(|| Matter::TooWide {
            entry: entry.id().to_string(),
            network,
            distinct,
            addresses,
            suggestion,
        })
    };
    entry.networks().iter().filter_map(matter).collect()
}

/// The sentence, behind the name of the entry.
pub(super) fn say(
    f: &mut fmt::Formatter<'_>,
    network: Network,
    distinct: Distinct,
    addresses: &[IpAddr],
    suggestion: &[Network],
) -> fmt::Result {
    match distinct {
        Distinct::Exact(0) => return write!(f, "no host of {network} was seen"),
        Distinct::Exact(number) => {
            let hosts = count(number, "host");
            write!(f, "{network} was used by {hosts}: {}", list(addresses))?;
        }
        Distinct::About(_) => {
            write!(f, "{network} was used by {distinct} hosts at most")?;
            if !addresses.is_empty() {
                write!(f, ", among them {}", list(addresses))?;
            }
        }
    }
    if suggestion.is_empty() { Ok(()) } else { write!(f, "; enough would be {}", list(suggestion)) }
}

/// A few networks around the addresses of a network, if they leave out at least half of it.
fn cover(network: Network, addresses: &[IpAddr]) -> Vec<Network> {
    let mut pieces: Vec<_> = addresses.iter().filter_map(|&it| around(it, it)).collect();
    pieces.dedup();
    loop {
        // Neighbours with the longest prefix in common come first: nothing of a third is in there.
        let pairs = pieces.windows(2).zip(0..).filter_map(|(pair, at)| {
            Some((around(pair[0].address(), pair[1].last_address())?, at))
        });
        let nearest = pairs.max_by_key(|(both, _)| both.prefix_length());
        let Some((both, at)) = nearest.filter(|(both, _)| {
            pieces.len() > SUGGESTED_MAX || both.prefix_length() >= neighbour_length(*both)
        }) else {
            break;
        };
        pieces.splice(at..at + 2, [both]);
    }
    let places: u128 = pieces.iter().map(|&piece| 1 << places_bits(piece)).sum();
    if places * 2 > 1 << places_bits(network) { Vec::new() } else { pieces }
}

/// The narrowest network around two addresses of a family. Everybody is not a network.
fn around(first: IpAddr, last: IpAddr) -> Option<Network> {
    let (address, prefix_length): (IpAddr, _) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let length = (first.to_bits() ^ last.to_bits()).leading_zeros();
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or_default();
            (Ipv4Addr::from_bits(first.to_bits() & mask).into(), length)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let length = (first.to_bits() ^ last.to_bits()).leading_zeros().min(64);
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or_default();
            (Ipv6Addr::from_bits(first.to_bits() & mask).into(), length)
        }
        _ => return None,
    };
    Network::new(address, prefix_length as u8).ok()
}

/// The logarithm of how many clients a network can have.
fn places_bits(network: Network) -> u8 {
    let place_length: u8 = if network.address().is_ipv4() { 32 } else { 64 };
    place_length.saturating_sub(network.prefix_length())
}

/// Hosts this near belong together: the next one of their application will be there too.
fn neighbour_length(network: Network) -> u8 {
    if network.address().is_ipv4() { 24 } else { 56 }
}
