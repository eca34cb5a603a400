//! Addresses and parameters: what is judged is what goes upstream, octet for octet, and nothing in
//! an address becomes a command or another address (lettre CVE-2021-38189, nodemailer GHSA-c7w3 and
//! GHSA-vvjj, jakarta.mail CVE-2025-7962, mikel/mail CVE-2015-9097).

use gatepost_testkit::upstream::Connection;
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use super::shown;
use crate::harness::{Harness, Settings, converse};

/// A gateway whose clients may use every sender and every recipient.
fn open(upstream: &ScriptedUpstream) -> Harness {
    with_senders(upstream, "[\"*\", \"<>\"]")
}

fn with_senders(upstream: &ScriptedUpstream, senders: &str) -> Harness {
    let policy =
        format!("[[entry]]\nid = \"fleet\"\nnetworks = [\"127.0.0.1\"]\nsenders = {senders}\n");
    let settings = Settings { policy: Some(policy), ..Settings::default() };
    Harness::with(upstream.addr(), &settings)
}

/// Paths that are forwarded, and what of them goes upstream if it is not the very same.
fn paths() -> Vec<(String, Option<&'static str>)> {
    let labels = |octets: usize| {
        let mut domain = "abcdefghi.".repeat(30);
        domain.truncate(octets - 1);
        domain.replace("..", ".") + "x"
    };
    let mut paths: Vec<(String, Option<&str>)> = [
        // Quoted local-parts, which nobody may un-quote.
        r#""a@b"@c.test"#,
        r#""a\"b"@c.test"#,
        r#""a\\b"@c.test"#,
        r#""a,b"@c.test"#,
        r#"""@c.test"#,
        r#""a"@c.test"#,
        // Routes of other times, opaque to us: the domain is what is behind the last @.
        "u%x@y.test",
        "h!u@y.test",
        "u%x%y@z.test",
        "@one.test:u%x@y.test",
        // Capitals, and everything that an atom may be.
        "A.b+C@EXAMPLE.Test",
        "!#$%&'*+-/=?^_`{|}~@c.test",
        "a@xn--bcher-kva.test",
        "a@under_score.internal",
        "a@single",
        // Address literals.
        "a@[127.0.0.1]",
        "a@[IPv6:2001:db8::1]",
        "a@[ipv6:::1]",
        // A source route is taken off (RFC 5321 §3.6.1, appendix C).
        "@a,@b:c@d",
        r#"@a.test,@b.test:"c@d"@e.test"#,
    ]
    .map(|path| (path.to_owned(), None))
    .into();
    for (path, upstream) in &mut paths {
        *upstream = match &**path {
            "@one.test:u%x@y.test" => Some("u%x@y.test"),
            "@a,@b:c@d" => Some("c@d"),
            r#"@a.test,@b.test:"c@d"@e.test"# => Some(r#""c@d"@e.test"#),
            _ => None,
        };
    }
    // RFC 5321 §4.5.3.1: 64 octets of local-part must be taken; ours have no limit but the path's.
    for octets in [64, 65, 200] {
        paths.push((format!("{}@c.test", "x".repeat(octets)), None));
    }
    paths.push((format!("a@{}", labels(255)), None));
    paths
}

/// Every form of an address that is taken, as sender and as recipient of one transaction.
#[tokio::test]
async fn every_form_of_an_address_goes_upstream_as_it_came() {
    let upstream = ScriptedUpstream::start();
    let harness = open(&upstream);
    let mut client = harness.client().await;
    for (path, other) in paths() {
        let before = upstream.messages().len();
        client.send_line(&format!("MAIL FROM:<{path}>")).await;
        let reply = client.read_reply().await;
        assert!(reply.starts_with("250"), "{path}: {reply}");
        converse(&mut client, &[(&*format!("RCPT TO:<{path}>"), "250"), ("DATA", "354")]).await;
        client.send(b"x\r\n.\r\n").await;
        client.expect("250").await;
        let message = &upstream.messages()[before];
        let expected = other.unwrap_or(&path);
        assert_eq!(message.mail, format!("MAIL FROM:<{expected}>"));
        assert_eq!(message.recipients, [format!("RCPT TO:<{expected}>")]);
    }
    // Those that only one side may have (RFC 5321 §4.5.1, §4.5.5).
    converse(&mut client, &[("MAIL FROM:<>", "250"), ("RCPT TO:<postmaster>", "250")]).await;
    converse(&mut client, &[("RCPT TO:<PostMaster>", "250"), ("DATA", "354")]).await;
    client.send(b"x\r\n.\r\n").await;
    client.expect("250").await;
    let message = upstream.messages().pop().expect("it has arrived");
    assert_eq!(message.mail, "MAIL FROM:<>");
    assert_eq!(message.recipients, ["RCPT TO:<postmaster>", "RCPT TO:<PostMaster>"]);
    upstream.stop().await;
}

