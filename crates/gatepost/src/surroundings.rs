//! The network around this machine: addresses that are likelier a NAT's than a client's.
//!
//! When a network puts its own address in the place of a client's, it is mostly that of the router that
//! this machine or container sends to, or of a bridge between containers, or the machine's own, because
//! a proxy runs on it. Loopback is never among them: who connects from there is on the machine, or is
//! found out by what is heard.
//!
//! Nothing is kept: routes come and go, and to read them takes a fraction of a millisecond.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gatepost_policy::check::{self, Greeting};
use gatepost_policy::date::Moment;
use gatepost_policy::listener::ListenerId;
use gatepost_policy::network::{Network, client_address};
use gatepost_policy::ruleset::Ruleset;

/// Routes that are looked at: a machine that has a whole table of the internet has one default.
const ROUTES_MAX: usize = 10_000;
/// How names of bridges between containers or guests begin: Docker, Podman, CNI plugins, libvirt.
const BRIDGES: [&str; 9] =
    ["docker", "br-", "podman", "cni", "cbr", "flannel", "cilium_host", "virbr", "lxdbr"];
/// Flag of a route that leads through a router (RTF_GATEWAY).
const RTF_GATEWAY: u32 = 2;

/// The addresses that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings(Vec<Place>);

/// An address that clients may be hidden behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub kind: PlaceKind,
    /// The interface that it is reached by.
    pub interface: String,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceKind {
    /// The router's that everything is sent to which is not near.
    DefaultGateway,
    /// This machine's, on a bridge to containers.
    Bridge,
    /// This machine's.
    Own,
}

/// An entry that lets such an address in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The address.
    pub place: Place,
    /// The entry.
    pub entry: String,
    /// Its network around the address.
    pub network: Network,
    /// The listeners on which it does.
    pub listeners: Vec<String>,
}

impl Surroundings {
    /// Looks around. What cannot be read is not there.
    pub fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut places = default_gateways_v4(&text("/proc/net/route"));
        places.extend(default_gateways_v6(&text("/proc/net/ipv6_route")));
        let own = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
        places.extend(own.map(|it| own_place(it.ip(), it.name)));
        Self::of(places)
    }

    /// Each address once, as policy knows it.
    fn of(places: Vec<Place>) -> Self {
        let mut places: Vec<Place> = places
            .into_iter()
            .map(|place| Place { address: client_address(place.address), ..place })
            .filter(|place| !place.address.is_loopback() && !place.address.is_unspecified())
            .collect();
        places.sort_by_key(|place| (place.address, place.kind));
        places.dedup_by_key(|place| place.address);
        places.sort_by_key(|place| (place.kind, place.address));
        Self(places)
    }

    /// The addresses.
    pub fn places(&self) -> &[Place] {
        &self.0
    }

    /// What an address is, if it is one of these.
    pub fn place(&self, address: IpAddr) -> Option<&Place> {
        self.0.iter().find(|place| place.address == address)
    }

    /// Entries that let a gateway or a bridge in, whoever is behind it. That one lets the machine itself
    /// in is nothing to be told: it may have mail of its own.
    pub fn covered(&self, ruleset: &Ruleset, now: Moment) -> Vec<Covered> {
        let mut all: Vec<Covered> = Vec::new();
        for place in self.0.iter().filter(|place| place.kind != PlaceKind::Own) {
            for (index, listener) in ruleset.site().listeners.iter().enumerate() {
                let greeting = check::greet(ruleset, ListenerId::new(index), place.address, now);
                let Greeting::Allowed(entry) = greeting else { continue };
                if entry.asks_for_proof() {
                    continue;
                }
                let around = entry.networks().iter().filter(|it| it.contains(place.address));
                let Some(network) = around.max_by_key(|it| it.prefix_length()) else { continue };
                let is_same = |it: &&mut Covered| it.place == *place && it.entry == **entry.id();
                match all.iter_mut().find(is_same) {
                    Some(covered) => covered.listeners.push(listener.to_string()),
                    None => all.push(Covered {
                        place: place.clone(),
                        entry: entry.id().to_string(),
                        network: *network,
                        listeners: vec![listener.to_string()],
                    }),
                }
            }
        }
        all
    }
}

/// `10.0.0.1, the default gateway of this machine (eth0)`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, kind, interface } = self;
        match kind {
            PlaceKind::DefaultGateway => {
                write!(f, "{address}, the default gateway of this machine ({interface})")
            }
            PlaceKind::Bridge => {
                write!(f, "{address}, this machine's address on the bridge {interface}")
            }
            PlaceKind::Own => write!(f, "{address}, an address of this machine ({interface})"),
        }
    }
}

/// The sentence for a log.
impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, entry, network, listeners } = self;
        write!(f, "entry {entry} lets in {place}, by its network {network}")?;
        write!(f, " on {}", listeners.join(", "))
    }
}

fn own_place(address: IpAddr, interface: String) -> Place {
    let is_bridge = BRIDGES.iter().any(|name| interface.starts_with(name));
    let kind = if is_bridge { PlaceKind::Bridge } else { PlaceKind::Own };
    Place { address, kind, interface }
}

