//! How much memory does an entry take?
//!
//! Counted is what a ruleset gives back when it is dropped: octets that were asked for, without what
//! the allocator adds to each. Allocations are counted by thread, and a ruleset is compiled on more
//! than one; it is dropped on one. Counting slows every allocation down, so nothing else is measured
//! here. A million entries are looked at only if `GATEPOST_BENCH_MILLION` is set.

use gatepost_benches::policy::Policy;

fn main() {
    let sizes: &[u32] = if gatepost_benches::has_time_for_a_million() {
        &[1_000, 100_000, 1_000_000]
    } else if gatepost_benches::is_smoke_run() {
        &[1_000]
    } else {
        &[1_000, 100_000]
    };
    println!(
        "{:>9} {:>8} {:>8} {:>8} {:>12}",
        "entries", "octets", "tables", "entry", "allocations"
    );
    for &entries in sizes {
        weigh(entries);
    }
}

/// Prints what there is of one entry.
#[expect(clippy::cast_precision_loss, reason = "no more than four digits are printed")]
fn weigh(entries: u32) {
    let ruleset = Policy::with_entries(entries).compile();
    let mut shared = ruleset.entries().to_vec();
    let tables = given_back(|| drop(ruleset));
    let single = given_back(|| shared.clear());
    let each = |held: i64| held as f64 / f64::from(entries);
    println!(
        "{entries:>9} {:>8.0} {:>8.0} {:>8.0} {:>12.1}",
        each(tables.octets + single.octets),
        each(tables.octets),
        each(single.octets),
        each(tables.allocations + single.allocations),
    );
}

struct Held {
    octets: i64,
    allocations: i64,
}

fn given_back(drops: impl FnOnce()) -> Held {
    let counted = allocation_counter::measure(drops);
    Held { octets: -counted.bytes_current, allocations: -counted.count_current }
}
