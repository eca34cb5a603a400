//! BDAT (RFC 3030): chunk for chunk, or as DATA where the upstream has no chunks.

use std::time::Duration;

use gatepost_testkit::upstream::{Ending, Message};
use gatepost_testkit::{Action, ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings};

const EXTENSIONS: [&str; 6] =
    ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"];

const ENVELOPE: &[u8] = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\n";

fn chunking_upstream() -> ScriptedUpstream {
    ScriptedUpstream::builder().extensions(&EXTENSIONS).start()
}

async fn open(harness: &Harness) -> ByteClient {
    let mut client = harness.client().await;
    client.send(ENVELOPE).await;
    client.expect("250 2.1.0").await;
    client.expect("250").await;
    client
}

async fn quit(mut client: ByteClient) {
    client.send_line("QUIT").await;
    client.expect("221").await;
}

/// The BDAT lines that the upstream has heard.
fn chunks(upstream: &ScriptedUpstream) -> Vec<String> {
    upstream.lines().into_iter().filter(|line| line.starts_with("BDAT")).collect()
}

#[tokio::test]
async fn a_chunk_of_the_client_is_a_chunk_of_the_upstream() {
    let upstream = chunking_upstream();
    let harness = Harness::start(upstream.addr());
    let mut client = open(&harness).await;
    client.send(b"BDAT 14\r\nSubject: x\r\n\r\n").await;
    client.expect("250 2.0.0 chunk").await;
    client.send(b"BDAT 0\r\n").await;
    client.expect("250").await;
    client.send(b"BDAT 5 LAST\r\n.\r\n.x").await;
    client.expect("250 2.0.0 queued").await;
    let message = upstream.wait_for_messages(1).await.remove(0);
    assert_eq!(message.after_received(), b"Subject: x\r\n\r\n.\r\n.x", "not stuffed, not ended");
    let first = message.content.octets - 5;
    assert_eq!(chunks(&upstream), [format!("BDAT {first}"), "BDAT 5 LAST".to_owned()]);
    assert!(upstream.lines().iter().all(|line| line != "DATA"));
    client.send(b"MAIL FROM:<a@app.test>\r\nRCPT TO:<c@b.test>\r\nBDAT 3 LAST\r\nx\r\n").await;
    for expected in ["250 2.1.0", "250", "250 2.0.0 queued"] {
        client.expect(expected).await;
    }
    assert_eq!(upstream.wait_for_messages(2).await[1].after_received(), b"x\r\n");
    assert_eq!(upstream.connections_opened(), 1, "the connection is reused");
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

#[tokio::test]
async fn where_the_upstream_has_no_chunks_it_gets_data() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    for (chunks, content) in [
        (&[&b".x\r\n"[..], b".", b"\r\n.\r", b"\n"][..], &b"..x\r\n..\r\n..\r\n"[..]),
        (&[b"Subject: x\r\n\r\nno line end"], b"Subject: x\r\n\r\nno line end\r\n"),
        (&[b""], b""),
        (&[b"a\r\n", b""], b"a\r\n"),
    ] {
        let mut client = open(&harness).await;
        for (index, chunk) in chunks.iter().enumerate() {
            let last = if index + 1 == chunks.len() { " LAST" } else { "" };
            client.send(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes()).await;
            client.send(chunk).await;
            client.expect("250 2.0.0").await;
        }
        let message = upstream.messages().pop().expect("a message");
        assert_eq!(message.after_received(), content);
        quit(client).await;
    }
    harness.drain().await;
    upstream.stop().await;
}

/// Every octet of the stream may come in a segment of its own.
#[tokio::test]
async fn segments_do_not_matter() {
    let stream = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\n\
        BDAT 9\r\nA: b\r\n\r\n.BDAT 2\r\n\r\nBDAT 4 LAST\r\n.\r\n.NOOP\r\n";
    for upstream in [chunking_upstream(), ScriptedUpstream::start()] {
        let harness = Harness::start(upstream.addr());
        for size in [1, 2, 3, 7, 1000] {
            let mut client = harness.client().await;
            for piece in stream.chunks(size) {
                client.send(piece).await;
                tokio::task::yield_now().await;
            }
            for expected in
                ["250 2.1.0", "250", "250 2.0.0", "250 2.0.0", "250 2.0.0", "250 2.0.0 Ok"]
            {
                client.expect(expected).await;
            }
            quit(client).await;
        }
        for message in upstream.wait_for_messages(5).await {
            let stuffed = upstream.lines().contains(&"DATA".to_owned());
            let expected: &[u8] = if stuffed {
                b"A: b\r\n\r\n..\r\n..\r\n..\r\n"
            } else {
                b"A: b\r\n\r\n.\r\n.\r\n."
            };
            assert_eq!(message.after_received(), expected, "{}", message.text());
        }
        harness.drain().await;
        upstream.stop().await;
    }
}

