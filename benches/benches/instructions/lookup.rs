//! What a connection asks of policy, as in `lookup.rs` beside this; means over clients in turns.

use gatepost_benches::{
    gateway::admit,
    instructions::counter::Counter,
    policy::{Family, Outcome, Policy},
};
use gatepost_policy::snapshot::Snapshot;

/// How many clients are asked for: enough for every depth of a table to be among them.
const CLIENTS: u32 = 4096;

pub(crate) fn rows(counter: &mut Counter<'_>) {
    for entries in [10, 1_000, 100_000] {
        // Inside callgrind, compiling takes longer than all that is counted.
        if counter.wants(&format!("lookup/{entries}/")) {
            lookups(counter, entries);
        }
    }
}

fn lookups(counter: &mut Counter<'_>, entries: u32) {
    let policy = Policy::with_entries(entries);
    let snapshot = Snapshot::new(policy.compile());
    for family in [Family::V4, Family::V6] {
        for outcome in [Outcome::Hit, Outcome::Miss] {
            let clients = policy.clients(family, outcome);
            let mut turns = clients.iter().cycle();
            let name = format!("lookup/{entries}/{family}/{outcome}");
            counter.row(&name, CLIENTS, || turns.next().map(|&client| admit(&snapshot, client)));
        }
    }
}
