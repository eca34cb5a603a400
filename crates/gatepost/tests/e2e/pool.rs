//! The pool in a whole gateway: shares of entries, an upstream that throttles, one that is down.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use gatepost_testkit::upstream::{Action, CONNECT, END_OF_DATA};
use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tokio::task::JoinSet;

use crate::harness::{Harness, Settings, converse, send_message};

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";
/// Nothing here takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

const TWO_ENTRIES: &str = r#"
[[entry]]
id = "runaway"
networks = ["127.0.0.2"]
senders = ["app.test"]

[[entry]]
id = "quiet"
networks = ["127.0.0.3"]
senders = ["app.test"]
"#;

fn harness(upstream: SocketAddr, lines: &str) -> Harness {
    Harness::with(upstream, &Settings { upstream: lines.to_owned(), ..Settings::default() })
}

async fn client_from(harness: &Harness, last_octet: u8) -> ByteClient {
    let source = IpAddr::from([127, 0, 0, last_octet]);
    let mut client = ByteClient::connect_from(source, harness.addr()).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    client
}

/// What a client hears to its message, at RCPT or at the end.
async fn attempt(client: &mut ByteClient) -> String {
    converse(client, &[("MAIL FROM:<a@app.test>", "250")]).await;
    client.send_line("RCPT TO:<b@b.test>").await;
    let reply = client.read_reply().await;
    if !reply.starts_with("250") {
        converse(client, &[("RSET", "250")]).await;
        return reply;
    }
    converse(client, &[("DATA", "354")]).await;
    client.send(&[MESSAGE, b".\r\n"].concat()).await;
    client.read_reply().await
}

