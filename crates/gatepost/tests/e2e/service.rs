//! Admission, reload and drain: what happens around the mail.

use std::time::Duration;

use crate::harness::{ENVELOPE, Harness, POLICY, Settings, converse, get, send_message};
use gatepost::gateway::Drained;
use gatepost_testkit::upstream::{Action, END_OF_DATA};
use gatepost_testkit::{ByteClient, ScriptedUpstream};

#[tokio::test]
async fn a_removed_client_is_told_at_its_next_mail() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    harness.write_policy(&POLICY.replace("\"127.0.0.1\", \"::1\"", "\"127.0.0.8\""));
    harness.gateway.reload().await.expect("no panic");
    client.send_line("NOOP").await;
    client.expect("250").await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("554 5.7.1 relay.test: 127.0.0.1 is not on the allow-list").await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("503").await;
    client.send_line("QUIT").await;
    client.expect("221").await;
    client.expect_closed().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_changed_entry_holds_from_the_next_mail() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    client.send_line("MAIL FROM:<a@new.test>").await;
    client
        .expect("550 5.7.1 <a@new.test> is not an allowed sender of entry fleet (generation 1-")
        .await;
    harness.write_policy(&POLICY.replace("\"app.test\"", "\"new.test\""));
    harness.gateway.reload().await.expect("no panic");
    client.send_line("MAIL FROM:<a@new.test>").await;
    client.expect("250").await;
    client.send_line("RSET").await;
    client.expect("250").await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    client
        .expect("550 5.7.1 <a@app.test> is not an allowed sender of entry fleet (generation 2-")
        .await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_bad_policy_is_refused_and_the_old_one_stays() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    for bad in [
        "[[entry]]\nid = \"x\"\n",
        "",
        "not toml",
        "[[entry]]\nid=\"a\"\nnetworks=[\"0.0.0.0/0\"]\nsenders=[\"*\"]\n",
    ] {
        harness.write_policy(bad);
        harness.gateway.reload().await.expect("no panic");
        let reply = send_message(&mut client, b"\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert!(harness.metric("gatepost_policy_reloads_total{result=\"refused\"}").await >= 4);
    assert_eq!(harness.metric("gatepost_policy_revision").await, 1);
    upstream.stop().await;
}

#[tokio::test]
async fn draining_tells_the_idle_and_lets_the_busy_finish() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut idle = harness.client().await;
    let mut busy = harness.client().await;
    converse(&mut busy, &ENVELOPE).await;
    let (address, pages) =
        (harness.addr(), harness.gateway.metrics_address().expect("metrics are on"));
    assert_eq!(get(pages, "/readyz").await.trim(), "ok");
    let drained = tokio::spawn(harness.drain());
    idle.expect("421 4.3.2").await;
    idle.expect_closed().await;
    assert!(get(pages, "/readyz").await.contains("draining"));
    assert_eq!(get(pages, "/livez").await.trim(), "ok");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody is accepted any more");
    busy.send(b"Subject: last\r\n\r\n.\r\n").await;
    busy.expect("250").await;
    busy.expect("421 4.3.2").await;
    busy.expect_closed().await;
    assert_eq!(drained.await.expect("no panic").0, Drained::Empty);
    assert_eq!(upstream.messages().len(), 1);
    upstream.stop().await;
}

#[tokio::test]
async fn draining_has_an_end() {
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { tables: "[timeouts]\ndrain = \"1s\"\n".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut stuck = harness.client().await;
    stuck.send_line("MAIL FROM:<a@app.test>").await;
    stuck.expect("250").await;
    assert_eq!(harness.drain().await.0, Drained::CutOff(1));
    upstream.stop().await;
}

#[tokio::test]
async fn a_full_listener_says_so() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { listener: "max_connections = 2".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let (first, _second) = (harness.client().await, harness.client().await);
    let mut third = ByteClient::connect(harness.addr()).await;
    third.expect("421 4.7.0").await;
    third.expect_closed().await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    harness.client().await;
    upstream.stop().await;
}

#[tokio::test]
async fn strangers_cannot_keep_the_fleet_out() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings {
        listener: "max_connections = 20\nmax_connections_per_address = 1".to_owned(),
        ..Settings::default()
    };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut strangers = Vec::new();
    for last in [10, 11, 12, 13, 10] {
        let mut stranger = ByteClient::connect_from([127, 0, 0, last].into(), harness.addr()).await;
        stranger.expect("554 5.7.1").await;
        strangers.push(stranger);
    }
    // Two have a tenth of the room; the others were told and closed at once.
    for stranger in &mut strangers[2..] {
        stranger.expect_closed().await;
    }
    harness.client().await;
    upstream.stop().await;
}

