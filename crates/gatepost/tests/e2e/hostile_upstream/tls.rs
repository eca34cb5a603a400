//! TLS that goes wrong behind the handshake, in every state: alerts, an end that is said or not said,
//! octets that nobody has sealed. And what is no fault: small records, other keys.
//!
//! An end without `close_notify` is what somebody on the line can make (RFC 8446 §6.1): a reply that is
//! cut off by it is none, and one that was whole before it is one.

use std::time::Duration;

use gatepost_testkit::Versions;
use gatepost_testkit::upstream::Move;

use super::State::{
    Auth, Body, Chunk, Data, Dot, Ehlo, Greeting, Idle, InChunk, LastChunk, Mail, Rcpt, Reused,
    Rset,
};
use super::silence::table as silence;
use super::{CLOSED, Row, State, TOO_SLOW, Wire, play, say};

const STATES: [State; 14] = [
    Greeting, Ehlo, Auth, Mail, Rcpt, Data, Body, Dot, InChunk, Chunk, LastChunk, Rset, Idle,
    Reused,
];
/// While a connection is opened, trouble with TLS has a name of its own.
const ALERT: &str = "TLS: received fatal alert";
const NOT_SEALED: &str = "TLS: ";
const LOST: &str = "connection lost: TLS: ";

/// The beginning of a record of 64 octets.
const SOME_OF_A_RECORD: &[u8] = &[23, 3, 3, 0, 64, 1, 2, 3];
/// As it stands in front of keys.
const ALERT_IN_PLAIN_TEXT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

fn wire(state: State, versions: Versions) -> Wire {
    match state {
        Greeting => Wire::Implicit(versions),
        Auth => Wire::Login("plain"),
        _ => Wire::StartTls(versions),
    }
}

/// What the upstream does instead of answering, and why that is no answer.
fn table() -> Vec<(&'static str, Vec<Move>, &'static str)> {
    let beneath = |octets: &[u8]| Move::Beneath(octets.to_vec());
    let alert = |said: &str| vec![Move::Alert(said.as_bytes().to_vec())];
    vec![
        ("fails", alert(""), ALERT),
        ("fails in the middle of a line", alert("250 ok"), ALERT),
        ("fails between lines", alert("250-ok\r\n"), ALERT),
        ("says the end, and stays", vec![Move::CloseNotify, Move::Silence], CLOSED),
        (
            "says the end in the middle of a line",
            vec![Move::say("250 ok"), Move::CloseNotify, Move::Silence],
            CLOSED,
        ),
        (
            "says the end between lines",
            vec![Move::say("250-ok\r\n"), Move::CloseNotify, Move::Deaf],
            CLOSED,
        ),
        ("is cut off", vec![Move::Fin], CLOSED),
        ("is cut off in the middle of a line", vec![Move::say("250 ok"), Move::Fin], CLOSED),
        ("is cut off between lines", vec![Move::say("250-ok\r\n"), Move::Fin], CLOSED),
        ("is cut off in a record", vec![beneath(SOME_OF_A_RECORD), Move::Fin], CLOSED),
        ("stops in a record", vec![beneath(SOME_OF_A_RECORD), Move::Silence], TOO_SLOW),
        ("says it in plain text", vec![beneath(b"250 ok\r\n"), Move::Silence], NOT_SEALED),
        (
            "goes on in plain text",
            vec![Move::say("250-ok\r\n"), beneath(b"250 ok\r\n"), Move::Deaf],
            NOT_SEALED,
        ),
        ("fails in plain text", vec![beneath(ALERT_IN_PLAIN_TEXT), Move::Silence], NOT_SEALED),
        ("has garbage", vec![beneath(&[0xff; 999]), Move::Silence], NOT_SEALED),
    ]
}

fn row(state: State, versions: Versions, what: &str, moves: &[Move], reason: &'static str) -> Row {
    let is_opening = matches!(state, Greeting | Ehlo | Auth);
    let reason = match reason {
        ALERT | NOT_SEALED if !is_opening => LOST,
        reason => reason,
    };
    let mut row = Row::anywhere(state, what, moves.to_vec(), reason).over(wire(state, versions));
    // Nothing that could be understood was said, and so the message went on to its end.
    row.is_ambiguous |= state == Body && reason == TOO_SLOW;
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_that_goes_wrong_ends_the_connection() {
    let mut rows = Vec::new();
    for (what, moves, reason) in table() {
        for state in STATES {
            for versions in [Versions::Only12, Versions::Only13] {
                rows.push(row(state, versions, what, &moves, reason));
            }
        }
    }
    play(rows).await;
}

/// As in plain text, where all states are gone through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_whole_reply_behind_tls_is_left() {
    let rows = silence().into_iter().flat_map(|(what, moves, reason)| {
        [Greeting, Ehlo, Auth, Mail, Dot]
            .map(|state| row(state, Versions::Both, what, &moves, reason))
    });
    play(rows.collect::<Vec<_>>()).await;
}

