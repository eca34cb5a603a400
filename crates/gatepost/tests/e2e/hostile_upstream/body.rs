//! What an upstream says, or stops doing, before it has everything. A refusal is believed and a yes is
//! not: it would be a yes to a message that has no end.

use std::time::{Duration, Instant};

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, Move};

use super::State::{Body, Data, InChunk};
use super::play::impatient;
use super::{EARLY, Row, play, say};
use crate::harness::{ENVELOPE, converse, send_message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_end_a_no_is_believed_and_a_yes_is_not() {
    let rows = [
        Row::new(Body, "yes", say("250 2.0.0 queued\r\n"), ". 451 4.4.2 lost").because(EARLY),
        Row::new(Body, "go on", say("354 go on\r\n"), ". 451 4.4.2 lost").because(EARLY),
        Row::new(Body, "too large", say("552 5.3.4 enough\r\n"), ". 552 5.3.4 enough"),
        Row::new(Body, "spam", say("554 5.7.1 no\r\n"), ". 554 5.7.1 no"),
        Row::new(Body, "not now", say("451 4.7.1 later\r\n"), ". 451 4.7.1 later"),
        Row::new(Body, "our fault", say("503 5.5.1 what\r\n"), ". 451 4.3.5 "),
        Row::new(
            Body,
            "no, line by line",
            vec![Move::say("552-5.3.4 too\r\n"), Move::say("552 5.3.4 much\r\n")],
            ". 552-5.3.4 too\n552 5.3.4 much",
        ),
        Row::new(
            Body,
            "no, and closes",
            vec![Move::say("552 5.3.4 enough\r\n"), Move::Close],
            ". 552 5.3.4 enough",
        ),
        Row::new(
            Body,
            "no, and resets",
            vec![Move::say("552 5.3.4 enough\r\n"), Move::Reset],
            ". 552 5.3.4 enough",
        ),
        Row::new(InChunk, "yes", say("250 2.0.0 ok\r\n"), "BDAT 451 4.4.2 lost").because(EARLY),
        Row::new(InChunk, "too large", say("552 5.3.4 enough\r\n"), "BDAT 552 5.3.4 enough"),
        Row::new(Data, "354 and yes", say("354 a\r\n250 b\r\n"), ". 451 4.4.2 lost").because(EARLY),
        Row::new(Data, "354 and no", say("354 a\r\n554 5.7.1 b\r\n"), ". 554 5.7.1 b"),
        Row::new(Data, "354 twice", say("354 a\r\n354 b\r\n"), ". 451 4.4.2 lost").because(EARLY),
    ];
    play(rows).await;
}

/// More than all buffers between the two hold.
const LARGE: usize = 12 * 1024 * 1024;

/// One that reads no more, silently or with a yes or a no: the client is not kept, and hears a no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_keeps_nobody() {
    for (says, hears) in [
        ("", "451 4.4.2"),
        ("250 2.0.0 queued\r\n", "451 4.4.2"),
        ("552 5.3.4 enough\r\n", "552 5.3.4"),
        ("55", "451 4.4.2"),
    ] {
        let moves = vec![Move::say(says), Move::Deaf];
        let upstream = ScriptedUpstream::builder()
            .digest_only()
            .on_nth("DATA", 1, Action::PlayInData(1, moves))
            .start();
        let harness = impatient(&upstream);
        let mut client = harness.client().await;
        converse(&mut client, &ENVELOPE).await;
        let began = Instant::now();
        client.send(&b"0123456789abcd\r\n".repeat(LARGE / 16)).await;
        client.send(b".\r\n").await;
        client.expect(hears).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{says:?}: {:?}", began.elapsed());
        assert!(send_message(&mut client, b"next\r\n").await.starts_with("250"));
        let messages = upstream.messages();
        assert_eq!((messages.len(), messages[0].connection), (1, 1), "{says:?}");
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}
