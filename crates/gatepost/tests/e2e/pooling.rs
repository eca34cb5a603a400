//! What pooling is for: many short sessions of clients, few long connections of the upstream.

use std::collections::HashSet;
use std::net::SocketAddr;

use gatepost_testkit::upstream::{Connection, Message};
use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tokio::task::JoinSet;

use crate::harness::{Harness, Settings};
use crate::upstream_tls::World;

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
    send_all(harness.addr(), CLIENTS, MESSAGES_PER_CLIENT).await;
    check_messages(&upstream.messages(), CLIENTS * MESSAGES_PER_CLIENT);
    assert!(upstream.connections_opened() <= CONNECTIONS_MAX, "{}", upstream.connections_opened());
    harness.drain().await;
    upstream.stop().await;
}

/// A handshake and a login for each connection, and none for a message: a provider counts both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_take_no_more_handshakes_and_logins_than_connections() {
    const CLIENTS: usize = 50;
    const MESSAGES_PER_CLIENT: usize = 20;
    let world = World::new();
    world.put("password", "tanstaaf");
    let upstream = world.upstream().account("tim", "tanstaaf").start();
    let lines = format!(
        "ca_file = \"DIR/ca.pem\"\nmax_connections = {CONNECTIONS_MAX}\nidle_timeout = \"5m\"\n\
         auth = {{ mechanism = \"plain\", username = \"tim\", password_file = \"DIR/password\" }}"
    );
    let harness = world.gateway(&upstream, &lines);
    send_all(harness.addr(), CLIENTS, MESSAGES_PER_CLIENT).await;
    check_messages(&upstream.messages(), CLIENTS * MESSAGES_PER_CLIENT);
    let connections = upstream.connections();
    assert!(connections.len() <= CONNECTIONS_MAX, "{}", connections.len());
    let logged_in = |it: &Connection| it.secured.is_some() && it.logins.len() == 1;
    assert!(connections.iter().all(logged_in), "{connections:?}");
    harness.drain().await;
    upstream.stop().await;
}

/// Clients that come at once, each with a session of its own.
async fn send_all(gateway: SocketAddr, clients: usize, messages_per_client: usize) {
    let mut sessions = JoinSet::new();
    for client in 0..clients {
        sessions.spawn(async move {
            let mut session = ByteClient::connect(gateway).await;
            session.expect("220").await;
            session.send_line("EHLO app.test").await;
            session.expect("250").await;
            for message in 0..messages_per_client {
                send(&mut session, client * messages_per_client + message).await;
            }
            session.send_line("QUIT").await;
            session.expect("221").await;
        });
    }
    while let Some(client) = sessions.join_next().await {
        client.expect("every message was taken");
    }
}

fn check_messages(messages: &[Message], count: usize) {
    assert_eq!(messages.len(), count);
    let different: HashSet<&[u8]> = messages.iter().map(Message::after_received).collect();
    assert_eq!(different.len(), messages.len(), "each of them once");
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
