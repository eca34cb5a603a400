//! SMTP smuggling: data that one server takes for one message and the next for two
//! (CVE-2023-51764 Postfix, -51765 Sendmail, -51766 Exim, CVE-2024-27305 aiosmtpd).
//!
//! Inbound, only CRLF.CRLF ends data, and what has a bare CR, LF or NUL in it goes nowhere. What
//! does go upstream is one message to the strictest and to the most careless reader: no CR without
//! LF, no LF without CR, and every dot that begins a line stuffed.

use std::sync::Arc;

use gatepost_testkit::upstream::Message;
use gatepost_testkit::{ByteClient, ScriptedUpstream, Versions};

use super::{crowd, play, send_cut, shown, source};
use crate::harness::{ENVELOPE, Harness, converse};
use crate::tls::{Play, Stage};

/// What some server has taken for the end of data.
const FAKE_ENDS: [&[u8]; 14] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\r\n",
    b"\r\n.\r\0\n",
];

/// Those that have a bare LF and nothing worse: an entry may have them made CRLF.
const MENDABLE: [&[u8]; 3] = [b"\n.\n", b"\n.\r\n", b"\r\n.\n"];

/// What the attacker wants to be read as commands. Its end is the true end of the message.
const SMUGGLED: &[u8] = b"MAIL FROM:<evil@app.test>\r\nRCPT TO:<evil@b.test>\r\nDATA\r\n\
                          Subject: evil\r\n\r\nevil\r\n.\r\n";

const MAIL_GROUP: &[u8] = b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n";

fn attack(fake_end: &[u8]) -> Vec<u8> {
    [b"Subject: x\r\n\r\nbody", fake_end, SMUGGLED].concat()
}

/// Each attack with each way to cut it in two.
fn cuts(fake_ends: &[&[u8]]) -> Vec<(Vec<u8>, usize)> {
    let attacks = fake_ends.iter().map(|fake_end| attack(fake_end));
    attacks.flat_map(|data| (1..data.len()).map(move |cut| (data.clone(), cut))).collect()
}

/// A session at the point where it may send its data.
async fn at_data(harness: &Harness, number: usize) -> ByteClient {
    let mut client = ByteClient::connect_from(source(number), harness.addr()).await;
    client.expect("220").await;
    client.send(&[b"EHLO app.test\r\n", MAIL_GROUP].concat()).await;
    for reply in ["250", "250 2.1.0", "250 2.1.5", "354"] {
        client.expect(reply).await;
    }
    client
}

fn assert_nothing_smuggled(upstream: &ScriptedUpstream) {
    let evil = upstream.lines().into_iter().find(|line| line.contains("evil"));
    assert_eq!(evil, None, "a command that was data");
}

/// CVE-2023-51764, -51765, -51766, CVE-2024-27305: a fake end of data with commands behind it, cut
/// into two segments at every octet. One reply, a close, and nothing upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fake_end_of_data_smuggles_a_message_wherever_it_is_cut() {
    let upstream = ScriptedUpstream::start();
    let harness = Arc::new(crowd(upstream.addr(), ""));
    play(cuts(&FAKE_ENDS), |number, (data, cut)| {
        let harness = Arc::clone(&harness);
        async move {
            let mut client = at_data(&harness, number).await;
            send_cut(&mut client, &data, cut).await;
            client.expect("554 5.6.0").await;
            client.expect_closed().await;
        }
    })
    .await;
    assert_eq!(upstream.messages(), []);
    assert_nothing_smuggled(&upstream);
    upstream.stop().await;
}

/// Postfix `smtpd_forbid_bare_newline = normalize`: a newline that is mended makes new lines, and
/// none of them may be an end. Cut at every octet, the message is always the same one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_normalised_is_one_message_wherever_it_is_cut() {
    let upstream = ScriptedUpstream::start();
    let harness = Arc::new(crowd(upstream.addr(), "bare_newlines = \"normalize\""));
    let cuts = cuts(&MENDABLE);
    let count = cuts.len();
    play(cuts, |number, (data, cut)| {
        let harness = Arc::clone(&harness);
        async move {
            let mut client = at_data(&harness, number).await;
            send_cut(&mut client, &data, cut).await;
            client.expect("250").await;
            converse(&mut client, &[("NOOP", "250"), ("QUIT", "221")]).await;
        }
    })
    .await;
    let messages = upstream.messages();
    assert_eq!(messages.len(), count, "one message a session");
    for message in &messages {
        assert_one_message(message);
        assert_eq!(message.recipients, ["RCPT TO:<b@b.test>"]);
        let text = message.text();
        assert!(text.contains("\r\nMAIL FROM:<evil@app.test>\r\n"), "it is content: {text}");
    }
    assert_nothing_smuggled(&upstream);
    upstream.stop().await;
}

