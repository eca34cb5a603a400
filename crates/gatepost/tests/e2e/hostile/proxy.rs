//! PROXY headers that claim too much. The forms of headers are in the unit tests of `gatepost-smtp`,
//! who is believed and when in `e2e/proxy.rs`; this is what is left of the attacks.

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use super::shown;
use crate::harness::{ENVELOPE, Harness, converse};
use crate::proxy::{FLEET, PROXY, connect, start, v2};

/// A second header behind the first is a bad command, and the client is who it was.
#[tokio::test]
async fn a_second_header_is_not_one() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let second = b"PROXY TCP4 203.0.113.66 127.0.0.1 40000 25\r\n";
    let mut client = connect(&harness, PROXY, &[FLEET, second].concat()).await;
    client.expect("220").await;
    client.expect("500 5.5.1").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    client.send(second).await;
    client.expect("500 5.5.1").await;
    converse(&mut client, &ENVELOPE).await;
    client.send(b"x\r\n.\r\n").await;
    client.expect("250").await;
    let line = upstream.messages()[0].text();
    assert!(line.starts_with("Received: from app.test ([203.0.113.9]) by"), "{line}");

    // The second version begins with empty lines, a NUL, and QUIT with a bare LF.
    let mut client = connect(&harness, PROXY, &[FLEET, &v2("203.0.113.66", b"")].concat()).await;
    client.expect("220").await;
    for reply in ["500 5.5.1", "500 5.5.1", "500 5.5.2", "500 5.5.2 bare LF"] {
        client.expect(reply).await;
    }
    client.expect_closed().await;
    upstream.stop().await;
}

/// Where no header is configured none is looked for: it never says who a client is.
#[tokio::test]
async fn a_header_that_nobody_asked_for_makes_nobody_a_client() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let claims = b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 25\r\n";
    let stranger = [127, 0, 0, 2].into();
    for header in [&claims[..], b"PROXY UNKNOWN\r\n", &v2("127.0.0.1", b"")] {
        let mut client = ByteClient::connect_from(stranger, harness.addr()).await;
        client.send(header).await;
        client.expect("554 5.7.1 relay.test: 127.0.0.2 is not on the allow-list").await;
        client.expect("503 5.5.1").await;
    }
    let mut client = ByteClient::connect(harness.addr()).await;
    client.send(b"PROXY TCP4 127.0.0.3 127.0.0.1 40000 25\r\n").await;
    client.expect("220").await;
    client.expect("500 5.5.1").await;
    converse(&mut client, &[("EHLO app.test", "250"), ("MAIL FROM:<a@app.test>", "250")]).await;
    upstream.stop().await;
}

/// TLVs that run over the end of their header, and a checksum that is wrong.
#[tokio::test]
async fn a_header_that_is_not_whole_is_none() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    for tlvs in [&b"\x02\xff\xffx"[..], b"\x02", b"\x03\x00\x04\xde\xad\xbe\xef", b"\x05\x00\xff"] {
        let mut client = connect(&harness, PROXY, &v2("203.0.113.9", tlvs)).await;
        client.expect_closed().await;
    }
    harness.drain().await;
    upstream.stop().await;
}

/// CVE-2024-23324 (an authority that is not UTF-8), CVE-2024-23325, a certificate that was never shown:
/// TLVs are passed over, and who the client is and what it has shown do not depend on them.
#[tokio::test]
async fn what_stands_behind_the_addresses_says_nothing() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let certificate = b"\x20\x00\x17\x07\x00\x00\x00\x00\x22\x00\x05admin\x21\x00\x07TLSv1.3";
    for tlvs in [&b"\x02\x00\x02\xff\xfe"[..], b"\x02\x00\x00\x04\x00\x03\0\0\0", certificate] {
        let mut client = connect(&harness, PROXY, &v2("203.0.113.9", tlvs)).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250")]).await;
        converse(&mut client, &ENVELOPE).await;
        client.send(b"x\r\n.\r\n").await;
        client.expect("250").await;
        let line = upstream.messages().pop().expect("it has arrived").text();
        let expected = "Received: from app.test ([203.0.113.9]) by relay.test with ESMTP id ";
        assert!(line.starts_with(expected), "{}: {line}", shown(tlvs));
        client.close();
        let mut stranger = connect(&harness, PROXY, &v2("203.0.113.10", tlvs)).await;
        stranger.expect("554 5.7.1").await;
    }
    let (_, directory) = harness.drain().await;
    let log = std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a mail log");
    assert!(!log.contains("admin") && !log.contains("TLSv1.3"), "{log}");
    upstream.stop().await;
}
