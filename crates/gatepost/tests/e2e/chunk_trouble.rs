//! BDAT (RFC 3030) when somebody does not keep to the rules, or gives up.

use std::time::Duration;

use gatepost_testkit::upstream::Ending;
use gatepost_testkit::{Action, ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings};

const EXTENSIONS: [&str; 3] = ["PIPELINING", "8BITMIME", "CHUNKING"];
const ENVELOPE: &[u8] = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\n";
const ABORTED: &str = "gatepost_messages_total{listener=\"smtp\",result=\"aborted\"}";

async fn open(harness: &Harness) -> ByteClient {
    let mut client = harness.client().await;
    client.send(ENVELOPE).await;
    client.expect("250").await;
    client.expect("250").await;
    client
}

/// A reply too many is taken for none: not for that of the next command on a connection that is
/// kept, which would put every reply behind it one too early.
#[tokio::test]
async fn a_second_reply_to_a_chunk_is_not_that_of_rset() {
    for last in ["", " LAST"] {
        let two = Action::TwoReplies("552 5.2.2 full".to_owned(), "250 2.0.0 stray".to_owned());
        let upstream = ScriptedUpstream::builder()
            .extensions(&EXTENSIONS)
            .on_nth("BDAT", 1, two)
            .on("RSET", Action::Delay(Duration::from_millis(300), "250 2.0.0 late".to_owned()))
            .on("RCPT TO:<bad", "550 5.1.1 no such user")
            .start();
        let harness = Harness::start(upstream.addr());
        let mut client = open(&harness).await;
        client.send(format!("BDAT 3{last}\r\na\r\nRSET\r\n").as_bytes()).await;
        client.expect("552 5.2.2").await;
        client.expect("250").await;
        // Until the connection is back in the pool, or closed.
        let deadline = tokio::time::Instant::now() + Duration::from_millis(100);
        tokio::time::sleep_until(deadline).await;
        client.send(b"MAIL FROM:<a@app.test>\r\nRCPT TO:<bad@b.test>\r\n").await;
        client.expect("250").await;
        client.expect("550 5.1.1").await;
        client.send(b"RSET\r\n").await;
        client.expect("250").await;
        assert_eq!(upstream.connections()[0].ending, Some(Ending::ClosedByPeer));
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}

/// An upstream that does not know BDAT has not skipped its octets: what it says next may be its
/// answer to them.
#[tokio::test]
async fn a_connection_on_which_bdat_was_not_understood_is_not_kept() {
    for last in ["", " LAST"] {
        let upstream = ScriptedUpstream::builder()
            .extensions(&EXTENSIONS)
            .on_nth("BDAT", 1, "502 5.5.1 not implemented")
            .start();
        let harness = Harness::start(upstream.addr());
        let mut client = open(&harness).await;
        client.send(format!("BDAT 3{last}\r\na\r\nRSET\r\n").as_bytes()).await;
        client.expect("451 4.3.5").await;
        client.expect("250").await;
        upstream.wait_for_open(0).await;
        assert_eq!(upstream.connections()[0].ending, Some(Ending::ClosedByPeer));
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}

/// The time that the upstream takes for a chunk is not the client's silence.
#[tokio::test]
async fn a_slow_upstream_is_no_stalled_client() {
    let slow = |reply: &str| Action::Delay(Duration::from_millis(2500), reply.to_owned());
    let settings =
        Settings { upstream: "client_stall = \"1s\"\n".to_owned(), ..Settings::default() };
    let in_chunks = ScriptedUpstream::builder()
        .extensions(&EXTENSIONS)
        .on_nth("BDAT", 1, slow("250 2.0.0 chunk"))
        .start();
    let as_data = ScriptedUpstream::builder().on("DATA", slow("354 go ahead")).start();
    for upstream in [in_chunks, as_data] {
        let harness = Harness::with(upstream.addr(), &settings);
        let mut client = open(&harness).await;
        client.send(b"BDAT 3\r\na\r\n").await;
        client.expect("250 2.0.0").await;
        client.send(b"BDAT 3 LAST\r\nb\r\n").await;
        client.expect("250 2.0.0 queued").await;
        client.close();
        harness.drain().await;
        upstream.stop().await;
    }
}

/// What is lost upstream before the first chunk is no error of the client.
#[tokio::test]
async fn an_upstream_that_is_lost_before_the_first_chunk_is_no_fault_of_the_client() {
    let upstream = ScriptedUpstream::builder().extensions(&EXTENSIONS).start();
    let settings = Settings {
        upstream: "client_stall = \"1s\"\n".to_owned(),
        tables: "[limits]\nerrors_max = 1\n".to_owned(),
        ..Settings::default()
    };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = open(&harness).await;
    upstream.wait_for_open(0).await;
    client.send(b"BDAT 3 LAST\r\na\r\nNOOP\r\n").await;
    client.expect("451 4.4.2").await;
    client.expect("250").await;
    client.close();
    harness.drain().await;
    upstream.stop().await;
}

/// A message that was begun and has no end is one line of the log, however its client gave it up.
#[tokio::test]
async fn a_message_that_is_given_up_is_counted_once() {
    for form in [&EXTENSIONS[..], &["PIPELINING", "8BITMIME"]] {
        for give_up in
            ["QUIT\r\n", "RSET\r\nQUIT\r\n", "EHLO app.test\r\nQUIT\r\n", "BDAT x\r\n", ""]
        {
            let upstream = ScriptedUpstream::builder().extensions(form).start();
            let harness = Harness::start(upstream.addr());
            let mut client = open(&harness).await;
            client.send(b"BDAT 3\r\na\r\n").await;
            client.expect("250").await;
            client.send(give_up.as_bytes()).await;
            if give_up.is_empty() {
                client.half_close().await;
            }
            client.read_to_end().await;
            client.close();
            assert_eq!(harness.metric(ABORTED).await, 1, "{give_up:?}");
            let log = harness.mail_log();
            let (_, _directory) = harness.drain().await;
            let log = std::fs::read_to_string(log).expect("a mail log");
            assert_eq!(log.lines().count(), 1, "{give_up:?}: {log}");
            assert!(log.contains("\"size\":3"), "{log}");
            assert!(upstream.messages().is_empty());
            upstream.stop().await;
        }
    }
}

/// Messages that are begun and given up bring no mail, as RSET alone does not.
#[tokio::test]
async fn messages_that_are_given_up_are_idle_commands() {
    let upstream = ScriptedUpstream::builder().extensions(&EXTENSIONS).start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    let round = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 0\r\nRSET\r\n";
    // EHLO was the first of a thousand.
    client.send(&b"NOOP\r\n".repeat(990)).await;
    client.send(&round.repeat(9)).await;
    for _ in 0..990 + 4 * 9 {
        client.expect("250").await;
    }
    client.expect("421 4.7.0").await;
    client.expect_closed().await;
    client.close();
    harness.drain().await;
    upstream.stop().await;
}

/// Behind a 354 there is no way back, so nobody waits for one.
#[tokio::test]
async fn an_upstream_that_owes_354_to_nobody_is_not_waited_for() {
    let upstream = ScriptedUpstream::builder().on("DATA", Action::Silence).start();
    let harness = Harness::start(upstream.addr());
    let mut client = open(&harness).await;
    client.send(b"BDAT 0\r\nRSET\r\n").await;
    client.expect("250").await;
    client.expect("250").await;
    upstream.wait_for_open(0).await;
    client.close();
    harness.drain().await;
    upstream.stop().await;
}

/// What is not asked for does not count (RFC 9422 §4.2).
#[tokio::test]
async fn a_recipient_that_cannot_be_said_takes_no_room() {
    let upstream =
        ScriptedUpstream::builder().extensions(&["PIPELINING", "LIMITS RCPTMAX=2"]).start();
    let harness = Harness::start(upstream.addr());
    for group in [5, 1] {
        let mut client = harness.client().await;
        client.send("MAIL FROM:<a@app.test> SMTPUTF8\r\n".as_bytes()).await;
        client.expect("250").await;
        let names = [("é", "553 5.6.7"), ("a", "250"), ("ü", "553"), ("b", "250"), ("c", "452")];
        for names in names.chunks(group) {
            for (name, _) in names {
                client.send(format!("RCPT TO:<{name}@b.test>\r\n").as_bytes()).await;
            }
            for (_, expected) in names {
                client.expect(expected).await;
            }
        }
        client.send(b"DATA\r\n").await;
        client.expect("354").await;
        client.send(b"x\r\n.\r\n").await;
        client.expect("250 2.0.0").await;
    }
    for message in upstream.messages() {
        assert_eq!(message.recipients, ["RCPT TO:<a@b.test>", "RCPT TO:<b@b.test>"]);
    }
    harness.drain().await;
    upstream.stop().await;
}

/// In a chunk a dot is a dot: it ends no header section, and begins no field.
#[tokio::test]
async fn received_fields_are_counted_as_the_reader_of_chunks_sees_them() {
    let settings =
        Settings { tables: "[limits]\nreceived_max = 1\n".to_owned(), ..Settings::default() };
    let chunking = ScriptedUpstream::builder().extensions(&EXTENSIONS).start();
    for upstream in [chunking, ScriptedUpstream::start()] {
        let harness = Harness::with(upstream.addr(), &settings);
        for (content, expected) in [
            ("A: b\r\n.\r\nReceived: a\r\nReceived: b\r\n\r\n", "554 5.4.6"),
            ("Received: a\r\n.Received: b\r\n\r\n", "250"),
        ] {
            let mut client = open(&harness).await;
            client.send(format!("BDAT {} LAST\r\n{content}", content.len()).as_bytes()).await;
            client.expect(expected).await;
        }
        harness.drain().await;
        upstream.stop().await;
    }
}

/// Chunks are cut anywhere and come in any segments, a header section is held back or not: the
/// upstream reads what the client has sent.
#[tokio::test]
async fn a_message_is_the_same_however_it_is_cut() {
    const HELD: &str = "header_from = \"allowed\"\nadd_missing_headers = [\"date\"]";
    let dots = ".\r\n..x\r\n".repeat(9_000);
    let messages = [
        "Date: x\r\nFrom: a@app.test\r\n\r\n.\r\n..\r\n.a".to_owned(),
        "Date: x\r\nFrom: a@app.test\r\n\r\n".to_owned(),
        "Date: x\r\nFrom: a@app.test\r\n.X: y\r\n\r\n\r\n.".to_owned(),
        "From:\r\n a@app.test\r\nDate: x\r\n\r\nBDAT 3\r\nRSET\r\n.\r\nMAIL FROM:<>\r\n".to_owned(),
        format!("Date: x\r\nFrom: a@app.test\r\n\r\n{dots}"),
    ];
    let mut random = Random(1);
    for policy in ["", HELD] {
        for (upstream, stuffs) in [
            (ScriptedUpstream::builder().extensions(&EXTENSIONS).start(), false),
            (ScriptedUpstream::start(), true),
        ] {
            let harness = Harness::with_entry(upstream.addr(), policy);
            let mut client = harness.client().await;
            let mut sent = Vec::new();
            for round in 0..20 {
                let message = &messages[if round % 10 == 0 { 4 } else { round % 4 }];
                let (stream, chunks) = in_chunks(message.as_bytes(), &mut random);
                client.send(ENVELOPE).await;
                let mut rest = &stream[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(1 + random.below(rest.len()));
                    client.send(now).await;
                    tokio::task::yield_now().await;
                    rest = later;
                }
                for _ in 0..2 + chunks {
                    client.expect("250").await;
                }
                sent.push(message);
            }
            for (message, sent) in upstream.wait_for_messages(20).await.iter().zip(sent) {
                let expected = if stuffs { stuffed(sent) } else { sent.clone() };
                assert!(
                    message.after_received() == expected.as_bytes(),
                    "{:.200} became {:.200}",
                    sent.escape_debug(),
                    message.text().escape_debug()
                );
            }
            client.close();
            harness.drain().await;
            upstream.stop().await;
        }
    }
}

/// A message as a stream of chunks, and how many there are.
fn in_chunks(message: &[u8], random: &mut Random) -> (Vec<u8>, usize) {
    let (mut stream, mut rest, mut count) = (Vec::new(), message, 0);
    loop {
        let (chunk, later) = rest.split_at(random.below(rest.len() + 1));
        let last = if later.is_empty() { " LAST" } else { "" };
        stream.extend(format!("BDAT {}{last}\r\n", chunk.len()).bytes());
        stream.extend(chunk);
        (rest, count) = (later, count + 1);
        if rest.is_empty() {
            return (stream, count);
        }
    }
}

/// A message as DATA, without its terminator.
fn stuffed(message: &str) -> String {
    let lines = message.split_inclusive('\n');
    let mut data: String =
        lines.flat_map(|line| [if line.starts_with('.') { "." } else { "" }, line]).collect();
    if !data.ends_with("\r\n") {
        data.push_str("\r\n");
    }
    data
}

/// Numbers that look like chance and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
