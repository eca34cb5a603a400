//! How much of an upstream's words is kept, shown to the client and written down.

use gatepost_testkit::upstream::{Action, Move};
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use super::FLOOD;
use crate::harness::{Harness, Settings};
use crate::program::Program;

/// Octets of a reply line, CRLF included (RFC 5321 §4.5.3.1.5).
const REPLY_LINE_OCTETS_MAX: usize = 512;

async fn refused(client: &mut ByteClient) -> String {
    for (line, reply) in [("RSET", "250"), ("MAIL FROM:<a@app.test>", "250")] {
        client.send_line(line).await;
        client.expect(reply).await;
    }
    client.send_line("RCPT TO:<b@b.test>").await;
    client.read_reply().await
}

/// A refusal goes on to the client as it was said, but for what could be taken for something else.
#[tokio::test]
async fn a_refusal_is_cut_and_made_printable() {
    let long = format!("550 5.1.1 {}\r\n", "x".repeat(15_000));
    let refusals = [
        (&long[..], "550 5.1.1 xxx"),
        ("550 5.1.1 a\r250 b\0\x1b[2Jc\t\u{2028}\r\n", "550 5.1.1 a?250 b??[2Jc????"),
        ("550-5.1.1 one\r\n550 5.1.1 250 ok\r\n", "550-5.1.1 one\n550 5.1.1 250 ok"),
        ("550 \"}\\n{\"\r\n", "550 5.0.0 \"}\\n{\""),
    ];
    for (said, heard) in refusals {
        let upstream =
            ScriptedUpstream::builder().on("RCPT", Action::Raw(said.as_bytes().to_vec())).start();
        let harness = Harness::start(upstream.addr());
        let mut client = harness.client().await;
        let reply = refused(&mut client).await;
        assert!(reply.starts_with(heard), "{reply:?}");
        assert!(reply.lines().all(|line| line.len() + 2 <= REPLY_LINE_OCTETS_MAX));
        client.close();
        let path = harness.mail_log();
        let (_, _directory) = harness.drain().await;
        let written = std::fs::read_to_string(path).expect("a mail log");
        assert_eq!(written.lines().count(), 1, "{written:?}");
        assert!(
            written.len() < 1500
                && written.trim_end().bytes().all(|it| (b' '..=b'~').contains(&it))
        );
        let event: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        let shown = heard.replace("\n550 5.1.1 ", "/").replace("550-", "550 ");
        assert!(event["reply"].as_str().expect("a reply").starts_with(&shown), "{written}");
        upstream.stop().await;
    }
}

/// Of a reply without an end.
const FLOOD_GROWTH_MAX_KIB: u64 = 8 * 1024;

/// However much an upstream says, it is not kept; and it is left at once, not at a deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_replies_takes_no_memory() {
    let flood = Action::Play(vec![Move::Repeat(b"250-x\r\n".repeat(10_000), FLOOD)]);
    let upstream = ScriptedUpstream::builder().on("MAIL", flood).start();
    let program = Program::start(upstream.addr(), &Settings::default());
    let mut client = program.client().await;
    assert!(refused(&mut client).await.starts_with("451 4.4.2"));
    let before = program.peak_memory_kib();
    for _ in 0..50 {
        assert!(refused(&mut client).await.starts_with("451 4.4.2"));
    }
    let grown = program.peak_memory_kib() - before;
    assert!(grown < FLOOD_GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    upstream.wait_for_open(0).await;
    upstream.stop().await;
}
