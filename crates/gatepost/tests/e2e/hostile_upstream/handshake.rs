//! On the way to TLS: what is said to STARTTLS, and what comes in the place of a handshake. Whoever it
//! is, they hear no password, and no mail where TLS is required.

use std::time::{Duration, Instant};

use gatepost_testkit::upstream::{Action, Move};
use gatepost_testkit::{ScriptedUpstream, Versions};

use super::State::StartTls;
use super::{CLOSED, FLOOD, NO_REPLY, Row, SLOW, TOO_SLOW, UNENDED, Wire, play, say};
use crate::harness::{Harness, POLICY};
use crate::upstream_tls::{World, at_rcpt, deliver};

const NO_TLS: &str = "no TLS: STARTTLS: ";
const NO_HANDSHAKE: &str = "TLS: ";
const NO_CONNECTION: &str = "RCPT 451 4.4.1 no connection to the upstream";
const BUSY: &str = "RCPT 451 4.3.2 the upstream is busy";

fn row(what: &str, moves: Vec<Move>, reason: &'static str) -> Row {
    Row::new(StartTls, what, moves, NO_CONNECTION).because(reason)
}

/// With a password to be kept, and without.
async fn play_both(rows: impl Fn() -> Vec<Row>) {
    let tls = rows().into_iter().map(|row| row.over(Wire::StartTls(Versions::Both)));
    let login = rows().into_iter().map(|row| row.over(Wire::Login("plain")));
    play(tls.chain(login).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_said_to_starttls_there_is_tls_or_no_mail() {
    play_both(|| {
        let sent = vec![Move::say("220-2.0.0 go\r\n220 ahead\r\n")];
        let later = vec![Move::say("220-2.0.0 go\r\n"), Move::Wait(SLOW), Move::say("220 on\r\n")];
        vec![
            Row::new(StartTls, "220 in two lines", sent, ". 250 2.0.0 queued").kept(),
            Row::new(StartTls, "220 in two pieces", later, ". 250 2.0.0 queued").kept(),
            row("250", say("250 ok\r\n"), "refused: 250"),
            row("334", say("334 go on\r\n"), "refused: 334"),
            row("454", say("454 4.7.0 not now\r\n"), NO_TLS),
            row("500", say("500 5.5.1 what?\r\n"), NO_TLS),
            row("554", say("554 5.7.0 no\r\n"), NO_TLS),
            row("554, and closes", vec![Move::say("554 5.7.0 no\r\n"), Move::Close], NO_TLS),
            Row::new(StartTls, "421", say("421 4.3.0 bye\r\n"), BUSY).because("refused: 421"),
            row("nothing", vec![Move::Silence], TOO_SLOW),
            row("hears nothing", vec![Move::Deaf], TOO_SLOW),
            row("the end", vec![Move::HalfClose], CLOSED),
            row("half a 220", vec![Move::say("220-go\r\n"), Move::Silence], TOO_SLOW),
            row("half a 220, the end", vec![Move::say("220-go\r\n"), Move::Close], CLOSED),
            row("a slow 220", vec![Move::Drip([b'2'; 99].to_vec(), SLOW)], TOO_SLOW),
            row("nonsense", say("Hello, world!\r\n"), NO_REPLY),
            row("no line end", vec![Move::Repeat([b'2'; 999].to_vec(), FLOOD)], UNENDED),
            row("TLS at once", vec![Move::Say(vec![22, 3, 3, 0, 1, b'\n'])], NO_REPLY),
        ]
    })
    .await;
}

/// What may be in the place of a server's part in a handshake.
fn handshakes() -> Vec<(&'static str, Vec<Move>, &'static str)> {
    let record = |kind: u8, content: &[u8]| {
        let octets = u16::try_from(content.len()).expect("a record").to_be_bytes();
        [&[kind, 3, 3], &octets[..], content].concat()
    };
    let alert = |level: u8, what: u8| record(21, &[level, what]);
    // ServerHello of 64 KiB, as far as it goes.
    let endless_hello = record(22, &[&[2, 1, 0, 0, 3, 3][..], &[0; 8000]].concat());
    vec![
        ("a refusal", vec![Move::Say(alert(2, 40)), Move::Silence], NO_HANDSHAKE),
        ("a refusal and the end", vec![Move::Say(alert(2, 70)), Move::Close], NO_HANDSHAKE),
        ("the end", vec![Move::Close], NO_HANDSHAKE),
        ("half the end", vec![Move::HalfClose], NO_HANDSHAKE),
        ("a reset", vec![Move::Reset], NO_HANDSHAKE),
        // Nobody has sealed it: it is not believed.
        ("the end, said and not done", vec![Move::Say(alert(1, 0)), Move::Silence], TOO_SLOW),
        ("warnings without an end", vec![Move::Repeat(alert(1, 90), FLOOD)], NO_HANDSHAKE),
        ("nothing", vec![Move::Silence], TOO_SLOW),
        ("somebody deaf", vec![Move::Deaf], TOO_SLOW),
        ("a drip", vec![Move::Drip(endless_hello.clone(), SLOW)], TOO_SLOW),
        ("half a record", vec![Move::Say(vec![22, 3, 3, 16, 0, 2]), Move::Silence], TOO_SLOW),
        ("half, and the end", vec![Move::Say(vec![22, 3, 3, 16]), Move::Close], NO_HANDSHAKE),
        ("plain text", vec![Move::say("250-here\r\n250 AUTH PLAIN\r\n")], NO_HANDSHAKE),
        ("a page", vec![Move::say("HTTP/1.1 400 Bad Request\r\n\r\n")], NO_HANDSHAKE),
        ("zeroes without an end", vec![Move::Repeat(vec![0; 9999], FLOOD)], NO_HANDSHAKE),
        ("noise without an end", vec![Move::Repeat(b"\x16\x03\x03".repeat(999), FLOOD)], ""),
        ("empty records", vec![Move::Repeat(record(22, &[]), FLOOD)], NO_HANDSHAKE),
        ("an endless hello", vec![Move::Repeat(endless_hello, FLOOD)], NO_HANDSHAKE),
        ("sealed too early", vec![Move::Say(record(23, &[0; 32]))], NO_HANDSHAKE),
        ("keys too early", vec![Move::Repeat(record(20, &[1]), FLOOD)], NO_HANDSHAKE),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_is_none_ends_in_time() {
    play_both(|| {
        let rows = handshakes().into_iter().map(|(what, moves, reason)| {
            let mut all = vec![Move::say("220 2.0.0 go\r\n"), Move::Hear];
            all.extend(moves);
            // Whoever says it must not begin TLS behind it.
            if !matches!(all.last(), Some(Move::Close | Move::Reset | Move::Repeat(..))) {
                all.push(Move::Silence);
            }
            row(what, all, reason)
        });
        rows.collect()
    })
    .await;
}

/// Whoever can break a handshake can take STARTTLS out of an offer: mail that may go in plain text
/// goes. A login never does.
#[tokio::test]
async fn where_tls_is_opportunistic_a_broken_handshake_costs_another_connection() {
    for moves in [
        vec![Move::Say(vec![21, 3, 3, 0, 2, 2, 40]), Move::Silence],
        vec![Move::say("250 plain text\r\n"), Move::Silence],
        vec![Move::Close],
    ] {
        let world = World::new();
        let all = [&[Move::say("220 go\r\n"), Move::Hear], &moves[..]].concat();
        let upstream = world.upstream().on("STARTTLS", Action::Play(all)).start();
        let harness = world.gateway(&upstream, "tls = \"opportunistic\"");
        deliver(&harness).await;
        let messages = upstream.wait_for_messages(1).await;
        assert_eq!((messages[0].connection, upstream.connections_opened()), (1, 2), "{moves:?}");
        upstream.wait_for_open(1).await;
        upstream.stop().await;
    }
}

/// At the port of implicit TLS there is a server that greets, one that waits for a greeting of ours,
/// and one that floods. None of them is believed.
#[tokio::test]
async fn plain_text_where_tls_begins_at_once_is_not_believed() {
    const WITHIN: Duration = Duration::from_millis(500);
    for greeting in [
        Action::Reply("220 here".to_owned()),
        Action::Silence,
        Action::Play(vec![Move::Hear, Move::Say(vec![21, 3, 3, 0, 2, 2, 40]), Move::Silence]),
        Action::Play(vec![Move::Repeat(b"220-here\r\n".repeat(99), FLOOD)]),
    ] {
        let world = World::new();
        let upstream = ScriptedUpstream::builder().greeting(greeting.clone()).start();
        let text = world.config(&upstream, "tls = \"implicit\"\nca_file = \"DIR/ca.pem\"");
        let harness = Harness::adjusted(&text, POLICY, |config| {
            config.upstreams[0].connect_timeout = WITHIN;
        });
        let began = Instant::now();
        let reply = at_rcpt(&harness).await;
        assert!(reply.starts_with("451 4.4.1 "), "{greeting:?}: {reply}");
        assert!(began.elapsed() < WITHIN * 4, "{greeting:?}: {:?}", began.elapsed());
        upstream.wait_for_open(0).await;
        assert!(!upstream.lines().iter().any(|line| line.starts_with("EHLO")), "{greeting:?}");
        upstream.stop().await;
    }
}
