//! What the gateway finds out of itself: canaries, and what an upstream offers.

use std::time::Duration;

use gatepost_testkit::ScriptedUpstream;
use serde_json::Value;

use crate::harness::{Harness, POLICY, Settings, config_text};
use crate::program::Program;
use crate::upstream_tls::{deliver, until};

const CANARY: &str = "canary = { from = \"canary@app.test\", to = \"probe@b.test\" }";

/// A gateway whose canary does not take its time.
fn gateway(upstream: &ScriptedUpstream) -> Harness {
    let settings = Settings { upstream: CANARY.to_owned(), ..Settings::default() };
    Harness::adjusted(&config_text(upstream.addr(), &settings), POLICY, |config| {
        config.canaries[0].as_mut().expect("a canary").every = Duration::from_millis(200);
    })
}

fn count(result: &str) -> String {
    format!("gatepost_canary_messages_total{{upstream=\"sink\",result=\"{result}\"}}")
}

#[tokio::test]
async fn a_canary_goes_the_way_of_mail_and_is_counted() {
    let upstream = ScriptedUpstream::start();
    let harness = gateway(&upstream);
    until("two canaries", async || harness.metric(&count("delivered")).await >= 2).await;
    let page = harness.metrics().await;
    let since = page.lines().find_map(|line| {
        line.strip_prefix("gatepost_canary_last_delivered_timestamp_seconds{upstream=\"sink\"} ")
    });
    assert!(since.expect("when").parse::<f64>().expect("seconds") > 1.7e9);
    let messages = upstream.messages();
    let text = String::from_utf8_lossy(&messages[0].content.bytes).into_owned();
    for line in ["From: canary@app.test", "To: probe@b.test", "Auto-Submitted: auto-generated"] {
        assert!(text.lines().any(|it| it.trim_end() == line), "{text}");
    }
    assert_eq!(upstream.connections().len(), 1, "it shares connections, as mail does");
    upstream.on("RCPT", "550 5.1.1 no such canary");
    until("a refusal", async || harness.metric(&count("failed")).await >= 1).await;
    let log = harness.mail_log();
    let (_, _directory) = harness.drain().await;
    let log = std::fs::read_to_string(log).expect("a log");
    let first: Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["listener"], &first["type"]), (&"canary".into(), &"Reception".into()));
    upstream.stop().await;
}

/// An upstream that is somebody else's problem: the canary is deferred like any message, and the
/// gateway goes on.
#[tokio::test]
async fn a_canary_that_finds_nobody_is_counted_too() {
    let upstream = ScriptedUpstream::start();
    let harness = gateway(&upstream);
    upstream.stop().await;
    until("a failure", async || harness.metric(&count("failed")).await >= 2).await;
    assert_eq!(harness.metric(&count("delivered")).await, 0);
}

#[tokio::test]
async fn an_offer_that_was_never_seen_is_told_once() {
    const CHANGES: &str = "gatepost_upstream_offer_changes_total{upstream=\"sink\"}";
    let upstream = ScriptedUpstream::start();
    let lines = "max_messages_per_connection = 1".to_owned();
    let settings = Settings { upstream: lines, ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    deliver(&harness).await;
    assert_eq!(harness.metric(CHANGES).await, 0, "the first offer is no change");
    upstream.on("EHLO", "250-sink.test\n250-SIZE 1000\n250 8BITMIME");
    for _ in 0..3 {
        deliver(&harness).await;
    }
    assert_eq!(harness.metric(CHANGES).await, 1);
    upstream.stop().await;
}

/// Over a restart too: what was offered yesterday is in the `state_dir`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_is_compared_with_those_before_a_restart() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { upstream: CANARY.to_owned(), ..Settings::default() };
    let program = Program::start(upstream.addr(), &settings);
    let directory = std::sync::Arc::clone(&program.directory);
    let mut client = gatepost_testkit::ByteClient::connect(program.addr).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    client.expect("250").await;
    crate::harness::send_message(&mut client, b"x\r\n").await;
    client.close();
    program.end();
    let kept = directory.path().join("state/upstream-offers.json");
    let kept = std::fs::read_to_string(kept).expect("is kept");
    assert!(kept.contains("PIPELINING"), "{kept}");
    upstream.on("EHLO", "250-sink.test\n250 SIZE 1000");
    let mut program = Program::start_in(&directory);
    let mut client = gatepost_testkit::ByteClient::connect(program.addr).await;
    client.expect("220").await;
    client.send_line("EHLO app.test").await;
    client.expect("250").await;
    crate::harness::send_message(&mut client, b"x\r\n").await;
    let told = program.wait_for_line("offers something else");
    assert!(told.contains("gone: ") && told.contains("PIPELINING"), "{told}");
    client.close();
    program.end();
    upstream.stop().await;
}
