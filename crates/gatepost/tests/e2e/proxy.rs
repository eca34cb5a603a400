//! The PROXY protocol: who is taken for the client, and who is not even heard.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{ENVELOPE, Harness, Settings, config_text, converse};

/// Where proxies are in these tests, and where nobody is trusted.
pub(crate) const PROXY: [u8; 4] = [127, 0, 0, 5];
const OTHER: [u8; 4] = [127, 0, 0, 1];

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["203.0.113.9", "2001:db8::/64", "127.0.0.0/24"]
senders = ["app.test"]
max_connections = 2

[[entry]]
id = "blocked"
networks = ["203.0.113.66"]
action = "deny"
"#;

pub(crate) const FLEET: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 25\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// A listener that takes nobody but proxies from 127.0.0.5 and from the upper half of 127.0.1.0/24.
pub(crate) fn start(upstream: &ScriptedUpstream, listener: &str, tables: &str) -> Harness {
    let proxies =
        "proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.5\", \"127.0.1.128/25\"]";
    let settings = Settings {
        listener: format!("{proxies}\n{listener}"),
        tables: tables.to_owned(),
        policy: Some(POLICY.to_owned()),
        ..Settings::default()
    };
    Harness::with(upstream.addr(), &settings)
}

pub(crate) async fn connect(harness: &Harness, from: [u8; 4], header: &[u8]) -> ByteClient {
    let mut client = ByteClient::connect_from(from.into(), harness.addr()).await;
    client.send(header).await;
    client
}

/// A version 2 header: both addresses of one family, and octets after them.
pub(crate) fn v2(source: &str, more: &[u8]) -> Vec<u8> {
    let source: IpAddr = source.parse().expect(source);
    let (family, addresses) = match source {
        IpAddr::V4(source) => (0x11, [source.octets(), OTHER].concat()),
        IpAddr::V6(source) => (0x21, [source.octets(), source.octets()].concat()),
    };
    let rest = [&addresses[..], &[0x9c, 0x40, 0, 25], more].concat();
    let octets = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &octets, &rest].concat()
}

async fn headers(harness: &Harness, result: &str) -> u64 {
    let sample = format!("gatepost_proxy_headers_total{{listener=\"smtp\",result=\"{result}\"}}");
    harness.metric(&sample).await
}

