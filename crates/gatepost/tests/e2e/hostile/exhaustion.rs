//! Octets, time, memory and descriptors without end (RFC 5321 §4.5.3).
//!
//! Memory is that of a gateway in a process of its own, by the most it has ever held. Half-open peers
//! are the kernel's to find: `an_accepted_connection_is_kept_alive_by_the_kernel` is beside the
//! listener.

use std::time::{Duration, Instant};

use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::shown;
use crate::harness::{ENVELOPE, Harness, Settings, converse, get, send_message};
use crate::program::Program;

/// Postfix 20260529 and its kin: a command line of 3 kB, of 1 MB, and without an end. What is longer
/// than any command is refused, and what has no end in sight ends the session.
#[tokio::test]
async fn a_line_is_never_longer_than_its_limit() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let line = |verb: &str, octets: usize| {
        let mut line = verb.as_bytes().to_vec();
        line.resize(octets - 2, b'x');
        line.extend(b"\r\n");
        line
    };
    for (octets, goes_on) in [
        (line("NOOP ", 3_000), true),
        (line("NOOP ", 4_096), true),
        (line("NOOP ", 4_097), true),
        (line("MAIL FROM:<", 3_000), true),
        (line("EHLO ", 3_000), true),
        (line("RCPT TO:<", 60_000), true),
        (line("", 1_000_000), false),
        (line("MAIL FROM:<", 1_000_000), false),
        (b"A".repeat(1_000_000), false),
    ] {
        let mut client = harness.client().await;
        let _ = client.try_send(&octets).await;
        let said = client.read_reply().await;
        let begin = shown(&octets[..12]);
        if goes_on {
            let expected = octets.starts_with(b"NOOP") && octets.len() <= 4_096;
            assert_eq!(said.starts_with("250 2.0.0"), expected, "{begin}: {said}");
            assert!(expected || said.starts_with("50"), "{begin}: {said}");
            converse(&mut client, &[("NOOP", "250 2.0.0")]).await;
        } else {
            assert!(said.starts_with("500 5.5.2 line too long"), "{begin}: {said}");
            assert!(client.try_reply().await.is_err(), "{begin}: closed");
        }
    }
    assert!(upstream.lines().is_empty());
    upstream.stop().await;
}

/// What the process may grow by for 50 sessions that each keep a line of 60 KB without an end.
const LINES_GROWTH_MAX_KIB: u64 = 16 * 1024;

