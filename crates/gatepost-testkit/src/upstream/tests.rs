use std::time::{Duration, Instant};

use crate::upstream::{Action, Builder, Digest, Ending, Move};
use crate::{ByteClient, ClientTls, ScriptedUpstream, ServerTls, ThrowAwayCa, Versions};

const ENVELOPE: &[u8] = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n";

async fn introduced(upstream: &ScriptedUpstream) -> ByteClient {
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send_line("EHLO gateway.test").await;
    client.expect("250-sink.test").await;
    client
}

/// A client that may send mail data now.
async fn in_data(upstream: &ScriptedUpstream) -> ByteClient {
    let mut client = introduced(upstream).await;
    client.send(ENVELOPE).await;
    client.expect("250 2.1.0").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client
}

#[tokio::test]
async fn a_message_is_recorded_as_it_was_sent() {
    let upstream = ScriptedUpstream::start();
    let mut client = in_data(&upstream).await;
    client.send(b"Received: by gw;\r\n\tnow\r\nSubject: x\r\n\r\n..dot\r\n.\r\n").await;
    client.expect("250 2.0.0 queued").await;

    let messages = upstream.wait_for_messages(1).await;
    assert_eq!(messages[0].mail, "MAIL FROM:<a@x>");
    assert_eq!(messages[0].recipients, ["RCPT TO:<b@y>"]);
    assert_eq!(messages[0].after_received(), b"Subject: x\r\n\r\n..dot\r\n");
    assert!(messages[0].text().starts_with("Received: by gw;\r\n\tnow\r\nSubject"));
    assert!(messages[0].accepted());

    client.send_line("QUIT").await;
    client.expect("221").await;
    client.expect_closed().await;
    client.close();
    upstream.wait_for_open(0).await;
    let connections = upstream.connections();
    assert!(connections[0].arrived_together(&["MAIL FROM:<a@x>", "RCPT TO:<b@y>", "DATA"]));
    assert!(!connections[0].arrived_together(&["EHLO", "MAIL"]));
    assert_eq!(connections[0].ending, Some(Ending::Here));
    assert_eq!(connections[0].unfinished_octets, None);
    assert!(connections[0].received().ends_with(b"..dot\r\n.\r\nQUIT\r\n"));
    upstream.join().await;
}

#[tokio::test]
async fn the_most_specific_rule_wins() {
    let upstream = ScriptedUpstream::builder()
        .on_nth("RCPT", 3, "452 4.5.3 third")
        .on("rcpt to:<bad@", "550 5.1.1 bad")
        .on("RCPT", "250 2.1.5 any")
        .start();
    let mut client = introduced(&upstream).await;
    client.send_line("MAIL FROM:<>").await;
    client.expect("250").await;
    for (line, reply) in [
        ("RCPT TO:<a@x>", "250 2.1.5 any"),
        ("RCPT TO:<bad@x>", "550 5.1.1 bad"),
        ("RCPT TO:<bad@x>", "452 4.5.3 third"),
    ] {
        client.send_line(line).await;
        client.expect(reply).await;
    }
    upstream.on("RCPT TO:<a@", "451 4.3.0 later");
    client.send_line("RCPT TO:<a@x>").await;
    client.expect("451 4.3.0 later").await;
    upstream.stop().await;
}

#[tokio::test]
async fn the_order_of_commands_is_insisted_on() {
    let upstream = ScriptedUpstream::builder().on("MAIL FROM:<no@", "550 5.7.1 no").start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    for (line, reply) in [
        ("MAIL FROM:<a@x>", "503 5.5.1 EHLO"),
        ("HELO x", "250"),
        ("MAIL FROM:<no@x>", "550"),
        ("RCPT TO:<b@y>", "503 5.5.1 MAIL"),
        ("MAIL FROM:<a@x>", "250"),
        ("MAIL FROM:<a@x>", "503 5.5.1 nested"),
        ("DATA", "554 5.5.1"),
        ("RCPT TO:<b@y>\n", "500 5.5.2"),
        ("RSET", "250"),
        ("DATA", "503"),
    ] {
        client.send_line(line).await;
        client.expect(reply).await;
    }
    upstream.stop().await;
}

#[tokio::test]
async fn data_without_recipients_is_refused_at_its_end() {
    let upstream = ScriptedUpstream::builder().on("DATA", "354 send it anyway").start();
    let mut client = introduced(&upstream).await;
    client.send(b"MAIL FROM:<a@x>\r\nDATA\r\n.\r\n").await;
    client.expect("250").await;
    client.expect("354").await;
    client.expect("554").await;
    assert!(!upstream.messages()[0].accepted());
    upstream.stop().await;
}

