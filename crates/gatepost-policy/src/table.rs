//! Longest prefix match: the only module that names `ip_network_table`.
//!
//! A table is filled once, while a ruleset is compiled, and only read afterwards. It knows
//! networks and numbers; what a number stands for is not its business. Addresses must already
//! have gone through [`client_address`](crate::network::client_address).

use std::{fmt, net::IpAddr};

use ip_network::IpNetwork;
use ip_network_table::IpNetworkTable;

use crate::network::Network;

/// Networks of both families, each with a number.
#[derive(Default)]
pub(crate) struct Table {
    networks: IpNetworkTable<u32>,
}

impl Table {
    /// Adds a network, and returns the number it already had. That one is replaced.
    pub(crate) fn insert(&mut self, network: Network, value: u32) -> Option<u32> {
        let key = IpNetwork::new(network.address(), network.prefix_length());
        // Both types refuse host bits and lengths beyond the family's, so none can be there.
        self.networks.insert(key.expect("a network has no host bits"), value)
    }

    /// The number of the narrowest network around an address. Does not allocate.
    pub(crate) fn longest_match(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => self.networks.longest_match_ipv4(address).map(|(_, n)| *n),
            IpAddr::V6(address) => self.networks.longest_match_ipv6(address).map(|(_, n)| *n),
        }
    }

    /// All networks around an address with their numbers, the narrowest first. For `explain`.
    pub(crate) fn all_matches(&self, address: IpAddr) -> Vec<(Network, u32)> {
        let mut matches: Vec<_> = self
            .networks
            .matches(address)
            .filter_map(|(key, &value)| {
                Some((Network::new(key.network_address(), key.netmask()).ok()?, value))
            })
            .collect();
        matches.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_length()));
        matches
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ipv4, ipv6) = self.networks.len();
        f.debug_struct("Table").field("ipv4", &ipv4).field("ipv6", &ipv6).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::{Ipv4Addr, Ipv6Addr},
    };

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_insert_tells_the_first() {
        let mut table = Table::default();
        let network: Network = "10.0.0.0/8".parse().expect("a network");
        assert_eq!(table.insert(network, 1), None);
        assert_eq!(table.insert(network, 2), Some(1));
        assert_eq!(table.longest_match(Ipv4Addr::new(10, 1, 1, 1).into()), Some(2));
        assert_eq!(table.longest_match(Ipv4Addr::new(11, 1, 1, 1).into()), None);
    }

    #[test]
    fn families_do_not_mix() {
        let mut table = Table::default();
        table.insert("::/1".parse().expect("a network"), 6);
        assert_eq!(table.longest_match(Ipv4Addr::new(10, 0, 0, 1).into()), None);
        table.insert("0.0.0.0/1".parse().expect("a network"), 4);
        assert_eq!(table.longest_match(Ipv6Addr::LOCALHOST.into()), Some(6));
        assert_eq!(table.longest_match(Ipv4Addr::new(10, 0, 0, 1).into()), Some(4));
    }

    /// Addresses of few distinct bits, so that networks nest and clients hit them.
    fn address() -> impl Strategy<Value = IpAddr> {
        let bits = prop_oneof![
            any::<u128>(),
            any::<u8>().prop_map(|bits| u128::from(bits) << 120 | u128::from(bits) << 96),
            any::<u8>().prop_map(u128::from),
            Just(0),
            Just(u128::MAX),
        ];
        (bits, any::<bool>()).prop_map(|(bits, ipv4)| {
            if ipv4 {
                IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32 | bits as u32))
            } else {
                crate::network::client_address(IpAddr::V6(Ipv6Addr::from(bits)))
            }
        })
    }

    fn network() -> impl Strategy<Value = Network> {
        (address(), 1_u8..=128).prop_filter_map("mapped", |(address, length)| {
            let length = if address.is_ipv4() { (length - 1) % 32 + 1 } else { length };
            let written = IpNet::new(address, length).expect("the length fits").trunc();
            Network::new(written.addr(), length).ok()
        })
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_linear_scan(
            networks in prop::collection::vec(network(), 0..60),
            clients in prop::collection::vec(address(), 1..40),
        ) {
            let mut table = Table::default();
            let mut list = BTreeMap::new();
            for (value, network) in (0..).zip(&networks) {
                prop_assert_eq!(table.insert(*network, value), list.insert(*network, value));
            }
            let edges = networks.iter().flat_map(|n| [n.address(), n.last_address()]);
            for client in clients.into_iter().chain(edges).map(crate::network::client_address) {
                let mut around: Vec<_> =
                    list.iter().filter(|(n, _)| n.contains(client)).map(|(n, v)| (*n, *v)).collect();
                around.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_length()));
                prop_assert_eq!(table.longest_match(client), around.first().map(|(_, v)| *v));
                prop_assert_eq!(table.all_matches(client), around);
            }
        }
    }
}
