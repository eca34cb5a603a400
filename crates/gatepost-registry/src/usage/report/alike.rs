//! What could be said once: entries that say the same, and networks in pieces.
//!
//! Entries whose clients are counted (connections, rates) are left as they are: together they would
//! have one limit, and not one each. So are those of different owners.

use std::collections::{HashMap, HashSet};

use gatepost_policy::entry::{Action, Entry, Terms};
use gatepost_policy::network::Network;
use gatepost_policy::pattern::Pattern;
use gatepost_policy::ruleset::Ruleset;

use super::Matter;

/// All that an entry says, but where its clients are and what it is called.
#[derive(PartialEq, Eq, Hash)]
struct Says<'a> {
    blocks: bool,
    owner: Option<&'a str>,
    services: Option<&'a [Box<str>]>,
    senders: &'a [Pattern],
    terms: &'a Terms,
}

/// The entries that say the same, then the networks that are in pieces.
pub(super) fn matters(ruleset: &Ruleset) -> Vec<Matter> {
    let entries = ruleset.entries();
    let mut places: HashMap<Says<'_>, usize> = HashMap::new();
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.terms().counts()) {
        let place = *places.entry(Says::of(entry)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(entry);
    }
    let duplicates = groups.iter().filter(|group| group.len() > 1).map(|group| {
        Matter::Duplicates { entries: group.iter().map(|entry| entry.id().to_string()).collect() }
    });
    let taken: HashSet<Network> =
        entries.iter().flat_map(|entry| entry.networks()).copied().collect();
    let adjacent = entries.iter().flat_map(|entry| adjacent(entry, &taken));
    duplicates.chain(adjacent).collect()
}

/// Networks that are the halves of one, and the halves of halves. One that is written somewhere in
/// the policy is left alone: it means something there.
fn adjacent(entry: &Entry, taken: &HashSet<Network>) -> Vec<Matter> {
    let mut networks = entry.networks().to_vec();
    networks.sort_unstable();
    let mut merged: Vec<(Network, Vec<Network>)> = Vec::new();
    for network in networks {
        let mut last = (network, vec![network]);
        while let Some((before, _)) = merged.last()
            && let Some(whole) = whole(*before, last.0)
            && !taken.contains(&whole)
            && let Some((_, mut pieces)) = merged.pop()
        {
            pieces.append(&mut last.1);
            last = (whole, pieces);
        }
        merged.push(last);
    }
    let in_pieces = merged.into_iter().filter(|(_, pieces)| pieces.len() > 1);
    let matter =
        |(merged, networks)| Matter::Adjacent { entry: entry.id().to_string(), networks, merged };
    in_pieces.map(matter).collect()
}

/// The network of which these are the lower and the upper half.
fn whole(lower: Network, upper: Network) -> Option<Network> {
    let length = lower.prefix_length();
    if upper.prefix_length() != length || upper == lower {
        return None;
    }
    // A lower half has no bit set behind the prefix of the whole, and an upper half has.
    let whole = Network::new(lower.address(), length.checked_sub(1)?).ok()?;
    whole.contains(upper.address()).then_some(whole)
}

impl<'a> Says<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            blocks: entry.action() == Action::Deny,
            owner: entry.owner(),
            services: entry.services(),
            senders: entry.senders(),
            terms: entry.terms(),
        }
    }
}
