//! The protocol engine of a relay at work, in memory: no socket, no runtime, no policy, no log.
//!
//! One transaction goes from MAIL to the reply after the final dot, through the machines of both sides.
//! The client pipelines, the upstream says yes, and mail data goes on as slices of what was read.

use std::hint::black_box;

use bytes::{Buf, Bytes, BytesMut};
use gatepost_smtp::{
    client::{self, Answer, Envelope, MailParameters, Opened, Opening, Plan},
    data::{Scan, TERMINATOR},
    header::HeaderScan,
    line::{self, Frame},
    reply::Reply,
    server::{self, Connected, Open, OpenEvent, ReadyEvent, Receiving, Step, replies},
};

use crate::{
    dialogue::{EHLO, UPSTREAM_EHLO, UPSTREAM_GO_AHEAD, UPSTREAM_OK},
    message::READ_OCTETS,
};

const SENDER_OK: Reply = Reply::fixed(250, (2, 1, 0), "Ok");

/// Both sides of a relay between two transactions.
pub struct Relay {
    server: server::Ready,
    client: client::Ready,
    wire: Wire,
}

/// What is sent, and what was read from the upstream.
struct Wire {
    to_client: BytesMut,
    to_upstream: BytesMut,
    from_upstream: BytesMut,
}

impl Relay {
    /// A client has said EHLO, and so have we.
    pub fn new() -> Self {
        let Step::Take(hello) = Connected.handle(EHLO) else { panic!("EHLO is right") };
        let buffer = || BytesMut::with_capacity(READ_OCTETS);
        let mut wire = Wire { to_client: buffer(), to_upstream: buffer(), from_upstream: buffer() };
        let greeting = Reply::plain(220, "mx.upstream.example ESMTP");
        let opening = Opening::new(Plan::plain("relay.example.com"));
        let Opened::More(opening) = opening.handle(&greeting, &mut wire.to_upstream) else {
            panic!("EHLO follows 220")
        };
        let ehlo = wire.hear(UPSTREAM_EHLO);
        let Opened::Ready(client) = opening.handle(&ehlo, &mut wire.to_upstream) else {
            panic!("the upstream says yes")
        };
        Self { server: Connected.greet(hello), client, wire }
    }

    /// One transaction: `commands` from MAIL to DATA, and the message with its terminator.
    #[must_use]
    pub fn transact(self, commands: &Bytes, message: &Bytes) -> Self {
        let Self { server, client, mut wire } = self;
        let mut input = commands.clone();
        let (open, envelope) = mail(server, client, &mut input, &mut wire);
        let (receiving, envelope) = recipients(open, envelope, &mut input, &mut wire);
        let body = envelope.into_body().expect("the upstream has said 354");
        let server = content(receiving, message);
        let reply = wire.hear(UPSTREAM_OK);
        let client = body.finish().handle(&reply).expect("a 250 ends the transaction");
        wire.say(&reply);
        wire.send();
        Self { server, client, wire }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

impl Wire {
    fn hear(&mut self, octets: &[u8]) -> Reply {
        self.from_upstream.extend_from_slice(octets);
        client::next_reply(&mut self.from_upstream).expect("a reply").expect("the whole of it")
    }

    fn say(&mut self, reply: &Reply) {
        reply.encode(&mut self.to_client);
    }

    /// Where the sockets would be.
    fn send(&mut self) {
        black_box((&self.to_client, &self.to_upstream));
        self.to_client.clear();
        self.to_upstream.clear();
    }
}

fn mail(
    server: server::Ready,
    client: client::Ready,
    input: &mut Bytes,
    wire: &mut Wire,
) -> (Open, Envelope) {
    let octets = line_octets(input);
    let Step::Take(ReadyEvent::Mail(mail)) = server.handle(&input[..octets - 2]) else {
        panic!("MAIL is right")
    };
    let parameters = MailParameters {
        reverse_path: mail.reverse_path.as_bytes(),
        size: mail.size,
        body: mail.body,
        smtputf8: mail.smtputf8,
        dsn: b"",
    };
    let envelope = client.mail(&parameters, &mut wire.to_upstream);
    wire.say(&SENDER_OK);
    input.advance(octets);
    (server.open(), envelope)
}

/// RCPT by RCPT and DATA in one group, and what the upstream says to all of it.
fn recipients(
    mut open: Open,
    mut envelope: Envelope,
    input: &mut Bytes,
    wire: &mut Wire,
) -> (Receiving, Envelope) {
    loop {
        let octets = line_octets(input);
        match open.handle(&input[..octets - 2]) {
            Step::Take(OpenEvent::Rcpt(rcpt)) => {
                envelope.recipient(rcpt.forward_path.as_bytes(), b"", &mut wire.to_upstream);
            }
            Step::Take(OpenEvent::Data) => break,
            other => panic!("neither RCPT nor DATA: {other:?}"),
        }
        input.advance(octets);
    }
    envelope.data(&mut wire.to_upstream);
    wire.send();
    while envelope.owed() {
        let octets = if envelope.envelope_owed() { UPSTREAM_OK } else { UPSTREAM_GO_AHEAD };
        match envelope.handle(wire.hear(octets)).expect("each reply answers a command") {
            Answer::Mail(_) => {}
            Answer::Recipient(reply) => {
                open.count_recipient(reply.is_positive());
                wire.say(&reply);
            }
            Answer::Data(_) => wire.say(&replies::GO_AHEAD),
        }
    }
    wire.send();
    (open.receive().expect("a recipient stands"), envelope)
}

/// Mail data, read by read: looked through for its end, and handed on as it is.
fn content(mut receiving: Receiving, message: &Bytes) -> server::Ready {
    let mut header = HeaderScan::new();
    let (mut taken, mut read) = (0, 0);
    loop {
        read = (read + READ_OCTETS).min(message.len());
        let (octets, ended) = match receiving.scan(&message[taken..read]) {
            Scan::More(octets) => (octets, false),
            Scan::End(octets) => (octets + TERMINATOR.len(), true),
            Scan::Fault(_, fault) => panic!("a generated message is right: {fault}"),
            Scan::Replace { .. } => unreachable!("a strict scanner replaces nothing"),
        };
        let piece = message.slice(taken..taken + octets);
        header.scan(&piece);
        black_box(piece);
        taken += octets;
        if ended {
            black_box(header);
            return receiving.end();
        }
    }
}

fn line_octets(input: &[u8]) -> usize {
    let Frame::Line(octets) = line::frame(input) else { panic!("a line is left") };
    octets
}
