//! What looks odd and is allowed: the message goes through, and the connection is kept.

use std::time::Duration;

use gatepost_testkit::upstream::Move;

use super::State::{Chunk, Data, Dot, Ehlo, Greeting, LastChunk, Mail, Rcpt};
use super::{Row, State, play, say};

/// An octet in a packet of its own, and all of them long before the deadline.
const QUICK: Duration = Duration::from_millis(1);

/// The polite reply in each state.
const POLITE: [(State, &str); 8] = [
    (Greeting, "220 sink.test ESMTP\r\n"),
    (Ehlo, "250-sink.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
    (Mail, "250 2.1.0 Ok\r\n"),
    (Rcpt, "250 2.1.5 Ok\r\n"),
    (Data, "354 go ahead\r\n"),
    (Dot, "250 2.0.0 queued\r\n"),
    (Chunk, "250 2.0.0 chunk\r\n"),
    (LastChunk, "250 2.0.0 queued\r\n"),
];

fn taken(state: State) -> &'static str {
    match state {
        Chunk | LastChunk => "LAST 250 2.0.0",
        _ => ". 250 2.0.0",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_may_come_in_pieces_and_late() {
    let rows = POLITE.into_iter().flat_map(|(state, reply)| {
        let (all_but_lf, lf) = reply.split_at(reply.len() - 1);
        [
            ("octet by octet", vec![Move::Drip(reply.into(), QUICK)]),
            ("late", vec![Move::Wait(Duration::from_millis(500)), Move::say(reply)]),
            ("the LF later", vec![Move::say(all_but_lf), Move::Wait(QUICK), Move::say(lf)]),
        ]
        .map(|(what, moves)| Row::new(state, what, moves, taken(state)).kept())
    });
    play(rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_may_look_odd() {
    let long = format!("250 2.1.0 {}\r\n", "x".repeat(8000));
    let many = format!("{}250 2.1.0 ok\r\n", "250-2.1.0 ok\r\n".repeat(500));
    let rows = [
        (Greeting, "lines", "220-a\r\n220-\r\n220 b\r\n"),
        (Greeting, "a code alone", "220\r\n"),
        (Ehlo, "keywords in lower case", "250-sink.test\r\n250-pipelining\r\n250 8bitmime\r\n"),
        (
            Ehlo,
            "words nobody knows",
            "250-\r\n250-SIZE x\r\n250-\0\x1b[2J\r\n250 LIMITS RCPTMAX=0\r\n",
        ),
        (Mail, "a code alone", "250\r\n"),
        (Mail, "a code and a blank", "250 \r\n"),
        (Mail, "a long line", &long),
        (Mail, "many lines", &many),
        (Rcpt, "another yes", "251 2.1.5 will forward\r\n"),
        (Rcpt, "UTF-8", "250 2.1.5 größer\r\n"),
        (Rcpt, "control characters", "250 2.1.5 a\rb\0c\x1b[31m\t\r\n"),
        (Rcpt, "the status of another class", "250 5.1.1 ok\r\n"),
        (Data, "lines", "354-go\r\n354 ahead\r\n"),
        (Data, "no words", "354\r\n"),
        (Dot, "no status", "250 queued\r\n"),
        (Dot, "lines", "250-2.0.0 queued\r\n250 2.0.0 as 42\r\n"),
    ];
    play(rows.map(|(state, what, reply)| {
        let hears = if what == "lines" && state == Dot { ". 250-2.0.0" } else { ". 250 2.0.0" };
        Row::new(state, what, say(reply), hears).kept()
    }))
    .await;
}

/// Taken is taken, whatever the connection does next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_holds_though_the_connection_ends_behind_it() {
    let yes = || Move::say("250 2.0.0 queued\r\n");
    let rows = [Dot, LastChunk].into_iter().flat_map(|state| {
        [
            ("closes", vec![yes(), Move::Close]),
            ("closes its side", vec![yes(), Move::HalfClose]),
            ("resets", vec![yes(), Move::Reset]),
        ]
        .map(|(what, moves)| Row::new(state, what, moves, taken(state)))
    });
    play(rows).await;
}
