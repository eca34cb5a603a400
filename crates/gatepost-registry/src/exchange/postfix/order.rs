//! From the first that matches to the narrowest that matches.
//!
//! Two networks are nested or have nothing in common. A rule whose network an earlier rule covers is
//! never reached, and is left out. Of the rules that are left and match an address, an earlier one
//! is thus narrower than a later one: the first is the narrowest, and both orders say the same.
//!
//! `DUNNO` leaves an address to what comes after the table, which is not known here: nobody is let in
//! by it, so inside a network that is let in it refuses.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::exchange::{findings::Findings, networks::shown};

/// What a rule does with those it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Allow,
    Deny,
    /// Neither; and later rules are not asked.
    Pass,
}

/// A line of a table, or a pattern of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) network: IpNet,
    pub(super) meaning: Meaning,
}

/// Networks of which the narrowest decides, as few as there can be without widening any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) allowed: Vec<IpNet>,
    pub(super) denied: Vec<IpNet>,
}

/// Values of networks, found from networks inside them.
struct Around<V> {
    by_network: HashMap<IpNet, V>,
    /// The fewest bits of a prefix: nothing wider has to be looked for.
    length_min: u8,
}

/// What rules in their order say.
pub(super) fn decide(rules: Vec<Rule>, findings: &mut Findings<'_>) -> Decided {
    let reached = reached(rules, findings);
    let rules = Around::new(reached.iter().map(|rule| (rule.network, *rule)));
    let mut meanings = HashMap::with_capacity(reached.len());
    for rule in &reached {
        if let Some(meaning) = settled(rule, &rules, findings) {
            meanings.insert(rule.network, meaning);
        }
    }
    let written = meanings.len();
    let decided = fewest(meanings);
    let left = decided.allowed.len() + decided.denied.len();
    if left != written {
        let message = format_args!(
            "{written} networks overlap or adjoin and became {left}, let in: {}; refused: {}",
            shown_or_none(&decided.allowed),
            shown_or_none(&decided.denied)
        );
        findings.note(None, message);
    }
    decided
}

/// The rules that no earlier one covers.
fn reached(rules: Vec<Rule>, findings: &mut Findings<'_>) -> Vec<Rule> {
    let mut earlier = Around::new([]);
    let mut reached = Vec::with_capacity(rules.len());
    for rule in rules {
        if let Some(cover) = earlier.of(rule.network).next() {
            hide(&rule, cover, findings);
        } else {
            earlier.insert(rule.network, rule);
            reached.push(rule);
        }
    }
    reached
}

fn hide(rule: &Rule, cover: &Rule, findings: &mut Findings<'_>) {
    let why = if rule.meaning == cover.meaning {
        "says the same"
    } else {
        "comes first, so Postfix never reaches this one; if it should hold, put it first"
    };
    let Rule { line, network, .. } = rule;
    let message =
        format_args!("{network} is left out: {} in line {} {why}", cover.network, cover.line);
    findings.note(*line, message);
}

/// What a rule does where the narrowest decides, if it has to be said at all.
fn settled(rule: &Rule, rules: &Around<Rule>, findings: &mut Findings<'_>) -> Option<Meaning> {
    let Rule { line, network, meaning } = *rule;
    if network.prefix_len() == 0 && meaning != Meaning::Allow {
        findings.note(
            line,
            format_args!("{network} is left out: who is in no entry is refused anyway"),
        );
        return None;
    }
    if meaning != Meaning::Pass {
        return Some(meaning);
    }
    let wider = rules.of(network).find(|rule| rule.meaning != Meaning::Pass);
    match wider {
        Some(wider) if wider.meaning == Meaning::Allow => {
            let message = format_args!(
                "DUNNO for {network} became a refusal, because line {} lets in {} around it",
                wider.line, wider.network
            );
            findings.note(line, message);
            Some(Meaning::Deny)
        }
        _ => {
            findings.note(line, format_args!("{network} is left out: DUNNO lets nobody in"));
            None
        }
    }
}

/// Joins halves that mean the same, and leaves out what the next wider network says anyway.
fn fewest(mut meanings: HashMap<IpNet, Meaning>) -> Decided {
    let mut by_length: Vec<Vec<IpNet>> = vec![Vec::new(); 129];
    for network in meanings.keys() {
        by_length[usize::from(network.prefix_len())].push(*network);
    }
    for length in (1..by_length.len()).rev() {
        for network in std::mem::take(&mut by_length[length]) {
            let Some((whole, other)) = halves(network) else { continue };
            let meaning = meanings.get(&network).copied();
            // All of IPv4 or IPv6 is no network of a policy.
            let is_network = whole.prefix_len() > 0;
            if is_network && meaning.is_some() && meanings.get(&other).copied() == meaning {
                meanings.remove(&network);
                meanings.remove(&other);
                // Whatever was said of the whole did not hold for any address.
                meanings.extend(meaning.map(|meaning| (whole, meaning)));
                by_length[length - 1].push(whole);
            }
        }
    }
    let mut decided = Decided::default();
    let meanings = Around::new(meanings);
    for (network, meaning) in &meanings.by_network {
        let wider = meanings.of(*network).nth(1);
        match meaning {
            meaning if wider == Some(meaning) => {}
            Meaning::Allow => decided.allowed.push(*network),
            Meaning::Deny | Meaning::Pass => decided.denied.push(*network),
        }
    }
    decided.allowed.sort_unstable();
    decided.denied.sort_unstable();
    decided
}

/// The network that a network is one half of, and the other half.
fn halves(network: IpNet) -> Option<(IpNet, IpNet)> {
    let whole = network.supernet()?;
    let mut halves = whole.subnets(network.prefix_len()).ok()?;
    Some((whole, halves.find(|half| *half != network)?))
}

impl<V> Around<V> {
    fn new(values: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let by_network: HashMap<_, _> = values.into_iter().collect();
        let length_min = by_network.keys().map(IpNet::prefix_len).min().unwrap_or(u8::MAX);
        Self { by_network, length_min }
    }

    fn insert(&mut self, network: IpNet, value: V) {
        self.length_min = self.length_min.min(network.prefix_len());
        self.by_network.insert(network, value);
    }

    /// The values of a network and of those around it, the narrowest first.
    fn of(&self, network: IpNet) -> impl Iterator<Item = &V> {
        std::iter::successors(Some(network), IpNet::supernet)
            .take_while(|network| network.prefix_len() >= self.length_min)
            .filter_map(|network| self.by_network.get(&network))
    }
}

fn shown_or_none(networks: &[IpNet]) -> String {
    if networks.is_empty() { "none".to_owned() } else { shown(networks) }
}

#[cfg(test)]
mod tests;