/// Whatever comes behind it, in the same segment or later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_reply_holds_though_tls_ends_behind_it() {
    let replies = [
        (Rcpt, "550 5.1.1 no such user", "RCPT 550 5.1.1 no such user"),
        (Data, "554 5.7.1 not you", ". 554 5.7.1 not you"),
        (Body, "552 5.3.4 too big", ". 552 5.3.4 too big"),
        (Dot, "250 2.0.0 queued", ". 250 2.0.0 queued"),
        (Dot, "550 5.7.1 spam", ". 550 5.7.1 spam"),
        (Chunk, "452 4.3.1 full", "BDAT 452 4.3.1 full"),
        (LastChunk, "250 2.0.0 queued", "LAST 250 2.0.0 queued"),
        (Rset, "250 2.0.0 ok", "RCPT 250"),
    ];
    let rows = replies.into_iter().flat_map(|(state, reply, hears)| {
        let line = format!("{reply}\r\n");
        let beneath = |octets: &[u8]| Move::Beneath(octets.to_vec());
        let endings = [
            ("and fails", vec![Move::Alert(line.clone().into_bytes())]),
            ("and says the end", vec![Move::say(&line), Move::CloseNotify, Move::Silence]),
            ("and is cut off", vec![Move::say(&line), Move::Fin]),
            ("and plain text", vec![Move::say(&line), beneath(b"250 ok\r\n"), Move::Silence]),
        ];
        endings.into_iter().flat_map(move |(then, moves)| {
            [Versions::Only12, Versions::Only13].map(|versions| {
                let what = format!("{reply} {then}");
                Row::new(state, &what, moves.clone(), hears).over(wire(state, versions))
            })
        })
    });
    play(rows.collect::<Vec<_>>()).await;
}

/// Records may be as small as they like, and keys be changed at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_records_and_new_keys_are_legal() {
    let replies = [
        (Greeting, "220 here\r\n"),
        (Ehlo, "250-here\r\n250 8BITMIME\r\n"),
        (Auth, "235 2.7.0 welcome\r\n"),
        (Mail, "250 ok\r\n"),
        (Rcpt, "250 ok\r\n"),
        (Data, "354 go on\r\n"),
        (Body, ""),
        (Dot, "250 2.0.0 queued\r\n"),
        (Chunk, "250 ok\r\n"),
        (LastChunk, "250 2.0.0 queued\r\n"),
        (Rset, "250 ok\r\n"),
        (Idle, ""),
        (Reused, "250 ok\r\n"),
    ];
    let rows = replies.into_iter().flat_map(|(state, reply)| {
        let hears = match state {
            Rset => "RCPT 250",
            Chunk | LastChunk => "LAST 250 2.0.0 queued",
            _ => ". 250 2.0.0 queued",
        };
        let kept = |what, moves, versions| {
            Row::new(state, what, moves, hears).over(wire(state, versions)).kept()
        };
        let drip = || vec![Move::Drip(reply.as_bytes().to_vec(), Duration::ZERO)];
        let keys = || [vec![Move::NewKeys, Move::NewKeys], say(reply)].concat();
        [
            (!reply.is_empty()).then(|| kept("octet by octet", drip(), Versions::Only12)),
            (!reply.is_empty()).then(|| kept("octet by octet", drip(), Versions::Only13)),
            Some(kept("new keys", keys(), Versions::Only13)),
        ]
    });
    play(rows.flatten().collect::<Vec<_>>()).await;
}

/// Two who listen have changed their minds behind TLS: what was offered in front of it is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_behind_tls_is_what_counts() {
    let rows = [
        Row::new(Ehlo, "nothing", say("250 here\r\n"), ". 250 2.0.0 queued").kept(),
        Row::new(Ehlo, "STARTTLS", say("250-here\r\n250 STARTTLS\r\n"), ". 250 2.0.0").kept(),
        Row::new(Ehlo, "no EHLO", say("502 5.5.1 what?\r\n"), ". 250 2.0.0 queued").kept(),
        Row::new(Ehlo, "not now", say("451 4.3.0 later\r\n"), "RCPT 451 4.4.1"),
    ]
    .map(|row| row.over(Wire::StartTls(Versions::Both)));
    let without_auth = [
        Row::new(Ehlo, "no AUTH", say("250 here\r\n"), "RCPT 451 4.4.1"),
        Row::new(Ehlo, "others", say("250-here\r\n250 AUTH GSSAPI\r\n"), "RCPT 451 4.4.1"),
        Row::new(Ehlo, "no EHLO", say("502 5.5.1 what?\r\n"), "RCPT 451 4.3.5").last(),
    ]
    .map(|row| row.over(Wire::Login("plain")));
    play(rows.into_iter().chain(without_auth)).await;
}
