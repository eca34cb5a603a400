//! How many GB/s of mail data can be looked through for their end?
//!
//! A message of 1 MiB in the pieces in which a socket gives it, from the 354 to its terminator. What
//! counts is how long the lines are, because the scan stops at each of them. Nothing is copied.

use std::hint::black_box;

use criterion::Throughput;
use gatepost_benches::message::{Lines, content_octets, message};

const MESSAGE_OCTETS: usize = 1024 * 1024;

fn main() {
    let mut criterion = gatepost_benches::settings();
    let mut group = criterion.benchmark_group("data scan");
    for (name, lines) in [
        ("text, 78 columns at most", Lines::Text),
        ("base64, 76 columns", Lines::Base64),
        ("short lines, 20 columns", Lines::Short),
        ("empty lines", Lines::Empty),
        ("one line", Lines::One),
    ] {
        let message = message(lines, MESSAGE_OCTETS);
        group.throughput(Throughput::BytesDecimal(message.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| content_octets(black_box(&message))));
    }
    group.finish();
    criterion.final_summary();
}