/// Waits until so many have come to this; then the others are all what the test says.
async fn until_counted(harness: &Harness, result: &str, count: u64) {
    let begun = Instant::now();
    while headers(harness, result).await != count {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", harness.metrics().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_client_is_the_one_in_the_header() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    for (header, shown) in [
        (FLEET.to_vec(), "[203.0.113.9]"),
        (b"PROXY TCP6 2001:db8::9 ::1 40000 25\r\n".to_vec(), "[IPv6:2001:db8::9]"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 40000 25\r\n".to_vec(), "[203.0.113.9]"),
        (v2("203.0.113.9", b""), "[203.0.113.9]"),
        (v2("203.0.113.9", b"\xea\x00\x05\x01vpce"), "[203.0.113.9]"),
        (v2("2001:db8::9", b""), "[IPv6:2001:db8::9]"),
        (v2("::ffff:203.0.113.9", b""), "[203.0.113.9]"),
    ] {
        let before = upstream.messages().len();
        // What the client says comes right behind the header, before it was greeted.
        let mut client =
            connect(&harness, PROXY, &[&header, &b"EHLO app.test\r\n"[..]].concat()).await;
        client.expect("220").await;
        client.expect("250").await;
        converse(&mut client, &ENVELOPE).await;
        client.send(b"Subject: x\r\n\r\n.\r\n").await;
        client.expect("250").await;
        client.send_line("QUIT").await;
        client.expect("221").await;
        client.expect_closed().await;
        let messages = upstream.messages();
        let content = String::from_utf8_lossy(&messages[before].content.bytes).into_owned();
        assert!(content.starts_with("Received: from app.test ("), "{content}");
        assert!(content.contains(shown), "{shown} in {content}");
    }
    assert_eq!(headers(&harness, "ok").await, 7);
    let (_, directory) = harness.drain().await;
    let log = std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a mail log");
    assert!(
        log.contains("\"client\":\"203.0.113.9\"") && log.contains("\"client\":\"2001:db8::9\"")
    );
    assert!(!log.contains("127.0.0.5"), "{log}");
    upstream.stop().await;
}

/// A proxy that connects over IPv6, for clients of both families.
#[tokio::test]
async fn a_proxy_may_connect_over_ipv6() {
    let upstream = ScriptedUpstream::start();
    let lines = "proxy_protocol = \"required\"\ntrusted_proxies = [\"::1\"]";
    let settings = Settings { listener: lines.to_owned(), ..Settings::default() };
    let text = config_text(upstream.addr(), &settings);
    let text = text.replacen("\"127.0.0.1:0\"", "\"[::1]:0\", \"127.0.0.1:0\"", 1);
    let harness = Harness::with_policy(&text, POLICY);
    for claimed in ["203.0.113.9", "2001:db8::9"] {
        let mut client = ByteClient::connect(harness.addr()).await;
        client.send(&v2(claimed, b"")).await;
        client.expect("220").await;
    }
    let mut own = ByteClient::connect(harness.addr()).await;
    own.send(&v2("::1", b"")).await;
    own.expect("220").await;
    own.send_line("MAIL FROM:<a@app.test>").await;
    own.expect("554 5.7.1 this is the proxy itself").await;
    let over_ipv4 = harness.gateway.addresses()[1].1;
    ByteClient::connect(over_ipv4).await.expect_closed().await;
    until_counted(&harness, "untrusted", 1).await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_header_may_come_octet_by_octet() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    for header in [FLEET.to_vec(), v2("203.0.113.9", b"\x04\x00\x01\x00")] {
        let mut client = ByteClient::connect_from(PROXY.into(), harness.addr()).await;
        client.expect_silence(Duration::from_millis(50)).await;
        client.dribble(&header, 1, Duration::from_millis(1)).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        client.expect("250").await;
    }
    upstream.stop().await;
}

#[tokio::test]
async fn policy_refuses_the_client_in_the_header() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    for (claimed, told) in [
        ("203.0.113.10", "554 5.7.1 relay.test: 203.0.113.10 is not on the allow-list"),
        ("::ffff:203.0.113.10", "554 5.7.1 relay.test: 203.0.113.10 is not on the allow-list"),
        ("203.0.113.66", "554 5.7.1 relay.test: 203.0.113.66 is blocked by entry blocked"),
        // The entry covers them; they are proxies all the same.
        (
            "127.0.1.128",
            "554 5.7.1 relay.test: 127.0.1.128 is the address of a proxy, and never a client",
        ),
        ("::ffff:127.0.1.200", "554 5.7.1 relay.test: 127.0.1.200 is the address of a proxy"),
    ] {
        let mut client = connect(&harness, PROXY, &v2(claimed, b"")).await;
        client.expect(told).await;
        client.send_line("EHLO app.test").await;
        client.expect("503").await;
        client.send_line("QUIT").await;
        client.expect("221").await;
    }
    let unknown = "gatepost_connections_total{listener=\"smtp\",result=\"unknown\"}";
    assert_eq!(harness.metric(unknown).await, 4);
    // An address beside the proxies' is a client as any other.
    connect(&harness, PROXY, &v2("127.0.0.1", b"")).await.expect("220").await;
    upstream.stop().await;
}

