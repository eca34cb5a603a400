//! Where mail goes, and how much of it: names, failover, and what an upstream may be given.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use gatepost_testkit::upstream::Action;
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings, config_text, converse, send_message};
use crate::program::Program;

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\nworld\r\n";

async fn ok(harness: &Harness) {
    let reply = send_message(&mut harness.client().await, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

/// A configuration whose upstream has these hosts, and further lines.
fn with_hosts(hosts: &[String], lines: &str) -> String {
    let placeholder: SocketAddr = ([127, 0, 0, 1], 1).into();
    let settings = Settings { upstream: lines.to_owned(), ..Settings::default() };
    let list = hosts.iter().map(|host| format!("{host:?}")).collect::<Vec<_>>().join(", ");
    config_text(placeholder, &settings)
        .replace("hosts = [\"127.0.0.1:1\"]", &format!("hosts = [{list}]"))
}

#[tokio::test]
async fn localhost_is_a_host_and_ip_says_which() {
    let upstream = ScriptedUpstream::start();
    let host = format!("localhost:{}", upstream.addr().port());
    for lines in ["", "ip = \"4\"", "source_address = \"127.0.0.9\""] {
        ok(&Harness::from_text(&with_hosts(std::slice::from_ref(&host), lines))).await;
    }
    let harness = Harness::from_text(&with_hosts(&[host], "ip = \"6\""));
    let mut client = harness.client().await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("451 4.4.1").await;
    assert_eq!(upstream.messages().len(), 3);
    upstream.stop().await;
}

#[tokio::test]
async fn the_next_host_takes_over_and_the_first_one_gets_it_back() {
    let first = ScriptedUpstream::builder()
        .on_nth("CONNECT", 1, Action::ReplyThenClose("421 4.3.2 not now".to_owned()))
        .start();
    let second = ScriptedUpstream::start();
    let (one, two) = (first.addr().to_string(), second.addr().to_string());
    let lines = "max_messages_per_connection = 1";
    let harness = Harness::from_text(&with_hosts(&[one.clone(), two.clone()], lines));
    let healthy =
        |host: &str| format!("gatepost_upstream_host_healthy{{upstream=\"sink\",host=\"{host}\"}}");
    let failovers = "gatepost_upstream_failovers_total{upstream=\"sink\"}";
    assert_eq!(harness.metric(&healthy(&one)).await, 1);
    assert_eq!(harness.metric(failovers).await, 0);
    ok(&harness).await;
    assert_eq!((first.messages().len(), second.messages().len()), (0, 1));
    assert_eq!(harness.metric(&healthy(&one)).await, 0);
    assert_eq!(harness.metric(&healthy(&two)).await, 1);
    assert_eq!(harness.metric(failovers).await, 1);
    // The back-off is a second after the first failure.
    tokio::time::sleep(Duration::from_millis(1050)).await;
    ok(&harness).await;
    assert_eq!((first.messages().len(), second.messages().len()), (1, 1));
    assert_eq!(harness.metric(&healthy(&one)).await, 1);
    assert_eq!(harness.metric(failovers).await, 1);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_name_that_is_not_there_is_told_in_the_mail_log() {
    // With the dot no search list applies, and nobody is asked for what is invalid (RFC 6761 §6.4).
    let text = with_hosts(&["smarthost.invalid.:25".to_owned()], "");
    let harness = Harness::from_text(&text);
    let mut client = harness.client().await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.expect("451 4.4.1").await;
    client.send_line("RSET").await;
    client.expect("250").await;
    let host = "gatepost_upstream_host_healthy{upstream=\"sink\",host=\"smarthost.invalid.:25\"}";
    assert_eq!(harness.metric(host).await, 0);
    client.close();
    let log = harness.mail_log();
    let (_, _directory) = harness.drain().await;
    let told = std::fs::read_to_string(log).expect("a mail log");
    assert!(told.contains("cannot connect: smarthost.invalid.:25: "), "{told}");
}

#[tokio::test]
async fn recipients_beyond_the_rate_wait_or_are_told_how_long() {
    let over_rate = "gatepost_upstream_recipients_over_rate_total{upstream=\"sink\"}";
    // A rate that has room again soon: the client waits, and notices nothing else.
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { upstream: "recipient_rate = [\"2/s\"]".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<1@b.test>", "250"),
        ("RCPT TO:<2@b.test>", "250"),
        ("RCPT TO:<3@b.test>", "250"),
        ("DATA", "354"),
    ];
    let began = Instant::now();
    converse(&mut client, &lines).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    client.send(b"x\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(upstream.messages()[0].recipients.len(), 3);
    assert!(harness.metric(over_rate).await >= 1);
    upstream.stop().await;
    // One that has not: nobody waits for longer than for a connection.
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { upstream: "recipient_rate = [\"2/min\"]".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    let over = "450 4.7.1 the upstream may be given no more recipients now, retry in ";
    converse(&mut client, &lines[..3]).await;
    converse(&mut client, &[("RCPT TO:<3@b.test>", over), ("DATA", "354")]).await;
    client.send(b"x\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(upstream.messages()[0].recipients.len(), 2);
    assert!(!upstream.lines().iter().any(|line| line.contains("<3@")), "it was not even asked");
    assert_eq!(harness.metric(over_rate).await, 1);
    // A group is granted one by one, and nothing is given back.
    converse(&mut client, &[lines[0], ("RCPT TO:<4@b.test>", over)]).await;
    upstream.stop().await;
}

/// What the upstream cannot be asked for any more is not counted.
#[tokio::test]
async fn a_transaction_that_is_given_up_uses_nothing() {
    let upstream = ScriptedUpstream::builder()
        .on_nth("MAIL", 1, Action::Reply("550 5.7.1 no".to_owned()))
        .start();
    let settings =
        Settings { upstream: "recipient_rate = [\"2/d\"]".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<1@b.test>", "550 5.7.1 no"),
        ("RCPT TO:<2@b.test>", "550 5.7.1 no"),
        ("RCPT TO:<3@b.test>", "550 5.7.1 no"),
        ("RSET", "250"),
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<4@b.test>", "250"),
        ("RCPT TO:<5@b.test>", "450 4.7.1"),
    ];
    converse(&mut client, &lines).await;
    upstream.stop().await;
}

/// The real program: ended in order, the exact count is there; killed, a little more.
#[tokio::test]
async fn what_was_taken_in_a_day_outlives_the_program() {
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { upstream: "recipient_rate = [\"20/d\"]".to_owned(), ..Settings::default() };
    let program = Program::start(upstream.addr(), &settings);
    let directory = program.directory.clone();
    let taken = take(program.addr, 12).await;
    assert_eq!(taken, 12);
    program.end();
    let program = Program::start_in(&directory);
    assert_eq!(take(program.addr, 3).await, 3);
    // Half of the block is gone, so it is being written.
    let file = directory.path().join("state/upstream-rates.json");
    let patience = Instant::now() + Duration::from_secs(10);
    while counted(&file) < 15 {
        assert!(Instant::now() < patience, "it is not written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program.signal("KILL");
    drop(program);
    let program = Program::start_in(&directory);
    // Two are the block of twenty a day: some of the three may still be in it.
    let left = take(program.addr, 20).await;
    assert!((3..=5).contains(&left), "{left}");
    let mut client = client(program.addr).await;
    client.send_line("RCPT TO:<z@b.test>").await;
    let reply = client.read_reply().await;
    let seconds = reply.trim_end().split(' ').nth_back(1).and_then(|word| word.parse().ok());
    assert!(reply.starts_with("450 4.7.1"), "{reply}");
    assert!(seconds.is_some_and(|it: u32| (86_000..=86_460).contains(&it)), "{reply}");
    client.close();
    program.end();
    upstream.stop().await;
}

/// What a file of counts has of the upstream, with what is counted ahead.
fn counted(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).expect("a file of counts");
    let counts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let sink = &counts["upstreams"]["sink"];
    let taken = sink["taken"].as_array().expect("a list").iter();
    let taken: u64 = taken.filter_map(|minute| minute[1].as_u64()).sum();
    taken + sink["reserved"].as_u64().expect("a number")
}

/// A client with an open transaction.
async fn client(addr: SocketAddr) -> ByteClient {
    let mut client = ByteClient::connect(addr).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250"), ("MAIL FROM:<a@app.test>", "250")]).await;
    client
}

/// How many of so many recipients are taken.
async fn take(addr: SocketAddr, recipients: usize) -> usize {
    let mut client = client(addr).await;
    let mut taken = 0;
    for recipient in 0..recipients {
        client.send_line(&format!("RCPT TO:<{recipient}@b.test>")).await;
        taken += usize::from(client.read_reply().await.starts_with("250"));
    }
    client.close();
    taken
}

#[tokio::test]
async fn a_connection_has_so_many_messages_and_a_message_so_many_recipients() {
    let upstream = ScriptedUpstream::start();
    let lines = "max_recipients = 2\nmax_messages_per_connection = 3";
    let settings = Settings { upstream: lines.to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    for _ in 0..7 {
        let lines = [
            ("MAIL FROM:<a@app.test>", "250"),
            ("RCPT TO:<1@b.test>", "250"),
            ("RCPT TO:<2@b.test>", "250"),
            ("RCPT TO:<3@b.test>", "452 4.5.3"),
            ("DATA", "354"),
        ];
        converse(&mut client, &lines).await;
        client.send(b"x\r\n.\r\n").await;
        client.expect("250").await;
    }
    upstream.wait_for_open(1).await;
    assert_eq!(upstream.connections_opened(), 3);
    assert!(upstream.messages().iter().all(|message| message.recipients.len() == 2));
    upstream.stop().await;
    drop(harness);
}
