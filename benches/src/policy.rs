//! Policies of any size, and the clients that connect to them.
//!
//! Entries have one network each, in turns of IPv4 and IPv6. Networks of a family come in blocks of
//! eight. A block is a /24 with three /28 and four /32 in it, or a /64 with seven /128; of every two
//! blocks one has another narrow network in place of the wide one around all. Blocks are scattered
//! over 10.0.0.0/8 and fd00:6a7e::/32, so all of it is private and nothing needs a reason.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use gatepost_policy::{
    entry::Mode,
    listener::ListenerId,
    ruleset::Ruleset,
    site::{Site, UpstreamId},
};

use crate::noise::noise;

/// The only listener.
pub const LISTENER: ListenerId = ListenerId::new(0);

/// How many clients take turns: so many that a large table does not stay in the nearest cache.
const CLIENTS: usize = 1 << 16;
/// Networks in a block.
const BLOCK_NETWORKS: u32 = 8;
/// A place in a block that is a single address in both families.
const SINGLE_PLACE: u32 = 4;
/// Blocks of a family that have a place: 10.0.0.0/8 holds this many /24.
const BLOCKS_MAX: u32 = 1 << 16;

/// The address family of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether a client is on the allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is, by an entry picked at random.
    Hit,
    /// It is not, by its last bit: the neighbour of a single address that is. No walk through the
    /// table is longer; a stranger from farther away costs less.
    Miss,
}

/// A policy text.
#[derive(Debug)]
pub struct Policy {
    entries: u32,
    text: String,
    site: Arc<Site>,
}

impl Policy {
    /// A policy of so many entries: an even number from 10 to a million.
    pub fn with_entries(entries: u32) -> Self {
        assert!(entries.is_multiple_of(2), "both families have as many");
        assert!(entries / 2 > SINGLE_PLACE, "a miss needs a neighbour");
        assert!(entries / 2 <= BLOCKS_MAX * BLOCK_NETWORKS, "every block has a place");
        let mut text = String::new();
        for entry in 0..entries {
            let (address, prefix_length) = network(entry);
            let team = entry % 100;
            write!(
                text,
                "[[entry]]\nid = \"app-{entry:06}\"\nnetworks = [\"{address}/{prefix_length}\"]\n\
                 senders = [\"team-{team:02}.example.com\"]\n\n"
            )
            .expect("a String takes all");
        }
        Self { entries, text, site: site() }
    }

    /// Compiles it for [`LISTENER`].
    pub fn compile(&self) -> Ruleset {
        let compiled = Ruleset::compile(&self.text, "bench.toml", &self.site);
        compiled.expect("a generated policy is right").ruleset
    }

    /// Compiles it anew, as the one that comes after `previous`.
    pub fn recompile(&self, previous: &Ruleset) -> Ruleset {
        let compiled = previous.recompile(&self.text, "bench.toml");
        compiled.expect("a generated policy is right").ruleset
    }

    /// The networks of its entries, in their order.
    pub fn networks(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        (0..self.entries).map(network)
    }

    /// Clients of the policy, without order.
    pub fn clients(&self, family: Family, outcome: Outcome) -> Vec<IpAddr> {
        noise().take(CLIENTS).map(|bits| self.client(family, outcome, bits)).collect()
    }

    fn client(&self, family: Family, outcome: Outcome, bits: u64) -> IpAddr {
        let pick = bits as u32;
        let entry_of = |member| 2 * member + u32::from(family == Family::V6);
        match outcome {
            Outcome::Hit => last_address(network(entry_of(pick % (self.entries / 2)))),
            Outcome::Miss => {
                let single = pick % self.open_blocks() * 2 * BLOCK_NETWORKS + SINGLE_PLACE;
                match network(entry_of(single)).0 {
                    IpAddr::V4(address) => v4(u32::from(address) ^ 1),
                    IpAddr::V6(address) => v6(u128::from(address) ^ 1),
                }
            }
        }
    }