/// Octets that are no line, no path or no parameter of ours, and the replies to them. Whatever
/// follows in the same segment is answered as what it is.
const INJECTIONS: &[(&[u8], &[&str])] = &[
    (b"MAIL FROM:<a@b.test> SIZE=1\rRCPT TO:<v@w.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a@b.test>\rRCPT TO:<v@w.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<\"a@b\r\nRCPT TO:<v@w.test>\r\n", &["501 5.5.4", "503 5.5.1"]),
    (b"MAIL FROM:<\"a\r\nRCPT TO:<v@w.test>\r\n\"@b.test>\r\n", &["501 5.5.4", "503", "500"]),
    (b"MAIL FROM:<user\0@evil.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a@b.test\0.evil.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:\t<a@b.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a@b.test>\tSIZE=1\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a@b.test\x0b>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<\x1b[2J@b.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a\x7f@b.test>\r\n", &["500 5.5.2"]),
    (b"MAIL FROM:<a@b.test> BODY=8BITMIME>\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test BODY=8BITMIME>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@b.test>>\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<<a@b.test>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@b.test><c@d.test>\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test>,<c@d.test>\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:a@b.test\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a b@c.test>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<\"a b\"@c.test>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@b.test.>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@[127.0.0.1>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@[IPv6:fe80::1%eth0]>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@[0177.0.0.1]>\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@b.test> SIZE=1 SIZE=1\r\n", &["501 5.5.4 parameter given twice"]),
    (b"MAIL FROM:<a@b.test> SIZE=-1\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test> SIZE=0x10\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test> SIZE=\xd9\xa3\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test> X-EVIL=1\r\n", &["555 5.5.4"]),
    // Postfix 20260602: CR, LF and NUL in xtext.
    (b"MAIL FROM:<a@b.test> ENVID=a+0D+0ARCPT+20TO\r\n", &["501 5.5.4"]),
    (b"MAIL FROM:<a@b.test> ENVID=+00\r\n", &["501 5.5.4"]),
    // 8-bit without SMTPUTF8, and what is not UTF-8 with it (KumoMTA random_bytes.rs).
    (b"MAIL FROM:<gr\xc3\xbcn@b.test>\r\n", &["550 5.6.7"]),
    (b"MAIL FROM:<gr\xfcn@b.test> SMTPUTF8\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<a@\xed\xa0\x80.test> SMTPUTF8\r\n", &["501 5.1.7"]),
    (b"MAIL FROM:<\xc0\x80@b.test> SMTPUTF8\r\n", &["501 5.1.7"]),
    (b"EHLO a\rMAIL FROM:<v@w.test>\r\n", &["500 5.5.2"]),
    (b"EHLO \xc3\xa9\r\n", &["501 5.5.4"]),
];

/// The same behind a MAIL that stands.
const RECIPIENT_INJECTIONS: &[(&[u8], &[&str])] = &[
    (b"RCPT TO:<a@b.test>\rRCPT TO:<v@w.test>\r\n", &["500 5.5.2"]),
    (b"RCPT TO:<\"a@evil.test> X <b\"@ok.test>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<a@b.test> ORCPT=rfc822;+0D+0ADATA\r\n", &["501 5.5.4"]),
    (b"RCPT TO:<a@b.test> ORCPT=rfc822;+00\r\n", &["501 5.5.4"]),
    (b"RCPT TO:<a@b.test> <v@w.test>\r\n", &["555 5.5.4"]),
    (b"RCPT TO:<a@b.test>,<v@w.test>\r\n", &["501 5.5.4"]),
    (b"RCPT TO:<a@b.test,v@w.test>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<a@b.test;v@w.test>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<a@b.test\0>\r\n", &["500 5.5.2"]),
    (b"RCPT TO:<gr\xc3\xbcn@b.test>\r\n", &["553 5.6.7"]),
    (b"RCPT TO:<gr\xfcn@b.test>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<@>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<@a.test:>\r\n", &["501 5.1.3"]),
    (b"RCPT TO:<postmaster@>\r\n", &["501 5.1.3"]),
];

