//! What does the protocol engine cost a transaction?
//!
//! One transaction from MAIL to the reply after the final dot, through the machines of both sides,
//! in memory: no socket, no runtime, no policy, no log. The client pipelines, the upstream says yes,
//! and mail data goes on as slices of what was read. So a row is the least that a transaction costs;
//! what a gateway does on top of it is the business of the load test.

use std::hint::black_box;

use bytes::Bytes;
use criterion::BenchmarkId;
use gatepost_benches::{
    dialogue,
    engine::Relay,
    message::{Lines, message},
};

const KIB: usize = 1024;

fn main() {
    let mut criterion = gatepost_benches::settings();
    let mut group = criterion.benchmark_group("transaction");
    for (recipients, size, octets) in
        [(1, "4 KiB", 4 * KIB), (10, "4 KiB", 4 * KIB), (1, "1 MiB", KIB * KIB)]
    {
        let commands = Bytes::from(dialogue::envelope(recipients));
        let message = Bytes::from(message(Lines::Text, octets));
        let name = if recipients == 1 { "1 recipient" } else { "10 recipients" };
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            let mut relay = Some(Relay::new());
            bencher.iter(|| {
                let ready = relay.take().expect("given back below");
                relay = Some(ready.transact(black_box(&commands), black_box(&message)));
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
