//! STARTTLS and handshakes: what is put before, into and behind them.
//!
//! What a whole gateway does with injected commands, certificates and tickets is in `tls.rs`; this
//! is about octets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_testkit::{ByteClient, ClientTls, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{play, send_cut};
use crate::harness::{ENVELOPE, converse, send_message};
use crate::tls::{BOTH, Play, Stage, start_tls};

/// An alert in plain text: close_notify.
const CLOSE_NOTIFY: &[u8] = b"\x15\x03\x03\x00\x02\x01\x00";

/// The ClientHello of a client, as the record that it comes in.
async fn client_hello(tls: &ClientTls) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let address = listener.local_addr().expect("bound");
    let tls = tls.clone();
    let client = tokio::spawn(async move {
        let _ = ByteClient::connect(address).await.try_secure(&tls).await;
    });
    let (mut socket, _) = listener.accept().await.expect("accepted");
    let record = read_record(&mut socket).await.expect("a record");
    client.abort();
    record
}

async fn read_record(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut record = vec![0; 5];
    socket.read_exact(&mut record).await?;
    let octets = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + octets, 0);
    socket.read_exact(&mut record[5..]).await?;
    Ok(record)
}

/// CVE-2011-0411 (Postfix and eleven others): commands behind STARTTLS, cut into two segments at
/// every octet. Whether they come before or after the 220, nothing ever answers them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injected_commands_are_never_answered_wherever_they_are_cut() {
    const INJECTED: &[u8] = b"STARTTLS\r\nEHLO x\r\nMAIL FROM:<a@app.test>\r\n";
    let stage = Arc::new(Stage::start("starttls"));
    let tls = stage.tls(Versions::Both);
    // Cut inside `STARTTLS`, all else comes in one piece; behind it, a part comes on its own.
    play(1..=INJECTED.len(), |_, cut| {
        let (stage, tls) = (Arc::clone(&stage), tls.clone());
        async move {
            let mut client = ByteClient::connect(stage.harness.addr()).await;
            client.expect("220").await;
            converse(&mut client, &[("EHLO app.test", "250")]).await;
            send_cut(&mut client, INJECTED, cut).await;
            client.expect("220 2.0.0 go ahead with TLS").await;
            // Plain text where a handshake was expected ends the connection.
            if client.try_secure(&tls).await.is_ok() {
                converse(&mut client, &[("NOOP", "250 2.0.0")]).await;
                converse(&mut client, &[("MAIL FROM:<a@app.test>", "503 5.5.1 send EHLO")]).await;
            }
        }
    })
    .await;
    assert!(stage.upstream.lines().is_empty());
    assert!(stage.handshakes("ok").await >= 10, "whatever came in one piece is forgotten");
}

/// RFC 3207 §4.2: what was said in plain text is forgotten, the name of the client too.
#[tokio::test]
async fn nothing_is_known_behind_tls_that_was_said_before() {
    let stage = Stage::start("starttls");
    let mut client = start_tls(&stage, &stage.tls(Versions::Both)).await;
    converse(
        &mut client,
        &[
            ("MAIL FROM:<a@app.test>", "503 5.5.1"),
            ("RCPT TO:<b@b.test>", "503 5.5.1"),
            ("DATA", "503 5.5.1"),
            ("EHLO behind.test", "250"),
            ("DATA", "503 5.5.1"),
        ],
    )
    .await;
    assert!(send_message(&mut client, b"Subject: x\r\n\r\n").await.starts_with("250"));
    let line = stage.upstream.wait_for_messages(1).await[0].text();
    assert!(line.starts_with("Received: from behind.test ("), "not plain.test: {line}");
    stage.end().await;
}

/// A ClientHello in records of one octet each (RFC 8446 §5.1 lets a handshake message be cut).
#[tokio::test]
async fn a_hello_may_come_in_records_of_one_octet() {
    for versions in BOTH {
        let stage = Stage::start("implicit");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
        let address = listener.local_addr().expect("bound");
        let gateway = stage.harness.addr();
        let between = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("accepted");
            let mut server = TcpStream::connect(gateway).await.expect("connected");
            let hello = read_record(&mut client).await.expect("a record");
            let records = hello[5..].iter().flat_map(|&octet| [22, 3, 1, 0, 1, octet]);
            server.write_all(&records.collect::<Vec<_>>()).await.expect("sent");
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        let mut client = ByteClient::connect(address).await;
        client.secure(&stage.tls(versions)).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250")]).await;
        assert!(send_message(&mut client, b"\r\n").await.starts_with("250"));
        client.close();
        between.await.expect("no panic");
        stage.end().await;
    }
}