/// A line that injects is refused whole; the session goes on in step, and the one message that it
/// sends afterwards has the one recipient that it names.
#[tokio::test]
async fn nothing_in_an_address_becomes_a_command_or_another_address() {
    let upstream = ScriptedUpstream::start();
    let harness = open(&upstream);
    let mail = ("MAIL FROM:<a@app.test>", "250");
    for (tables, opening) in [(INJECTIONS, None), (RECIPIENT_INJECTIONS, Some(mail))] {
        for (octets, replies) in tables {
            let before = upstream.messages().len();
            let mut client = harness.client().await;
            if let Some(mail) = opening {
                converse(&mut client, &[mail]).await;
            }
            client.send(&[octets, &b"NOOP\r\n"[..]].concat()).await;
            for reply in *replies {
                let said = client.read_reply().await;
                assert!(said.starts_with(reply), "{}: {said}, not {reply}", shown(octets));
            }
            client.expect("250 2.0.0 Ok").await;
            converse(&mut client, &[("RSET", "250"), mail, ("RCPT TO:<good@b.test>", "250")]).await;
            converse(&mut client, &[("DATA", "354"), ("x\r\n.", "250")]).await;
            let messages = upstream.messages();
            assert_eq!(messages.len(), before + 1, "{}", shown(octets));
            assert_eq!(messages[before].recipients, ["RCPT TO:<good@b.test>"], "{}", shown(octets));
        }
    }
    let received: Vec<_> = upstream.connections().iter().flat_map(Connection::received).collect();
    for word in [&b"v@w.test"[..], b"evil", b"\0", b"\x1b"] {
        assert!(!received.windows(word.len()).any(|it| it == word), "{}", shown(word));
    }
    upstream.stop().await;
}

/// A sender's domain is what stands behind the last `@` outside quotes, whole, in any case and in
/// either spelling; nothing that merely looks like it is it.
#[tokio::test]
async fn no_spelling_of_a_domain_gets_past_the_senders_of_an_entry() {
    let upstream = ScriptedUpstream::start();
    let senders = "[\"example.test\", \"*.sub.test\", \"xn--bcher-kva.test\", \"one@box.test\"]";
    let harness = with_senders(&upstream, senders);
    for (sender, reply) in [
        ("a@example.test", "250"),
        ("a@EXAMPLE.Test", "250"),
        ("a@x.y.sub.test", "250"),
        ("a@xn--bcher-kva.test", "250"),
        ("a@b\u{fc}cher.test", "250"),
        ("a@B\u{dc}CHER.test", "250"),
        ("one@BOX.test", "250"),
        ("\"a@evil.test\"@example.test", "250"),
        ("@evil.test:a@example.test", "250"),
        ("a@example.test.evil.test", "550 5.7.1"),
        ("a@evil-example.test", "550 5.7.1"),
        ("a@evilexample.test", "550 5.7.1"),
        ("a@www.example.test", "550 5.7.1"),
        ("a@sub.test", "550 5.7.1"),
        ("a@evil-sub.test", "550 5.7.1"),
        ("a@example.tes", "550 5.7.1"),
        ("a@test", "550 5.7.1"),
        ("One@box.test", "550 5.7.1"),
        ("\"one\"@box.test", "550 5.7.1"),
        ("\"a@example.test\"@evil.test", "550 5.7.1"),
        ("a%example.test@evil.test", "550 5.7.1"),
        ("example.test!a@evil.test", "550 5.7.1"),
        ("@example.test:a@evil.test", "550 5.7.1"),
        ("a@[127.0.0.1]", "550 5.7.1"),
        ("a@b\u{fc}cher.evil.test", "550 5.7.1"),
        ("", "550 5.7.1"),
        ("a@example.test.", "501 5.1.7"),
        ("a@example.test@evil.test", "501 5.1.7"),
        ("a@evil.test>@example.test", "501 5.5.4"),
    ] {
        let mut client = harness.client().await;
        client.send_line(&format!("MAIL FROM:<{sender}> SMTPUTF8")).await;
        let said = client.read_reply().await;
        assert!(said.starts_with(reply), "{sender}: {said}, not {reply}");
    }
    assert!(upstream.lines().is_empty());
    upstream.stop().await;
}

/// A client's name for itself is printed in `Received:` and in the log, and says no more than a name.
#[tokio::test]
async fn a_name_at_ehlo_says_no_more_than_a_name() {
    let upstream = ScriptedUpstream::start();
    let harness = open(&upstream);
    for name in ["x) by evil.test (y", "x; Sat, 21 Nov 2026 22:05:09 +0000", "\"},{\"a\":\"", "<b>"]
    {
        let mut client = ByteClient::connect(harness.addr()).await;
        client.expect("220").await;
        converse(&mut client, &[(&*format!("EHLO {name}"), "250")]).await;
        converse(&mut client, &crate::harness::ENVELOPE).await;
        converse(&mut client, &[("x\r\n.", "250")]).await;
        let text = upstream.messages().pop().expect("it has arrived").text();
        let line = text.lines().next().expect("a line");
        let (from, rest) =
            line.split_once(" ([127.0.0.1]) by relay.test with ESMTP id ").expect(line);
        let said = from.strip_prefix("Received: from ").expect(line);
        assert!(!said.contains(['(', ')', ';', '"', '<', '>', ' ', ',']), "{line}");
        assert_eq!(rest.matches(';').count(), 1, "{line}");
    }
    let (_, directory) = harness.drain().await;
    let log = std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a log");
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("one event a line");
        assert!(event["helo"].is_string(), "{line}");
    }
    upstream.stop().await;
}