#[tokio::test]
async fn every_action_is_played() {
    let upstream = ScriptedUpstream::builder()
        .on("ONE", Action::TwoReplies("250-a\n250 b".into(), "250 c".into()))
        .on("TWO", Action::Raw(b"\xff".into()))
        .on("THREE", Action::Delay(Duration::from_millis(30), "250 late".into()))
        .on("FOUR", Action::Close)
        .on("FIVE", Action::Silence)
        .start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send_line("ONE").await;
    client.expect("250-a\n250 b").await;
    client.expect("250 c").await;
    let asked = Instant::now();
    client.send_line("THREE").await;
    client.expect("250 late").await;
    assert!(asked.elapsed() >= Duration::from_millis(30));
    client.send(b"TWO\r\nFOUR\r\nunread").await;
    assert_eq!(client.read_to_end().await, b"\xff");
    client.close();

    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send(b"FIVE\r\n").await;
    upstream.wait_for_lines(5).await;
    client.send(b"NOOP\r\n").await;
    client.expect_silence(Duration::from_millis(30)).await;
    client.reset();
    upstream.wait_for_open(0).await;
    assert_eq!(upstream.connections()[1].lines, ["FIVE"]);
    assert_eq!(upstream.connections()[1].ending, Some(Ending::ResetByPeer));
    upstream.join().await;
}

#[tokio::test]
async fn an_unfinished_message_is_no_message() {
    let upstream =
        ScriptedUpstream::builder().on_nth("DATA", 1, Action::CloseAfterData(10)).start();
    let mut client = in_data(&upstream).await;
    client.send(b"0123456789").await;
    client.expect_closed().await;
    let mut client = in_data(&upstream).await;
    client.send(b"01234").await;
    client.close();
    upstream.wait_for_open(0).await;
    assert!(upstream.messages().is_empty());
    let unfinished: Vec<_> =
        upstream.connections().iter().map(|connection| connection.unfinished_octets).collect();
    assert_eq!(unfinished, [Some(10), Some(5)]);
    upstream.join().await;
}