/// The table of `/proc/net/route`: addresses are hexadecimal, as they lie in memory.
fn default_gateways_v4(table: &str) -> Vec<Place> {
    let gateway = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, gateway, flags, _, _, _, mask, ..] = columns[..] else {
            return None;
        };
        let number = |text| u32::from_str_radix(text, 16).ok();
        if number(destination)? != 0 || number(mask)? != 0 || number(flags)? & RTF_GATEWAY == 0 {
            return None;
        }
        let address = Ipv4Addr::from(number(gateway)?.to_ne_bytes()).into();
        Some(Place { address, kind: PlaceKind::DefaultGateway, interface: interface.to_owned() })
    };
    table.lines().take(ROUTES_MAX).filter_map(gateway).collect()
}

/// The table of `/proc/net/ipv6_route`: addresses are hexadecimal, as they are sent.
fn default_gateways_v6(table: &str) -> Vec<Place> {
    let gateway = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, gateway, _, _, _, flags, interface] = columns[..] else {
            return None;
        };
        let number = |text| u128::from_str_radix(text, 16).ok();
        let flags = u32::from_str_radix(flags, 16).ok()?;
        if number(destination)? != 0 || number(length)? != 0 || flags & RTF_GATEWAY == 0 {
            return None;
        }
        let address = Ipv6Addr::from_bits(number(gateway)?).into();
        Some(Place { address, kind: PlaceKind::DefaultGateway, interface: interface.to_owned() })
    };
    table.lines().take(ROUTES_MAX).filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatepost_policy::entry::Mode;
    use gatepost_policy::site::{AuthOffer, Site, UpstreamId};

    use super::*;
    use crate::policy;

    const ROUTE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth1\t0000A8C0\t0200000A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
short\t00000000
";
    const IPV6_ROUTE: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn surroundings() -> Surroundings {
        let mut places = default_gateways_v4(ROUTE);
        places.extend(default_gateways_v6(IPV6_ROUTE));
        for (own, interface) in [
            ("127.0.0.1", "lo"),
            ("10.0.0.7", "eth0"),
            ("172.17.0.1", "docker0"),
            ("10.0.0.1", "br-lan"),
        ] {
            places.push(own_place(address(own), interface.to_owned()));
        }
        Surroundings::of(places)
    }

    #[test]
    fn only_default_routes_through_a_router_count() {
        let shown: Vec<_> = surroundings().places().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.1, the default gateway of this machine (eth0)",
                "fd00::1, the default gateway of this machine (eth0)",
                "172.17.0.1, this machine's address on the bridge docker0",
                "10.0.0.7, an address of this machine (eth0)",
            ]
        );
    }

    /// Whatever machine this is: it has no place twice, and loopback is none.
    #[test]
    fn this_machine_can_be_looked_at() {
        let here = Surroundings::read();
        assert!(here.places().iter().all(|place| here.place(place.address) == Some(place)));
        assert_eq!(here.place(address("127.0.0.1")), None);
        assert_eq!(here.place(address("::1")), None);
    }

    #[test]
    fn an_entry_that_lets_a_gateway_in_is_named() {
        let site = Arc::new(Site {
            hostname: "relay.test".into(),
            listeners: vec!["smtp".into(), "submission".into()],
            proxies: Vec::new(),
            auth: vec![AuthOffer::Required; 2],
            upstreams: vec!["sink".into()],
            default_upstream: Some(UpstreamId::new(0)),
            default_mode: Mode::Sync,
            max_message_size: 1,
            max_recipients: 1,
        });
        let covered = |text: &str| {
            let ruleset = Ruleset::compile(text, "policy.toml", &site).expect(text).ruleset;
            let covered = surroundings().covered(&ruleset, policy::now());
            covered.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let entry = |id: &str, networks: &str, more: &str| {
            format!(
                "[[entry]]\nid = \"{id}\"\nnetworks = [{networks}]\nsenders = [\"a.test\"]\n{more}\n"
            )
        };
        let lan = entry("lan", r#""10.0.0.0/8", "10.0.0.0/24", "127.0.0.1""#, "");
        assert_eq!(
            covered(&lan),
            [
                "entry lan lets in 10.0.0.1, the default gateway of this machine (eth0), by its network \
              10.0.0.0/24 on smtp, submission"
            ]
        );
        let bridge = entry("bridge", r#""172.17.0.1""#, "services = [\"submission\"]");
        assert_eq!(
            covered(&bridge),
            [
                "entry bridge lets in 172.17.0.1, this machine's address on the bridge docker0, by its \
              network 172.17.0.1/32 on submission"
            ]
        );
        let deny = "[[entry]]\nid = \"no\"\nnetworks = [\"10.0.0.1\"]\naction = \"deny\"\n";
        assert_eq!(covered(&format!("{lan}{deny}")), [""; 0], "the longest prefix wins");
        assert_eq!(covered(&entry("own", r#""10.0.0.7""#, "")), [""; 0]);
        let asking = entry("asking", r#""10.0.0.1""#, "authentication = \"required\"");
        assert_eq!(covered(&asking), [""; 0], "who is behind it has to prove who it is");
    }
}
