//! Mail through a gateway: connections of the upstream, their reuse and their end.

use std::time::Duration;

use crate::harness::{ENVELOPE, Harness, Settings, converse, send_message};
use gatepost_testkit::upstream::Action;
use gatepost_testkit::{ByteClient, ScriptedUpstream};

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";

async fn ok(client: &mut ByteClient) {
    let reply = send_message(client, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test]
async fn a_message_arrives_with_one_line_in_front() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    ok(&mut client).await;
    let message = &upstream.wait_for_messages(1).await[0];
    let text = message.text();
    let (received, rest) = text.split_once("\r\n").expect("a first line");
    assert!(
        received.starts_with("Received: from app.test ([127.0.0.1]) by relay.test with ESMTP id "),
        "{received}"
    );
    assert_eq!(rest.as_bytes(), MESSAGE);
    assert_eq!(message.mail, "MAIL FROM:<a@app.test>");
    client.close();
    upstream.stop().await;
}

#[tokio::test]
async fn one_connection_carries_the_messages_of_many_sessions() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    for _ in 0..10 {
        let mut client = harness.client().await;
        ok(&mut client).await;
        ok(&mut client).await;
        client.close();
    }
    assert_eq!(upstream.wait_for_messages(20).await.len(), 20);
    assert_eq!(upstream.connections_opened(), 1);
    assert!(
        upstream.connections()[0].arrived_together(&["MAIL FROM", "RCPT TO"]),
        "MAIL and RCPT go out together"
    );
    upstream.stop().await;
}

