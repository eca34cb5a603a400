use proptest::prelude::*;

use super::*;

fn network(text: &str) -> Result<String, NetworkError> {
    text.parse::<Network>().map(|network| network.to_string())
}

#[test]
fn networks_and_bare_addresses_are_read() {
    for (text, shown) in [
        ("10.20.0.0/16", "10.20.0.0/16"),
        ("10.31.7.4", "10.31.7.4/32"),
        ("0.0.0.0/1", "0.0.0.0/1"),
        ("2001:db8:20::/48", "2001:db8:20::/48"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:0db8:0000::/48", "2001:db8::/48"),
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1/128"),
        ("::10.0.0.1", "::a00:1/128"),
        ("8000::/1", "8000::/1"),
    ] {
        assert_eq!(network(text).as_deref(), Ok(shown), "{text}");
    }
}

/// Every form of attacks-and-failures §2 G that must be refused, with the reason that is told.
#[test]
fn ambiguous_forms_are_refused() {
    use NetworkError::{
        Address, Character, Everything, Hexadecimal, LeadingZero, Port, PrefixLength, ShortForm,
        Zone,
    };
    let too_long = |max| PrefixLength { max };
    for (text, reason) in [
        ("", Address),
        ("/8", Address),
        ("localhost", Address),
        ("010.0.0.1", LeadingZero),
        ("10.0.0.01/32", LeadingZero),
        ("10.00.0.1", LeadingZero),
        ("10.0.0.0/08", LeadingZero),
        ("10.0.0.0/00", LeadingZero),
        ("10/8", ShortForm),
        ("10.1", ShortForm),
        ("10.1.2/24", ShortForm),
        ("167772161", ShortForm),
        ("0x0a000001", Hexadecimal),
        ("0xa.0.0.1", Hexadecimal),
        ("10.0.0.0X1", Hexadecimal),
        ("256.0.0.1", Address),
        ("10.0.0.1.", Address),
        ("10.0.0.1.2", Address),
        ("10.0.0", ShortForm),
        ("10..0.1", Address),
        ("10.0.0.0/33", too_long(32)),
        ("10.0.0.0/256", too_long(32)),
        ("2001:db8::/129", too_long(128)),
        ("10.0.0.0/", too_long(32)),
        ("10.0.0.0/-1", too_long(32)),
        ("10.0.0.0/+8", too_long(32)),
        ("10.0.0.0/8/8", too_long(32)),
        ("10.0.0.0/255.0.255.0", too_long(32)),
        ("10.0.0.0/0x8", too_long(32)),
        ("10.0.0.0/ffff::", too_long(32)),
        ("2001:db8::/255.255.0.0", too_long(128)),
        (" 10.0.0.1", Character),
        ("10.0.0.1 ", Character),
        ("10.0.0.0 /8", Character),
        ("10.0.0.1\n", Character),
        ("10.0.0.1\0", Character),
        ("１０.0.0.1", Character),
        ("10.0.0.٣", Character),
        ("10.0.0.0/８", Character),
        ("fe80::1%eth0", Zone),
        ("fe80::%1/64", Zone),
        ("10.0.0.1:25", Port),
        ("[2001:db8::1]", Port),
        ("[2001:db8::1]:25", Port),
        ("2001:db8", Address),
        ("2001:db8::1::2", Address),
        ("::12345", Address),
        ("0.0.0.0/0", Everything),
        ("10.0.0.0/0", Everything),
        ("::/0", Everything),
        ("0.0.0.0/0.0.0.0", Everything),
        ("2001:db8::/0", Everything),
        ("::ffff:0:0/96", Everything),
        ("::ffff:10.0.0.1/96", Everything),
    ] {
        assert_eq!(network(text), Err(reason), "{text:?}");
    }
}

#[test]
fn errors_show_the_corrected_form() {
    for (text, mend) in [
        ("10.1.2.3/24", "write 10.1.2.0/24 for the network or 10.1.2.3 for the one address"),
        ("2001:db8::1/64", "write 2001:db8::/64 for the network or 2001:db8::1 for"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("::ffff:10.1.2.3/104", "write 10.0.0.0/8"),
        ("::ffff:10.1.2.3", "write 10.1.2.3/32"),
        ("::ffff:a00:1/128", "write 10.0.0.1/32"),
        ("10.0.0.0/255.0.0.0", "write /8"),
        ("2001:db8::/ffff:ffff::", "write /32"),
        ("::ffff:0:0/90", "write ::ffc0:0:0/90"),
        ("::ffff:10.1.2.3/95", "or 10.1.2.3 for the one address"),
    ] {
        let error = network(text).expect_err(text).to_string();
        assert!(error.contains(mend), "{text}: {error}");
    }
}

#[test]
fn private_is_what_strangers_cannot_have() {
    let public = |text: &str| text.parse::<Network>().expect(text).is_public();
    for private in [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.31.0.0/16",
        "192.168.1.1",
        "100.127.0.0/16",
        "169.254.0.0/16",
        "::1",
        "fe80::/10",
        "fc00::/7",
        "fd12::/48",
    ] {
        assert!(!public(private), "{private}");
    }
    for stranger in [
        "8.8.8.8",
        "10.0.0.0/7",
        "172.32.0.0/16",
        "100.128.0.0/16",
        "203.0.113.0/24",
        "2001:db8::/48",
        "::/127",
        "64:ff9b::/96",
        "fe80::/9",
    ] {
        assert!(public(stranger), "{stranger}");
    }
}

#[test]
fn only_mapped_addresses_become_ipv4() {
    let normalised = |text: &str| client_address(text.parse().expect(text)).to_string();
    assert_eq!(normalised("::ffff:203.0.113.9"), "203.0.113.9");
    assert_eq!(normalised("203.0.113.9"), "203.0.113.9");
    assert_eq!(normalised("::203.0.113.9"), "::cb00:7109");
    for other in ["::1", "::", "64:ff9b::a00:1", "2002:a00:1::", "2001::a00:1", "::fffe:a00:1"] {
        assert_eq!(normalised(other), other);
    }
}

proptest! {
    #[test]
    fn the_parser_never_panics(text in "\\PC{0,50}") {
        let _ = text.parse::<Network>();
    }

    #[test]
    fn the_parser_never_panics_near_networks(text in "[0-9a-fx:./%\\[\\] +-]{0,45}") {
        let _ = text.parse::<Network>();
    }

    #[test]
    fn display_and_parse_are_inverse(address: u128, ipv4: bool, length in 1_u8..=128) {
        let (address, length) = if ipv4 {
            (IpAddr::V4(Ipv4Addr::from(address as u32)), length.clamp(1, 32))
        } else {
            (IpAddr::V6(Ipv6Addr::from(address)), length)
        };
        let written = IpNet::new(address, length).expect("the length fits").trunc();
        if let Ok(network) = Network::new(written.addr(), length) {
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            prop_assert!(network.contains(address));
        }
    }
}
