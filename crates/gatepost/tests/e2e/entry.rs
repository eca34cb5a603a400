//! What an entry of the policy says, through real sessions: each key at its moment.

use std::time::Duration;

use gatepost_testkit::upstream::Connection;
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings, converse, fleet, send_message};

const MAIL: &str = "MAIL FROM:<a@app.test>";
const RCPT: &str = "RCPT TO:<b@b.test>";

/// Has a conversation with a client of an entry that has these lines.
async fn says(more: &str, lines: &[(&str, &str)]) {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), more);
    converse(&mut harness.client().await, lines).await;
    upstream.stop().await;
}

#[tokio::test]
async fn plain_sessions_are_refused_where_tls_or_a_certificate_is_required() {
    says("tls = \"required\"", &[(MAIL, "530 5.7.0 entry fleet must use TLS")]).await;
    says("tls = \"required-1.3\"", &[(MAIL, "530 5.7.0 entry fleet must use TLS 1.3")]).await;
    let told = "530 5.7.0 entry fleet must use TLS with a client certificate";
    says("client_certificate = [\"app.internal\"]", &[(MAIL, told)]).await;
}

#[tokio::test]
async fn helo_recipients_and_sizes_are_those_that_are_allowed() {
    says("helo = [\"*.test\"]", &[(MAIL, "250"), (RCPT, "250")]).await;
    let told = "550 5.7.1 app.test is not an allowed HELO name of entry fleet";
    says("helo = [\"*.internal\"]", &[(MAIL, told)]).await;
    let lines = [
        (MAIL, "250"),
        ("RCPT TO:<x@c.test>", "550 5.7.1 <x@c.test> is not an allowed recipient of entry fleet"),
        ("RCPT TO:<postmaster>", "550 5.7.1 <postmaster> is not"),
        (RCPT, "250"),
        ("RCPT TO:<c@b.test>", "250"),
        ("RCPT TO:<d@b.test>", "452 4.5.3 too many recipients, entry fleet may name 2"),
    ];
    says("recipients = [\"b.test\"]\nmax_recipients = 2", &lines).await;
    let lines = [
        ("EHLO app.test", "250-relay.test\n250-PIPELINING\n250-SIZE 20\n"),
        ("MAIL FROM:<a@app.test> SIZE=21", "552 5.3.4 the message is larger than the 20 B that"),
        ("MAIL FROM:<a@app.test> SIZE=20", "250"),
    ];
    says("max_message_size = \"20 B\"", &lines).await;
}

#[tokio::test]
async fn data_that_is_larger_than_the_entry_allows_is_not_relayed() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "max_message_size = \"20 B\"");
    let mut client = harness.client().await;
    let reply = send_message(&mut client, b"Subject: x\r\n\r\n1234\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    let reply = send_message(&mut client, b"Subject: x\r\n\r\n12345\r\n").await;
    assert!(reply.starts_with("552 5.3.4 the message is larger than the 20 B"), "{reply}");
    assert_eq!(upstream.messages().len(), 1);
    upstream.stop().await;
}

#[tokio::test]
async fn rates_defer_and_say_for_how_long() {
    let lines = [
        ("MAIL FROM:<x@other.test>", "550"),
        (MAIL, "250"),
        ("RSET", "250"),
        (MAIL, "250"),
        ("RSET", "250"),
        (MAIL, "450 4.7.1 entry fleet may send 2/h messages, retry in 1"),
        ("NOOP", "250"),
    ];
    says("message_rate = \"2/h\"", &lines).await;
    let lines = [
        (MAIL, "250"),
        (RCPT, "250"),
        (RCPT, "450 4.7.1 entry fleet may send 1/d recipients, retry in 86400 s"),
    ];
    says("recipient_rate = \"1/d\"", &lines).await;
}

#[tokio::test]
async fn an_entry_has_so_many_connections_at_once() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "max_connections = 2");
    let mut first = harness.client().await;
    let _second = harness.client().await;
    let mut third = ByteClient::connect(harness.addr()).await;
    third.expect("421 4.7.0 entry fleet may have 2 connections").await;
    third.expect_closed().await;
    first.send_line("QUIT").await;
    first.expect("221").await;
    first.expect_closed().await;
    // The seat is given up a moment after the client has seen the end.
    tokio::time::sleep(Duration::from_millis(200)).await;
    harness.client().await;
    let limited = "gatepost_connections_total{listener=\"smtp\",result=\"limited\"}";
    assert_eq!(harness.metric(limited).await, 1);
    upstream.stop().await;
}