#[tokio::test]
async fn a_connection_is_closed_after_its_messages_its_age_or_its_rest() {
    for (line, opened) in [
        ("max_messages_per_connection = 2", 3),
        ("max_age = \"1s\"", 5),
        ("idle_timeout = \"1s\"", 5),
    ] {
        let upstream = ScriptedUpstream::start();
        let settings = Settings { upstream: line.to_owned(), ..Settings::default() };
        let harness = Harness::with(upstream.addr(), &settings);
        let mut client = harness.client().await;
        for _ in 0..5 {
            ok(&mut client).await;
            if opened == 5 {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
        }
        assert_eq!(upstream.connections_opened(), opened, "{line}");
        upstream.stop().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_quit() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { upstream: "idle_timeout = \"1s\"".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    ok(&mut harness.client().await).await;
    upstream.wait_for_open(0).await;
    assert!(upstream.lines().contains(&"QUIT".to_owned()));
    upstream.stop().await;
}

/// A reused connection that dies before anything was accepted on it costs the client nothing.
#[tokio::test]
async fn a_dead_connection_is_replaced_once() {
    for death in [Action::Close, Action::Reset, Action::ReplyThenClose("421 4.4.2 idle".into())] {
        let upstream = ScriptedUpstream::builder().on_nth("MAIL", 2, death).start();
        let harness = Harness::start(upstream.addr());
        let mut client = harness.client().await;
        ok(&mut client).await;
        ok(&mut client).await;
        assert_eq!(upstream.messages().len(), 2);
        assert_eq!(upstream.connections_opened(), 2);
        upstream.stop().await;
    }
}

#[tokio::test]
async fn a_second_death_is_said() {
    let upstream = ScriptedUpstream::builder()
        .on_nth("MAIL", 2, Action::Close)
        .on_nth("MAIL", 3, Action::Close)
        .start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    ok(&mut client).await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("451 4.4.2").await;
    assert_eq!(upstream.connections_opened(), 2, "one retry, not more");
    upstream.stop().await;
}

/// Once MAIL was accepted on it, nobody knows what a dead connection has done.
#[tokio::test]
async fn what_was_accepted_is_not_tried_again() {
    let upstream = ScriptedUpstream::builder().on_nth("RCPT", 2, Action::Close).start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    ok(&mut client).await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("451 4.4.2").await;
    assert_eq!(upstream.connections_opened(), 1);
    upstream.stop().await;
}

/// Port 1 of loopback: nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

#[tokio::test]
async fn an_upstream_that_is_down_is_said() {
    let harness = Harness::start(NOBODY.parse().expect("an address"));
    let mut client = harness.client().await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("451 4.4.1").await;
    let unreachable = "gatepost_deliveries_total{upstream=\"sink\",result=\"unreachable\"}";
    assert!(harness.metric(unreachable).await >= 1);
}

#[tokio::test]
async fn hosts_are_tried_in_order_from_the_source_address() {
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { upstream: "source_address = \"127.0.0.9\"".to_owned(), ..Settings::default() };
    let text = crate::harness::config_text(upstream.addr(), &settings)
        .replace("hosts = [", &format!("hosts = [\"{NOBODY}\", "));
    let harness = Harness::from_text(&text);
    ok(&mut harness.client().await).await;
    assert_eq!(upstream.connections()[0].peer.ip().to_string(), "127.0.0.9");
    upstream.stop().await;
}

#[tokio::test]
async fn connections_are_granted_in_turn_and_never_more_than_allowed() {
    let upstream = ScriptedUpstream::builder()
        .on(
            gatepost_testkit::upstream::END_OF_DATA,
            Action::Delay(Duration::from_millis(50), "250 2.0.0 Ok".into()),
        )
        .start();
    let settings = Settings { upstream: "max_connections = 2".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = harness.client().await;
        sessions.spawn(async move { ok(&mut client).await });
    }
    while let Some(session) = sessions.join_next().await {
        session.expect("delivered");
    }
    assert_eq!(upstream.connections_open_max(), 2);
    upstream.stop().await;
}

#[tokio::test]
async fn a_client_that_stalls_does_not_keep_a_connection() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { upstream: "client_stall = \"1s\"".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("250").await;
    upstream.wait_for_open(0).await;
    client.send_line("DATA").await;
    client.expect("451 4.4.2").await;
    // In the middle of the data the client hears it at the end.
    converse(&mut client, &ENVELOPE).await;
    client.send(b"Subject: x\r\n").await;
    upstream.wait_for_open(0).await;
    client.send(b"\r\n.\r\n").await;
    client.expect("451 4.4.2").await;
    ok(&mut client).await;
    assert_eq!(upstream.messages().len(), 1);
    upstream.stop().await;
}

#[tokio::test]
async fn silence_after_the_final_dot_is_not_a_yes() {
    let upstream = ScriptedUpstream::builder()
        .on(gatepost_testkit::upstream::END_OF_DATA, Action::Silence)
        .start();
    let text = crate::harness::config_text(upstream.addr(), &Settings::default())
        .replace("mode = \"sync\"", "mode = \"sync\"\nfinal_reply_timeout = \"1s\"");
    let harness = Harness::from_text(&text);
    let mut client = harness.client().await;
    let reply = send_message(&mut client, MESSAGE).await;
    assert!(reply.starts_with("451 4.4.2"), "{reply}");
    assert!(
        harness.metric("gatepost_deliveries_total{upstream=\"sink\",result=\"ambiguous\"}").await
            >= 1
    );
    let deferred = "gatepost_deliveries_total{upstream=\"sink\",result=\"deferred\"}";
    assert_eq!(harness.metric(deferred).await, 0, "one message, one result");
    upstream.stop().await;
}

/// Content in any pieces: what arrives is what was sent.
#[tokio::test]
async fn a_message_may_be_cut_anywhere() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    let content = b"A: b\r\n\r\n..\r\n.x\r\n\r\r\n".strip_suffix(b"\r\r\n").expect("a suffix");
    for cut in 1..content.len() + 3 {
        converse(&mut client, &ENVELOPE).await;
        let whole = [content, b".\r\n"].concat();
        client.dribble(&whole, cut, Duration::from_millis(1)).await;
        client.expect("250").await;
    }
    for message in upstream.messages() {
        assert_eq!(message.after_received(), content);
    }
    upstream.stop().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_in_the_middle_is_heard_at_the_end() {
    let upstream = ScriptedUpstream::builder()
        .on("DATA", Action::Raw(b"354 go on\r\n552 5.3.4 I have enough\r\n".to_vec()))
        .start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    let reply = send_message(&mut client, &b"0123456789abcde\r\n".repeat(10_000)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    upstream.stop().await;
}

#[tokio::test]
async fn the_mail_log_tells_the_story() {
    let upstream = ScriptedUpstream::builder().on("RCPT TO:<bad@", "550 5.1.1 no").start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    ok(&mut client).await;
    client.send_line("MAIL FROM:<a@other.test>").await;
    client.expect("550").await;
    let mut stranger = ByteClient::connect_from([127, 0, 0, 2].into(), harness.addr()).await;
    stranger.expect("554").await;
    stranger.close();
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<bad@b.test>", "550")])
        .await;
    client.close();
    let path = harness.mail_log();
    let (_, _directory) = harness.drain().await;
    let log = std::fs::read_to_string(path).expect("a log");
    let events: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let types: Vec<&str> =
        events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["Reception", "Delivery", "Rejection", "Rejection", "Bounce"]);
    let delivery = &events[1];
    for (field, value) in [
        ("listener", "smtp"),
        ("entry", "fleet"),
        ("client", "127.0.0.1"),
        ("helo", "app.test"),
        ("sender", "a@app.test"),
        ("mode", "sync"),
        ("upstream", "sink"),
        ("reply", "250 2.0.0 queued"),
    ] {
        assert_eq!(delivery[field], value, "{field}");
    }
    assert_eq!(delivery["recipients"][0], "b@b.test");
    assert!(events[2]["reply"].as_str().expect("a reply").contains("not an allowed sender"));
    assert_eq!(events[4]["recipients"][0], "bad@b.test");
    assert!(
        events[3]["reply"]
            .as_str()
            .expect("a reply")
            .contains("127.0.0.2 is not on the allow-list")
    );
    upstream.stop().await;
}

#[tokio::test]
async fn the_metrics_count_what_happened() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    ok(&mut client).await;
    client.send_line("MAIL FROM:<a@other.test>").await;
    client.expect("550").await;
    for (sample, value) in [
        ("gatepost_connections{listener=\"smtp\"}", 1),
        ("gatepost_connections_total{listener=\"smtp\",result=\"allowed\"}", 1),
        ("gatepost_connections_total{listener=\"smtp\",result=\"unknown\"}", 0),
        ("gatepost_messages_total{listener=\"smtp\",result=\"accepted\"}", 1),
        ("gatepost_verdicts_total{listener=\"smtp\",check=\"mail\",verdict=\"accept\"}", 1),
        ("gatepost_verdicts_total{listener=\"smtp\",check=\"sender\",verdict=\"reject\"}", 1),
        ("gatepost_deliveries_total{upstream=\"sink\",result=\"delivered\"}", 1),
        ("gatepost_upstream_connections{upstream=\"sink\",state=\"idle\"}", 1),
        ("gatepost_upstream_connections{upstream=\"sink\",state=\"busy\"}", 0),
        ("gatepost_policy_entries", 2),
    ] {
        assert_eq!(harness.metric(sample).await, value, "{sample}\n{}", harness.metrics().await);
    }
    upstream.stop().await;
}

/// The upstream's clean-up is not the client's business.
#[tokio::test]
async fn nobody_waits_for_an_upstream_that_is_silent_at_rset() {
    let upstream = ScriptedUpstream::builder()
        .on("RSET", Action::Silence)
        .on("MAIL FROM:<no@", "550 5.7.1 not you")
        .start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    let began = std::time::Instant::now();
    converse(
        &mut client,
        &[
            ("MAIL FROM:<a@app.test>", "250"),
            ("RCPT TO:<b@b.test>", "250"),
            ("RSET", "250"),
            ("MAIL FROM:<no@app.test>", "250"),
            ("RCPT TO:<b@b.test>", "550 5.7.1"),
            ("QUIT", "221"),
        ],
    )
    .await;
    assert!(began.elapsed() < Duration::from_secs(3), "no reply waits for RSET");
    upstream.stop().await;
}

#[tokio::test]
async fn an_abandoned_transaction_gives_its_connection_back() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    converse(
        &mut client,
        &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250"), ("RSET", "250")],
    )
    .await;
    while harness.metric("gatepost_upstream_connections{upstream=\"sink\",state=\"idle\"}").await
        == 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ok(&mut client).await;
    assert_eq!(upstream.connections_opened(), 1);
    assert!(upstream.lines().contains(&"RSET".to_owned()));
    upstream.stop().await;
}

/// An upstream that refuses in the middle of a large message, and stops reading: its word reaches
/// the client all the same.
#[tokio::test]
async fn an_upstream_that_stops_reading_is_still_heard() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback binds");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(stubborn(listener));
    let harness = Harness::start(address);
    let mut client = harness.client().await;
    let reply = send_message(&mut client, &b"0123456789abcde\r\n".repeat(600_000)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    server.abort();
}

/// Answers a pipelined envelope, reads a little of the data, refuses, and reads no more.
async fn stubborn(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut socket, _) = listener.accept().await.expect("accepted");
    let mut buffer = vec![0; 16 * 1024];
    for says in [
        "220 x\r\n",
        "250-x\r\n250 PIPELINING\r\n",
        "250 ok\r\n250 ok\r\n",
        "354 go\r\n",
        "552 5.3.4 enough\r\n",
    ] {
        socket.write_all(says.as_bytes()).await.expect("sent");
        let _ = socket.read(&mut buffer).await;
    }
    std::future::pending::<()>().await;
}

/// However often it says something, a client that does not send its message does not keep a
/// connection of the upstream.
#[tokio::test]
async fn a_client_that_dribbles_has_stalled_too() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { upstream: "client_stall = \"1s\"".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250")])
        .await;
    for _ in 0..8 {
        client.send_line("NOOP").await;
        client.expect("250").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(upstream.connections_open(), 0);
    client.send_line("DATA").await;
    client.expect("451 4.4.2").await;
    converse(&mut client, &ENVELOPE).await;
    client.dribble(b"Subject:", 1, Duration::from_millis(250)).await;
    assert_eq!(upstream.connections_open(), 0);
    client.send(b" x\r\n.\r\n").await;
    client.expect("451 4.4.2").await;
    upstream.stop().await;
}
