//! Replies that are well formed, and wrong where they are said: out of turn, one too many, of a class
//! that says neither yes nor no. And 421, behind which nothing is asked any more (RFC 5321 §3.8).

use std::time::Duration;

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, Move};

use super::State::{Chunk, Data, Dot, Ehlo, Greeting, Idle, LastChunk, Mail, Rcpt, Rset};
use super::{Row, STRAY, State, TOO_SLOW, play, say};
use crate::harness::{Harness, POLICY, Settings, config_text, send_message};

/// For a gateway that waits no longer than 1.5 s.
const TOO_LATE: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_of_the_wrong_class_says_nothing() {
    let at_rcpt = "RCPT 451 4.4.2 lost";
    let rows = [
        Row::new(Greeting, "250", say("250 ok\r\n"), "RCPT 451 4.4.1"),
        Row::new(Greeting, "354", say("354 go on\r\n"), "RCPT 451 4.4.1"),
        Row::new(Greeting, "554", say("554 5.7.1 no\r\n"), "RCPT 451 4.4.1"),
        Row::new(Ehlo, "220", say("220 ok\r\n"), "RCPT 451 4.4.1"),
        Row::new(Ehlo, "354", say("354 go on\r\n"), "RCPT 451 4.4.1"),
        Row::new(Mail, "354", say("354 go on\r\n"), at_rcpt).because(STRAY),
        Row::new(Mail, "334", say("334 go on\r\n"), at_rcpt).because(STRAY),
        Row::new(Rcpt, "354", say("354 go on\r\n"), at_rcpt).because(STRAY),
        Row::new(Rcpt, "334", say("334 go on\r\n"), at_rcpt).because(STRAY),
        Row::new(Data, "250", say("250 2.0.0 queued\r\n"), ". 451 4.4.2 lost").because(STRAY),
        Row::new(Data, "334", say("334 go on\r\n"), ". 451 4.4.2 lost").because(STRAY),
        Row::new(Dot, "354", say("354 go on\r\n"), ". 451 4.4.2 lost").because(STRAY),
        Row::new(Dot, "334", say("334 go on\r\n"), ". 451 4.4.2 lost").because(STRAY),
        Row::new(Chunk, "354", say("354 go on\r\n"), "BDAT 451 4.4.2 lost").because(STRAY),
        Row::new(LastChunk, "354", say("354 go on\r\n"), "LAST 451 4.4.2 lost").because(STRAY),
        Row::new(Rset, "354", say("354 go on\r\n"), "RCPT 250"),
        Row::new(Rset, "550", say("550 5.5.1 no\r\n"), "RCPT 250"),
    ];
    play(rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_too_many_ends_the_connection() {
    let twice = |reply: &str, stray: &str| say(&format!("{reply}\r\n{stray}\r\n"));
    let before_its_command = |reply: &str| {
        vec![Move::say(reply), Move::Wait(SOON), Move::say("250 2.1.0 not asked yet\r\n")]
    };
    let rows = [
        Row::new(Greeting, "and EHLO", twice("220 a", "250 b"), "RCPT 451 4.4.1").because(STRAY),
        Row::new(Ehlo, "and MAIL", twice("250 a", "250 b"), "RCPT 451 4.4.1").because(STRAY),
        // Taken for the answers one command later, until one cannot be: DATA is never answered 250.
        Row::new(
            Ehlo,
            "MAIL early",
            before_its_command("250-a\r\n250 PIPELINING\r\n"),
            "DATA 451 4.4.2",
        )
        .or(". 451 4.4.2"),
        Row::new(Mail, "and RCPT", twice("250 a", "250 b"), "DATA 451 4.4.2").or(". 451 4.4.2"),
        Row::new(Rcpt, "yes, yes", twice("250 a", "250 b"), "DATA 451 4.4.2").because(STRAY),
        Row::new(Rcpt, "yes, no", twice("250 a", "550 b"), "DATA 451 4.4.2").because(STRAY),
        Row::new(Rcpt, "and 354", twice("250 a", "354 b"), "DATA 451 4.4.2").because(STRAY),
        Row::new(Chunk, "and the next", twice("250 a", "250 b"), "LAST 451 4.4.2"),
        Row::new(Dot, "yes, yes", twice("250 2.0.0 a", "250 b"), ". 250 2.0.0 a"),
        Row::new(Dot, "no, yes", twice("554 5.6.0 a", "250 b"), ". 554 5.6.0 a"),
        Row::new(LastChunk, "yes, yes", twice("250 2.0.0 a", "250 b"), "LAST 250 2.0.0 a"),
        Row::new(LastChunk, "no, yes", twice("554 5.6.0 a", "250 b"), "LAST 554 5.6.0 a"),
        Row::new(Rset, "yes, yes", twice("250 a", "250 b"), "RCPT 250"),
        Row::new(Idle, "250", say("250 2.0.0 again\r\n"), ". 250 2.0.0 queued"),
        Row::new(Idle, "354", say("354 go on\r\n"), ". 250 2.0.0 queued"),
    ];
    play(rows).await;
}

/// Closed by us: this upstream says that it will close, and does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_421_is_left_at_once() {
    const LEAVING: &str = "421 4.7.0 closing\r\n";
    let hears = |state: State| match state {
        Greeting | State::StartTls | Ehlo | State::Auth | Mail | Rcpt => {
            "RCPT 451 4.3.2 the upstream is busy"
        }
        Data | Dot | State::Body => ". 451 4.3.2 the upstream is busy",
        Chunk | State::InChunk => "BDAT 451 4.3.2 the upstream is busy",
        LastChunk => "LAST 451 4.3.2 the upstream is busy",
        Rset | Idle | State::Reused => state.hears(),
    };
    let rows = State::ALL.into_iter().flat_map(|state| {
        let behind: [(&str, &[Move]); 4] = [
            ("goes on", &[]),
            ("stays silent", &[Move::Silence]),
            ("closes", &[Move::Close]),
            ("resets", &[Move::Reset]),
        ];
        behind.map(|(then, moves)| {
            let moves = [&[Move::say(LEAVING)], moves].concat();
            let row = Row::new(state, &format!("421, and {then}"), moves, hears(state));
            // The reset may be here before we have looked at the new connection.
            if then == "resets" { row.or(state.hears()) } else { row }
        })
    });
    play(rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_too_late_is_not_waited_for() {
    let late = |reply: &str| vec![Move::Wait(TOO_LATE), Move::say(reply)];
    let rows = [
        (Greeting, late("220 here\r\n")),
        (Ehlo, late("250 here\r\n")),
        (Mail, late("250 ok\r\n")),
        (Rcpt, late("250 ok\r\n")),
        (Data, late("354 go on\r\n")),
        (Dot, late("250 2.0.0 queued\r\n")),
        (Chunk, late("250 ok\r\n")),
        (LastChunk, late("250 2.0.0 queued\r\n")),
    ];
    play(rows.map(|(state, moves)| Row::anywhere(state, "too late", moves, TOO_SLOW))).await;
}

/// Complaints about us are for the operator (design §5), and end no connection; in the middle of
/// chunks they do, because the octets may have been taken for commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_about_us_is_not_the_clients() {
    let complaint = || say("503 5.5.1 bad sequence\r\n");
    let rows = [
        Row::new(Mail, "503", complaint(), "RCPT 451 4.3.5").kept(),
        Row::new(Rcpt, "503", complaint(), "RCPT 451 4.3.5").kept(),
        Row::new(Data, "503", complaint(), ". 451 4.3.5").kept(),
        Row::new(Dot, "503", complaint(), ". 451 4.3.5").kept(),
        Row::new(Chunk, "503", complaint(), "BDAT 451 4.3.5"),
        Row::new(LastChunk, "503", complaint(), "LAST 451 4.3.5"),
    ];
    play(rows).await;
}

/// What was answered before is not told either: one group has one story.
#[tokio::test]
async fn a_group_with_an_answer_that_is_none_is_taken_back() {
    for (stray, hears) in
        [("354 go on", "451 4.4.2"), ("25 ok", "451 4.4.2"), ("421 4.3.2 bye", "451 4.3.2")]
    {
        let upstream = ScriptedUpstream::builder().on_nth("RCPT", 2, stray).start();
        let harness = Harness::start(upstream.addr());
        let mut client = harness.client().await;
        let recipients = "RCPT TO:<b@b.test>\r\n".repeat(3);
        let group = format!("MAIL FROM:<a@app.test>\r\n{recipients}DATA\r\n");
        client.send(group.as_bytes()).await;
        for reply in ["250", hears, hears, hears, "554 5.5.1"] {
            client.expect(reply).await;
        }
        client.send_line("RSET").await;
        client.expect("250").await;
        upstream.wait_for_open(0).await;
        assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
        assert_eq!(upstream.messages().len(), 1);
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}

/// The replies that 421 leaves owed are not waited for: these deadlines are those of operators.
#[tokio::test]
async fn nothing_is_waited_for_behind_421() {
    let leaving = || Action::Play(vec![Move::say("421 4.7.0 closing\r\n"), Move::Silence]);
    for event in ["MAIL", "RCPT"] {
        let upstream = ScriptedUpstream::builder().on_nth(event, 1, leaving()).start();
        let harness = Harness::start(upstream.addr());
        let mut client = harness.client().await;
        client.send_line("MAIL FROM:<a@app.test>").await;
        client.expect("250").await;
        client.send(b"RCPT TO:<b@b.test>\r\nRCPT TO:<c@b.test>\r\nRSET\r\n").await;
        for reply in ["451 4.3.2", "451 4.3.2", "250"] {
            client.expect(reply).await;
        }
        upstream.wait_for_open(0).await;
        assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}

/// Every recipient was refused, and DATA is on its way. Nobody waits for the answer, and the slot of
/// the connection is needed.
#[tokio::test]
async fn an_answer_that_nobody_waits_for_keeps_no_connection_for_long() {
    let upstream =
        ScriptedUpstream::builder().on("RCPT", "550 5.1.1 no").on("DATA", Action::Silence).start();
    let text = config_text(upstream.addr(), &Settings::default());
    let harness = Harness::adjusted(&text, POLICY, |config| {
        config.upstreams[0].patience.closing = Duration::from_millis(100);
    });
    let mut client = harness.client().await;
    client.send(b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n").await;
    for reply in ["250", "550 5.1.1", "554 5.5.1"] {
        client.expect(reply).await;
    }
    upstream.wait_for_open(0).await;
    client.close();
    harness.drain().await;
    upstream.stop().await;
}
