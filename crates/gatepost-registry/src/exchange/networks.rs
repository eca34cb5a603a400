//! Addresses, ranges and wildcards as networks.
//!
//! The text of an address is read where the policy reads it, as strictly; nothing but the arithmetic
//! of ranges is here.

use std::net::IpAddr;

use gatepost_policy::network::{Network, NetworkError};
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

/// Networks that a remark shows; the rest are counted.
const SHOWN_MAX: usize = 8;

/// Why a text is no set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RangeError {
    /// IPv4 on one side, IPv6 on the other.
    #[error("a range goes from IPv4 to IPv4 or from IPv6 to IPv6")]
    Families,
    /// Not an address or a network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A network where an address belongs.
    #[error("a range goes from one address to another; leave the prefix length out")]
    PrefixLength,
    /// Last before first.
    #[error("the range is reversed; write {last}-{first}")]
    Reversed {
        /// What was written first.
        first: IpAddr,
        /// What was written last.
        last: IpAddr,
    },
    /// A star where it has no meaning.
    #[error("a * stands for whole numbers at the end of an IPv4 address, like 192.0.2.*")]
    Wildcard,
}

/// The network of a text like `192.0.2.0/24` or `2001:db8::1`.
pub(super) fn network(text: &str) -> Result<IpNet, RangeError> {
    let network: Network = text.parse()?;
    // A network has a prefix length that its family has.
    Ok(IpNet::new_assert(network.address(), network.prefix_length()))
}

/// The fewest networks that are together what a text like `192.0.2.1-192.0.2.9` says, or a single
/// network.
pub(super) fn range(text: &str) -> Result<Vec<IpNet>, RangeError> {
    let Some((first, last)) = text.split_once('-') else { return Ok(vec![network(text)?]) };
    let (first, last) = (address(first.trim())?, address(last.trim())?);
    let subnets = match (first, last) {
        _ if first > last && first.is_ipv4() == last.is_ipv4() => {
            return Err(RangeError::Reversed { first, last });
        }
        (IpAddr::V4(first), IpAddr::V4(last)) => IpSubnets::V4(Ipv4Subnets::new(first, last, 0)),
        (IpAddr::V6(first), IpAddr::V6(last)) => IpSubnets::V6(Ipv6Subnets::new(first, last, 0)),
        _ => return Err(RangeError::Families),
    };
    // Everybody, and what clients are never known by, is no network in a list either.
    subnets
        .map(|part| {
            Network::new(part.addr(), part.prefix_len())?;
            Ok(part)
        })
        .collect()
}

/// The network of a text like `192.0.2.*`, or without a star.
pub(super) fn wildcard(text: &str) -> Result<IpNet, RangeError> {
    if !text.contains('*') {
        return network(text);
    }
    let numbers: Vec<_> = text.split('.').collect();
    let fixed = numbers.iter().take_while(|number| **number != "*").count();
    if numbers.len() != 4 || numbers[fixed..].iter().any(|number| *number != "*") {
        return Err(RangeError::Wildcard);
    }
    // A star that is only a part of a number is left for the parser to refuse.
    let first: Network = [&numbers[..fixed], &["0"; 4][fixed..]].concat().join(".").parse()?;
    let prefix_length = 8 * fixed as u8;
    Network::new(first.address(), prefix_length)?;
    // A multiple of 8 that is not beyond 32.
    Ok(IpNet::new_assert(first.address(), prefix_length))
}

