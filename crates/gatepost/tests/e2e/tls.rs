//! TLS with clients: STARTTLS and implicit, certificates of both sides, and what goes wrong.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gatepost_testkit::{ByteClient, ClientTls, Issued, ScriptedUpstream, ThrowAwayCa, Versions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Harness, Settings, config_text, converse, fleet, send_message};

pub(crate) const BOTH: [Versions; 2] = [Versions::Only12, Versions::Only13];

/// A gateway with certificates, and who trusts them.
pub(crate) struct Stage {
    pub(crate) harness: Harness,
    pub(crate) upstream: ScriptedUpstream,
    ca: ThrowAwayCa,
    files: TempDir,
}

/// What differs from test to test.
#[derive(Default)]
pub(crate) struct Play<'a> {
    pub(crate) mode: &'a str,
    /// Further lines of the listener, with `DIR` for the directory of the certificates.
    pub(crate) listener: &'a str,
    /// Further lines of the entry, and further tables.
    pub(crate) entry: &'a str,
    pub(crate) tables: &'a str,
}

impl Stage {
    pub(crate) fn start(mode: &str) -> Self {
        Self::with(&Play { mode, ..Play::default() })
    }

    pub(crate) fn with(Play { mode, listener, entry, tables }: &Play<'_>) -> Self {
        let upstream = ScriptedUpstream::start();
        let files = tempfile::tempdir().expect("a directory");
        let ca = ThrowAwayCa::new();
        put(files.path(), "relay", &ca.issue(&["relay.test"]));
        put(files.path(), "other", &ca.issue(&["other.test", "*.other.test"]));
        std::fs::write(files.path().join("ca.pem"), ca.pem()).expect("writes");
        let mut tls = format!(
            "tls = \"{mode}\"\ncertificate = \"DIR/relay.pem\"\nprivate_key = \"DIR/relay.key\"\n"
        );
        writeln!(tls, "{listener}").expect("a String takes everything");
        let tls = tls.replace("DIR", &files.path().display().to_string());
        let settings = Settings { tables: (*tables).to_owned(), ..Settings::default() };
        let text = config_text(upstream.addr(), &settings).replacen("tls = \"none\"", &tls, 1);
        let harness = Harness::with_policy(&text, &fleet(entry));
        Self { harness, upstream, ca, files }
    }

    pub(crate) fn tls(&self, versions: Versions) -> ClientTls {
        ClientTls::new(&self.ca, None, versions)
    }

    /// A client behind TLS that was greeted and has said EHLO, on the first listener.
    pub(crate) async fn client(&self, tls: &ClientTls) -> ByteClient {
        self.client_of(0, tls).await
    }

    async fn client_of(&self, listener: usize, tls: &ClientTls) -> ByteClient {
        let mut client = ByteClient::connect(self.harness.gateway.addresses()[listener].1).await;
        client.secure(tls).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        client.expect("250").await;
        client
    }

    pub(crate) async fn handshakes(&self, result: &str) -> u64 {
        let sample =
            format!("gatepost_tls_handshakes_total{{listener=\"smtp\",result=\"{result}\"}}");
        self.harness.metric(&sample).await
    }

    pub(crate) async fn end(self) {
        self.upstream.stop().await;
    }
}

fn put(directory: &Path, name: &str, Issued { certificate, key }: &Issued) {
    std::fs::write(directory.join(format!("{name}.pem")), certificate).expect("writes");
    std::fs::write(directory.join(format!("{name}.key")), key).expect("writes");
}

/// Connects in plain text and asks for TLS.
pub(crate) async fn start_tls(stage: &Stage, tls: &ClientTls) -> ByteClient {
    let mut client = ByteClient::connect(stage.harness.addr()).await;
    client.expect("220").await;
    client.send_line("EHLO plain.test").await;
    let offered = client.read_reply().await;
    assert!(offered.ends_with("\n250 STARTTLS"), "{offered}");
    client.send_line("STARTTLS").await;
    client.expect("220 2.0.0").await;
    client.secure(tls).await;
    client
}