/// What may follow a good hello instead of the rest of a handshake: the connection ends, nobody
/// spins, and the next client is served.
#[tokio::test]
async fn a_handshake_that_goes_wrong_ends_the_connection() {
    let stage = Stage::start("implicit");
    let hello = client_hello(&stage.tls(Versions::Only13)).await;
    let other = client_hello(&stage.tls(Versions::Only12)).await;
    for (count, follows) in (1..).zip([
        CLOSE_NOTIFY,
        // A fatal alert.
        b"\x15\x03\x03\x00\x02\x02\x28",
        // Commands, as if there were no TLS.
        b"EHLO app.test\r\nMAIL FROM:<a@app.test>\r\n",
        // Data that is not encrypted yet.
        b"\x17\x03\x03\x00\x06NOOP\r\n",
        // A record that is longer than any may be.
        b"\x16\x03\x03\xff\xff",
        // Another hello.
        &hello,
        &other,
        b"\x00",
    ]) {
        let mut client = ByteClient::connect(stage.harness.addr()).await;
        client.send(&[&hello, follows].concat()).await;
        client.half_close().await;
        // A server's half of the handshake, an alert, and no reply.
        let said = client.read_to_end().await;
        assert!(!said.windows(4).any(|it| it == b"220 " || it == b"250 "), "{follows:?}: {said:?}");
        while stage.handshakes("failed").await < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(stage.handshakes("ok").await, 0);
    stage.client(&stage.tls(Versions::Both)).await;
    stage.end().await;
}

/// Half a handshake and then silence, or an octet now and then: one deadline for the whole.
#[tokio::test]
async fn a_handshake_that_stalls_has_a_deadline_as_a_whole() {
    let stage = Stage::with(&Play {
        mode: "implicit",
        tables: "[timeouts]\ntls = \"1s\"\n",
        ..Play::default()
    });
    let hello = client_hello(&stage.tls(Versions::Only13)).await;
    let began = Instant::now();
    // The server has answered the hello, and waits for the client to finish.
    let mut silent = ByteClient::connect(stage.harness.addr()).await;
    silent.send(&hello).await;
    let mut slow = ByteClient::connect(stage.harness.addr()).await;
    for octet in hello.chunks(1) {
        if slow.try_send(octet).await.is_err() || began.elapsed() > Duration::from_secs(5) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let _ = silent.read_to_end().await;
    assert_eq!(stage.handshakes("timeout").await, 2);
    stage.end().await;
}

/// CVE-2026-45185 (Exim, "Dead.Letter"): close_notify in the middle of a message, then octets in the
/// clear. Plain text is never read again on a connection that had TLS.
#[tokio::test]
async fn nothing_is_read_in_the_clear_behind_close_notify() {
    for versions in BOTH {
        let stage = Stage::start("starttls");
        let tls = stage.tls(versions);
        // In the middle of the data, of a line, and between commands.
        for (lines, content) in [
            (&ENVELOPE[..], &b"Subject: x\r\n\r\nhalf"[..]),
            (&ENVELOPE[..2], b"DAT"),
            (&ENVELOPE[..1], b""),
        ] {
            let mut client = start_tls(&stage, &tls).await;
            converse(&mut client, &[("EHLO app.test", "250")]).await;
            converse(&mut client, lines).await;
            client.send(content).await;
            client.close_tls().await;
            let clear = b"\r\n.\r\nNOOP\r\nMAIL FROM:<evil@app.test>\r\nRCPT TO:<evil@b.test>\r\n";
            let _ = client.try_send_in_the_clear(clear).await;
            let answer = client.try_reply().await;
            assert!(answer.is_err(), "an answer to plain text: {answer:?}");
        }
        assert_eq!(stage.upstream.messages(), []);
        assert!(!stage.upstream.lines().iter().any(|line| line.contains("evil")));
        stage.end().await;
    }
}

/// Whoever stands between may put octets into the connection: they are no record, and the end.
#[tokio::test]
async fn octets_in_the_clear_end_a_session_behind_tls() {
    for versions in BOTH {
        let stage = Stage::start("implicit");
        for injected in [&b"NOOP\r\n"[..], CLOSE_NOTIFY, b"\x16\x03\x03\x00\x04\x00\x00\x00\x00"] {
            let mut client = stage.client(&stage.tls(versions)).await;
            converse(&mut client, &ENVELOPE[..2]).await;
            client.try_send_in_the_clear(injected).await.expect("it is still there");
            let answer = client.try_reply().await;
            assert!(answer.is_err(), "an answer to plain text: {answer:?}");
        }
        assert_eq!(stage.upstream.messages(), []);
        stage.end().await;
    }
}