/// The same where nothing can be mended: a bare CR and a NUL spoil a message for every entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_normalised_is_refused() {
    let upstream = ScriptedUpstream::start();
    let harness = Arc::new(crowd(upstream.addr(), "bare_newlines = \"normalize\""));
    let others = FAKE_ENDS.into_iter().filter(|fake_end| !MENDABLE.contains(fake_end));
    let cuts = others.flat_map(|fake_end| {
        // Around the fake end, where the scanner has something to remember.
        let data = attack(fake_end);
        let begin = b"Subject: x\r\n\r\nbod".len();
        (begin..begin + fake_end.len() + 3).map(move |cut| (data.clone(), cut))
    });
    play(cuts, |number, (data, cut)| {
        let harness = Arc::clone(&harness);
        async move {
            let mut client = at_data(&harness, number).await;
            send_cut(&mut client, &data, cut).await;
            client.expect("554 5.6.0").await;
            client.expect_closed().await;
        }
    })
    .await;
    assert_eq!(upstream.messages(), []);
    assert_nothing_smuggled(&upstream);
    upstream.stop().await;
}

/// RFC 2920 §3.1: data that does not wait for the 354, cut around it. It is refused as a group that
/// goes on, or taken as data; it is never commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fake_end_is_believed_across_the_354() {
    let upstream = ScriptedUpstream::start();
    let harness = Arc::new(crowd(upstream.addr(), ""));
    let around = MAIL_GROUP.len() - 6..MAIL_GROUP.len() + 8;
    let cases = FAKE_ENDS.into_iter().flat_map(|fake| around.clone().map(move |cut| (fake, cut)));
    play(cases, |number, (fake_end, cut)| {
        let harness = Arc::clone(&harness);
        async move {
            let mut client = ByteClient::connect_from(source(number), harness.addr()).await;
            client.expect("220").await;
            client.send_line("EHLO app.test").await;
            client.expect("250").await;
            send_cut(&mut client, &[MAIL_GROUP, &attack(fake_end)].concat(), cut).await;
            client.expect("250 2.1.0").await;
            client.expect("250 2.1.5").await;
            let mut last = client.read_reply().await;
            if last.starts_with("354") {
                last = client.read_reply().await;
                assert!(last.starts_with("554 5.6.0"), "{last}");
            } else {
                assert!(last.starts_with("503 5.5.0"), "{last}");
            }
            client.expect_closed().await;
        }
    })
    .await;
    assert_eq!(upstream.messages(), []);
    assert_nothing_smuggled(&upstream);
    upstream.stop().await;
}

/// The same behind TLS, cut at every octet, where each piece is a record of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fake_end_is_believed_between_tls_records() {
    let stage = Arc::new(Stage::with(&Play { mode: "implicit", ..Play::default() }));
    let tls = stage.tls(Versions::Only13);
    let cases = cuts(&[b"\n.\n", b"\r\n.\r\r\n", b"\r\n.\0\r\n"]);
    play(cases, |_, (data, cut)| {
        let (stage, tls) = (Arc::clone(&stage), tls.clone());
        async move {
            let mut client = stage.client(&tls).await;
            converse(&mut client, &ENVELOPE).await;
            send_cut(&mut client, &data, cut).await;
            client.expect("554 5.6.0").await;
            client.expect_closed().await;
        }
    })
    .await;
    assert_eq!(stage.upstream.messages(), []);
    assert_nothing_smuggled(&stage.upstream);
}

