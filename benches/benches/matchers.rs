//! Is the table of gatepost-policy the right one?
//!
//! The same networks and the same clients in each of the matchers of `gatepost_benches::matchers`:
//! *fill* is what a reload costs, then hits and misses of both families. It is the bare table that is
//! measured, without a ruleset around it. A million networks are measured only if
//! `GATEPOST_BENCH_MILLION` is set.

use std::{cell::LazyCell, hint::black_box, net::IpAddr};

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use gatepost_benches::{
    matchers::{LockedMaps, Matcher, PopulationTrie, PrefixTrie, SortedPlaces, TreeBitmap},
    policy::{Family, Outcome, Policy},
};

fn main() {
    let mut criterion = gatepost_benches::settings();
    let sizes: &[u32] = if gatepost_benches::has_time_for_a_million() {
        &[100, 10_000, 1_000_000]
    } else {
        &[100, 10_000]
    };
    for &entries in sizes {
        lookups(&mut criterion, entries);
    }
    criterion.final_summary();
}

fn lookups(criterion: &mut Criterion, entries: u32) {
    let policy = Policy::with_entries(entries);
    let networks: Vec<_> = policy.networks().collect();
    let mut group = criterion.benchmark_group("matchers");
    group.sample_size(20);
    rows::<TreeBitmap>(&mut group, &policy, &networks);
    rows::<PrefixTrie>(&mut group, &policy, &networks);
    rows::<PopulationTrie>(&mut group, &policy, &networks);
    rows::<SortedPlaces>(&mut group, &policy, &networks);
    rows::<LockedMaps>(&mut group, &policy, &networks);
    group.finish();
}

fn rows<M: Matcher>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    policy: &Policy,
    networks: &[(IpAddr, u8)],
) {
    let row = |name: &str| BenchmarkId::new(format!("{}/{name}", M::NAME), networks.len());
    group.bench_function(row("fill"), |bencher| {
        bencher.iter_batched(|| (), |()| M::new(networks), BatchSize::PerIteration);
    });
    let matcher = LazyCell::new(|| M::new(networks));
    for family in [Family::V4, Family::V6] {
        for outcome in [Outcome::Hit, Outcome::Miss] {
            let clients = LazyCell::new(|| policy.clients(family, outcome));
            group.bench_function(row(&format!("{family}/{outcome}")), |bencher| {
                let (matcher, mut turns) = (&*matcher, clients.iter().cycle());
                bencher.iter(|| turns.next().map(|&c| matcher.longest_match(black_box(c))));
            });
        }
    }
}
