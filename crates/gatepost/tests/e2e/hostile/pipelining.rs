//! Commands out of turn (RFC 2920, RFC 5321 §4.1.4), envelopes that should be forgotten, and
//! other protocols at the SMTP port.
//!
//! What the groups of BDAT and AUTH do has its tests where they are offered; here both end a
//! session, or are refused.

use std::sync::Arc;

use gatepost_testkit::upstream::{Action, Builder, END_OF_DATA};
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use super::{crowd, play, send_cut, shown, source};
use crate::harness::{ENVELOPE, Harness, Settings, converse, send_message};

/// RFC 2920 §3.1, Postfix ≥ 3.9 (`smtpd_forbid_unauth_pipelining`): DATA ends a group. What is in the
/// same segment could be data or commands, so it is neither, and the session ends.
#[tokio::test]
async fn octets_behind_data_are_neither_data_nor_commands() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    for behind in [
        &b"Subject: x\r\n\r\n.\r\n"[..],
        b".\r\n",
        b".",
        b"\r\n",
        b"QUIT\r\n",
        b"RSET\r\nMAIL FROM:<evil@app.test>\r\nRCPT TO:<evil@b.test>\r\nDATA\r\n",
        b"\n.\nMAIL FROM:<evil@app.test>\r\n",
        b"\0",
    ] {
        let mut client = harness.client().await;
        let group = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n";
        client.send(&[group, behind].concat()).await;
        client.expect("250 2.1.0").await;
        client.expect("250 2.1.5").await;
        client.expect("503 5.5.0 wait for 354").await;
        client.expect_closed().await;
    }
    assert_eq!(upstream.messages(), []);
    assert!(!upstream.lines().iter().any(|line| line.contains("evil")));
    upstream.stop().await;
}

/// "Early talker": commands before the greeting are commands as any others, answered behind it and in
/// their order. They make nobody another client: a stranger is refused, and hears it.
#[tokio::test]
async fn who_talks_before_the_greeting_gains_nothing() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let early = b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\n";
    let mut stranger = ByteClient::connect_from([127, 0, 0, 2].into(), harness.addr()).await;
    stranger.send(early).await;
    stranger.expect("554 5.7.1 relay.test: 127.0.0.2 is not on the allow-list").await;
    for _ in 0..3 {
        stranger.expect("503 5.5.1").await;
    }
    assert!(upstream.lines().is_empty());
    let mut client = ByteClient::connect(harness.addr()).await;
    client.send(early).await;
    for reply in ["220", "250", "250 2.1.0", "250 2.1.5"] {
        client.expect(reply).await;
    }
    upstream.stop().await;
}

/// RFC 2920 §3.1: what may stand behind the end of data stays legal, cut into two at every octet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legal_group_stays_legal_wherever_it_is_cut() {
    const GROUP: &[u8] = b"one\r\n.\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<d@b.test>\r\nDATA\r\n";
    let upstream = ScriptedUpstream::start();
    let harness = Arc::new(crowd(upstream.addr(), ""));
    play(1..GROUP.len(), |number, cut| {
        let harness = Arc::clone(&harness);
        async move {
            let mut client = ByteClient::connect_from(source(number), harness.addr()).await;
            client.expect("220").await;
            converse(&mut client, &[("EHLO app.test", "250")]).await;
            converse(&mut client, &ENVELOPE).await;
            send_cut(&mut client, GROUP, cut).await;
            for reply in ["250 2.0.0", "250 2.1.0", "250 2.1.5", "354"] {
                client.expect(reply).await;
            }
            send_cut(&mut client, b"two\r\n.\r\nQUIT\r\n", cut % 12).await;
            client.expect("250 2.0.0").await;
            client.expect("221").await;
            client.expect_closed().await;
        }
    })
    .await;
    let messages = upstream.messages();
    assert_eq!(messages.len(), 2 * (GROUP.len() - 1));
    for message in &messages {
        let of_one = message.after_received() == b"one\r\n";
        let recipient = if of_one { "RCPT TO:<b@b.test>" } else { "RCPT TO:<d@b.test>" };
        assert_eq!(message.recipients, [recipient], "{}", message.text());
    }
    upstream.stop().await;
}