#[tokio::test]
async fn starttls_begins_anew() {
    for (versions, name) in BOTH.into_iter().zip(["TLSv1.2 TLS_ECDHE", "TLSv1.3 TLS_AES_256_GCM"]) {
        let stage = Stage::start("starttls");
        let mut client = start_tls(&stage, &stage.tls(versions)).await;
        assert_eq!(client.is_tls13(), versions == Versions::Only13);
        converse(&mut client, &[("MAIL FROM:<a@app.test>", "503 5.5.1 send EHLO first")]).await;
        client.send_line("EHLO app.test").await;
        let offered = client.read_reply().await;
        assert!(!offered.contains("STARTTLS") && offered.contains("PIPELINING"), "{offered}");
        converse(&mut client, &[("STARTTLS", "503 5.5.1 TLS is in use already")]).await;
        let reply = send_message(&mut client, b"Subject: x\r\n\r\nbody\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
        let message = &stage.upstream.wait_for_messages(1).await[0];
        let line = message.text();
        assert!(
            line.starts_with("Received: from app.test ([127.0.0.1]) by relay.test with ESMTPS id "),
            "{line}"
        );
        converse(&mut client, &[("QUIT", "221")]).await;
        // The server says that it closes, as TLS wants it: this is no error.
        client.expect_closed().await;
        assert_eq!(stage.handshakes("ok").await, 1);
        stage.upstream.stop().await;
        let (_, directory) = stage.harness.drain().await;
        let log = std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a log");
        assert!(log.contains(&format!("\"tls\":\"{name}")), "{log}");
    }
}

#[tokio::test]
async fn implicit_tls_comes_before_the_greeting() {
    for versions in BOTH {
        let stage = Stage::start("implicit");
        let mut client = stage.client(&stage.tls(versions)).await;
        assert_eq!(client.is_tls13(), versions == Versions::Only13);
        converse(&mut client, &[("STARTTLS", "503 5.5.1")]).await;
        let reply = send_message(&mut client, b"\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
        stage.end().await;
    }
}

/// CVE-2011-0411 and its kin: what came in plain text is not what the client says behind TLS.
#[tokio::test]
async fn what_is_put_behind_starttls_is_not_heard() {
    for injected in [
        "STARTTLS\r\nMAIL FROM:<a@app.test>\r\n",
        "STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n",
        "STARTTLS\r\nEHL",
        "STARTTLS\r\n\r\n",
    ] {
        let stage = Stage::start("starttls");
        let mut client = ByteClient::connect(stage.harness.addr()).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        client.expect("250").await;
        client.send(format!("NOOP\r\n{injected}").as_bytes()).await;
        client.expect("250 2.0.0").await;
        client.expect("220 2.0.0").await;
        client.expect_silence(Duration::from_millis(50)).await;
        client.secure(&stage.tls(Versions::Both)).await;
        client.expect_silence(Duration::from_millis(100)).await;
        converse(
            &mut client,
            &[
                ("MAIL FROM:<a@app.test>", "503 5.5.1 send EHLO first"),
                ("EHLO app.test", "250"),
                ("RCPT TO:<b@b.test>", "503 5.5.1"),
            ],
        )
        .await;
        assert!(stage.upstream.lines().is_empty());
        stage.end().await;
    }
}

#[tokio::test]
async fn starttls_has_its_place() {
    let stage = Stage::start("starttls");
    let mut client = ByteClient::connect(stage.harness.addr()).await;
    client.expect("220").await;
    converse(
        &mut client,
        &[
            ("STARTTLS", "503 5.5.1 send EHLO first"),
            ("EHLO app.test", "250"),
            ("STARTTLS now", "501 5.5.4"),
            ("MAIL FROM:<a@app.test>", "250"),
            ("STARTTLS", "503 5.5.1 a transaction is open"),
            ("RSET", "250"),
            ("STARTTLS", "220 2.0.0"),
        ],
    )
    .await;
    // Plain text where a handshake is expected.
    client.send_line("EHLO app.test").await;
    let last = client.read_to_end().await;
    assert!(last.first().is_none_or(|&octet| octet == 21), "an alert, and no reply: {last:?}");
    assert_eq!(stage.handshakes("failed").await, 1);
    stage.end().await;
}

#[tokio::test]
async fn pipelined_commands_are_heard_behind_tls() {
    let stage = Stage::start("starttls");
    let mut client = start_tls(&stage, &stage.tls(Versions::Both)).await;
    client.send(b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n").await;
    for reply in ["250", "250 2.1.0", "250 2.1.5", "354"] {
        client.expect(reply).await;
    }
    client.dribble(b"Subject: x\r\n\r\nx\r\n.\r\nNOOP\r\n", 3, Duration::from_millis(1)).await;
    client.expect("250").await;
    client.expect("250 2.0.0 Ok").await;
    stage.end().await;
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let tables = "[timeouts]\ntls = \"1s\"\n";
    let stage = Stage::with(&Play { mode: "implicit", tables, ..Play::default() });
    let began = std::time::Instant::now();
    let mut silent = ByteClient::connect(stage.harness.addr()).await;
    let mut halted = ByteClient::connect(stage.harness.addr()).await;
    // The first octets of a ClientHello.
    halted.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    silent.expect_closed().await;
    halted.expect_closed().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(stage.handshakes("timeout").await, 2);
    stage.end().await;
}

#[tokio::test]
async fn what_is_no_handshake_ends_the_connection() {
    let stage = Stage::start("implicit");
    for (count, nonsense) in (1..).zip([
        &b"EHLO app.test\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n",
        &[0; 100],
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        // A handshake that was left, by a client that has closed its side.
        b"\x16\x03\x01\x02\x00\x01",
        b"",
    ]) {
        let mut client = ByteClient::connect(stage.harness.addr()).await;
        client.send(nonsense).await;
        client.half_close().await;
        let last = client.read_to_end().await;
        assert!(last.first().is_none_or(|&octet| octet == 21), "an alert at most: {last:?}");
        while stage.handshakes("failed").await < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(stage.handshakes("ok").await, 0);
    stage.client(&stage.tls(Versions::Both)).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_arrives_octet_by_octet() {
    let mut content = String::new();
    for n in 1.. {
        if content.len() > 10 << 20 {
            break;
        }
        writeln!(content, "{n:08} {}\r", "abcdefg\u{1}\u{7f}~".repeat(n % 90)).expect("a String");
    }
    let content = content.into_bytes();
    for versions in BOTH {
        let stage = Stage::start("implicit");
        let mut client = stage.client(&stage.tls(versions)).await;
        let reply = send_message(&mut client, &content).await;
        assert!(reply.starts_with("250"), "{reply}");
        let message = &stage.upstream.wait_for_messages(1).await[0];
        assert!(message.after_received() == content, "the content is another one");
        stage.end().await;
    }
}

#[tokio::test]
async fn strangers_are_refused_where_they_can_hear_it() {
    let stage = Stage::start("implicit");
    let address = stage.harness.addr();
    let stranger = [127, 0, 0, 9].into();
    let mut client = ByteClient::connect_from(stranger, address).await;
    client.secure(&stage.tls(Versions::Both)).await;
    client.expect("554 5.7.1 relay.test: 127.0.0.9 is not on the allow-list").await;
    converse(&mut client, &[("EHLO x", "503 5.5.1"), ("QUIT", "221")]).await;
    stage.end().await;

    let stage = Stage::start("starttls");
    let mut client = ByteClient::connect_from(stranger, stage.harness.addr()).await;
    client.expect("554 5.7.1").await;
    converse(&mut client, &[("STARTTLS", "503 5.5.1"), ("QUIT", "221")]).await;
    assert_eq!(stage.handshakes("failed").await + stage.handshakes("ok").await, 0);
    stage.end().await;
}

#[tokio::test]
async fn an_entry_may_ask_for_tls() {
    let play = |entry| Play { mode: "starttls", entry, ..Play::default() };
    let stage = Stage::with(&play("tls = \"required-1.3\""));
    let mail = "MAIL FROM:<a@app.test>";
    let mut plain = stage.harness.client().await;
    converse(&mut plain, &[(mail, "530 5.7.0 entry fleet must use TLS 1.3")]).await;
    let mut old = start_tls(&stage, &stage.tls(Versions::Only12)).await;
    converse(&mut old, &[("EHLO a", "250"), (mail, "530 5.7.0 entry fleet must use TLS 1.3")])
        .await;
    let mut new = start_tls(&stage, &stage.tls(Versions::Only13)).await;
    converse(&mut new, &[("EHLO a", "250"), (mail, "250")]).await;
    stage.end().await;
}

#[tokio::test]
async fn a_client_certificate_is_an_identity() {
    for versions in BOTH {
        let stage = Stage::with(&Play {
            mode: "implicit",
            listener: "client_ca = \"DIR/ca.pem\"",
            entry: "client_certificate = [\"*.billing.test\"]",
            ..Play::default()
        });
        let mail = "MAIL FROM:<a@app.test>";
        let showing =
            |names: &[&str]| ClientTls::new(&stage.ca, Some(&stage.ca.issue(names)), versions);
        let mut right = stage.client(&showing(&["x.test", "app.billing.test"])).await;
        converse(&mut right, &[(mail, "250")]).await;
        let mut wrong = stage.client(&showing(&["app.other.test"])).await;
        let reply = "550 5.7.1 no name in the certificate is allowed for entry fleet";
        converse(&mut wrong, &[(mail, reply)]).await;
        let mut none = stage.client(&stage.tls(versions)).await;
        let reply = "530 5.7.0 entry fleet must use TLS with a client certificate";
        converse(&mut none, &[(mail, reply)]).await;

        // Of another CA, or of the past: not believed, and no session.
        let unknown = ThrowAwayCa::new().issue(&["app.billing.test"]);
        let old = stage.ca.issue_until(&["app.billing.test"], 2001);
        for (count, shown) in (1..).zip([unknown, old]) {
            let mut client = ByteClient::connect(stage.harness.addr()).await;
            let tls = ClientTls::new(&stage.ca, Some(&shown), versions);
            // With TLS 1.3 a client has finished before the server has looked.
            if client.try_secure(&tls).await.is_ok() {
                let refused = client.try_send(b"EHLO a\r\n").await;
                assert!(refused.is_err() || client.try_reply().await.is_err());
            }
            assert_eq!(stage.handshakes("failed").await, count);
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_that_was_asked_for() {
    let listener = "sni = [{ certificate = \"DIR/other.pem\", private_key = \"DIR/other.key\" }]";
    let stage = Stage::with(&Play { mode: "implicit", listener, ..Play::default() });
    let relay = der(stage.files.path(), "relay");
    let other = der(stage.files.path(), "other");
    for (name, expected) in
        [("relay.test", &relay), ("other.test", &other), ("a.Other.test", &other)]
    {
        let tls = stage.tls(Versions::Both).asking_for(name);
        let client = stage.client(&tls).await;
        assert!(client.server_certificate() == *expected, "{name}");
    }
    // One label, and not two: the default, which is not the one that the client believes.
    for name in ["a.b.other.test", "unknown.test"] {
        let mut client = ByteClient::connect(stage.harness.addr()).await;
        let tls = stage.tls(Versions::Both).asking_for(name);
        let refused = client.try_secure(&tls).await.expect_err(name);
        assert!(refused.contains("only valid for DnsName(\"relay.test\")"), "{refused}");
    }
    stage.end().await;
}

fn der(directory: &Path, name: &str) -> Vec<u8> {
    let certificate = std::fs::read_to_string(directory.join(format!("{name}.pem")));
    Issued { certificate: certificate.expect("it is there"), key: String::new() }.der()
}

/// A ticket is worth nothing on another listener: what is required there may not have been here.
#[tokio::test]
async fn a_session_goes_on_on_its_own_listener_only() {
    let second = "[[listener]]\nname = \"second\"\nbind = [\"127.0.0.1:0\"]\ntls = \"implicit\"\n\
                  certificate = \"DIR/relay.pem\"\nprivate_key = \"DIR/relay.key\"\n";
    let stage = Stage::with(&Play { mode: "implicit", listener: second, ..Play::default() });
    for versions in BOTH {
        let tls = stage.tls(versions);
        assert!(!stage.client(&tls).await.is_resumed());
        assert!(stage.client(&tls).await.is_resumed(), "{versions:?}");
        assert!(!stage.client_of(1, &tls).await.is_resumed(), "{versions:?}");
    }
    let resumed = "gatepost_tls_resumed_total{listener=\"smtp\"}";
    assert_eq!(stage.harness.metric(resumed).await, 2);
    stage.end().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let stage = Stage::start("implicit");
    let directory = stage.files.path();
    let tls = stage.tls(Versions::Both);
    let mut old = stage.client(&tls).await;
    let page = stage.harness.metrics().await;
    let gauge = format!(
        "gatepost_tls_cert_expiry_timestamp_seconds{{listener=\"smtp\",name=\"{}\"}} ",
        directory.join("relay.pem").display()
    );
    assert!(page.contains(&format!("{gauge}32472144000")), "{page}");

    let renewed = stage.ca.issue_until(&["relay.test"], 2998);
    put(directory, "relay", &renewed);
    stage.harness.gateway.reload().await.expect("no panic");
    // A session that is resumed shows no certificate anew: a client that has none to resume.
    let fresh = || stage.tls(Versions::Both);
    let client = stage.client(&fresh()).await;
    assert!(client.server_certificate() == renewed.der(), "the new one");
    assert!(!stage.harness.metrics().await.contains(&format!("{gauge}32472144000")));
    let reply = send_message(&mut old, b"\r\n").await;
    assert!(reply.starts_with("250"), "the old session goes on: {reply}");

    // Found on disk without being told, when both files are there.
    let next = stage.ca.issue(&["relay.test"]);
    std::fs::write(directory.join("relay.pem"), &next.certificate).expect("writes");
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::fs::write(directory.join("relay.key"), &next.key).expect("writes");
    let began = std::time::Instant::now();
    while stage.client(&fresh()).await.server_certificate() != next.der() {
        assert!(began.elapsed() < Duration::from_secs(10), "not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // A broken pair changes nothing.
    std::fs::write(directory.join("relay.key"), &renewed.key).expect("writes");
    stage.harness.gateway.reload().await.expect("no panic");
    assert!(stage.client(&fresh()).await.server_certificate() == next.der());
    stage.end().await;
}

/// Who is not believed any more does not come back with a ticket of better days.
#[tokio::test]
async fn a_new_client_ca_ends_what_the_old_one_vouched_for() {
    let stage = Stage::with(&Play {
        mode: "implicit",
        listener: "client_ca = \"DIR/ca.pem\"",
        entry: "client_certificate = [\"billing.test\"]",
        ..Play::default()
    });
    let shown = stage.ca.issue(&["billing.test"]);
    let tls = ClientTls::new(&stage.ca, Some(&shown), Versions::Only13);
    let mail = [("MAIL FROM:<a@app.test>", "250")];
    drop(stage.client(&tls).await);
    let mut resumed = stage.client(&tls).await;
    assert!(resumed.is_resumed(), "with its identity");
    converse(&mut resumed, &mail).await;

    let file = stage.files.path().join("ca.pem");
    std::fs::write(file, ThrowAwayCa::new().pem()).expect("writes");
    stage.harness.gateway.reload().await.expect("no panic");
    let mut client = ByteClient::connect(stage.harness.addr()).await;
    client.secure(&tls).await;
    assert!(!client.is_resumed());
    client.try_reply().await.expect_err("a certificate of the old CA");
    assert_eq!(stage.handshakes("failed").await, 1);
    stage.end().await;
}

/// Where TLS is expected, plain text is noise, and a handshake is more than a refusal may cost.
#[tokio::test]
async fn a_full_listener_closes_without_a_word() {
    let listener = "max_connections = 1";
    let stage = Stage::with(&Play { mode: "implicit", listener, ..Play::default() });
    let _first = stage.client(&stage.tls(Versions::Both)).await;
    ByteClient::connect(stage.harness.addr()).await.expect_closed().await;
    stage.end().await;
}

#[tokio::test]
async fn records_may_come_octet_by_octet() {
    for versions in BOTH {
        let stage = Stage::start("starttls");
        let slow = slow_link(stage.harness.addr()).await;
        let mut client = ByteClient::connect(slow).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250"), ("STARTTLS", "220")]).await;
        client.secure(&stage.tls(versions)).await;
        converse(&mut client, &[("EHLO app.test", "250")]).await;
        let content = "Subject: slow\r\n\r\n".to_owned() + &"0123456789\r\n".repeat(200);
        let reply = send_message(&mut client, content.as_bytes()).await;
        assert!(reply.starts_with("250"), "{reply}");
        let message = &stage.upstream.wait_for_messages(1).await[0];
        assert_eq!(message.after_received(), content.as_bytes());
        stage.end().await;
    }
}

/// A way to the gateway on which every octet is a segment.
async fn slow_link(gateway: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("accepted");
        let server = TcpStream::connect(gateway).await.expect("connected");
        server.set_nodelay(true).expect("TCP");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::io::copy(&mut from_server, &mut to_client);
        let forth = async {
            while let Ok(octet) = from_client.read_u8().await {
                to_server.write_u8(octet).await?;
                tokio::task::yield_now().await;
            }
            std::io::Result::Ok(())
        };
        drop(tokio::join!(back, forth));
    });
    address
}

/// Behind a proxy: its header is read and not an octet more, because the client's hello follows.
#[tokio::test]
async fn the_header_of_a_proxy_comes_before_the_handshake() {
    const CLIENT: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.9 40000 465\r\n";
    const HEALTH_CHECK: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    let listener = "proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.5\"]";
    for mode in ["implicit", "starttls"] {
        let stage = Stage::with(&Play { mode, listener, ..Play::default() });
        let tls = stage.tls(Versions::Only13);
        for header in [CLIENT, HEALTH_CHECK] {
            let from = [127, 0, 0, 5].into();
            let mut client = ByteClient::connect_from(from, stage.harness.addr()).await;
            client.send(header).await;
            if mode == "implicit" {
                client.secure(&tls).await;
            }
            client.expect("220").await;
            converse(&mut client, &[("EHLO app.test", "250")]).await;
            if header == HEALTH_CHECK {
                converse(&mut client, &[("MAIL FROM:<a@app.test>", "554"), ("QUIT", "221")]).await;
                continue;
            }
            if mode == "starttls" {
                converse(&mut client, &[("STARTTLS", "220")]).await;
                client.secure(&tls).await;
                converse(&mut client, &[("EHLO app.test", "250")]).await;
            }
            assert!(send_message(&mut client, b"Subject: x\r\n\r\n").await.starts_with("250"));
            let message = stage.upstream.messages().pop().expect("it has arrived");
            assert!(message.text().contains("([127.0.0.1])"), "{}", message.text());
            assert!(message.text().contains(" with ESMTPS id "), "{}", message.text());
        }
        stage.end().await;
    }
}