#[tokio::test]
async fn denied_and_expired_clients_are_refused_with_the_greeting() {
    let policy = r#"
[[entry]]
id = "wide"
networks = ["127.0.0.0/8"]
senders = ["app.test"]
[[entry]]
id = "blocked"
networks = ["127.0.0.4"]
action = "deny"
[[entry]]
id = "past"
networks = ["127.0.0.5"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z
[[entry]]
id = "future"
networks = ["127.0.0.6"]
senders = ["app.test"]
not_before = 2999-01-01T00:00:00Z
[[entry]]
id = "late"
networks = ["127.0.0.7"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z
expiry = "defer"
[[entry]]
id = "kept"
networks = ["127.0.0.8"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z
expiry = "warn"
"#;
    let upstream = ScriptedUpstream::start();
    let settings = Settings { policy: Some(policy.to_owned()), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    for (last, greeting) in [
        (3, "220"),
        (4, "554 5.7.1 relay.test: 127.0.0.4 is blocked by entry blocked"),
        (5, "554 5.7.1 relay.test: entry past has expired at 2020-01-01T00:00:00Z"),
        (6, "554 5.7.1 relay.test: entry future is not valid before 2999-01-01T00:00:00Z"),
        (7, "220"),
        (8, "220"),
    ] {
        let mut client = ByteClient::connect_from([127, 0, 0, last].into(), harness.addr()).await;
        client.expect(greeting).await;
        client.send_line("EHLO app.test").await;
        if greeting == "220" {
            client.expect("250").await;
            client.send_line(MAIL).await;
            let late = last == 7;
            client
                .expect(if late { "450 4.7.1 entry late has expired at 2020" } else { "250" })
                .await;
        } else {
            client.expect("503 5.5.1").await;
            client.send_line("QUIT").await;
            client.expect("221").await;
        }
    }
    for (sample, count) in [
        ("gatepost_connections_total{listener=\"smtp\",result=\"denied\"}", 1),
        ("gatepost_connections_total{listener=\"smtp\",result=\"expired\"}", 2),
        ("gatepost_verdicts_total{listener=\"smtp\",check=\"dates\",verdict=\"defer\"}", 1),
        ("gatepost_verdicts_total{listener=\"smtp\",check=\"dates\",verdict=\"warn\"}", 1),
        ("gatepost_verdicts_total{listener=\"smtp\",check=\"mail\",verdict=\"accept\"}", 2),
    ] {
        assert_eq!(harness.metric(sample).await, count, "{sample}");
    }
    upstream.stop().await;
}

/// Sends a message in pieces of every size to a gateway that looks at its From field.
async fn from_field(content: &[u8], reply: &str, delivered: bool) {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "header_from = \"allowed\"");
    let mut client = harness.client().await;
    for piece in [1, 7, content.len() + 3] {
        converse(&mut client, &[(MAIL, "250"), (RCPT, "250"), ("DATA", "354")]).await;
        let data = [content, b".\r\n"].concat();
        client.dribble(&data, piece, Duration::ZERO).await;
        client.expect(reply).await;
    }
    let messages = upstream.messages();
    assert_eq!(messages.len(), if delivered { 3 } else { 0 });
    assert!(messages.iter().all(|message| message.after_received() == content));
    upstream.stop().await;
}

#[tokio::test]
async fn the_from_field_must_be_an_allowed_sender() {
    for content in [
        &b"From: a@app.test\r\nSubject: x\r\n\r\nFrom: evil@b.test\r\n"[..],
        b"Subject: x\r\nfRoM: \"evil@b.test\" <a@APP.test>,\r\n\tb@app.test (evil@b.test)\r\n\r\n..\r\n",
        b"From: =?utf-8?q?J=C3=BCrgen?= <a@app.test>\r\n\r\nbody\r\n",
        b"From: only-a-header@app.test\r\n",
    ] {
        from_field(content, "250", true).await;
    }
    for (content, told) in [
        (
            &b"From: evil@b.test\r\n\r\n"[..],
            "550 5.7.1 <evil@b.test> is not an allowed sender in the From",
        ),
        (b"From: a@app.test, evil@b.test\r\n\r\n", "550 5.7.1 <evil@b.test> is not"),
        (b"Subject: x\r\n\r\nFrom: a@app.test\r\n", "550 5.7.1 the message has no From field"),
        (
            b"From: a@app.test\r\nFrom: evil@b.test\r\n\r\n",
            "550 5.7.1 the message has 2 From fields",
        ),
        (
            b"From: a@app.test\r\n.From: evil@b.test\r\n\r\n",
            "550 5.7.1 the message has 2 From fields",
        ),
        (b"From: a@app.test <evil@b.test>\r\n\r\n", "550 5.7.1 the From field cannot be read"),
        (b"From: a@app.test\r\nno colon\r\nFrom: evil@b.test\r\n\r\n", "550 5.7.1 "),
        (b"\r\nFrom: a@app.test\r\n", "550 5.7.1 the message has no From field"),
    ] {
        from_field(content, told, false).await;
    }
}

#[tokio::test]
async fn a_header_section_is_held_within_its_bound_and_the_body_never() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "header_from = \"allowed\"");
    let mut client = harness.client().await;
    let long = b"X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(1200);
    let fits = [b"From: a@app.test\r\n", &long[..], b"\r\n", &b"body\r\n".repeat(100_000)].concat();
    let reply = send_message(&mut client, &fits).await;
    assert!(reply.starts_with("250"), "{reply}");
    let large = [b"From: a@app.test\r\n", &long[..], &long[..], b"\r\nbody\r\n"].concat();
    let reply = send_message(&mut client, &large).await;
    assert!(reply.starts_with("554 5.6.0 the header section is larger than 64 KiB"), "{reply}");

    // The header section is judged, and sent, before the body has come.
    converse(&mut client, &[(MAIL, "250"), (RCPT, "250"), ("DATA", "354")]).await;
    client.send(b"From: a@app.test\r\n\r\nfirst line of the body\r\n").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let received: Vec<u8> = upstream.connections().iter().flat_map(Connection::received).collect();
    let text = String::from_utf8_lossy(&received).into_owned();
    assert!(text.ends_with("first line of the body\r\n"), "{}", &text[text.len() - 100..]);
    client.send(b".\r\n").await;
    client.expect("250").await;
    upstream.stop().await;
}

#[tokio::test]
async fn bare_newlines_become_crlf_where_the_entry_says_so() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "bare_newlines = \"normalize\"");
    let mut client = harness.client().await;
    let content = b"Subject: x\n\nline\n.\nMAIL FROM:<evil@b.test>\n..dots\r\nend\n\r\n";
    let expected =
        b"Subject: x\r\n\r\nline\r\n..\r\nMAIL FROM:<evil@b.test>\r\n...dots\r\nend\r\n\r\n";
    for piece in [1, 5, 1000] {
        converse(&mut client, &[(MAIL, "250"), (RCPT, "250"), ("DATA", "354")]).await;
        client.dribble(&[&content[..], b".\r\n"].concat(), piece, Duration::ZERO).await;
        client.expect("250").await;
    }
    for message in upstream.wait_for_messages(3).await {
        assert_eq!(
            message.after_received().escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
    let large = b"a line that ends with LF alone\n".repeat(20_000);
    let reply = send_message(&mut client, &[&b"\n"[..], &large, b"\r\n"].concat()).await;
    assert!(reply.starts_with("250"), "{reply}");
    let arrived = upstream.wait_for_messages(4).await[3].after_received().len();
    assert_eq!(arrived, 2 + large.len() + 20_000 + 2);
    // A bare CR stays what it is.
    converse(&mut client, &[(MAIL, "250"), (RCPT, "250"), ("DATA", "354")]).await;
    client.send(b"a\rb\n\r\n.\r\n").await;
    client.expect("554 5.6.0 bare CR").await;
    upstream.stop().await;
}

#[tokio::test]
async fn missing_headers_are_put_in_front() {
    let upstream = ScriptedUpstream::start();
    let harness =
        Harness::with_entry(upstream.addr(), "add_missing_headers = [\"message-id\", \"date\"]");
    let mut client = harness.client().await;
    for (content, added) in [
        (&b"Subject: x\r\n\r\nDate: in the body\r\n"[..], &["Date: ", "Message-ID: <"][..]),
        (b"DATE: x\r\nSubject: x\r\n\r\n", &["Message-ID: <"]),
        (b"Message-Id: <a@b>\r\nDate: x\r\n\r\n", &[]),
        (b"no header at all\r\n", &["Date: ", "Message-ID: <"]),
    ] {
        let reply = send_message(&mut client, content).await;
        assert!(reply.starts_with("250"), "{reply}");
        let message = upstream.messages().pop().expect("it has arrived");
        let text = message.text();
        let mut lines = text.split_inclusive("\r\n");
        assert!(lines.next().is_some_and(|line| line.starts_with("Received: ")));
        for start in added {
            let line = lines.next().expect("an added line");
            assert!(line.starts_with(start), "{line}");
            assert!(
                !start.starts_with("Message-ID") || line.ends_with("@relay.test>\r\n"),
                "{line}"
            );
        }
        assert_eq!(lines.collect::<String>().as_bytes(), content);
    }
    upstream.stop().await;
}

#[tokio::test]
async fn refusals_of_policy_are_in_the_mail_log() {
    let upstream = ScriptedUpstream::start();
    let policy = fleet("recipients = [\"b.test\"]\nmessage_rate = \"1/d\"");
    let harness =
        Harness::with(upstream.addr(), &Settings { policy: Some(policy), ..Settings::default() });
    let lines = [
        ("MAIL FROM:<x@other.test>", "550"),
        (MAIL, "250"),
        ("RCPT TO:<x@c.test>", "550"),
        ("RCPT TO:<y@c.test>", "550"),
        ("RCPT TO:<z@c.test>", "550"),
        ("RSET", "250"),
        (MAIL, "450"),
        (MAIL, "450"),
    ];
    converse(&mut harness.client().await, &lines).await;
    let path = harness.mail_log();
    let (_, _directory) = harness.drain().await;
    let log = std::fs::read_to_string(path).expect("a mail log");
    let reasons: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|event| {
            assert_eq!((&event["type"], &event["entry"]), (&"Rejection".into(), &"fleet".into()));
            event["reason"].as_str().expect("a reason").to_owned()
        })
        .collect();
    let expected = [
        "refused by check sender",
        "refused by check recipient",
        "refused by check recipient; refusals since the last line: 1",
    ];
    assert_eq!(reasons, expected, "{log}");
    upstream.stop().await;
}