/// One octet after the other for the whole of a session.
#[tokio::test]
async fn a_session_may_come_octet_by_octet() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = ByteClient::connect(harness.addr()).await;
    let pause = std::time::Duration::from_millis(1);
    client.expect("220").await;
    for (line, reply) in [("EHLO app.test", "250")].into_iter().chain(ENVELOPE) {
        client.dribble(format!("{line}\r\n").as_bytes(), 1, pause).await;
        client.expect(reply).await;
    }
    client.dribble(b"Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n", 1, pause).await;
    client.expect("250 2.0.0").await;
    client.expect("221").await;
    assert_eq!(upstream.messages()[0].after_received(), b"Subject: x\r\n\r\n..\r\n");
    upstream.stop().await;
}

/// Lines and the replies to them, an upstream that behaves so, and what ends the transaction.
struct Ended {
    by: &'static str,
    upstream: fn(Builder) -> Builder,
    lines: &'static [(&'static str, &'static str)],
}

const fn usual(builder: Builder) -> Builder {
    builder
}

const MAIL: (&str, &str) = ("MAIL FROM:<old@app.test>", "250 2.1.0");
const RCPT: (&str, &str) = ("RCPT TO:<old@b.test>", "250 2.1.5");
const DATA: (&str, &str) = ("DATA", "354");

/// Every way in which a transaction ends without the session. CVE-2020-BDATA and its kin: Exim kept
/// parts of an envelope over an error.
const ENDS: [Ended; 14] = [
    Ended { by: "RSET", upstream: usual, lines: &[MAIL, RCPT, ("RSET", "250")] },
    Ended { by: "EHLO", upstream: usual, lines: &[MAIL, RCPT, ("EHLO x", "250")] },
    Ended { by: "HELO", upstream: usual, lines: &[MAIL, RCPT, ("HELO x", "250")] },
    Ended {
        by: "a refused MAIL",
        upstream: usual,
        lines: &[("MAIL FROM:<old@other.test>", "550 5.7.1")],
    },
    Ended {
        by: "a MAIL that cannot be read",
        upstream: usual,
        lines: &[("MAIL FROM:<old@app..test>", "501")],
    },
    Ended { by: "250", upstream: usual, lines: &[MAIL, RCPT, DATA, ("x\r\n.", "250 2.0.0")] },
    Ended {
        by: "250 with VRFY in between",
        upstream: usual,
        lines: &[MAIL, RCPT, ("VRFY gr\u{fc}n", "252"), DATA, ("x\r\n.", "250 2.0.0")],
    },
    Ended {
        by: "5xx at the end of data",
        upstream: |it| it.on_nth(END_OF_DATA, 1, "554 5.7.1 spam"),
        lines: &[MAIL, RCPT, DATA, ("x\r\n.", "554 5.7.1 spam")],
    },
    Ended {
        by: "4xx at the end of data",
        upstream: |it| it.on_nth(END_OF_DATA, 1, "452 4.3.1 full"),
        lines: &[MAIL, RCPT, DATA, ("x\r\n.", "452 4.3.1 full")],
    },
    Ended {
        by: "an upstream that is lost at the end of data",
        upstream: |it| it.on_nth(END_OF_DATA, 1, Action::Close),
        lines: &[MAIL, RCPT, DATA, ("x\r\n.", "451 4.4.2")],
    },
    Ended {
        by: "an upstream that refuses DATA",
        upstream: |it| it.on_nth("DATA", 1, "451 4.3.0 not now"),
        lines: &[MAIL, RCPT, DATA, ("x\r\n.", "451 4.3.0")],
    },
    Ended {
        by: "a first line of white space",
        upstream: usual,
        lines: &[MAIL, RCPT, DATA, (" x\r\n.", "554 5.6.0")],
    },
    Ended {
        by: "too much data",
        upstream: usual,
        lines: &[MAIL, RCPT, DATA, ("12345678901234567890\r\n.", "552 5.3.4")],
    },
    Ended {
        by: "a loop",
        upstream: usual,
        lines: &[MAIL, RCPT, DATA, ("Received:1\r\nReceived:2\r\n.", "554 5.4.6")],
    },
];