#[tokio::test]
async fn a_stalled_upstream_reads_no_more() {
    let upstream = ScriptedUpstream::builder().on("DATA", Action::StallAfterData(1)).start();
    let mut client = in_data(&upstream).await;
    client.send(b"one").await;
    client.send(b"two\r\n.\r\n").await;
    client.expect_silence(Duration::from_millis(30)).await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_digest_stands_for_a_large_message() {
    let upstream = ScriptedUpstream::builder().digest_only().start();
    let mut client = in_data(&upstream).await;
    let mebibyte = b"0123456789abcdef\r\n".repeat(1 << 16);
    let mut digest = Digest::default();
    for _ in 0..4 {
        client.send(&mebibyte).await;
        digest.update(&mebibyte);
    }
    client.send(b".\r\n").await;
    client.expect("250").await;
    let content = &upstream.messages()[0].content;
    assert_eq!((content.octets, content.digest), (4 * mebibyte.len() as u64, digest));
    assert!(content.bytes.is_empty());
    assert!(upstream.connections()[0].received().len() < 100_000);
    upstream.stop().await;
}

#[tokio::test]
async fn a_throttled_upstream_holds_the_sender_back() {
    let pause = Duration::from_millis(2);
    let upstream = ScriptedUpstream::builder().throttle(100, pause).start();
    let mut client = in_data(&upstream).await;
    let begun = Instant::now();
    client.send(&b"x".repeat(2000)).await;
    client.send(b"\r\n.\r\n").await;
    client.expect("250").await;
    assert!(begun.elapsed() >= 20 * pause);
    assert!(upstream.connections()[0].chunks.iter().all(|chunk| chunk.len() <= 100));
    upstream.stop().await;
}

#[tokio::test]
async fn connections_are_counted() {
    let upstream = ScriptedUpstream::start();
    let mut first = introduced(&upstream).await;
    let second = introduced(&upstream).await;
    first.close();
    upstream.wait_for_open(1).await;
    let third = introduced(&upstream).await;
    assert_eq!(upstream.connections_opened(), 3);
    assert_eq!(upstream.connections_open_max(), 2);
    drop((second, third));
    upstream.join().await;
}

#[tokio::test]
async fn an_upstream_comes_back_on_its_port() {
    let upstream = ScriptedUpstream::start();
    let addr = upstream.addr();
    let mut client = introduced(&upstream).await;
    upstream.stop().await;
    client.expect_closed().await;
    let upstream = Builder::default().at(addr).start();
    introduced(&upstream).await;
    upstream.join().await;
}

#[tokio::test]
#[should_panic(expected = "the upstream must not see this: no AUTH over plain text\n  from 127")]
async fn a_panic_of_a_connection_is_the_panic_of_the_test() {
    let reason = "no AUTH over plain text".to_owned();
    let upstream = ScriptedUpstream::builder().on("AUTH", Action::Panic(reason)).start();
    let mut client = introduced(&upstream).await;
    client.send_line("AUTH PLAIN").await;
    client.expect_closed().await;
    upstream.join().await;
}

#[tokio::test]
async fn every_move_is_made() {
    let pause = Duration::from_millis(2);
    let upstream = ScriptedUpstream::builder()
        .on("ONE", Action::Play(vec![Move::Drip(b"250 a\r\n".into(), pause), Move::say("x\r\n")]))
        .on("TWO", Action::Play(vec![Move::Wait(pause), Move::HalfClose]))
        .on("THREE", Action::Play(vec![Move::Repeat(b"250-y\r\n".into(), pause)]))
        .on("FOUR", Action::Play(vec![Move::Reset]))
        .on("FIVE", Action::Play(vec![Move::Deaf]))
        .start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send_line("ONE").await;
    client.expect("250 a").await;
    upstream.wait_for_moves(2).await;
    client.send(b"TWO\r\nNOOP\r\n").await;
    assert_eq!(client.read_to_end().await, b"x\r\n");
    assert_eq!(upstream.connections_open(), 1, "it still listens");
    client.close();
    upstream.wait_for_open(0).await;
    assert_eq!(upstream.connections()[0].ending, Some(Ending::ClosedByPeer));
    for (line, moves, ending) in [
        ("THREE", 5, Ending::ResetByPeer),
        ("FOUR", 5, Ending::Here),
        ("FIVE", 6, Ending::ClosedByPeer),
    ] {
        let mut client = ByteClient::connect(upstream.addr()).await;
        client.expect("220").await;
        client.send(format!("{line}\r\nNOOP\r\n").as_bytes()).await;
        upstream.wait_for_moves(moves).await;
        client.close();
        upstream.wait_for_open(0).await;
        let last = upstream.connections().pop().expect("a connection");
        assert_eq!(last.ending, Some(ending), "{line}");
    }
    upstream.join().await;
}

#[tokio::test]
async fn moves_are_made_in_the_middle_of_content() {
    let early = || Action::PlayInData(3, vec![Move::say("552 5.3.4 early\r\n")]);
    let upstream = ScriptedUpstream::builder()
        .extensions(&["CHUNKING"])
        .on_nth("DATA", 1, early())
        .on_nth("BDAT", 1, early())
        .start();
    let mut client = in_data(&upstream).await;
    client.send(b"one").await;
    client.expect("552 5.3.4 early").await;
    client.send(b" more\r\n.\r\n").await;
    client.expect("250 2.0.0 queued").await;
    client.send(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 5\r\none").await;
    for reply in ["250", "250", "552 5.3.4 early"] {
        client.expect(reply).await;
    }
    client.send(b"\r\nBDAT 0 LAST\r\n").await;
    client.expect("250 2.0.0 chunk").await;
    client.expect("250 2.0.0 queued").await;
    let contents: Vec<_> = upstream.messages().iter().map(crate::upstream::Message::text).collect();
    assert_eq!(contents, ["one more\r\n", "one\r\n"]);
    upstream.stop().await;
}

#[tokio::test]
async fn moves_are_made_with_tls_and_beneath_it() {
    let ca = ThrowAwayCa::new();
    let tls = ServerTls::new(&ca, &ca.issue(&["relay.test"]), Versions::Only13);
    let line = || b"250 b\r\n".to_vec();
    let upstream = ScriptedUpstream::builder()
        .implicit_tls(&tls)
        .on("ONE", Action::Play(vec![Move::NewKeys, Move::say("250 a\r\n"), Move::Hear]))
        .on("TWO", Action::Play(vec![Move::Alert(line())]))
        .on("THREE", Action::Play(vec![Move::say("250 b\r\n"), Move::CloseNotify, Move::Silence]))
        .on("FOUR", Action::Play(vec![Move::say("250 b\r\n"), Move::Fin]))
        .on("FIVE", Action::Play(vec![Move::Beneath(line()), Move::Silence]))
        .start();
    for (last, moves, reply, end) in [
        // This client does not take what comes together with an alert.
        ("TWO", 3, "", "received fatal alert: BadRecordMac"),
        ("THREE", 7, "250 b", "closed"),
        ("FOUR", 13, "250 b", "close_notify"),
        ("FIVE", 18, "", "corrupt message"),
    ] {
        let mut client = ByteClient::connect(upstream.addr()).await;
        client.secure(&ClientTls::new(&ca, None, Versions::Only13)).await;
        client.expect("220").await;
        client.send_line("ONE").await;
        client.expect("250 a").await;
        client.send_line("forgotten").await;
        upstream.wait_for_moves(moves).await;
        client.send_line(last).await;
        if !reply.is_empty() {
            client.expect(reply).await;
        }
        let ended = client.try_reply().await.expect_err("nothing follows");
        assert!(ended.contains(end), "{last}: {ended}");
        client.close();
        upstream.wait_for_open(0).await;
        let connection = upstream.connections().pop().expect("a connection");
        assert_eq!(connection.lines, ["ONE", last]);
    }
    upstream.join().await;
}
