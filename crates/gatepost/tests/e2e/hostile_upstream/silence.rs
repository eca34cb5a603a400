//! Where a reply is due, there is none, or not enough of one, or the connection ends.

use gatepost_testkit::upstream::Move;

use super::{CLOSED, FLOOD, RESET, Row, SLOW, TOO_SLOW, UNENDED, play};

/// What the upstream does instead of answering, and why that is no answer.
pub(super) fn table() -> Vec<(&'static str, Vec<Move>, &'static str)> {
    let reply_of_an_hour = format!("250 {}\r\n", "x".repeat(500)).into_bytes();
    vec![
        ("says nothing", vec![Move::Silence], TOO_SLOW),
        ("hears nothing", vec![Move::Deaf], TOO_SLOW),
        ("closes", vec![Move::Close], CLOSED),
        ("closes its side and listens on", vec![Move::HalfClose], CLOSED),
        ("resets", vec![Move::Reset], RESET),
        ("closes in the middle of a line", vec![Move::say("250 ok"), Move::Close], CLOSED),
        ("closes before the LF", vec![Move::say("250 ok\r"), Move::HalfClose], CLOSED),
        ("closes between lines", vec![Move::say("250-ok\r\n"), Move::Close], CLOSED),
        ("resets between lines", vec![Move::say("250-ok\r\n"), Move::Reset], RESET),
        ("stops in the middle of a line", vec![Move::say("250 ok"), Move::Silence], TOO_SLOW),
        ("stops before the LF", vec![Move::say("250 ok\r"), Move::Silence], TOO_SLOW),
        ("stops between lines", vec![Move::say("250-ok\r\n"), Move::Deaf], TOO_SLOW),
        ("drips a reply", vec![Move::Drip(reply_of_an_hour, SLOW)], TOO_SLOW),
        ("drips without an end", vec![Move::Repeat(b"2".into(), SLOW)], TOO_SLOW),
        ("drips lines without an end", vec![Move::Repeat(b"250-x\r\n".into(), SLOW)], TOO_SLOW),
        ("has lines without an end", vec![Move::Repeat(b"250-x\r\n".repeat(99), FLOOD)], UNENDED),
        ("has a line without an end", vec![Move::Repeat(b"2".repeat(999), FLOOD)], UNENDED),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_whole_reply_in_time_is_left() {
    play(table().iter().flat_map(|(what, moves, reason)| Row::everywhere(what, moves, reason)))
        .await;
}
