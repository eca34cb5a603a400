//! The same message again and again: `duplicate_rate`.

use std::time::Duration;

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, converse, send_message};

const CHUNKING: [&str; 5] =
    ["PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING"];
/// The header section is held back where these are asked for, and goes on as a whole.
const HELD: &str = "header_from = \"allowed\"\nadd_missing_headers = [\"date\"]";

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Bdat,
    Data,
    /// DATA, each octet in a segment of its own.
    Dribble,
}

/// What a program makes of its alert the `nth` time.
fn alert(nth: usize, line: &str) -> String {
    format!(
        "Received: from app by app.test; today, {nth}\r\nDate: today, {nth}\r\nFrom: a@app.test\r\n\
         Message-ID:\r\n <{nth}@app.test>\r\nSubject: disk\r\n full\r\nContent-Type: \
         multipart/alternative; boundary=\"b{nth}\"\r\n\r\n--b{nth}\r\n\r\n.\r\n{line}\r\n..\r\n--b{nth}--\r\n"
    )
}

/// Sends a message in a session of its own, and brings back the reply.
async fn send(harness: &Harness, by: By, recipient: &str, content: &str) -> String {
    let mut client = harness.client().await;
    let rcpt = format!("RCPT TO:<{recipient}>");
    let mut envelope = vec![("MAIL FROM:<a@app.test>", "250"), (&*rcpt, "250")];
    if by == By::Bdat {
        converse(&mut client, &envelope).await;
        return send_chunks(&mut client, content).await;
    }
    envelope.push(("DATA", "354"));
    converse(&mut client, &envelope).await;
    let stuffed = content.replace("\r\n.", "\r\n..") + ".\r\n";
    let piece_octets = if by == By::Dribble { 1 } else { stuffed.len() };
    client.dribble(stuffed.as_bytes(), piece_octets, Duration::ZERO).await;
    client.read_reply().await
}

/// Two chunks that are cut in the middle of a line, and a last line without its end.
async fn send_chunks(client: &mut ByteClient, content: &str) -> String {
    let content = content.trim_end().as_bytes();
    let (first, last) = content.split_at(content.len() / 2);
    client.send(format!("BDAT {}\r\n", first.len()).as_bytes()).await;
    client.send(first).await;
    client.expect("250 2.0.0").await;
    client.send(format!("BDAT {} LAST\r\n", last.len()).as_bytes()).await;
    client.send(last).await;
    client.read_reply().await
}

#[tokio::test]
async fn the_same_message_passes_as_often_as_its_entry_says() {
    const EACH: [By; 3] = [By::Data, By::Bdat, By::Dribble];
    for (upstream, more) in [
        (ScriptedUpstream::start(), ""),
        (ScriptedUpstream::builder().extensions(&CHUNKING).start(), ""),
        (ScriptedUpstream::builder().extensions(&CHUNKING).start(), HELD),
    ] {
        let policy = format!("duplicate_rate = \"10/h\"\n{more}");
        let harness = Harness::with_entry(upstream.addr(), &policy);
        for nth in 1..=10 {
            let reply = send(&harness, EACH[nth % 3], "b@b.test", &alert(nth, "on host a")).await;
            assert!(reply.starts_with("250"), "{nth}: {reply}");
        }
        for (nth, by) in (11..).zip(EACH) {
            let reply = send(&harness, by, "b@b.test", &alert(nth, "on host a")).await;
            let told = format!(
                "450 4.7.1 the same message {nth} times, entry fleet takes 10/h of it, retry in 3"
            );
            assert!(reply.starts_with(&told), "{by:?}: {reply}");
        }
        // Another body and other recipients make another message.
        for (recipient, line) in [("b@b.test", "on host b"), ("c@b.test", "on host a")] {
            let reply = send(&harness, By::Data, recipient, &alert(14, line)).await;
            assert!(reply.starts_with("250"), "{recipient}, {line}: {reply}");
        }
        let whole = upstream.wait_for_messages(12).await;
        let same = |text: &str| text.contains("on host a") && !text.contains("today, 14");
        let copies = whole.iter().filter(|message| same(&message.text()));
        assert_eq!((whole.len(), copies.count()), (12, 10), "nothing of the others has an end");
        for (sample, count) in [
            (
                "gatepost_verdicts_total{listener=\"smtp\",check=\"duplicate_rate\",verdict=\"defer\"}",
                3,
            ),
            ("gatepost_messages_total{listener=\"smtp\",result=\"deferred\"}", 3),
            ("gatepost_messages_total{listener=\"smtp\",result=\"accepted\"}", 12),
        ] {
            assert_eq!(harness.metric(sample).await, count, "{sample}");
        }
        let log = harness.mail_log();
        let (_, _directory) = harness.drain().await;
        let log = std::fs::read_to_string(log).expect("the mail log");
        let refused: Vec<_> = log.lines().filter(|line| line.contains("duplicate_rate")).collect();
        assert_eq!(refused.len(), 1, "one line in a minute: {refused:?}");
        for told in ["\"Rejection\"", "450 4.7.1 the same message 11 times", "\"b@b.test\""] {
            assert!(refused[0].contains(told), "{}", refused[0]);
        }
        upstream.stop().await;
    }
}