/// Content that an entry lets through, and what of it goes upstream: as it came, and with bare LFs
/// made CRLF. `None`: refused.
type Content = (&'static [u8], Option<&'static [u8]>, Option<&'static [u8]>);

/// Dots and newlines where they do harm: in the header, in front of it, and at the end. Postfix
/// 20260816 (a header line that begins with a dot), Haraka GHSA-rp4q.
const CONTENTS: [Content; 18] = [
    (b"", Some(b""), Some(b"")),
    (b"\r\n", Some(b"\r\n"), Some(b"\r\n")),
    (b"..\r\n", Some(b"..\r\n"), Some(b"..\r\n")),
    (b"..X: y\r\n\r\n..\r\n", Some(b"..X: y\r\n\r\n..\r\n"), Some(b"..X: y\r\n\r\n..\r\n")),
    (b".X: y\r\n\r\nb\r\n", Some(b".X: y\r\n\r\nb\r\n"), Some(b".X: y\r\n\r\nb\r\n")),
    (
        b"X: y\r\n..\r\n\r\nb\r\n",
        Some(b"X: y\r\n..\r\n\r\nb\r\n"),
        Some(b"X: y\r\n..\r\n\r\nb\r\n"),
    ),
    (
        b"X: y\r\n\r\nb\r\n..\r\n",
        Some(b"X: y\r\n\r\nb\r\n..\r\n"),
        Some(b"X: y\r\n\r\nb\r\n..\r\n"),
    ),
    // Bare LFs: in the header, as its first octet, around its empty line, before dots.
    (b"\nX: y\r\n", None, Some(b"\r\nX: y\r\n")),
    (b"\n.\r\n\r\n", None, Some(b"\r\n..\r\n\r\n")),
    (b"X: y\n.\r\n\r\n", None, Some(b"X: y\r\n..\r\n\r\n")),
    (b"X: y\n.Z: z\n\nb\r\n", None, Some(b"X: y\r\n..Z: z\r\n\r\nb\r\n")),
    (b"X: y\n\n.\n\r\n", None, Some(b"X: y\r\n\r\n..\r\n\r\n")),
    (b".\nX: y\r\n", None, Some(b"\r\nX: y\r\n")),
    (b"\n folded\r\n", None, Some(b"\r\n folded\r\n")),
    // Nothing mends these.
    (b"\rX: y\r\n", None, None),
    (b"X: y\r\n\r\r\nb\r\n", None, None),
    (b"X: y\0\r\n\r\nb\r\n", None, None),
    (b"X: y\n\r\n\rb\r\n", None, None),
];

/// CVE-2023-51766 from the other side: what goes upstream is clean whatever came, behind our own
/// `Received` line and with or without the fields that an entry has added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_upstream_has_one_end_and_no_bare_newline() {
    for (normalize, added) in [(false, false), (true, false), (false, true), (true, true)] {
        let upstream = ScriptedUpstream::start();
        let newlines = if normalize { "bare_newlines = \"normalize\"\n" } else { "" };
        let fields = if added { "add_missing_headers = [\"date\", \"message-id\"]\n" } else { "" };
        let harness = crowd(upstream.addr(), &format!("{newlines}{fields}"));
        for (number, (content, strict, normalized)) in CONTENTS.into_iter().enumerate() {
            let expected = if normalize { normalized } else { strict };
            let mut client = at_data(&harness, number).await;
            client.send(&[content, b".\r\n"].concat()).await;
            let Some(expected) = expected else {
                client.expect("554 5.6.0").await;
                client.expect_closed().await;
                continue;
            };
            client.expect("250").await;
            let message = upstream.messages().pop().expect("it has arrived");
            assert_one_message(&message);
            let arrived = message.after_received();
            assert!(arrived.ends_with(expected), "{}: {}", shown(content), shown(arrived));
            let fields = String::from_utf8_lossy(&arrived[..arrived.len() - expected.len()]);
            let names: Vec<_> =
                fields.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
            let wanted: &[&str] = if added { &["Date", "Message-ID"] } else { &[] };
            assert_eq!(names, wanted, "in front of {}", shown(content));
        }
        upstream.stop().await;
    }
}

/// Exim JH/20 and its kin: a first line that would go on with the line that is put in front of it,
/// or would make the fields behind it the body.
#[tokio::test]
async fn the_first_line_of_a_message_does_not_join_what_is_put_in_front() {
    let upstream = ScriptedUpstream::start();
    let harness = crowd(upstream.addr(), "add_missing_headers = [\"date\", \"message-id\"]");
    for first in [&b" by evil.test\r\n"[..], b"\t\r\n", b". folded\r\n", b".\t\r\n", b" \r\n"] {
        let mut client = at_data(&harness, 0).await;
        client.send(&[first, b"Subject: x\r\n\r\n.\r\n"].concat()).await;
        client.expect("554 5.6.0 message begins with white space").await;
        converse(&mut client, &[("NOOP", "250")]).await;
    }
    assert_eq!(upstream.messages(), []);
    // A field that is there counts wherever dots are stuffed before it; one in the body does not.
    for (content, added) in [
        (&b".Date: x\r\n.Message-ID: <y@z>\r\n\r\n"[..], ""),
        (b"Date: x\r\n\r\nMessage-ID: <y@z>\r\n", "Message-ID: "),
        (b"no field\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n", "Date: "),
    ] {
        let mut client = at_data(&harness, 0).await;
        client.send(&[content, b".\r\n"].concat()).await;
        client.expect("250").await;
        let message = upstream.messages().pop().expect("it has arrived");
        let arrived = message.after_received();
        assert!(arrived.ends_with(content), "{}", shown(arrived));
        let front = &arrived[..arrived.len() - content.len()];
        assert!(front.starts_with(added.as_bytes()), "{}", shown(front));
        assert_eq!(front.is_empty(), added.is_empty(), "{}", shown(front));
    }
    upstream.stop().await;
}

/// What every reader takes for one message: the scripted upstream has found its end at CRLF.CRLF,
/// and a careless one finds no other.
#[track_caller]
fn assert_one_message(message: &Message) {
    let content = &message.content.bytes[..];
    for (at, &octet) in content.iter().enumerate() {
        let next = content.get(at + 1);
        match octet {
            b'\r' => assert_eq!(next, Some(&b'\n'), "a bare CR in {}", shown(content)),
            b'\n' => assert!(at > 0 && content[at - 1] == b'\r', "a bare LF in {}", shown(content)),
            0 => panic!("a NUL in {}", shown(content)),
            _ => {}
        }
    }
    assert!(content.is_empty() || content.ends_with(b"\r\n"), "{}", shown(content));
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        assert!(line != b".\r\n", "an end in {}", shown(content));
    }
    assert!(content.starts_with(b"Received: from app.test ("), "{}", shown(content));
}
