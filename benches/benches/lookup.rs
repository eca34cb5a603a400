//! How long does a connection wait for policy?
//!
//! Measured is what a session does when a client connects: load the current ruleset, find the entry
//! of the client, keep it. The words of a refusal are not part of it. *swapping* does the same
//! while another thread compiles the same policy and publishes it, over and over, as fast as it can.
//! A row is a mean over 65,536 clients in turns; it says nothing of the slowest one.

use std::{
    cell::{LazyCell, OnceCell},
    hint::black_box,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use criterion::{BenchmarkId, Criterion};
use gatepost_benches::policy::{Family, LISTENER, Outcome, Policy};
use gatepost_policy::{
    entry::Entry,
    generation::Generation,
    snapshot::{Snapshot, is_unused},
};

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
                        publisher.get_or_init(|| Publisher::start(&snapshot, &policy));
                    }
                    let (snapshot, mut turns) = (&**snapshot, clients.iter().cycle());
                    bencher.iter(|| turns.next().map(|&client| admit(snapshot, client)));
                });
            }
        }
        if let Some(publisher) = publisher.into_inner() {
            publisher.finish(entries);
        }
    }
    group.finish();
}

/// What a session takes from policy, as `gatepost_inbound::admission` does.
fn admit(snapshot: &Snapshot, client: IpAddr) -> Option<(Arc<Entry>, Generation)> {
    let ruleset = snapshot.load();
    let entry = ruleset.lookup(LISTENER, black_box(client))?;
    Some((Arc::clone(entry), ruleset.generation()))
}

/// A thread that publishes without a pause.
struct Publisher {
    stop: Arc<AtomicBool>,
    /// Returns how many rulesets it has published.
    thread: JoinHandle<u32>,
    began: Instant,
}

impl Publisher {
    fn start(snapshot: &Arc<Snapshot>, policy: &Arc<Policy>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, snapshot, policy) =
            (Arc::clone(&stop), Arc::clone(snapshot), Arc::clone(policy));
        let thread = thread::spawn(move || {
            let mut published = 0;
            while !stopped.load(Ordering::Relaxed) {
                published += 1;
                let retired = snapshot.publish(policy.compile().with_revision(published.into()));
                // As the gateway does: a reader must not be the one who frees it.
                while !is_unused(&retired) {
                    std::thread::yield_now();
                }
            }
            published
        });
        Self { stop, thread, began: Instant::now() }
    }

    /// Stops it, and says how much it has disturbed.
    fn finish(self, entries: u32) {
        self.stop.store(true, Ordering::Relaxed);
        let published = self.thread.join().expect("a generated policy always compiles");
        let rate = f64::from(published) / self.began.elapsed().as_secs_f64();
        eprintln!("{entries} entries: {rate:.1} rulesets were published a second\n");
    }
}
