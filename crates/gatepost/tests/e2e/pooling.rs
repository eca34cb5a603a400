//! What pooling is for: many short sessions of clients, few long connections of the upstream.

use std::collections::HashSet;

use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tokio::task::JoinSet;

use crate::harness::{Harness, Settings};

const CLIENTS: usize = 100;
const MESSAGES_PER_CLIENT: usize = 100;
const CONNECTIONS_MAX: usize = 10;

/// Ten thousand messages of a hundred clients that come at once, say what they have to, and go.
/// Nothing expires meanwhile, so no connection is opened that is not one of the ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_take_no_more_connections_than_allowed() {
    let upstream = ScriptedUpstream::start();
    let lines = format!("max_connections = {CONNECTIONS_MAX}\nidle_timeout = \"5m\"");
    let settings = Settings { upstream: lines, ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let address = harness.addr();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut session = ByteClient::connect(address).await;
            session.expect("220").await;
            session.send_line("EHLO app.test").await;
            session.expect("250").await;
            for message in 0..MESSAGES_PER_CLIENT {
                send(&mut session, client * MESSAGES_PER_CLIENT + message).await;
            }
            session.send_line("QUIT").await;
            session.expect("221").await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("every message was taken");
    }
    let messages = upstream.messages();
    assert_eq!(messages.len(), CLIENTS * MESSAGES_PER_CLIENT);
    let different: HashSet<&[u8]> =
        messages.iter().map(gatepost_testkit::upstream::Message::after_received).collect();
    assert_eq!(different.len(), messages.len(), "each of them once");
    assert!(upstream.connections_opened() <= CONNECTIONS_MAX, "{}", upstream.connections_opened());
    harness.drain().await;
    upstream.stop().await;
}

/// As a client with PIPELINING does: the envelope in one write, the message in another.
async fn send(session: &mut ByteClient, number: usize) {
    session.send(b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n").await;
    for reply in ["250", "250", "354"] {
        session.expect(reply).await;
    }
    session.send(format!("Subject: {number}\r\n\r\nhello\r\n.\r\n").as_bytes()).await;
    session.expect("250").await;
}
