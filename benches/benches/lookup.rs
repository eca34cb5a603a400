//! How long does a connection wait for policy?
//!
//! Measured is what a session does when a client connects: load the current ruleset, find the entry
//! of the client, keep it. The words of a refusal are not part of it. *swapping* does the same
//! while another thread compiles the same policy and publishes it, over and over, as fast as it can.
//! A row is a mean over 65,536 clients in turns; it says nothing of the slowest one.

use std::{
    cell::{LazyCell, OnceCell},
    sync::Arc,
};

use criterion::{BenchmarkId, Criterion};
use gatepost_benches::{
    gateway::{Publisher, Supply, admit},
    policy::{Family, Outcome, Policy},
};
use gatepost_policy::snapshot::Snapshot;

fn main() {
    let mut criterion = gatepost_benches::settings();
    // A million entries take seconds to compile: nothing for a look whether the bench works.
    let sizes: &[u32] = if gatepost_benches::is_smoke_run() {
        &[10, 1_000, 100_000]
    } else {
        &[10, 1_000, 100_000, 1_000_000]
    };
    for &entries in sizes {
        lookups(&mut criterion, entries);
    }
    criterion.final_summary();
}

/// All rows of one size. Nothing is compiled for rows that the command line leaves out.
fn lookups(criterion: &mut Criterion, entries: u32) {
    let policy = LazyCell::new(|| Arc::new(Policy::with_entries(entries)));
    let snapshot = LazyCell::new(|| Arc::new(Snapshot::new(policy.compile())));
    let mut group = criterion.benchmark_group("lookup");
    for disturbance in ["idle", "swapping"] {
        let publisher = OnceCell::new();
        for family in [Family::V4, Family::V6] {
            for outcome in [Outcome::Hit, Outcome::Miss] {
                let clients = LazyCell::new(|| policy.clients(family, outcome));
                let name = format!("{disturbance}/{family}/{outcome}");
                group.bench_function(BenchmarkId::new(name, entries), |bencher| {
                    if disturbance == "swapping" {
                        let start = || Publisher::start(&snapshot, &policy, Supply::Compiled);
                        publisher.get_or_init(start);
                    }
                    let (snapshot, mut turns) = (&**snapshot, clients.iter().cycle());
                    bencher.iter(|| turns.next().map(|&client| admit(snapshot, client)));
                });
            }
        }
        if let Some(publisher) = publisher.into_inner() {
            let rate = publisher.finish();
            eprintln!("{entries} entries: {rate:.1} rulesets were published a second\n");
        }
    }
    group.finish();
}
