//! Do lookups stall while rulesets are swapped?
//!
//! Single lookups of clients that are allowed, timed one by one: first alone, then while another
//! thread publishes without a pause, once *prepared* rulesets and nothing but swapping, once rulesets
//! that are *compiled* anew, as a gateway does when it reloads. The clock is read twice for each
//! lookup; what that costs is printed and not subtracted.
//!
//! Whoever waits is not asked again in the meantime. So a row tells how many lookups are slow, not how
//! many clients would have met a slow one; where there are more threads than processors, the slowest
//! are those that the kernel has put aside. A million entries are asked only if
//! `GATEPOST_BENCH_MILLION` is set.

use std::{
    hint::black_box,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use gatepost_benches::{
    gateway::{Publisher, Supply, admit},
    policy::{Family, Outcome, Policy},
};
use gatepost_policy::snapshot::Snapshot;
use hdrhistogram::Histogram;

/// Lookups between two looks at whether it is time to stop.
const BATCH: usize = 1024;
/// A row of compiled rulesets sees so many swaps at least, however long they take.
const SWAPS_MIN: u32 = 4;
/// The slowest that is told from what is slower still.
const NANOSECONDS_MAX: u64 = 10_000_000_000;

fn main() {
    let (sizes, time): (&[u32], _) = if gatepost_benches::is_smoke_run() {
        (&[1_000], Duration::from_millis(10))
    } else if gatepost_benches::has_time_for_a_million() {
        (&[1_000, 100_000, 1_000_000], Duration::from_secs(2))
    } else {
        (&[1_000, 100_000], Duration::from_secs(2))
    };
    println!("nanoseconds; x is p99.9 in idle medians, swaps are of a second");
    println!(
        "{:30} {:>6} {:>6} {:>6} {:>9} {:>5} {:>8}",
        "", "p50", "p99", "p99.9", "max", "x", "swaps"
    );
    let clock = measure(time / 4, || false, || ());
    tell("the clock", &clock, clock.value_at_quantile(0.5), 0.0);
    for &entries in sizes {
        let policy = Arc::new(Policy::with_entries(entries));
        let snapshot = Arc::new(Snapshot::new(policy.compile()));
        for family in [Family::V4, Family::V6] {
            lookups(&policy, &snapshot, family, time);
        }
    }
}

/// The rows of one size and family.
fn lookups(policy: &Arc<Policy>, snapshot: &Arc<Snapshot>, family: Family, time: Duration) {
    let name = format!("{} entries, {family}", policy.networks().count());
    let clients = policy.clients(family, Outcome::Hit);
    let idle = timed(snapshot, &clients, time, || false);
    let idle_median = idle.value_at_quantile(0.5);
    tell(&format!("{name}, idle"), &idle, idle_median, 0.0);
    for (supply, swaps_min) in [(Supply::Prepared, 1), (Supply::Compiled, SWAPS_MIN)] {
        let publisher = Publisher::start(snapshot, policy, supply);
        let is_early = || publisher.published() < swaps_min;
        let latencies = timed(snapshot, &clients, time, is_early);
        let rate = publisher.finish();
        let name = format!("{name}, {supply:?}").to_lowercase();
        tell(&name, &latencies, idle_median, rate);
    }
}

fn timed(
    snapshot: &Snapshot,
    clients: &[IpAddr],
    time: Duration,
    is_early: impl Fn() -> bool,
) -> Histogram<u64> {
    let mut turns = clients.iter().cycle();
    measure(time, is_early, || turns.next().map(|&client| admit(snapshot, client)))
}

/// How long each call took, until the time is over and it is not too early to stop.
fn measure<T>(
    time: Duration,
    is_early: impl Fn() -> bool,
    mut call: impl FnMut() -> T,
) -> Histogram<u64> {
    let mut latencies = Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3).expect("right bounds");
    let began = Instant::now();
    while began.elapsed() < time || is_early() {
        for _ in 0..BATCH {
            let asked = Instant::now();
            let answer = black_box(call());
            let elapsed = asked.elapsed();
            // Not what a client waits for.
            drop(answer);
            latencies.saturating_record(elapsed.as_nanos() as u64);
        }
    }
    latencies
}

#[expect(clippy::cast_precision_loss, reason = "no more than three digits are printed")]
fn tell(name: &str, latencies: &Histogram<u64>, idle_median: u64, swaps: f64) {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| latencies.value_at_quantile(quantile));
    let times = p999 as f64 / idle_median as f64;
    println!(
        "{name:30} {p50:>6} {p99:>6} {p999:>6} {:>9} {times:>5.1} {swaps:>8.1}",
        latencies.max()
    );
}
