//! The two ends of a dialogue that is no question of its own: what clients and upstreams say.

use std::hint::black_box;

use gatepost_smtp::{
    line::{self, Frame},
    server::{Connected, OpenEvent, ReadyEvent, Receiving, Step},
};

/// A client's name for itself.
pub const EHLO: &[u8] = b"EHLO app-17.eu-west.billing.internal";
/// The reverse-path of an application.
pub const MAIL: &[u8] = b"MAIL FROM:<bounce+4711=someone=example.net@billing.example.com>";
/// The same with the parameters of a mail library.
pub const MAIL_WITH_PARAMETERS: &[u8] =
    b"MAIL FROM:<bounce+4711=someone=example.net@billing.example.com> BODY=8BITMIME SIZE=48213";
/// A forward-path.
pub const RCPT: &[u8] = b"RCPT TO:<first.last@customer.example.net>";

/// What an upstream answers to EHLO: the words of a large provider.
pub const UPSTREAM_EHLO: &[u8] = b"250-mx.upstream.example at your service, [192.0.2.17]\r\n\
    250-SIZE 157286400\r\n\
    250-8BITMIME\r\n\
    250-STARTTLS\r\n\
    250-ENHANCEDSTATUSCODES\r\n\
    250-PIPELINING\r\n\
    250-CHUNKING\r\n\
    250 SMTPUTF8\r\n";
/// What it answers to MAIL and RCPT.
pub const UPSTREAM_OK: &[u8] = b"250 2.1.0 OK 4f1c8a2d9e-af79cd13be357si2163911a.42 - gsmtp\r\n";
/// What it answers to DATA.
pub const UPSTREAM_GO_AHEAD: &[u8] = b"354 Go ahead 4f1c8a2d9e-af79cd13be357si2163911a.42\r\n";

/// The commands of one transaction as a pipelining client sends them (RFC 2920 §3.1).
pub fn envelope(recipients: usize) -> Vec<u8> {
    let recipients = std::iter::repeat_n(RCPT, recipients);
    let commands = std::iter::once(MAIL_WITH_PARAMETERS).chain(recipients).chain([&b"DATA"[..]]);
    commands.flat_map(|line| [line, b"\r\n"]).collect::<Vec<_>>().concat()
}

/// Hears a client from its first command to its data, framed and taken through the states of the server.
pub fn receive(octets: &[u8]) -> Receiving {
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