/// The networks as a remark shows them.
pub(super) fn shown(networks: &[IpNet]) -> String {
    let shown: Vec<_> = networks.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match networks.len().checked_sub(SHOWN_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// All of IPv4 or of IPv6, which the policy has no network for.
pub(super) fn everything(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok()?;
    let is_everything = network.prefix_len() == 0 && network.addr().is_unspecified();
    is_everything.then_some(network)
}

fn address(text: &str) -> Result<IpAddr, RangeError> {
    if text.contains('/') {
        return Err(RangeError::PrefixLength);
    }
    Ok(text.parse::<Network>()?.address())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn error(read: Result<impl Sized, RangeError>) -> String {
        read.err().expect("is wrong").to_string()
    }

    #[test]
    fn ranges_become_the_fewest_networks() {
        for (text, networks) in [
            ("10.0.0.1-10.0.0.6", "10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/31, 10.0.0.6/32"),
            ("192.0.2.0 - 192.0.2.255", "192.0.2.0/24"),
            ("192.0.2.9-192.0.2.9", "192.0.2.9/32"),
            ("192.0.2.9", "192.0.2.9/32"),
            ("192.0.2.0/25", "192.0.2.0/25"),
            ("255.255.255.254-255.255.255.255", "255.255.255.254/31"),
            ("2001:db8::1-2001:db8::4", "2001:db8::1/128, 2001:db8::2/127, 2001:db8::4/128"),
            ("0.0.0.0-127.255.255.255", "0.0.0.0/1"),
            ("8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "8000::/1"),
        ] {
            assert_eq!(shown(&range(text).expect(text)), networks, "{text}");
        }
        let longest = range("0.0.0.1-255.255.255.254").expect("62 networks");
        assert_eq!(longest.len(), 62);
        assert!(shown(&longest).ends_with(", 0.0.0.128/25 and 54 more"), "{}", shown(&longest));
    }

    #[test]
    fn what_is_no_range_is_refused_with_its_mend() {
        for (text, message) in [
            ("10.0.0.6-10.0.0.1", "the range is reversed; write 10.0.0.1-10.0.0.6"),
            ("10.0.0.1-2001:db8::1", "a range goes from IPv4 to IPv4 or from IPv6 to IPv6"),
            ("2001:db8::1-10.0.0.1", "a range goes from IPv4 to IPv4 or from IPv6 to IPv6"),
            ("10.0.0.0/24-10.0.1.0", "leave the prefix length out"),
            ("10.0.0.1-6", "short forms of IPv4"),
            ("10.0.0.01-10.0.0.6", "a leading zero is ambiguous"),
            ("0.0.0.0-255.255.255.255", "covers every address"),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "covers every address"),
            ("::fffe:8000:0-::1:0:0:5", "covers every address"),
            ("10.0.0.1/24", "write 10.0.0.0/24 for the network or 10.0.0.1 for the one address"),
            ("mail.example.com", "not an IPv4 or IPv6 address"),
            ("-", "not an IPv4 or IPv6 address"),
        ] {
            let error = error(range(text));
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn stars_are_whole_numbers_at_the_end() {
        for (text, network) in [
            ("25.203.44.*", "25.203.44.0/24"),
            ("25.203.*.*", "25.203.0.0/16"),
            ("25.*.*.*", "25.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(wildcard(text).expect(text).to_string(), network);
        }
        for text in
            ["25.*.44.1", "25.*", "*", "25.203.4*.*", "2001:db8::*", "25.203.44.*.*", "25..*.*"]
        {
            assert!(wildcard(text).is_err(), "{text}");
        }
        assert!(error(wildcard("*.*.*.*")).starts_with("covers every address"));
        assert!(error(wildcard("025.203.44.*")).starts_with("a leading zero"));
    }

    proptest! {
        /// Every address of the range is in exactly one network, no other address is in any, and no
        /// two networks could be one.
        #[test]
        fn a_range_is_covered_exactly(
            is_ipv4: bool,
            base in prop::sample::select(vec![0_u32, 0x0a00_0000, 0xffff_ff00]),
            first in 0_u32..256,
            last in 0_u32..256,
        ) {
            let (first, last) = (first.min(last), first.max(last));
            let address = |n: u32| if is_ipv4 {
                IpAddr::V4(Ipv4Addr::from(base + n))
            } else {
                IpAddr::V6((0x2001_0db8_u128 << 96 | u128::from(base + n)).into())
            };
            let networks = range(&format!("{}-{}", address(first), address(last))).expect("a range");
            for n in 0..256 {
                let holders = networks.iter().filter(|network| network.contains(&address(n))).count();
                prop_assert_eq!(holders, usize::from((first..=last).contains(&n)), "{}", n);
            }
            // As few as the greedy way, which takes the widest network that begins at each address.
            let mut fewest = 0;
            let mut next = first;
            while next <= last {
                let fits = |bits: &u32| (base + next) % (1 << bits) == 0 && next + (1 << bits) - 1 <= last;
                next += 1 << (0..=8).rev().find(fits).expect("one address fits");
                fewest += 1;
            }
            prop_assert_eq!(networks.len(), fewest);
        }
    }
}