/// Endless lines of many clients at once, listed or not: each holds its 64 KiB and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_lines_take_bounded_memory() {
    let upstream = ScriptedUpstream::start();
    let program = Program::start(upstream.addr(), &Settings::default());
    program.client().await;
    let before = program.peak_memory_kib();
    let mut senders = JoinSet::new();
    for number in 0..100_u8 {
        let address = program.addr;
        // Half of them strangers.
        let source = [127, 0, 0, 1 + (number % 2) * (10 + number)].into();
        senders.spawn(async move {
            let mut client = ByteClient::connect_from(source, address).await;
            client.read_reply().await;
            // What the kernel takes is not taken by the gateway: until it has closed.
            let began = Instant::now();
            while client.try_send(&b"x".repeat(50_000)).await.is_ok() {
                assert!(began.elapsed() < Duration::from_secs(10), "there is no end to the line");
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender.expect("no panic");
    }
    let grown = program.peak_memory_kib() - before;
    assert!(grown < LINES_GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    program.client().await;
    upstream.stop().await;
}

/// RFC 1870: a declared size of any number of digits does not wrap around.
#[tokio::test]
async fn a_declared_size_does_not_wrap() {
    let upstream = ScriptedUpstream::start();
    let tables = "[limits]\nmax_message_size = \"1000 B\"\n".to_owned();
    let harness = Harness::with(upstream.addr(), &Settings { tables, ..Settings::default() });
    for (size, reply) in [
        ("0", "250"),
        ("1000", "250"),
        ("00000000000000001000", "250"),
        ("1001", "552 5.3.4"),
        ("4294967296", "552 5.3.4"),
        ("4294967297", "552 5.3.4"),
        ("9223372036854775808", "552 5.3.4"),
        ("18446744073709551615", "552 5.3.4"),
        ("18446744073709551616", "552 5.3.4"),
        ("18446744073709551617", "552 5.3.4"),
        ("99999999999999999999", "552 5.3.4"),
        ("100000000000000000000", "501 5.5.4"),
        ("", "501 5.5.4"),
        ("+5", "501 5.5.4"),
        ("5 5", "555 5.5.4"),
    ] {
        let mut client = harness.client().await;
        client.send_line(&format!("MAIL FROM:<a@app.test> SIZE={size}")).await;
        let said = client.read_reply().await;
        assert!(said.starts_with(reply), "SIZE={size}: {said}, not {reply}");
    }
    upstream.stop().await;
}

/// A message that turns out too large is read to its true end, and what is behind it, in the same
/// segments, is the next transaction.
#[tokio::test]
async fn too_large_a_message_keeps_the_session_in_step() {
    let upstream = ScriptedUpstream::start();
    let tables = "[limits]\nmax_message_size = \"1000 B\"\n".to_owned();
    let harness = Harness::with(upstream.addr(), &Settings { tables, ..Settings::default() });
    let large = b"MAIL FROM:<evil@app.test>\r\n..\r\n".repeat(20_000);
    let mut client = harness.client().await;
    converse(&mut client, &ENVELOPE).await;
    let behind = b".\r\nMAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n";
    client.send(&[&large, &behind[..]].concat()).await;
    for reply in ["552 5.3.4", "250 2.1.0", "250 2.1.5", "354"] {
        client.expect(reply).await;
    }
    converse(&mut client, &[("x\r\n.", "250 2.0.0"), ("QUIT", "221")]).await;
    let messages = upstream.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].after_received(), b"x\r\n");
    assert!(!upstream.lines().iter().any(|line| line.contains("evil")));
    upstream.stop().await;
}

/// Sends one octet now and then until the gateway has had enough; what it said, and how long it took.
async fn trickle(client: &mut ByteClient, octet: &[u8]) -> (String, Duration) {
    let began = Instant::now();
    loop {
        let sent = client.try_send(octet).await;
        if sent.is_err() || began.elapsed() > Duration::from_secs(12) {
            return (String::new(), began.elapsed());
        }
        let patience = tokio::time::timeout(Duration::from_millis(200), client.try_reply());
        if let Ok(reply) = patience.await {
            return (reply.unwrap_or_default(), began.elapsed());
        }
    }
}

/// Slowloris: an octet now and then buys no time. A command has to be whole within `[timeouts]
/// command`, before and in a transaction.
#[tokio::test]
async fn a_command_that_trickles_in_has_a_deadline() {
    let upstream = ScriptedUpstream::start();
    let tables = "[timeouts]\ncommand = \"1s\"\n".to_owned();
    let harness = Harness::with(upstream.addr(), &Settings { tables, ..Settings::default() });
    for lines in [&ENVELOPE[..0], &ENVELOPE[..1], &ENVELOPE[..2]] {
        let mut client = harness.client().await;
        converse(&mut client, lines).await;
        let (said, took) = trickle(&mut client, b"N").await;
        assert!(said.starts_with("421 4.4.2"), "{lines:?}: {said:?} after {took:?}");
        assert!(took > Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    }
    // A client that says whole lines has each time anew.
    let mut client = harness.client().await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        converse(&mut client, &[("NOOP", "250")]).await;
    }
    upstream.stop().await;
}

/// Slowloris in data. A piece may take `[timeouts] data`, so what ends it is the end of the session;
/// the upstream's connection was given back long before (`a_client_that_dribbles_has_stalled_too`).
#[tokio::test]
async fn data_that_trickles_in_ends_with_the_session() {
    let upstream = ScriptedUpstream::start();
    let tables = "[timeouts]\nsession = \"2s\"\n".to_owned();
    let harness = Harness::with(upstream.addr(), &Settings { tables, ..Settings::default() });
    let mut client = harness.client().await;
    converse(&mut client, &ENVELOPE).await;
    let (said, took) = trickle(&mut client, b"x").await;
    assert!(said.starts_with("421 4.4.2"), "{said:?} after {took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(upstream.messages(), []);
    upstream.stop().await;
}

/// A client that asks and never reads: replies are not piled up, and it has a deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_replies_waits_and_is_let_go() {
    // A long word of the upstream for each recipient, which the client has to hear.
    let word = format!("250 2.1.5 {}", "x".repeat(480));
    let upstream = ScriptedUpstream::builder().on("RCPT", &*word).start();
    let tables = "[limits]\nmax_recipients = 1000000\n[timeouts]\ncommand = \"1s\"\n".to_owned();
    let settings =
        Settings { tables, upstream: "client_stall = \"30s\"".to_owned(), ..Settings::default() };
    let program = Program::start(upstream.addr(), &settings);
    program.client().await;
    let before = program.peak_memory_kib();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a TCP socket");
    let mut socket = socket.connect(program.addr).await.expect("connects");
    socket.write_all(b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\n").await.expect("sent");
    let group = "RCPT TO:<b@b.test>\r\n".repeat(100);
    let (began, mut groups) = (Instant::now(), 0);
    let gone = loop {
        match tokio::time::timeout(Duration::from_secs(8), socket.write_all(group.as_bytes())).await
        {
            Ok(Ok(())) => groups += 1,
            Ok(Err(_)) => break true,
            Err(_) => break false,
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{groups} groups, and it goes on");
    };
    assert!(gone, "{groups} groups: it waits, and is not let go");
    let grown = program.peak_memory_kib() - before;
    assert!(grown < 2 * 1024, "the gateway grew by {grown} KiB");
    program.client().await;
    upstream.stop().await;
}

/// What the process may grow by for 24 messages at once: buffers of two sockets each.
const MESSAGES_GROWTH_MAX_KIB: u64 = 24 * 512;

/// Many large messages at once, and an upstream that is slower than the clients: the clients wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_messages_at_once_take_bounded_memory() {
    const MESSAGE_OCTETS: usize = 4_000_000;
    let upstream = ScriptedUpstream::builder()
        .digest_only()
        .throttle(64 * 1024, Duration::from_millis(2))
        .start();
    let program = Program::start(upstream.addr(), &Settings::default());
    program.client().await;
    let before = program.peak_memory_kib();
    let mut clients = JoinSet::new();
    for _ in 0..24 {
        let mut client = program.client().await;
        clients.spawn(async move {
            let line = [&[b'x'; 78][..], b"\r\n"].concat();
            let reply = send_message(&mut client, &line.repeat(MESSAGE_OCTETS / 80)).await;
            assert!(reply.starts_with("250"), "{reply}");
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no panic");
    }
    let grown = program.peak_memory_kib() - before;
    assert!(grown < MESSAGES_GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    assert_eq!(upstream.messages().len(), 24);
    upstream.stop().await;
}

/// Descriptors run out (EMFILE), which seats keep from happening unless something else takes them:
/// the gateway does not spin and does not end, and when there is room again it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_descriptors_waits_for_better_times() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let mut client = program.client().await;
    assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
    program.limit_descriptors(program.descriptors());
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(TcpStream::connect(program.addr).await.expect("the kernel takes it"));
    }
    program.wait_for_line("cannot accept connections");
    let (before, began) = (program.processor_time(), Instant::now());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (busy, took) = (program.processor_time().saturating_sub(before), began.elapsed());
    assert!(busy < took / 5, "{busy:?} of {took:?}");
    let told = program.count_lines("cannot accept connections");
    assert_eq!(told, 0, "once a minute is enough, and not {told} times in {took:?}");
    // Whoever is in is served meanwhile.
    assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
    program.limit_descriptors(1000);
    let mut greeting = [0; 3];
    for waiting in &mut crowd {
        waiting.read_exact(&mut greeting).await.expect("greeted");
        assert_eq!(&greeting, b"220");
    }
    assert_eq!(upstream.messages().len(), 2);
    client.close();
    drop(crowd);
    program.end();
    upstream.stop().await;
}

/// A page that is asked for while strangers crowd the door still answers.
#[tokio::test]
async fn strangers_at_the_door_do_not_silence_the_pages() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(ByteClient::connect_from([127, 0, 0, 9].into(), harness.addr()).await);
    }
    let pages = harness.gateway.metrics_address().expect("metrics are on");
    assert_eq!(get(pages, "/readyz").await.trim(), "ok");
    harness.client().await;
    upstream.stop().await;
}