async fn ok(client: &mut ByteClient) {
    let reply = send_message(client, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

/// Waits until a sample of the metrics page is what it should be.
async fn wait_for(harness: &Harness, sample: &str, is_right: impl Fn(u64) -> bool) -> u64 {
    let began = Instant::now();
    loop {
        let value = harness.metric(sample).await;
        if is_right(value) {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "{sample} is {value}\n{}", harness.metrics().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// (a) Forty messages of one application stand in line. That of another one waits for the one or
/// two that are under way, and not for the forty.
#[tokio::test]
async fn a_runaway_application_leaves_the_others_their_share() {
    for connections in [1, 2] {
        let upstream = ScriptedUpstream::builder()
            .on(END_OF_DATA, Action::Delay(Duration::from_millis(40), "250 2.0.0 Ok".into()))
            .start();
        let settings = Settings {
            upstream: format!("max_connections = {connections}"),
            policy: Some(TWO_ENTRIES.to_owned()),
            ..Settings::default()
        };
        let harness = Harness::with(upstream.addr(), &settings);
        let mut quiet = client_from(&harness, 3).await;
        let mut runaway = JoinSet::new();
        for _ in 0..40 {
            let mut client = client_from(&harness, 2).await;
            runaway.spawn(async move { ok(&mut client).await });
        }
        let waiting = "gatepost_upstream_waiting{upstream=\"sink\"}";
        wait_for(&harness, waiting, |waiting| waiting > 20).await;
        for _ in 0..3 {
            let before = upstream.messages().len();
            ok(&mut quiet).await;
            let meanwhile = upstream.messages().len() - before;
            // Its own, those that were under way, and what ended beside it.
            assert!(meanwhile <= 1 + 2 * connections, "{meanwhile} with {connections} connections");
        }
        assert!(upstream.messages().len() < 40, "the others still stand in line");
        while let Some(client) = runaway.join_next().await {
            client.expect("delivered all the same");
        }
        assert_eq!(upstream.connections_open_max(), connections);
        assert!(
            harness.metric("gatepost_upstream_wait_seconds_count{upstream=\"sink\"}").await > 20
        );
        upstream.stop().await;
    }
}

/// (b) An upstream that throttles is sent less at once, and gets more again when it is quiet.
#[tokio::test]
async fn throttling_shrinks_what_goes_on_at_once_and_quiet_lets_it_grow() {
    const LIMIT: &str = "gatepost_upstream_connections_limit{upstream=\"sink\"}";
    let upstream = ScriptedUpstream::builder()
        .on(END_OF_DATA, Action::Delay(Duration::from_millis(50), "250 2.0.0 Ok".into()))
        .start();
    let harness = harness(upstream.addr(), "max_connections = 8");
    assert_eq!(harness.metric(LIMIT).await, 8);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(harness.client().await);
    }
    upstream.on("MAIL", Action::ReplyThenClose("421 4.7.0 too fast".into()));
    let mut load = JoinSet::new();
    for mut client in clients {
        load.spawn(async move { (attempt(&mut client).await, client) });
    }
    let mut clients = Vec::new();
    while let Some(Ok((reply, client))) = load.join_next().await {
        assert!(reply.starts_with("451 4.3.2"), "{reply}");
        clients.push(client);
    }
    // However many said so: one event, perhaps two. There is at least one left, or a rest at most.
    let shrunk = wait_for(&harness, LIMIT, |limit| limit < 8).await;
    assert!(shrunk <= 4, "{shrunk}");
    let throttled = "gatepost_upstream_throttled_total{upstream=\"sink\"}";
    assert!(harness.metric(throttled).await >= 8);
    upstream.on("MAIL", "250 2.1.0 Ok");
    for mut client in clients {
        load.spawn(async move {
            loop {
                attempt(&mut client).await;
            }
        });
    }
    let limit = wait_for(&harness, LIMIT, |limit| limit > shrunk.max(1)).await;
    wait_for(&harness, LIMIT, |now| now > limit).await;
    load.shutdown().await;
    upstream.stop().await;
}

/// (c) A dead upstream is left alone, clients hear so at once, and it is found when it is back.
#[tokio::test]
async fn a_dead_upstream_rests_until_it_is_back() {
    const OPEN: &str = "gatepost_upstream_breaker{upstream=\"sink\",state=\"open\"}";
    let upstream = ScriptedUpstream::builder().greeting(Action::Close).start();
    let harness = harness(upstream.addr(), "");
    let mut client = harness.client().await;
    for _ in 0..5 {
        let reply = attempt(&mut client).await;
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
    }
    assert_eq!(harness.metric(OPEN).await, 1);
    let (asked, began) = (upstream.connections_opened(), Instant::now());
    let reply = attempt(&mut client).await;
    assert!(reply.starts_with("451 4.4.1"), "{reply}");
    // The shortest rest is half a second.
    assert!(began.elapsed() < Duration::from_millis(400), "at once");
    assert_eq!(upstream.connections_opened(), asked, "it is not asked");
    upstream.on(CONNECT, "220 here again");
    while !attempt(&mut client).await.starts_with("250") {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(harness.metric(OPEN).await, 0);
    for (sample, value) in [
        ("gatepost_upstream_breaker{upstream=\"sink\",state=\"closed\"}", 1),
        ("gatepost_upstream_breaker_opened_total{upstream=\"sink\",cause=\"unreachable\"}", 1),
        ("gatepost_upstream_breaker_opened_total{upstream=\"sink\",cause=\"misconfigured\"}", 0),
    ] {
        assert_eq!(harness.metric(sample).await, value, "{sample}");
    }
    ok(&mut client).await;
    assert_eq!(upstream.connections_opened(), asked + 1);
    upstream.stop().await;
}

/// (d) Who is told that the upstream rests has not been asked of it: an outage does not use up the
/// quota of a day.
#[tokio::test]
async fn a_dead_upstream_is_given_nothing_of_the_day() {
    let upstream = ScriptedUpstream::builder().greeting(Action::Close).start();
    let harness = harness(upstream.addr(), "recipient_rate = [\"12/d\"]");
    let mut client = harness.client().await;
    for _ in 0..40 {
        let reply = attempt(&mut client).await;
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
    }
    upstream.on(CONNECT, "220 here again");
    let began = Instant::now();
    while !attempt(&mut client).await.starts_with("250") {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    upstream.stop().await;
}

/// (e) Why connections are not kept is counted.
#[tokio::test]
async fn connections_that_are_not_kept_are_counted() {
    for (line, reason) in [
        ("max_messages_per_connection = 2", "max_messages"),
        ("max_age = \"1s\"", "max_age"),
        ("idle_timeout = \"1s\"", "idle_timeout"),
    ] {
        let upstream = ScriptedUpstream::start();
        let harness = harness(upstream.addr(), line);
        let mut client = harness.client().await;
        ok(&mut client).await;
        ok(&mut client).await;
        let sample = format!(
            "gatepost_upstream_connections_discarded_total{{upstream=\"sink\",reason=\"{reason}\"}}"
        );
        wait_for(&harness, &sample, |count| count == 1).await;
        upstream.wait_for_open(0).await;
        let idle = "gatepost_upstream_connections{upstream=\"sink\",state=\"idle\"}";
        assert_eq!(harness.metric(idle).await, 0);
        assert!(upstream.lines().contains(&"QUIT".to_owned()), "{line}");
        upstream.stop().await;
    }
    // One that the upstream has closed meanwhile costs the next client nothing.
    let upstream = ScriptedUpstream::builder()
        .on_nth(END_OF_DATA, 1, Action::TwoReplies("250 2.0.0 Ok".into(), "421 4.4.2 bye".into()))
        .start();
    let harness = harness(upstream.addr(), "");
    let mut client = harness.client().await;
    ok(&mut client).await;
    ok(&mut client).await;
    let sample =
        "gatepost_upstream_connections_discarded_total{upstream=\"sink\",reason=\"upstream\"}";
    assert_eq!((harness.metric(sample).await, upstream.connections_opened()), (1, 2));
    upstream.stop().await;
}
