//! What does a reload cost the thread that does it?
//!
//! *compile* goes from the text of a policy to its ruleset. *recompile* does the same beside a
//! ruleset that is in use, and takes over what its clients have used up. *publish* swaps the ruleset
//! in and, as nobody else holds it, frees the old one. A million entries are measured only if
//! `GATEPOST_BENCH_MILLION` is set: they take two minutes.

use std::{cell::LazyCell, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use gatepost_benches::policy::Policy;
use gatepost_policy::snapshot::Snapshot;

fn main() {
    let mut criterion = gatepost_benches::settings();
    let sizes: &[u32] = if gatepost_benches::has_time_for_a_million() {
        &[1_000, 100_000, 1_000_000]
    } else {
        &[1_000, 100_000]
    };
    for &entries in sizes {
        reload(&mut criterion, entries);
    }
    criterion.final_summary();
}

fn reload(criterion: &mut Criterion, entries: u32) {
    let policy = LazyCell::new(|| Policy::with_entries(entries));
    let snapshot = LazyCell::new(|| Snapshot::new(policy.compile()));
    let mut group = criterion.benchmark_group("reload");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(6))
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(entries.into()));
    // The next is not made before the last is freed, outside the measurement.
    group.bench_function(BenchmarkId::new("compile", entries), |bencher| {
        bencher.iter_batched(|| (), |()| policy.compile(), BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("recompile", entries), |bencher| {
        let recompile = || policy.recompile(&snapshot.load());
        bencher.iter_batched(|| (), |()| recompile(), BatchSize::PerIteration);
    });
    group.bench_function(BenchmarkId::new("publish", entries), |bencher| {
        bencher.iter_batched(
            || policy.compile(),
            |ruleset| drop(snapshot.publish(ruleset)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
