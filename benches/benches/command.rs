//! What does a command line cost?
//!
//! *parse* is one framed line, without its CRLF, from octets to a command. *envelope* is all that
//! comes before the data of a session with one recipient, framed and taken through the states of the
//! server, which is where the octets of a client meet us first.

use std::hint::black_box;

use criterion::Criterion;
use gatepost_benches::dialogue::{self, EHLO, MAIL, MAIL_WITH_PARAMETERS, RCPT};
use gatepost_smtp::{
    command::{self, Greeting},
    line::{self, Frame},
    server::{Connected, OpenEvent, ReadyEvent, Receiving, Step},
};

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
        bencher.iter(|| receive(black_box(&octets)));
    });
}

/// From the first command to the data.
fn receive(octets: &[u8]) -> Receiving {
    let mut lines = Lines(octets);
    let Step::Take(hello) = Connected.handle(lines.next()) else { panic!("EHLO is right") };
    let ready = Connected.greet(hello);
    let Step::Take(ReadyEvent::Mail(mail)) = ready.handle(lines.next()) else {
        panic!("MAIL is right")
    };
    black_box(mail);
    let mut open = ready.open();
    loop {
        match open.handle(lines.next()) {
            Step::Take(OpenEvent::Rcpt(rcpt)) => {
                black_box(rcpt);
                open.count_recipient(true);
            }
            Step::Take(OpenEvent::Data) => return open.receive().expect("a recipient stands"),
            other => panic!("neither RCPT nor DATA: {other:?}"),
        }
    }
}

/// What is left of the octets.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> &'a [u8] {
        let Frame::Line(octets) = line::frame(self.0) else { panic!("a line is left") };
        let (line, rest) = self.0.split_at(octets);
        self.0 = rest;
        &line[..octets - 2]
    }
}