    /// How many blocks of a family have no network around all, and their single address.
    fn open_blocks(&self) -> u32 {
        (self.entries / 2 - SINGLE_PLACE).div_ceil(2 * BLOCK_NETWORKS)
    }
}

/// A ruleset of one entry: whoever is on this machine may send what the dialogue has.
pub fn of_loopback() -> Ruleset {
    let text = "[[entry]]\nid = \"fleet\"\nnetworks = [\"127.0.0.0/8\"]\n\
                senders = [\"billing.example.com\"]\n";
    let compiled = Ruleset::compile(text, "bench.toml", &site());
    compiled.expect("the policy is right").ruleset
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        })
    }
}

/// One listener and one upstream.
fn site() -> Arc<Site> {
    Arc::new(Site {
        hostname: "relay.example.com".into(),
        listeners: vec!["smtp".into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["upstream".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 25 * 1024 * 1024,
        max_recipients: 100,
    })
}

/// The network of an entry: its first address and its prefix length.
fn network(entry: u32) -> (IpAddr, u8) {
    let (member, is_v6) = (entry / 2, entry % 2 == 1);
    let (block, place) = (member / BLOCK_NETWORKS, member % BLOCK_NETWORKS);
    let is_open = block % 2 == 0;
    match (is_v6, place) {
        (false, 0) if !is_open => (v4(block_v4(block)), 24),
        (false, 0..SINGLE_PLACE) => (v4(block_v4(block) | place << 4), 28),
        (false, _) => (v4(block_v4(block) | place << 4 | 9), 32),
        (true, 0) if !is_open => (v6(block_v6(block)), 64),
        (true, _) => (v6(block_v6(block) | u128::from(place << 8 | 9)), 128),
    }
}

/// An address that no narrower network of the block has.
fn last_address((address, prefix_length): (IpAddr, u8)) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            v4(u32::from(address) | u32::MAX.checked_shr(prefix_length.into()).unwrap_or(0))
        }
        IpAddr::V6(address) => {
            v6(u128::from(address) | u128::MAX.checked_shr(prefix_length.into()).unwrap_or(0))
        }
    }
}

/// Blocks by number, scattered: the factor is odd, so no two meet.
fn block_v4(block: u32) -> u32 {
    0x0a00_0000 | (block.wrapping_mul(0x9e37) % BLOCKS_MAX) << 8
}

fn block_v6(block: u32) -> u128 {
    0xfd00_6a7e << 96 | u128::from(block.wrapping_mul(0x9e37_79b1)) << 64
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from(bits).into()
}

fn v6(bits: u128) -> IpAddr {
    Ipv6Addr::from(bits).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bench whose hits are misses measures the wrong thing.
    #[test]
    fn hits_hit_and_misses_miss() {
        for entries in [10, 1000] {
            let policy = Policy::with_entries(entries);
            let ruleset = policy.compile();
            assert_eq!(ruleset.entries().len(), entries as usize);
            for family in [Family::V4, Family::V6] {
                for client in policy.clients(family, Outcome::Hit) {
                    assert!(ruleset.lookup(LISTENER, client).is_some(), "{client}");
                }
                for client in policy.clients(family, Outcome::Miss) {
                    assert!(ruleset.lookup(LISTENER, client).is_none(), "{client}");
                }
            }
        }
    }

    #[test]
    fn every_entry_is_found_by_its_last_address() {
        let policy = Policy::with_entries(1000);
        let ruleset = policy.compile();
        for (entry, found) in (0..1000).zip(ruleset.entries()) {
            let hit = ruleset.lookup(LISTENER, last_address(network(entry)));
            assert_eq!(hit.map(|hit| hit.id()), Some(found.id()));
        }
    }

    #[test]
    fn clients_are_of_their_family() {
        let policy = Policy::with_entries(10);
        for outcome in [Outcome::Hit, Outcome::Miss] {
            assert!(policy.clients(Family::V4, outcome).iter().all(IpAddr::is_ipv4));
            assert!(policy.clients(Family::V6, outcome).iter().all(IpAddr::is_ipv6));
        }
    }
}