/// As many as there are file descriptors for, whatever the listeners would take.
#[tokio::test]
async fn all_listeners_together_have_a_limit() {
    let upstream = ScriptedUpstream::start();
    let tables = "[[listener]]\nname = \"second\"\nbind = [\"127.0.0.1:0\"]\n";
    let settings = Settings { tables: tables.to_owned(), ..Settings::default() };
    let text = crate::harness::config_text(upstream.addr(), &settings);
    let harness = Harness::adjusted(&text, POLICY, |config| config.session.max_connections = 2);
    let [first, second] = [0, 1].map(|index| harness.gateway.addresses()[index].1);
    let mut clients = [ByteClient::connect(first).await, ByteClient::connect(second).await];
    for client in &mut clients {
        client.expect("220").await;
    }
    for address in [first, second] {
        let mut client = ByteClient::connect(address).await;
        client.expect("421 4.7.0").await;
        client.expect_closed().await;
    }
    clients[0].close();
    tokio::time::sleep(Duration::from_millis(200)).await;
    ByteClient::connect(second).await.expect("220").await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_client_that_is_silent_is_let_go() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings {
        tables: "[timeouts]\ncommand = \"1s\"\ndata = \"1s\"\n".to_owned(),
        ..Settings::default()
    };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    client.expect("421 4.4.2").await;
    client.expect_closed().await;
    let mut client = harness.client().await;
    converse(&mut client, &ENVELOPE).await;
    client.send(b"half a mess").await;
    client.expect("421 4.4.2").await;
    client.expect_closed().await;
    assert_eq!(upstream.messages().len(), 0);
    upstream.stop().await;
}

#[tokio::test]
async fn an_endless_line_ends_the_session() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    client.send(&[b"NOOP ".as_slice(), &b"x".repeat(5000), b"\r\n"].concat()).await;
    client.expect("500 5.5.2").await;
    client.send_line("NOOP").await;
    client.expect("250").await;
    let _ = client.try_send(&b"x".repeat(70_000)).await;
    client.expect("500 5.5.2").await;
    upstream.stop().await;
}

#[tokio::test]
async fn one_listener_serves_ipv4_and_ipv6_side_by_side() {
    let upstream = ScriptedUpstream::start();
    let text = crate::harness::config_text(upstream.addr(), &Settings::default())
        .replace("bind = [\"127.0.0.1:0\"]", "bind = [\"127.0.0.1:0\", \"[::1]:0\"]");
    let harness = Harness::from_text(&text);
    assert_eq!(harness.gateway.addresses().len(), 2);
    for (_, address) in harness.gateway.addresses() {
        let mut client = ByteClient::connect(*address).await;
        client.expect("220").await;
    }
    upstream.stop().await;
}

/// A session that is cut off while the upstream has the final dot is told of: nobody knows.
#[tokio::test]
async fn a_message_in_doubt_is_counted_when_it_is_cut_off() {
    let upstream = ScriptedUpstream::builder().on(END_OF_DATA, Action::Silence).start();
    let settings =
        Settings { tables: "[timeouts]\ndrain = \"1s\"\n".to_owned(), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let mut client = harness.client().await;
    converse(&mut client, &ENVELOPE).await;
    client.send(b"\r\n.\r\n").await;
    upstream.wait_for_messages(1).await;
    let metrics = harness.gateway.metrics_handle();
    assert_eq!(harness.drain().await.0, Drained::CutOff(1));
    let ambiguous = "gatepost_deliveries_total{upstream=\"sink\",result=\"ambiguous\"} 1";
    assert!(metrics.render().contains(ambiguous), "{}", metrics.render());
    upstream.stop().await;
}

/// Lines that cannot be read count as commands: a stranger has five of either kind.
#[tokio::test]
async fn a_stranger_has_five_lines_of_any_kind() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = ByteClient::connect_from([127, 0, 0, 99].into(), harness.addr()).await;
    client.expect("554 5.7.1").await;
    for line in [
        &b"EHLO x\r\n"[..],
        b"\0\r\n",
        &[&[b'x'; 5000][..], b"\r\n"].concat(),
        b"NOOP\r\n",
        b"RSET\r\n",
    ] {
        client.send(line).await;
        client.expect("503 5.5.1").await;
    }
    client.expect_closed().await;
    upstream.stop().await;
}

/// However it dribbles, a client that was refused is gone after ten seconds.
#[tokio::test]
async fn a_client_refused_after_a_reload_does_not_stay() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    harness.write_policy(&POLICY.replace("\"127.0.0.1\", \"::1\"", "\"127.0.0.8\""));
    harness.gateway.reload().await.expect("no panic");
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("554 5.7.1").await;
    let stayed = std::time::Instant::now();
    while client.try_send(b"x").await.is_ok() {
        assert!(stayed.elapsed() < Duration::from_secs(15), "still there");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    upstream.stop().await;
}
