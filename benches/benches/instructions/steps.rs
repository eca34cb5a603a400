//! The steps of the way: a command line, mail data, a reply, a line of the mail log.

use std::{hint::black_box, net::IpAddr};

use bytes::{Bytes, BytesMut};
use gatepost_benches::{
    dialogue::{
        self, EHLO, MAIL, MAIL_WITH_PARAMETERS, RCPT, UPSTREAM_EHLO, UPSTREAM_GO_AHEAD, UPSTREAM_OK,
    },
    instructions::counter::{Counter, WARM_UP},
    message::{Lines, content_octets, message},
};
use gatepost_delivery::Paths;
use gatepost_relay::{Event, EventType, Origin};
use gatepost_smtp::{
    client::next_reply,
    command::{self, Greeting},
    extension::{Offer, ehlo_reply},
    header::HeaderScan,
    reply::{Reply, ReplyCode},
    server::replies,
};

const KIB: usize = 1024;
/// How often what is short is done: once would be as good, but for what the allocator tidies now and then.
const TIMES: u32 = 64;
/// RCPT of a client that wants to be told (RFC 3461 §4).
const RCPT_WITH_PARAMETERS: &[u8] =
    b"RCPT TO:<first.last@customer.example.net> NOTIFY=FAILURE,DELAY \
    ORCPT=rfc822;first.last@customer.example.net";
const OK_TEXT: &[u8] = b"2.0.0 OK 4f1c8a2d9e-af79cd13be357si2163911a.42 - gsmtp";

/// Lines as in `command.rs` beside this, and all those of an envelope.
pub(crate) fn command(counter: &mut Counter<'_>) {
    for (name, line) in [
        ("command/BDAT", &b"BDAT 4096 LAST"[..]),
        ("command/DATA", b"DATA"),
        ("command/EHLO", EHLO),
        ("command/MAIL", MAIL),
        ("command/MAIL with parameters", MAIL_WITH_PARAMETERS),
        ("command/NOOP", b"NOOP"),
        ("command/QUIT", b"QUIT"),
        ("command/RCPT", RCPT),
        ("command/RCPT with parameters", RCPT_WITH_PARAMETERS),
    ] {
        counter.row(name, TIMES, || {
            command::parse(black_box(line), Greeting::Ehlo).expect("the line is right");
        });
    }
    let octets = [EHLO, b"\r\n", &dialogue::envelope(1)].concat();
    counter.row("command/envelope", TIMES, || dialogue::receive(black_box(&octets)));
}

/// Mail data, looked through for their end, and for what the header section says.
pub(crate) fn data(counter: &mut Counter<'_>) {
    for (size, octets, times) in [("4 KiB", 4 * KIB, TIMES), ("1 MiB", KIB * KIB, 1)] {
        for (name, lines) in [
            ("base64", Lines::Base64),
            ("dotted", Lines::Dotted),
            ("empty lines", Lines::Empty),
            ("one line", Lines::One),
            ("text", Lines::Text),
        ] {
            let message = message(lines, octets);
            let name = format!("data/{name}/{size}");
            let scan = || content_octets(black_box(&message));
            counter.octets_row((&name, message.len()), times, scan);
        }
    }
    let message = message(Lines::Text, 4 * KIB);
    counter.row("data/header section", TIMES, || {
        let mut header = HeaderScan::new();
        header.scan(black_box(&message));
        header
    });
}

/// Replies as in `reply.rs` beside this, and what the mail log says of a message.
pub(crate) fn reply(counter: &mut Counter<'_>) {
    for (name, octets) in [
        ("reply/hear 250 with status", UPSTREAM_OK),
        ("reply/hear 354", UPSTREAM_GO_AHEAD),
        ("reply/hear eight lines of EHLO", UPSTREAM_EHLO),
    ] {
        let mut inputs = vec![BytesMut::from(octets); (TIMES + WARM_UP) as usize];
        let mut turns = inputs.iter_mut();
        counter.row(name, TIMES, || {
            let input = turns.next().expect("one for each time");
            next_reply(input).expect("a reply").expect("the whole of it")
        });
    }
    let offer = Offer { size_octets_max: 25 * 1024 * 1024, ..Offer::default() };
    for (name, reply) in [
        ("reply/say our 250", replies::OK),
        (
            "reply/say 250 of the upstream",
            Reply::heard(ReplyCode::new(250), Bytes::from_static(OK_TEXT)),
        ),
        ("reply/say six lines of EHLO", ehlo_reply("relay.example.com", offer)),
    ] {
        let mut out = BytesMut::with_capacity(4 * KIB);
        counter.row(name, TIMES, || {
            out.clear();
            black_box(&reply).encode(&mut out)
        });
    }
    mail_log(counter);
}

/// What the mail log does with a message that its upstream takes at once, before it hands the lines over.
fn mail_log(counter: &mut Counter<'_>) {
    let mut recipients = Paths::default();
    recipients.push(b"first.last@customer.example.net", b"");
    let origin = Origin {
        session_id: "1g8Vq2nK7pA",
        listener: "smtp",
        entry: Some("app-000017"),
        credential: None,
        generation: "42-9f86d0",
        client: IpAddr::from([10, 17, 3, 25]),
        helo: Some("app-17.eu-west.billing.internal"),
        tls: None,
    };
    let reply = Reply::heard(ReplyCode::new(250), Bytes::from_static(OK_TEXT));
    // One with a fraction, as nearly all have; it is written into the event rather than asked for.
    let time = jiff::Timestamp::new(1_763_766_000, 123_456_789).expect("a moment of this century");
    let event = Event {
        time,
        sender: Some(b"bounce+4711=someone=example.net@billing.example.com"),
        recipients: Some(&recipients),
        size: Some(4096),
        mode: Some("sync"),
        upstream: Some("upstream"),
        attempt: Some(1),
        duration_ms: Some(7),
        ..Event::new(EventType::Delivery, origin, Some(&reply))
    };
    let names = [(EventType::Reception, None), (EventType::Delivery, Some(1))];
    counter.row("reply/mail log of a delivery", TIMES, || black_box(&event).lines(&names));
}