/// Nothing of an envelope is left when its transaction is over, whatever has ended it.
#[tokio::test]
async fn nothing_of_an_ended_transaction_is_left() {
    for Ended { by, upstream, lines } in ENDS {
        let upstream = upstream(ScriptedUpstream::builder()).start();
        let max = if by == "a loop" { 100 } else { 20 };
        let tables = format!("[limits]\nmax_message_size = \"{max} B\"\nreceived_max = 1\n");
        let settings = Settings { tables, ..Settings::default() };
        let harness = Harness::with(upstream.addr(), &settings);
        let mut client = harness.client().await;
        converse(&mut client, lines).await;
        let told = upstream.messages().len();
        converse(&mut client, &[("RCPT TO:<late@b.test>", "503"), ("DATA", "503")]).await;
        converse(
            &mut client,
            &[
                ("MAIL FROM:<new@app.test>", "250"),
                ("DATA", "503"),
                ("RCPT TO:<new@b.test>", "250"),
            ],
        )
        .await;
        converse(&mut client, &[("DATA", "354"), ("new\r\n.", "250 2.0.0")]).await;
        let messages = upstream.messages();
        assert_eq!(messages.len(), told + 1, "{by}");
        let message = messages.last().expect("it has arrived");
        assert_eq!(message.mail, "MAIL FROM:<new@app.test>", "{by}");
        assert_eq!(message.recipients, ["RCPT TO:<new@b.test>"], "{by}");
        assert_eq!(message.after_received(), b"new\r\n", "{by}");
        assert!(!upstream.lines().iter().any(|line| line.contains("late")), "{by}");
        upstream.stop().await;
    }
}

/// The upstream goes while recipients are named: none of them stands, and none is kept for later.
#[tokio::test]
async fn recipients_that_were_lost_with_their_upstream_do_not_come_back() {
    let upstream = ScriptedUpstream::builder().on_nth("RCPT", 2, Action::Close).start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    let lost = [MAIL, RCPT, ("RCPT TO:<lost@b.test>", "451 4.4.2"), ("DATA", "451 4.4.2")];
    converse(&mut client, &lost).await;
    converse(&mut client, &[("RCPT TO:<late@b.test>", "503"), ("DATA", "503")]).await;
    assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
    let messages = upstream.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].recipients, ["RCPT TO:<b@b.test>"]);
    upstream.stop().await;
}

/// Cross-protocol attacks ("SMTP by browser"; Postfix: "221 2.7.0 I can break rules, too"): after the
/// first line of HTTP nothing is read, whatever the request carries.
#[tokio::test]
async fn http_is_sent_away_at_once() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let carried = "EHLO x\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n";
    for request in [
        "POST / HTTP/1.1",
        "GET / HTTP/1.1",
        "get / http/1.0",
        "HEAD / HTTP/1.1",
        "PUT / HTTP/1.1",
        "DELETE / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PATCH / HTTP/1.1",
        "TRACE / HTTP/1.1",
        "CONNECT relay.test:25 HTTP/1.1",
        "PRI * HTTP/2.0",
        "POST",
    ] {
        let mut client = ByteClient::connect(harness.addr()).await;
        let request = format!("{request}\r\nHost: relay.test\r\n\r\n{carried}");
        client.send(request.as_bytes()).await;
        client.expect("220").await;
        client.expect("500 5.5.1 this is an SMTP server").await;
        client.expect_closed().await;
        // Nor behind a line that was right.
        let mut client = harness.client().await;
        client.send(request.as_bytes()).await;
        client.expect("500 5.5.1").await;
        client.expect_closed().await;
    }
    assert!(upstream.lines().is_empty());
    upstream.stop().await;
}

/// Other programs that knock at the wrong port: nothing of what they say is a command, and none of
/// them stays for longer than a client that is silent.
#[tokio::test]
async fn what_is_not_smtp_gets_nowhere() {
    let upstream = ScriptedUpstream::start();
    let tables = "[timeouts]\ncommand = \"1s\"\n".to_owned();
    let harness = Harness::with(upstream.addr(), &Settings { tables, ..Settings::default() });
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0x5a; 502]].concat();
    let noise: Vec<u8> =
        (0..70_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (octets, last) in [
        // A ClientHello at a plain port: no line at all.
        (&hello[..], "421 4.4.2"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "421 4.4.2"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\x00\x00\x05\xdc\x07\x14\n", "500 5.5.2 bare LF"),
        (b"\xff\xf4\xff\xfd\x06", "421 4.4.2"),
        (b"*1\r\n$4\r\nPING\r\n", "421 4.4.2"),
        (b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x0b\x00\x00\x00", "421"),
        (&noise, "500 5.5.2"),
        (&b"\0".repeat(65_536), "500 5.5.2 line too long"),
        (&b"\xff".repeat(65_536), "500 5.5.2 line too long"),
    ] {
        let mut client = ByteClient::connect(harness.addr()).await;
        let _ = client.try_send(octets).await;
        client.expect("220").await;
        let mut said = String::new();
        while let Ok(reply) = client.try_reply().await {
            said = reply;
        }
        assert!(said.starts_with(last), "{}: {said}", shown(&octets[..octets.len().min(40)]));
    }
    assert!(upstream.lines().is_empty());
    upstream.stop().await;
}
