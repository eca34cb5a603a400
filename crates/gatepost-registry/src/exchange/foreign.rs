//! Entries from lists that know only addresses.
//!
//! Rows that have a description become an entry for each description, named after it; all others
//! become one entry together, named after the list. Every entry says the same but for its networks
//! and its description, so that it does not matter which of them an address that is in two of them
//! belongs to: the narrower network has it, and of two that are the same the first.

use std::collections::{HashMap, HashSet};

use gatepost_policy::entry::{ID_OCTETS_MAX, is_id};
use ipnet::IpNet;
use toml::{Table, Value};

use super::{
    Defaults,
    findings::{Findings, quoted},
    networks::shown,
};
use crate::item::{Item, Kind};

/// One line of a list: who is let in.
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) networks: Vec<IpNet>,
    pub(super) description: Option<String>,
}

/// Whose list it is.
#[derive(Clone, Copy)]
pub(super) struct Program {
    /// As remarks name it.
    pub(super) title: &'static str,
    /// The id of the entry of a whole list, unless a prefix is given.
    pub(super) name: &'static str,
}

/// Rows that become one entry.
#[derive(Default)]
struct Group {
    line: usize,
    description: Option<String>,
    networks: Vec<IpNet>,
}

/// The entries of rows that let in, in any order. No two have the same network or the same id.
pub(super) fn of_rows(
    program: Program,
    rows: Vec<Row>,
    defaults: &Defaults,
    findings: &mut Findings<'_>,
) -> Vec<Item> {
    check(program, rows.is_empty(), defaults, findings);
    let mut ids = Ids::new(program, defaults);
    let mut items = Vec::new();
    for group in distinct(groups(rows), findings) {
        let id = match &group.description {
            Some(description) => ids.of(description, &group.networks),
            None => ids.list_id.to_owned(),
        };
        items.extend(item(&allow(&id, &group, defaults), group.line, findings));
    }
    items
}

/// The entries of networks that are let in and refused as the longest prefix says, taken as they are.
pub(super) fn of_networks(
    program: Program,
    allowed: Vec<IpNet>,
    denied: &[IpNet],
    defaults: &Defaults,
    findings: &mut Findings<'_>,
) -> Vec<Item> {
    check(program, allowed.is_empty(), defaults, findings);
    let ids = Ids::new(program, defaults);
    let mut items = Vec::new();
    if !allowed.is_empty() {
        let group = Group { networks: allowed, ..Group::default() };
        items.extend(item(&allow(ids.list_id, &group, defaults), None, findings));
    }
    if !denied.is_empty() {
        let id = ids.bounded(ids.list_id, "-deny");
        items.extend(item(&deny(&id, denied, defaults), None, findings));
    }
    items
}

/// Refuses defaults that make no entries.
fn check(program: Program, lets_nobody_in: bool, defaults: &Defaults, findings: &mut Findings<'_>) {
    if !lets_nobody_in && defaults.senders.is_empty() {
        let message = format_args!(
            "a {} list says nothing about senders; add them, like --sender billing.example.com",
            program.title
        );
        findings.error(None, message);
    }
    if let Some(prefix) = defaults.id_prefix.as_deref().filter(|prefix| !is_id(prefix)) {
        let message = format_args!(
            "{} cannot begin an id; use lower-case letters, digits, . - and _, a letter or digit first",
            quoted(prefix)
        );
        findings.error(None, message);
    }
}

/// Rows by description, in the order of the list; those without one come last.
fn groups(rows: Vec<Row>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut indexes: HashMap<String, usize> = HashMap::new();
    let mut nameless = Group::default();
    for Row { line, networks, description } in rows {
        let group = match description.filter(|text| !text.trim().is_empty()) {
            None => &mut nameless,
            Some(description) => {
                let index = *indexes.entry(description).or_insert_with_key(|description| {
                    let description = Some(description.clone());
                    groups.push(Group { line, description, networks: Vec::new() });
                    groups.len() - 1
                });
                &mut groups[index]
            }
        };
        if group.networks.is_empty() {
            group.line = line;
        }
        group.networks.extend(networks);
    }
    groups.push(nameless);
    groups
}

