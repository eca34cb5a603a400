//! Listeners as policy sees them: a number on the hot path, a name in the file.
//!
//! An entry that does not name a listener does not exist for it, so each listener has a lookup
//! table of its own; listeners that see the same entries share one. Here networks meet: that two
//! entries claim the same one is found while the tables are filled.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    compile::PlacedEntry,
    network::Network,
    report::{Place, Report},
    table::Table,
};

/// A listener, by its place in the list that the ruleset was compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(usize);

impl ListenerId {
    /// The listener at `index`. One that does not exist sees no entry.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place in the list.
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A listener's name and what it sees.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: Arc<str>,
    pub(crate) table: Arc<Table>,
}

/// The view of each listener, in their order.
pub(crate) fn views(
    entries: &[PlacedEntry],
    listeners: &[Arc<str>],
    report: &mut Report,
) -> Box<[View]> {
    let (everywhere, named) = by_listener(entries, listeners);
    let mut conflicts = Conflicts::default();
    // Listeners that the same entries name see the same: all others are seen everywhere.
    let mut tables: HashMap<&[u32], Arc<Table>> = HashMap::new();
    let mut views = Vec::new();
    for (listener, named) in listeners.iter().zip(&named) {
        let table = tables.entry(named).or_insert_with(|| {
            let indexes = everywhere.iter().chain(named).copied();
            Arc::new(fill(entries, indexes, listener, &mut conflicts, report))
        });
        views.push(View { name: Arc::clone(listener), table: Arc::clone(table) });
    }
    views.into()
}

/// The entries that every listener sees, and for each listener those that name it.
fn by_listener(entries: &[PlacedEntry], listeners: &[Arc<str>]) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut everywhere = Vec::new();
    let mut named = vec![Vec::new(); listeners.len()];
    for (index, placed) in (0..).zip(entries) {
        let Some(services) = placed.entry.services() else {
            everywhere.push(index);
            continue;
        };
        for (listener, named) in listeners.iter().zip(&mut named) {
            if services.iter().any(|service| **service == **listener) {
                named.push(index);
            }
        }
    }
    (everywhere, named)
}

/// What has been told already: the same two entries meet again in the table of the next listener.
#[derive(Default)]
struct Conflicts(BTreeSet<(Network, u32, u32)>);

fn fill(
    entries: &[PlacedEntry],
    indexes: impl Iterator<Item = u32>,
    listener: &str,
    conflicts: &mut Conflicts,
    report: &mut Report,
) -> Table {
    let mut table = Table::default();
    for index in indexes {
        for &network in entries[index as usize].entry.networks() {
            if let Some(before) = table.insert(network, index) {
                let (first, second) = (before.min(index), before.max(index));
                if conflicts.0.insert((network, first, second)) {
                    tell(entries, network, (first, second), listener, report);
                }
            }
        }
    }
    table
}

fn tell(
    entries: &[PlacedEntry],
    network: Network,
    (first, second): (u32, u32),
    listener: &str,
    report: &mut Report,
) {
    let (first_entry, second_entry) = (&entries[first as usize], &entries[second as usize]);
    let subject = format_args!("entry {}", second_entry.entry.id());
    if first == second {
        let message = format_args!("network {network} is named twice; leave one out");
        report.warn(Place::At(second_entry.at), subject, message);
    } else {
        let message = format_args!(
            "network {network} on listener {listener} belongs to entry {} already; leave it out of one of \
             the two, or give them different services",
            first_entry.entry.id(),
        );
        report.error(Place::At(second_entry.at), subject, message);
    }
}

#[cfg(test)]
mod tests;
