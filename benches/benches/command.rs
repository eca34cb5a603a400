//! What does a command line cost?
//!
//! *parse* is one framed line, without its CRLF, from octets to a command. *envelope* is all that
//! comes before the data of a session with one recipient, framed and taken through the states of the
//! server, which is where the octets of a client meet us first.

use std::hint::black_box;

use criterion::Criterion;
use gatepost_benches::dialogue::{self, EHLO, MAIL, MAIL_WITH_PARAMETERS, RCPT};
use gatepost_smtp::command::{self, Greeting};

fn main() {
    let mut criterion = gatepost_benches::settings();
    parse(&mut criterion);
    envelope(&mut criterion);
    criterion.final_summary();
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command/parse");
    for (name, line) in [
        ("EHLO", EHLO),
        ("MAIL", MAIL),
        ("MAIL with parameters", MAIL_WITH_PARAMETERS),
        ("NOOP", b"NOOP"),
        ("RCPT", RCPT),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                command::parse(black_box(line), Greeting::Ehlo).expect("the line is right")
            });
        });
    }
    group.finish();
}

fn envelope(criterion: &mut Criterion) {
    let octets = [EHLO, b"\r\n", &dialogue::envelope(1)].concat();
    criterion.bench_function("command/envelope", |bencher| {
        bencher.iter(|| dialogue::receive(black_box(&octets)));
    });
}