/// The recipients are a set, and those that were refused are not in it.
#[tokio::test]
async fn the_same_recipients_are_the_same_in_any_order() {
    let upstream = ScriptedUpstream::builder().on("RCPT TO:<no@b.test>", "550 5.1.1 no").start();
    let harness = Harness::with_entry(upstream.addr(), "duplicate_rate = \"1/h\"");
    let mut client = harness.client().await;
    for (names, expected) in [
        (&["x", "y"][..], "250"),
        (&["y", "no", "x"], "450 4.7.1 the same message 2 times"),
        (&["x"], "250"),
        (&["x", "y", "z"], "250"),
    ] {
        converse(&mut client, &[("MAIL FROM:<a@app.test>", "250")]).await;
        for name in names {
            let reply = if *name == "no" { "550" } else { "250" };
            converse(&mut client, &[(&format!("RCPT TO:<{name}@b.test>"), reply)]).await;
        }
        converse(&mut client, &[("DATA", "354"), ("Subject: x\r\n\r\n.", expected)]).await;
    }
    converse(&mut client, &[("MAIL FROM:<b@app.test>", "250")]).await;
    let rest = [("RCPT TO:<x@b.test>", "250"), ("DATA", "354"), ("Subject: x\r\n\r\n.", "250")];
    converse(&mut client, &rest).await;
    drop(client);
    harness.drain().await;
    upstream.stop().await;
}

/// The session of a refused copy goes on: what it sends next is judged by itself.
#[tokio::test]
async fn a_session_goes_on_behind_a_copy() {
    let upstream = ScriptedUpstream::builder().extensions(&CHUNKING).start();
    let harness = Harness::with_entry(upstream.addr(), "duplicate_rate = \"1/h\"");
    let mut client = harness.client().await;
    for (content, expected) in [("x\r\n", "250"), ("x\r\n", "450 4.7.1"), ("y\r\n", "250")] {
        assert!(send_message(&mut client, content.as_bytes()).await.starts_with(expected));
    }
    for (content, expected) in [("x\r\n", "450 4.7.1"), ("y\r\n", "450 4.7.1"), ("z\r\n", "250")] {
        let envelope = [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250")];
        converse(&mut client, &envelope).await;
        let reply = send_chunks(&mut client, content).await;
        assert!(reply.starts_with(expected), "{content:?}: {reply}");
    }
    let kept: Vec<_> = upstream.messages().iter().map(|it| it.after_received().to_vec()).collect();
    assert_eq!(kept, [&b"x\r\n"[..], b"y\r\n", b"z"]);
    drop(client);
    harness.drain().await;
    upstream.stop().await;
}