/// A look whether service is up: everything is answered, and nothing is for policy.
#[tokio::test]
async fn a_proxy_that_names_no_client_may_look_and_not_send() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let unspec = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00";
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8"[..], &[b'x'; 216]].concat();
    let local =
        [&b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x0c"[..], &[203, 0, 113, 9, 1, 1, 1, 1, 1, 1, 1, 1]]
            .concat();
    let unknown: [&[u8]; 2] =
        [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 203.0.113.9 127.0.0.1 1 25\r\n"];
    // What HAProxy sends for a health check in version 1: its own address.
    let own: [&[u8]; 2] = [
        b"PROXY TCP4 127.0.0.5 127.0.0.1 40000 25\r\n",
        b"PROXY TCP6 ::ffff:127.0.0.5 ::1 40000 25\r\n",
    ];
    for header in [LOCAL, unspec, &unix, &local, unknown[0], unknown[1], own[0], own[1]] {
        let mut client = connect(&harness, PROXY, header).await;
        client.expect("220 relay.test").await;
        let lines = [
            ("NOOP", "250 2.0.0"),
            ("MAIL FROM:<a@app.test>", "554 5.7.1"),
            ("EHLO proxy.test", "250"),
            ("HELO proxy.test", "250"),
            ("MAIL FROM:<a@app.test>", "554 5.7.1"),
            ("MAIL FROM:<>", "554 5.7.1"),
            ("RCPT TO:<b@b.test>", "503"),
            ("DATA", "503"),
            ("RSET", "250"),
            ("QUIT", "221"),
        ];
        converse(&mut client, &lines).await;
        client.expect_closed().await;
    }
    assert_eq!(headers(&harness, "local").await, 8);
    for result in ["allowed", "unknown", "denied", "limited"] {
        let sample = format!("gatepost_connections_total{{listener=\"smtp\",result=\"{result}\"}}");
        assert_eq!(harness.metric(&sample).await, 0, "{result}");
    }
    assert_eq!(harness.metric("gatepost_denied_addresses").await, 0);
    let (_, directory) = harness.drain().await;
    let log = std::fs::read_to_string(directory.path().join("mail.jsonl")).unwrap_or_default();
    assert_eq!(log, "", "none of this is mail");
    assert_eq!(upstream.messages().len(), 0);
    upstream.stop().await;
}

/// It may look, and not stay: a trusted proxy is no reason to keep a connection for an hour.
#[tokio::test]
async fn a_look_is_short() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let begun = Instant::now();
    let mut client = connect(&harness, PROXY, LOCAL).await;
    client.expect("220").await;
    loop {
        client.send_line("NOOP").await;
        let reply = client.read_reply().await;
        if reply.starts_with("421") {
            break;
        }
        assert!(reply.starts_with("250"), "{reply}");
        assert!(begun.elapsed() < Duration::from_secs(15), "still there");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
    client.expect_closed().await;
    upstream.stop().await;
}

#[tokio::test]
async fn who_is_no_proxy_is_closed_unheard() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let strangers: [[u8; 4]; 3] = [OTHER, [127, 0, 0, 4], [127, 0, 1, 127]];
    for from in strangers {
        let mut client = ByteClient::connect_from(from.into(), harness.addr()).await;
        // Whether or not it says something first.
        client.expect_closed().await;
    }
    until_counted(&harness, "untrusted", 3).await;
    for from in strangers {
        let mut client = ByteClient::connect_from(from.into(), harness.addr()).await;
        let _ = client
            .try_send(&[FLEET, b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\n"].concat())
            .await;
    }
    until_counted(&harness, "untrusted", 6).await;
    assert_eq!(headers(&harness, "ok").await, 0);
    connect(&harness, [127, 0, 1, 128], FLEET).await.expect("220").await;
    upstream.stop().await;
}

#[tokio::test]
async fn what_is_no_header_is_closed_unanswered() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "");
    let wrong: [&[u8]; 6] = [
        b"EHLO app.test\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 025\r\n",
        b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 25\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\x01\x02\x03\x04",
    ];
    for (index, header) in (1..).zip(wrong) {
        let mut socket = raw(harness.addr()).await;
        let answer = exchange(&mut socket, header).await;
        assert_eq!(answer, b"", "{}", header.escape_ascii());
        until_counted(&harness, "invalid", index).await;
    }
    // In the middle of a header, and before it.
    let mut client = connect(&harness, PROXY, b"PROXY TCP4 203.").await;
    client.half_close().await;
    client.expect_closed().await;
    until_counted(&harness, "invalid", 7).await;
    for _ in 0..3 {
        ByteClient::connect_from(PROXY.into(), harness.addr()).await.close();
    }
    until_counted(&harness, "closed", 3).await;
    assert_eq!(headers(&harness, "invalid").await, 7);
    upstream.stop().await;
}

