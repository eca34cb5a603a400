//! What does a reply cost, heard from an upstream or said to a client?
//!
//! *hear* takes one reply out of what was just read, the buffer's way to shared octets included.
//! *say* appends one to a buffer that has room.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion};
use gatepost_benches::dialogue::{UPSTREAM_EHLO, UPSTREAM_GO_AHEAD, UPSTREAM_OK};
use gatepost_smtp::{
    client::next_reply,
    extension::{Offer, ehlo_reply},
    reply::{Reply, ReplyCode},
    server::replies,
};

fn main() {
    let mut criterion = gatepost_benches::settings();
    hear(&mut criterion);
    say(&mut criterion);
    criterion.final_summary();
}

fn hear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reply/hear");
    for (name, octets) in [
        ("354", UPSTREAM_GO_AHEAD),
        ("250 with status", UPSTREAM_OK),
        ("eight lines of EHLO", UPSTREAM_EHLO),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || BytesMut::from(octets),
                |input| next_reply(input).expect("a reply").expect("the whole of it"),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn say(criterion: &mut Criterion) {
    let heard = Reply::heard(
        ReplyCode::new(250),
        Bytes::from_static(b"2.0.0 OK 4f1c8a2d9e-af79cd13be357si2163911a.42 - gsmtp"),
    );
    let mut group = criterion.benchmark_group("reply/say");
    for (name, reply) in [
        ("our 250", replies::OK),
        ("250 of the upstream", heard),
        (
            "six lines of EHLO",
            ehlo_reply(
                "relay.example.com",
                Offer { size_octets_max: 25 * 1024 * 1024, ..Offer::default() },
            ),
        ),
    ] {
        let mut out = BytesMut::with_capacity(4096);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&reply).encode(&mut out)
            });
        });
    }
    group.finish();
}
