//! A network is read in one way or not at all.
//!
//! Whatever text is accepted, others read the same in it; it lets in no more than it says; and it
//! is shown in a form that is accepted again.
#![no_main]

use std::net::IpAddr;

use gatepost_policy::network::{Network, NetworkError};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Network>() {
        Ok(network) => accepted(text, network),
        Err(error) => refused(error),
    }
});

fn accepted(text: &str, network: Network) {
    assert!(network.prefix_length() > 0, "{text:?} is everybody");
    assert_eq!(network.to_string().parse(), Ok(network), "{text:?} is shown as {network}");

    let said: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .expect("the standard library and ipnet read it too");
    assert_eq!((said.addr(), said.prefix_len()), (network.address(), network.prefix_length()));
    assert_eq!(said.network(), network.address(), "{text:?} has bits behind its prefix");
    assert_eq!(said.broadcast(), network.last_address(), "{text:?}");
    if let IpAddr::V6(address) = network.address() {
        let is_mapped = address.to_ipv4_mapped().is_some() && network.prefix_length() >= 96;
        assert!(!is_mapped, "{text:?} is a network of IPv4");
    }
    members(text, network);
}

/// Its first and its last address are members, and their neighbours are not.
fn members(text: &str, network: Network) {
    let (first, last) = (number(network.address()), number(network.last_address()));
    let as_address = |number: u128| match network.address() {
        IpAddr::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        IpAddr::V6(_) => Some(IpAddr::V6(number.into())),
    };
    let neighbours = [first.checked_sub(1), last.checked_add(1)].into_iter().flatten();
    for stranger in neighbours.filter_map(as_address) {
        assert!(!network.contains(stranger), "{text:?} lets {stranger} in");
    }
    for member in [first, last].into_iter().filter_map(as_address) {
        // A wide IPv6 network may begin or end with what the kernel makes of IPv4.
        let is_ipv4 = member.is_ipv6() && member.to_canonical().is_ipv4();
        assert_eq!(network.contains(member), !is_ipv4, "{text:?} and {member}");
    }
}

/// What an error tells to write instead is accepted.
fn refused(error: NetworkError) {
    let told = error.to_string();
    assert!(!told.chars().any(char::is_control), "{told:?}");
    let mended = match error {
        NetworkError::HostBits { network, .. } => network,
        NetworkError::Mapped { ipv4 } => ipv4.into(),
        _ => return,
    };
    assert!(mended.to_string().parse::<Network>().is_ok(), "{told:?}");
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}