/// The whole header has to be there in time: an octet now and then buys nothing.
#[tokio::test]
async fn a_header_has_to_come_in_time() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "[timeouts]\nproxy = \"1s\"\n");
    let begun = Instant::now();
    let mut silent = ByteClient::connect_from(PROXY.into(), harness.addr()).await;
    silent.expect_closed().await;
    assert!((900..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let mut slow = ByteClient::connect_from(PROXY.into(), harness.addr()).await;
    for octet in FLEET.chunks(1) {
        if slow.try_send(octet).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = slow.try_send(b"EHLO app.test\r\n").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    until_counted(&harness, "timeout", 2).await;
    assert_eq!(headers(&harness, "ok").await, 0);
    upstream.stop().await;
}

/// Limits are the clients', and not the proxy's through which all of them come.
#[tokio::test]
async fn connections_are_counted_for_the_client() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "max_connections = 30\nmax_connections_per_address = 1", "");
    let mut first = connect(&harness, PROXY, FLEET).await;
    let mut second = connect(&harness, PROXY, FLEET).await;
    first.expect("220").await;
    second.expect("220").await;
    connect(&harness, PROXY, FLEET).await.expect("421 4.7.0 entry fleet may have 2").await;
    // Of a stranger one may stay; the next is told, and closed at once.
    let mut strangers = Vec::new();
    for claimed in ["198.51.100.1", "198.51.100.2", "198.51.100.1"] {
        let mut stranger = connect(&harness, PROXY, &v2(claimed, b"")).await;
        stranger.expect("554").await;
        strangers.push(stranger);
    }
    strangers[2].expect_closed().await;
    for stranger in &mut strangers[..2] {
        stranger.send_line("QUIT").await;
        stranger.expect("221").await;
    }
    // Health checks are nobody's connections.
    for _ in 0..3 {
        connect(&harness, PROXY, LOCAL).await.expect("220").await;
    }
    upstream.stop().await;
}

#[tokio::test]
async fn a_full_listener_says_nothing_before_the_header() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "max_connections = 1", "");
    let mut first = connect(&harness, PROXY, FLEET).await;
    first.expect("220").await;
    ByteClient::connect_from(PROXY.into(), harness.addr()).await.expect_closed().await;
    let overload = "gatepost_connections_total{listener=\"smtp\",result=\"overload\"}";
    assert_eq!(harness.metric(overload).await, 1);
    upstream.stop().await;
}

#[tokio::test]
async fn draining_does_not_wait_for_headers() {
    let upstream = ScriptedUpstream::start();
    let harness = start(&upstream, "", "[timeouts]\nproxy = \"1h\"\ndrain = \"10s\"\n");
    let mut waiting = connect(&harness, PROXY, b"PROXY ").await;
    let mut greeted = connect(&harness, PROXY, FLEET).await;
    greeted.expect("220").await;
    let begun = Instant::now();
    let drained = tokio::spawn(harness.drain());
    let _ = waiting.read_to_end().await;
    greeted.expect("421 4.3.2").await;
    assert_eq!(drained.await.expect("no panic").0, gatepost::gateway::Drained::Empty);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    upstream.stop().await;
}

/// A socket whose reset is an answer too: nothing.
async fn raw(to: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((PROXY, 0).into()).expect("loopback");
    socket.connect(to).await.expect("connects")
}

async fn exchange(socket: &mut tokio::net::TcpStream, octets: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    socket.write_all(octets).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer));
    let _ = read.await.expect("closed in time");
    answer
}
