//! How much of the world an entry lets in, and when that needs a reason or is never right.
//!
//! A relay that is open by accident is found within hours. A network that strangers share has to be
//! acknowledged in words; networks that together are everybody cannot be.

use std::{fmt, net::IpAddr};

use crate::{
    compile::PlacedEntry,
    entry::Action,
    network::Network,
    report::{Place, Report},
};

/// Why an entry needs `acknowledge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// `*` as sender on a public network.
    AnySender,
    /// Public, and wider than /24 or /48.
    Public,
    /// Wider than /8 or /32, public or not.
    Wide,
}

impl Exposure {
    /// The exposure of one network of an entry, the gravest if there are several.
    pub(crate) fn of(network: Network, any_sender: bool) -> Option<Self> {
        let (wide, wide_public) = match network.address() {
            IpAddr::V4(_) => (8, 24),
            IpAddr::V6(_) => (32, 48),
        };
        let length = network.prefix_length();
        if length < wide {
            Some(Self::Wide)
        } else if network.is_public() && length < wide_public {
            Some(Self::Public)
        } else if network.is_public() && any_sender {
            Some(Self::AnySender)
        } else {
            None
        }
    }
}

/// Continues "network 8.0.0.0/8 …".
impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnySender => {
                "is public and may send as anyone (senders has *); narrow the senders"
            }
            Self::Public => "is public and wider than /24 (IPv4) or /48 (IPv6); narrow it",
            Self::Wide => "is wider than /8 (IPv4) or /32 (IPv6); narrow it",
        })?;
        f.write_str(", or say in acknowledge why it is right here")
    }
}

/// Refuses allow entries that together cover all of IPv4 or all of IPv6. `acknowledge` does not
/// help, nor do holes that deny entries make, and it does not matter on which listeners.
pub(crate) fn refuse_everybody(entries: &[PlacedEntry], report: &mut Report) {
    let allowed = || entries.iter().filter(|placed| placed.entry.action() == Action::Allow);
    for (family, is_member, last) in [
        ("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool, u128::from(u32::MAX)),
        ("IPv6", IpAddr::is_ipv6, u128::MAX),
    ] {
        let networks = || {
            allowed().flat_map(|placed| {
                placed.entry.networks().iter().map(|network| (*network, placed.entry.id()))
            })
        };
        let members = || networks().filter(|(network, _)| is_member(&network.address()));
        if covers(members().map(|(network, _)| network), last) {
            // The widest network is among those that have to go.
            let widest = members().min_by_key(|(network, _)| network.prefix_length());
            let (network, id) = widest.expect("what covers a family has a network");
            let message = format_args!(
                "the networks of all allow entries together cover all of {family}: that would be an open \
                 relay; narrow them, the widest first ({network} of entry {id})"
            );
            report.error(Place::Whole, "", message);
        }
    }
}

/// Whether the networks leave no address from 0 to `last` out, but for those that no client has.
fn covers(networks: impl Iterator<Item = Network> + Clone, last: u128) -> bool {
    // Clients with an IPv4-mapped address are known by their IPv4 address.
    const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
    let of_nobody = (last == u128::MAX).then_some(MAPPED);
    let ranges = networks
        .map(|network| (number(network.address()), number(network.last_address())))
        .chain(of_nobody);
    // However they lie, networks with too few addresses leave some out. That is nearly every policy,
    // and spares it the sorting.
    let addresses = ranges.clone().fold(0_u128, |addresses, (first_address, last_address)| {
        addresses.saturating_add(last_address - first_address + 1)
    });
    if addresses < last {
        return false;
    }
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_unstable();
    let mut next = 0;
    for (first_address, last_address) in ranges {
        if first_address > next {
            return false;
        }
        if last_address == last {
            return true;
        }
        next = next.max(last_address + 1);
    }
    false
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn wide_and_public_networks_need_a_reason() {
        for (text, any_sender, exposure) in [
            ("10.0.0.0/8", true, None),
            ("10.0.0.0/7", false, Some(Exposure::Wide)),
            ("0.0.0.0/1", true, Some(Exposure::Wide)),
            ("172.16.0.0/12", true, None),
            ("8.0.0.0/8", false, Some(Exposure::Public)),
            ("203.0.112.0/23", false, Some(Exposure::Public)),
            ("203.0.113.0/24", false, None),
            ("203.0.113.0/24", true, Some(Exposure::AnySender)),
            ("203.0.113.9", true, Some(Exposure::AnySender)),
            ("192.168.1.1", true, None),
            ("fd00::/32", true, None),
            ("fc00::/7", false, Some(Exposure::Wide)),
            ("2001:db8::/32", false, Some(Exposure::Public)),
            ("2001:db8::/31", false, Some(Exposure::Wide)),
            ("2001:db8:20::/47", false, Some(Exposure::Public)),
            ("2001:db8:20::/48", false, None),
            ("2001:db8:20::/48", true, Some(Exposure::AnySender)),
        ] {
            assert_eq!(Exposure::of(network(text), any_sender), exposure, "{text}");
        }
    }

    #[test]
    fn a_union_is_everything_only_without_a_gap() {
        let covers_ipv4 =
            |list: &[&str]| covers(list.iter().map(|text| network(text)), u32::MAX.into());
        assert!(covers_ipv4(&["128.0.0.0/1", "0.0.0.0/1"]));
        assert!(covers_ipv4(&["0.0.0.0/1", "10.0.0.0/8", "192.0.0.0/2", "128.0.0.0/2"]));
        assert!(!covers_ipv4(&["0.0.0.0/1", "192.0.0.0/2", "128.0.0.0/3"]));
        assert!(
            !covers_ipv4(&["0.0.0.0/1"]) && !covers_ipv4(&["128.0.0.0/1"]) && !covers_ipv4(&[])
        );
        let all_but_one: Vec<_> = (1..=32)
            .map(|n| Network::new(((1_u64 << (32 - n)) as u32).to_be_bytes().into(), n))
            .collect();
        let all_but_one: Vec<_> = all_but_one.into_iter().map(|n| n.expect("a network")).collect();
        assert!(!covers(all_but_one.iter().copied(), u32::MAX.into()), "0.0.0.0 is left out");
        let all = all_but_one.iter().copied().chain([network("0.0.0.0")]);
        assert!(covers(all, u32::MAX.into()));
        assert!(covers(["::/1", "8000::/1"].map(network).into_iter(), u128::MAX));
        assert!(!covers(["::/1", "8000::/2"].map(network).into_iter(), u128::MAX));
        // Everything around ::ffff:0:0/96, network by network.
        let around_mapped = |length: u8| {
            let bits = (0xffff_u128 << 32) ^ (1 << (128 - length));
            let address = Ipv6Addr::from_bits(bits >> (128 - length) << (128 - length));
            Network::new(address.into(), length).expect("a network")
        };
        assert!(covers((1..=96).map(around_mapped), u128::MAX));
        assert!(!covers((2..=96).map(around_mapped), u128::MAX));
    }
}