/// The groups with as few networks as can be, and none that an earlier group has.
fn distinct(groups: Vec<Group>, findings: &mut Findings<'_>) -> Vec<Group> {
    let mut owners: HashMap<IpNet, usize> = HashMap::new();
    let mut distinct = Vec::new();
    for Group { line, description, networks: written } in groups {
        let mut networks = IpNet::aggregate(&written);
        if networks.len() != written.len() {
            let which = match &description {
                Some(description) => format!("the networks of {}", quoted(description)),
                None => "the networks without a description".to_owned(),
            };
            let message = format_args!(
                "{which} overlap or adjoin: {} became {}: {}",
                written.len(),
                networks.len(),
                shown(&networks)
            );
            findings.note(line, message);
        }
        networks.retain(|network| {
            let owner = *owners.entry(*network).or_insert(line);
            if owner != line {
                let message = format_args!(
                    "{network} is in the entry of line {owner} already, and stays there"
                );
                findings.note(line, message);
            }
            owner == line
        });
        if !networks.is_empty() {
            distinct.push(Group { line, description, networks });
        }
    }
    distinct
}

fn item(
    table: &Table,
    line: impl Into<Option<usize>>,
    findings: &mut Findings<'_>,
) -> Option<Item> {
    Item::new(Kind::Entry, table).map_err(|error| findings.error(line, error)).ok()
}

fn allow(id: &str, group: &Group, defaults: &Defaults) -> Table {
    let description = group.description.as_ref().or(defaults.description.as_ref());
    let mut table = shared(id, &group.networks, description, defaults);
    table.insert("senders".to_owned(), strings(&defaults.senders));
    if let Some(reason) = &defaults.acknowledge {
        table.insert("acknowledge".to_owned(), Value::String(reason.clone()));
    }
    table
}

/// A deny entry, on which only the keys count that say where it holds.
fn deny(id: &str, networks: &[IpNet], defaults: &Defaults) -> Table {
    let mut table = shared(id, networks, defaults.description.as_ref(), defaults);
    table.insert("action".to_owned(), Value::String("deny".to_owned()));
    table
}

fn shared(
    id: &str,
    networks: &[IpNet],
    description: Option<&String>,
    defaults: &Defaults,
) -> Table {
    let mut table = Table::new();
    table.insert("id".to_owned(), Value::String(id.to_owned()));
    table.insert("networks".to_owned(), strings(networks));
    for (key, text) in [("description", description), ("owner", defaults.owner.as_ref())] {
        if let Some(text) = text {
            table.insert(key.to_owned(), Value::String(text.clone()));
        }
    }
    if !defaults.services.is_empty() {
        table.insert("services".to_owned(), strings(&defaults.services));
    }
    table
}

fn strings(items: &[impl ToString]) -> Value {
    Value::Array(items.iter().map(|item| Value::String(item.to_string())).collect())
}

/// Gives ids. The same list gets the same ids.
struct Ids<'d> {
    list_id: &'d str,
    is_prefix: bool,
    taken: HashSet<String>,
    /// The number to try next, by slug: counting from the start would take long for many that are
    /// alike.
    numbers: HashMap<String, usize>,
}

impl<'d> Ids<'d> {
    fn new(program: Program, defaults: &'d Defaults) -> Self {
        let prefix = defaults.id_prefix.as_deref();
        let list_id = prefix.unwrap_or(program.name);
        // The entry of the whole list has its id whether or not there is one.
        let taken = HashSet::from([list_id.to_owned()]);
        Self { list_id, is_prefix: prefix.is_some(), taken, numbers: HashMap::new() }
    }

    /// The id of an entry that has a description: the description as a slug, else its first network.
    fn of(&mut self, description: &str, networks: &[IpNet]) -> String {
        let mut start = slug(description);
        let is_readable = !start.is_empty();
        if !is_readable {
            start = networks.first().map(network_slug).unwrap_or_default();
        }
        if self.is_prefix || !is_readable {
            start = format!("{}-{start}", self.list_id);
        }
        loop {
            let number = self.numbers.entry(start.clone()).or_default();
            *number += 1;
            let end = if *number == 1 { String::new() } else { format!("-{number}") };
            let id = self.bounded(&start, &end);
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Start and end of an id, of which the start is cut if they are too long.
    fn bounded(&self, start: &str, end: &str) -> String {
        let kept = ID_OCTETS_MAX.saturating_sub(end.len()).min(start.len());
        // Slugs and prefixes are ASCII, or the prefix was refused.
        format!("{}{end}", start.get(..kept).unwrap_or(self.list_id))
    }
}

/// `192.0.2.0-24`, `192.0.2.1` or `2001-db8-20--48` of a network.
fn network_slug(network: &IpNet) -> String {
    let is_one = network.prefix_len() == network.max_prefix_len();
    let text = if is_one { network.addr().to_string() } else { network.to_string() };
    text.replace([':', '/'], "-")
}

/// Lower-case letters and digits of a text, with `-` for whatever is between them.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == ID_OCTETS_MAX {
            break;
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests;