/// A hundred messages of a megabyte: what is in memory is a piece of each, never all of one.
#[tokio::test]
async fn a_large_message_is_not_kept() {
    let builder = ScriptedUpstream::builder().extensions(&EXTENSIONS).digest_only();
    let upstream = builder.start();
    let harness = Harness::start(upstream.addr());
    let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let chunk = line.repeat(1 << 14);
    let mut client = open(&harness).await;
    for _ in 0..8 {
        client.send(format!("BDAT {}\r\n", chunk.len()).as_bytes()).await;
        client.send(&chunk).await;
        client.expect("250").await;
    }
    client.send(b"BDAT 0 LAST\r\n").await;
    client.expect("250 2.0.0 queued").await;
    let message = upstream.wait_for_messages(1).await.remove(0);
    assert!(message.content.octets > 8 * chunk.len() as u64);
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

/// Two chunks may make of two octets what two servers see differently (smuggling, CVE-2023-51764
/// and its kin): the message has no end upstream, and the session is over.
#[tokio::test]
async fn nothing_is_smuggled_across_chunks() {
    for upstream in [chunking_upstream(), ScriptedUpstream::start()] {
        let harness = Harness::start(upstream.addr());
        for stream in [
            &b"BDAT 1\r\n\rBDAT 3 LAST\r\n\n.\r"[..],
            b"BDAT 2\r\na\rBDAT 0 LAST\r\n",
            b"BDAT 2\r\na\rBDAT 1 LAST\r\nb",
            b"BDAT 3 LAST\r\na\nb",
            b"BDAT 5 LAST\r\na\n.\r\n",
            b"BDAT 6 LAST\r\na\r\n.\r\r",
            b"BDAT 3 LAST\r\na\0b",
            b"BDAT 2 LAST\r\na\r",
            b"BDAT 1\r\naBDAT 3 LAST\r\n\n.\n",
        ] {
            let mut client = open(&harness).await;
            client.send(stream).await;
            client.send(b"MAIL FROM:<evil@app.test>\r\n").await;
            let mut heard = client.read_reply().await;
            while heard.starts_with("250 2.0.0") {
                heard = client.read_reply().await;
            }
            assert!(heard.starts_with("554 5.6.0"), "{heard} to {}", stream.escape_ascii());
            client.expect_closed().await;
        }
        assert!(upstream.messages().is_empty());
        harness.drain().await;
        upstream.stop().await;
    }
}

/// RFC 3030 §2, and an Exim that took 4294967297 for 1: a size that cannot be believed ends it.
#[tokio::test]
async fn a_size_that_cannot_be_believed_ends_the_session() {
    let upstream = chunking_upstream();
    let harness = Harness::start(upstream.addr());
    for (line, expected) in [
        ("BDAT", "501 5.5.4"),
        ("BDAT LAST", "501 5.5.4"),
        ("BDAT -1", "501 5.5.4"),
        ("BDAT +5", "501 5.5.4"),
        ("BDAT 0x10", "501 5.5.4"),
        ("BDAT 5 LAST x", "501 5.5.4"),
        ("BDAT \u{663}", "501 5.5.4"),
        ("BDAT 000000000000000000001", "501 5.5.4"),
        ("BDAT 4294967297 LAST", "552 5.3.4"),
        ("BDAT 18446744073709551615", "552 5.3.4"),
        ("BDAT 18446744073709551617 LAST", "552 5.3.4"),
    ] {
        let mut client = open(&harness).await;
        client.send(format!("{line}\r\nQUIT\r\n").as_bytes()).await;
        client.expect(expected).await;
        client.expect_closed().await;
    }
    assert!(upstream.messages().is_empty() && chunks(&upstream).is_empty());
    harness.drain().await;
    upstream.stop().await;
}

/// A flood of chunks with nothing in them, or an octet (Postfix 20260805: a history that grew with
/// each): they are counted and not kept, and there is an end to them.
#[tokio::test]
async fn chunks_without_end_come_to_an_end() {
    const BATCH: usize = 1000;
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    for chunk in [&b"BDAT 0\r\n"[..], b"BDAT 1\r\na"] {
        let mut client = open(&harness).await;
        for _ in 0..20 {
            client.send(&chunk.repeat(BATCH)).await;
            for _ in 0..BATCH {
                client.expect("250 2.0.0").await;
            }
        }
        client.send(chunk).await;
        client.expect("554 5.5.0").await;
        client.expect_closed().await;
    }
    assert!(upstream.messages().is_empty());
    harness.drain().await;
    upstream.stop().await;
}

/// What is announced beyond the limit is not read, however it is cut.
#[tokio::test]
async fn chunks_together_have_the_limit_of_a_message() {
    let upstream = chunking_upstream();
    let harness = Harness::with_entry(upstream.addr(), "max_message_size = \"10 B\"");
    let mut client = open(&harness).await;
    client.send(b"BDAT 6\r\n123456BDAT 4 LAST\r\n7890").await;
    client.expect("250").await;
    client.expect("250").await;
    quit(client).await;
    let mut client = open(&harness).await;
    client.send(b"BDAT 6\r\n123456BDAT 5 LAST\r\n78901").await;
    client.expect("250").await;
    client.expect("552 5.3.4").await;
    client.expect_closed().await;
    assert_eq!(upstream.messages().len(), 1);
    harness.drain().await;
    upstream.stop().await;
    // The dots that DATA needs are not the client's.
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "max_message_size = \"10 B\"");
    let mut client = open(&harness).await;
    client.send(b"BDAT 10 LAST\r\n.\r\n.\r\n.\r\n.").await;
    client.expect("250").await;
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

/// A chunk is octets, not commands, whether anybody wants it or not.
#[tokio::test]
async fn octets_of_a_refused_chunk_are_no_commands() {
    let upstream = chunking_upstream();
    upstream.on("RCPT TO:<bad", "550 5.1.1 no such user");
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    client.send(b"BDAT 6\r\nQUIT\r\nNOOP\r\n").await;
    client.expect("503 5.5.1").await;
    client.expect("250 2.0.0").await;
    client.send(b"MAIL FROM:<a@app.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n").await;
    client.expect("250 2.1.0").await;
    client.expect("503 5.5.1").await;
    client.expect("250 2.0.0").await;
    client
        .send(
            b"MAIL FROM:<a@app.test>\r\nRCPT TO:<bad@b.test>\r\n\
            BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRCPT TO:<b@b.test>\r\n",
        )
        .await;
    for expected in ["250 2.1.0", "550 5.1.1", "554 5.5.1", "503 5.5.1", "503 5.5.1"] {
        client.expect(expected).await;
    }
    assert!(upstream.messages().is_empty() && chunks(&upstream).is_empty());
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

/// After a message that failed nothing of it is left (Postfix 20260724: an envelope that outlived a
/// BDAT error).
#[tokio::test]
async fn a_failed_chunk_leaves_no_envelope() {
    let upstream = ScriptedUpstream::builder()
        .extensions(&EXTENSIONS)
        .on_nth("BDAT", 1, "552 5.2.2 mailbox full")
        .on_nth("BDAT", 2, "452 4.2.2 mailbox full for now")
        .start();
    let harness = Harness::start(upstream.addr());
    let mut client = open(&harness).await;
    client.send(b"BDAT 3\r\na\r\nBDAT 3\r\nb\r\nDATA\r\nRCPT TO:<c@b.test>\r\n").await;
    for expected in ["552 5.2.2", "503 5.5.1", "503 5.5.1", "503 5.5.1"] {
        client.expect(expected).await;
    }
    client.send(b"RSET\r\nBDAT 3\r\nc\r\nRCPT TO:<c@b.test>\r\nDATA\r\n").await;
    for expected in ["250", "503", "503", "503"] {
        client.expect(expected).await;
    }
    client.send(ENVELOPE).await;
    client.send(b"BDAT 3 LAST\r\nd\r\nDATA\r\n").await;
    for expected in ["250", "250", "452 4.2.2", "503"] {
        client.expect(expected).await;
    }
    client.send(ENVELOPE).await;
    client.send(b"BDAT 3 LAST\r\ne\r\n").await;
    for expected in ["250", "250", "250 2.0.0 queued"] {
        client.expect(expected).await;
    }
    let accepted: Vec<_> = upstream.messages().into_iter().filter(Message::accepted).collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].after_received(), b"e\r\n");
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_message_without_its_last_chunk_is_none() {
    for upstream in [chunking_upstream(), ScriptedUpstream::start()] {
        let harness = Harness::start(upstream.addr());
        let mut client = open(&harness).await;
        client.send(b"BDAT 3\r\na\r\nQUIT\r\n").await;
        client.expect("250").await;
        client.expect("221").await;
        client.expect_closed().await;
        let mut client = open(&harness).await;
        client.send(b"BDAT 300\r\na\r\n").await;
        client.close();
        let mut client = open(&harness).await;
        client.send(b"BDAT 3\r\na\r\nRSET\r\nMAIL FROM:<a@app.test>\r\n").await;
        client.expect("250").await;
        client.expect("250").await;
        client.expect("250 2.1.0").await;
        quit(client).await;
        harness.drain().await;
        upstream.wait_for_open(0).await;
        assert!(upstream.messages().is_empty());
        upstream.stop().await;
    }
}

/// An entry that looks at header sections: they are held back, and go on as they came.
#[tokio::test]
async fn a_held_header_goes_on_in_chunks() {
    let upstream = chunking_upstream();
    let policy = "header_from = \"allowed\"\nadd_missing_headers = [\"message-id\"]";
    let harness = Harness::with_entry(upstream.addr(), policy);
    let mut client = open(&harness).await;
    client.send(b"BDAT 8\r\nFrom: a@BDAT 15\r\napp.test\r\n\r\n.\r\nBDAT 4 LAST\r\n..\r\n").await;
    for expected in ["250 2.0.0 Ok", "250 2.0.0 chunk", "250 2.0.0 queued"] {
        client.expect(expected).await;
    }
    let message = upstream.wait_for_messages(1).await.remove(0);
    let text = message.text();
    assert!(text.contains("\r\nMessage-ID: <"), "{text}");
    assert!(text.ends_with("\r\nFrom: a@app.test\r\n\r\n.\r\n..\r\n"), "{text}");
    let mut client = open(&harness).await;
    client.send(b"BDAT 8\r\nFrom: a@BDAT 15 LAST\r\nbad.test\r\n\r\n.\r\nNOOP\r\n").await;
    for expected in ["250 2.0.0 Ok", "550 5.7.1", "250 2.0.0"] {
        client.expect(expected).await;
    }
    // Not a field for whoever reads chunks: the dot is the name's own.
    let mut client = open(&harness).await;
    client.send(b"BDAT 21 LAST\r\n.From: a@app.test\r\n\r\nNOOP\r\n").await;
    client.expect("550 5.7.1").await;
    client.expect("250 2.0.0").await;
    assert_eq!(upstream.messages().len(), 1);
    harness.drain().await;
    upstream.stop().await;
}

#[tokio::test]
async fn bare_newlines_are_mended_in_chunks_too() {
    let upstream = chunking_upstream();
    let harness = Harness::with_entry(upstream.addr(), "bare_newlines = \"normalize\"");
    let mut client = open(&harness).await;
    client.send(b"BDAT 5\r\na: b\nBDAT 5 LAST\r\n\n.\nx\n").await;
    client.expect("250").await;
    client.expect("250 2.0.0 queued").await;
    let message = upstream.wait_for_messages(1).await.remove(0);
    assert_eq!(
        message.after_received(),
        b"a: b\r\n\r\n..\r\nx\r\n",
        "as DATA: nobody knows its size"
    );
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

/// The rules of a mismatch hold for chunks as for DATA.
#[tokio::test]
async fn eight_bit_chunks_need_an_upstream_that_takes_them() {
    let upstream = ScriptedUpstream::builder().extensions(&["PIPELINING", "CHUNKING"]).start();
    let harness = Harness::start(upstream.addr());
    let mut client = open(&harness).await;
    client.send(b"BDAT 4\r\nab\r\nBDAT 4 LAST\r\n\xc3\xa9\r\nNOOP\r\n").await;
    client.expect("250").await;
    client.expect("554 5.6.3").await;
    client.expect("250 2.0.0").await;
    upstream.wait_for_open(0).await;
    assert!(upstream.messages().is_empty());
    assert_eq!(upstream.connections()[0].ending, Some(Ending::ClosedByPeer));
    harness.drain().await;
    upstream.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_lost_in_a_chunk_is_no_success() {
    for (action, expected) in [
        (Action::Close, "451 4.4.2"),
        (Action::ReplyThenClose("421 4.3.2 leaving".to_owned()), "451 4.3.2"),
        (Action::Reply("354 what".to_owned()), "451 4.4.2"),
    ] {
        for last in ["", " LAST"] {
            let upstream = ScriptedUpstream::builder()
                .extensions(&EXTENSIONS)
                .on("BDAT", action.clone())
                .start();
            let harness = Harness::start(upstream.addr());
            let mut client = open(&harness).await;
            client.send(format!("BDAT 3{last}\r\na\r\n").as_bytes()).await;
            client.expect(expected).await;
            client.send(b"NOOP\r\n").await;
            client.expect("250").await;
            quit(client).await;
            harness.drain().await;
            upstream.stop().await;
        }
    }
}

/// An answer too many would be taken for that to RSET, and the next ones for those behind it: such a
/// connection is asked nothing any more, before chunks or between them.
#[tokio::test]
async fn what_answers_nothing_is_no_answer_to_rset() {
    let twice = Action::TwoReplies("250 2.0.0 once".to_owned(), "250 2.0.0 twice".to_owned());
    for (command, said, heard) in [
        ("BDAT", "BDAT 3\r\na\r\nRSET\r\n", &["250 2.0.0 once", "250"][..]),
        ("RCPT", "RSET\r\n", &["250"]),
    ] {
        let upstream = ScriptedUpstream::builder()
            .extensions(&EXTENSIONS)
            .on_nth(command, 1, twice.clone())
            .start();
        let harness = Harness::start(upstream.addr());
        let mut client = open(&harness).await;
        client.send(said.as_bytes()).await;
        for expected in heard {
            client.expect(expected).await;
        }
        upstream.wait_for_open(0).await;
        client.send(ENVELOPE).await;
        client.send(b"BDAT 3 LAST\r\nb\r\n").await;
        for expected in ["250 2.1.0", "250", "250 2.0.0 queued"] {
            client.expect(expected).await;
        }
        assert_eq!(upstream.connections_opened(), 2);
        assert!(!upstream.lines().contains(&"RSET".to_owned()));
        quit(client).await;
        harness.drain().await;
        upstream.stop().await;
    }
}

/// A client that stalls between chunks, or in one, does not hold a connection of the upstream.
#[tokio::test]
async fn a_client_that_stalls_in_its_chunks_loses_the_upstream() {
    let upstream = chunking_upstream();
    let settings =
        Settings { upstream: "client_stall = \"1s\"\n".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = open(&harness).await;
    client.send(b"BDAT 3\r\na\r\n").await;
    client.expect("250").await;
    tokio::time::timeout(Duration::from_secs(10), upstream.wait_for_open(0)).await.expect("closed");
    client.send(b"BDAT 3 LAST\r\nb\r\n").await;
    client.expect("451 4.4.2").await;
    quit(client).await;
    assert!(upstream.messages().is_empty());
    harness.drain().await;
    upstream.stop().await;
}

#[tokio::test]
async fn limits_are_told_and_obeyed() {
    let upstream = ScriptedUpstream::builder()
        .extensions(&["PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"])
        .start();
    let harness = Harness::with_entry(upstream.addr(), "max_recipients = 7");
    let mut client = ByteClient::connect(harness.addr()).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    let offered = client.expect("250").await;
    assert!(offered.contains("LIMITS RCPTMAX=7"), "{offered}");
    for _ in 0..3 {
        client
            .send(
                b"MAIL FROM:<a@app.test>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<b@b.test>\r\n\
                RCPT TO:<c@b.test>\r\nDATA\r\n",
            )
            .await;
        for expected in ["250", "250", "250", "452 4.5.3", "354"] {
            client.expect(expected).await;
        }
        client.send(b"x\r\n.\r\n").await;
        client.expect("250 2.0.0").await;
    }
    assert_eq!(upstream.connections_opened(), 2, "two messages a connection");
    assert!(upstream.lines().iter().all(|line| !line.contains("c@b.test")));
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}

/// A fleet that sets no limit of its own is told none.
#[tokio::test]
async fn what_is_offered_is_what_the_entry_says() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = ByteClient::connect(harness.addr()).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    let offered = client.expect("250").await;
    assert!(offered.contains("CHUNKING") && !offered.contains("LIMITS"), "{offered}");
    assert!(!offered.contains("DSN") && !offered.contains("REQUIRETLS"), "{offered}");
    client.send_line("MAIL FROM:<a@app.test> RET=HDRS").await;
    client.expect("555 5.5.4").await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test> NOTIFY=NEVER").await;
    client.expect("555 5.5.4").await;
    quit(client).await;
    harness.drain().await;
    upstream.stop().await;
}
