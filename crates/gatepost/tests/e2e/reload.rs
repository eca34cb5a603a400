//! A policy that changes under a running gateway: whole, or not at all, and nobody is dropped.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings, config_text, converse, fleet, send_message};

const RELOADS: &str = "gatepost_policy_reloads_total{result=\"ok\"}";
const REFUSED: &str = "gatepost_policy_reloads_total{result=\"refused\"}";
/// A look each second, and two reads.
const PATIENCE: Duration = Duration::from_secs(10);

/// A policy in which 127.0.0.1 may send as `name`.test.
fn named(name: &str) -> String {
    fleet("").replace("app.test", &format!("{name}.test"))
}

/// Waits until a sample of the metrics page has a value.
async fn wait_for(harness: &Harness, sample: &str, value: u64) {
    let began = std::time::Instant::now();
    while harness.metric(sample).await != value {
        assert!(began.elapsed() < PATIENCE, "{sample} is {}", harness.metric(sample).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a new session may send as `name`.test.
async fn may(harness: &Harness, name: &str) -> bool {
    let mut client = harness.client().await;
    client.send_line(&format!("MAIL FROM:<a@{name}.test>")).await;
    client.read_reply().await.starts_with("250")
}

#[tokio::test]
async fn a_change_on_disk_is_taken_over() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { policy: Some(named("one")), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let path = harness.directory.path().join("policy.toml");
    assert!(may(&harness, "one").await);

    // In place.
    std::fs::write(&path, named("two")).expect("writes");
    wait_for(&harness, RELOADS, 1).await;
    assert!(may(&harness, "two").await && !may(&harness, "one").await);

    // As editors do: a new file, renamed over the old one.
    let beside = harness.directory.path().join("policy.toml.new");
    std::fs::write(&beside, named("three")).expect("writes");
    std::fs::rename(&beside, &path).expect("renames");
    wait_for(&harness, RELOADS, 2).await;
    assert!(may(&harness, "three").await);

    // Touched, and written again with the same text: there is nothing to take over.
    std::fs::write(&path, named("three")).expect("writes");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(harness.metric(RELOADS).await, 2);
    upstream.stop().await;
}

/// What is in force is what is in the file, also when it was reloaded by hand in between.
#[tokio::test]
async fn a_change_that_is_taken_back_is_a_change() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { policy: Some(named("one")), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    // The watch has seen the first text.
    tokio::time::sleep(Duration::from_secs(1)).await;
    harness.write_policy(&named("two"));
    harness.gateway.reload().await.expect("no panic");
    assert!(may(&harness, "two").await);
    harness.write_policy(&named("one"));
    wait_for(&harness, RELOADS, 2).await;
    assert!(may(&harness, "one").await);
    upstream.stop().await;
}

/// Kubernetes swaps a symlink to a directory: `policy.toml` leads to `..data/policy.toml`, and
/// `..data` to a directory with a date for a name.
#[tokio::test]
async fn a_swapped_symlink_is_a_change() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { policy: Some(named("one")), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let directory = harness.directory.path();
    let volume = |date: &str, name: &str| {
        std::fs::create_dir(directory.join(date)).expect("a directory");
        std::fs::write(directory.join(date).join("policy.toml"), named(name)).expect("writes");
        symlink(date, directory.join("..data_tmp")).expect("a link");
        std::fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("swaps");
    };
    volume("..2026_01", "one");
    std::fs::remove_file(directory.join("policy.toml")).expect("removes");
    symlink("..data/policy.toml", directory.join("policy.toml")).expect("a link");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(harness.metric(RELOADS).await, 0, "the text is the same");
    volume("..2026_02", "two");
    wait_for(&harness, RELOADS, 1).await;
    assert!(may(&harness, "two").await);
    upstream.stop().await;
}

#[tokio::test]
async fn what_is_half_written_or_wrong_is_not_taken_over() {
    let upstream = ScriptedUpstream::start();
    let settings = Settings { policy: Some(named("one")), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let path = harness.directory.path().join("policy.toml");

    // Truncated and written in pieces, each a policy that could be read, and the last not before
    // the watch has looked: only what has come to rest counts.
    let two = named("two");
    let whole = format!("{two}{}", two.replace("fleet", "late").replace("127.0.0.1", "127.0.0.9"));
    for octets in [0, two.len(), whole.len()] {
        std::fs::write(&path, &whole[..octets]).expect("writes");
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    wait_for(&harness, RELOADS, 1).await;
    assert_eq!(
        (harness.metric(REFUSED).await, harness.metric("gatepost_policy_entries").await),
        (0, 2)
    );

    for (count, wrong) in (1..).zip([
        &whole[..whole.len() - 5],
        "",
        "[[entry]]\nid = \"off\"\nenabled = false\nnetworks = [\"127.0.0.1\"]\nsenders = []\n",
        "[[entry]]\nid = \"no\"\nnetworks = [\"127.0.0.1\"]\naction = \"deny\"\n",
    ]) {
        std::fs::write(&path, wrong).expect("writes");
        wait_for(&harness, REFUSED, count).await;
        assert!(may(&harness, "two").await, "the old policy stays");
    }
    std::fs::remove_file(&path).expect("removes");
    wait_for(&harness, REFUSED, 5).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(harness.metric(REFUSED).await, 5, "told once");
    std::fs::write(&path, named("three")).expect("writes");
    wait_for(&harness, RELOADS, 2).await;
    assert!(may(&harness, "three").await);
    upstream.stop().await;
}

/// A session that is open keeps its entry until MAIL; a transaction keeps its policy to its end.
#[tokio::test]
async fn an_open_session_is_judged_by_the_policy_of_its_next_mail() {
    let upstream = ScriptedUpstream::start();
    let more = "recipients = [\"b.test\"]\nmax_connections = 2";
    let settings = Settings { policy: Some(fleet(more)), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let (mut idle, mut busy) = (harness.client().await, harness.client().await);
    converse(&mut busy, &[("MAIL FROM:<a@app.test>", "250")]).await;
    harness.write_policy(&fleet("recipients = [\"c.test\"]\nmax_connections = 3"));
    harness.gateway.reload().await.expect("no panic");
    converse(
        &mut busy,
        &[("RCPT TO:<x@c.test>", "550"), ("RCPT TO:<x@b.test>", "250"), ("RSET", "250")],
    )
    .await;
    for client in [&mut idle, &mut busy] {
        let lines = [
            ("MAIL FROM:<a@app.test>", "250"),
            ("RCPT TO:<x@b.test>", "550"),
            ("RCPT TO:<x@c.test>", "250"),
        ];
        converse(client, &lines).await;
    }
    // The connections that are open count under the new limit.
    let _third = harness.client().await;
    let mut fourth = ByteClient::connect(harness.addr()).await;
    fourth.expect("421 4.7.0").await;
    upstream.stop().await;
}

/// A limit that is used up stays used up: a reload is no way around it.
#[tokio::test]
async fn what_was_used_up_survives_a_reload() {
    let upstream = ScriptedUpstream::start();
    let settings =
        Settings { policy: Some(fleet("message_rate = \"1/d\"")), ..Settings::default() };
    let harness = Harness::with(upstream.addr(), &settings);
    let reply = send_message(&mut harness.client().await, b"Subject: x\r\n\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    harness.write_policy(&fleet("message_rate = \"1/d\"\ndescription = \"changed\""));
    harness.gateway.reload().await.expect("no panic");
    let mut client = harness.client().await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "450 4.7.1")]).await;
    upstream.stop().await;
}

/// Sessions that send all the time, while good and bad policies come and go. In each good one the
/// senders and the recipients have the same name, so that a mixture of two would be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_drop_nobody() {
    const RELOADS_MAX: usize = 100;
    let upstream = ScriptedUpstream::builder().digest_only().start();
    let pair = |name: &str| {
        let lines = format!("recipients = [\"{name}.test\"]");
        fleet(&lines).replace("app.test", &format!("{name}.test"))
    };
    let settings = Settings { policy: Some(pair("even")), ..Settings::default() };
    let harness = Arc::new(Harness::with(upstream.addr(), &settings));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(send_until(harness.clone(), over.clone()))).collect();
    for number in 0..RELOADS_MAX {
        let text = match number % 4 {
            0 => pair("odd"),
            2 => pair("even"),
            _ => pair("odd").replace("127.0.0.1", "0.0.0.0/0"),
        };
        replace(&harness.directory.path().join("policy.toml"), &text);
        harness.gateway.reload().await.expect("no panic");
    }
    over.store(true, Ordering::Relaxed);
    let mut sent = [0, 0];
    for client in clients {
        let counts = client.await.expect("no session was dropped, and no policy was mixed");
        sent = [sent[0] + counts[0], sent[1] + counts[1]];
    }
    assert!(sent.iter().all(|count| *count > 0), "{sent:?}");
    assert_eq!(
        upstream.wait_for_messages(sent.iter().sum()).await.len(),
        sent.iter().sum::<usize>()
    );
    // The watch may have seen some of them too.
    assert!(harness.metric(RELOADS).await >= 50 && harness.metric(REFUSED).await >= 50);
    upstream.stop().await;
}

/// Renamed into place, so that a reload never reads half of it.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("writes");
    std::fs::rename(&beside, path).expect("renames");
}

/// One session that sends without a pause. How many messages went under each policy.
async fn send_until(harness: Arc<Harness>, over: Arc<AtomicBool>) -> [usize; 2] {
    let mut client = harness.client().await;
    let mut sent = [0, 0];
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        // Every refusal counts as a fault of the client: after some of them it has to come again.
        if turn % 15 == 0 {
            client.send_line("QUIT").await;
            client.expect("221").await;
            client = harness.client().await;
        }
        let name = ["even", "odd"][turn % 2];
        client.send_line(&format!("MAIL FROM:<a@{name}.test>")).await;
        if !client.read_reply().await.starts_with("250") {
            continue;
        }
        // This transaction has one policy, whatever comes now.
        let other = ["odd", "even"][turn % 2];
        client.send_line(&format!("RCPT TO:<a@{other}.test>")).await;
        client.expect("550").await;
        client.send_line(&format!("RCPT TO:<a@{name}.test>")).await;
        client.expect("250").await;
        client.send_line("DATA").await;
        client.expect("354").await;
        client.send(b"Subject: x\r\n\r\nbody\r\n.\r\n").await;
        client.expect("250").await;
        sent[turn % 2] += 1;
    }
    sent
}

/// Also with `SIGHUP`, see `program.rs`: what a reload does not take over is told there.
#[tokio::test]
async fn a_config_without_a_default_upstream_needs_routes_at_a_reload_too() {
    let upstream = ScriptedUpstream::start();
    let tables = "[[upstream]]\nname = \"second\"\nhosts = [\"127.0.0.1:9\"]\ntls = \"none\"\n";
    let settings = Settings { tables: tables.to_owned(), ..Settings::default() };
    let harness = Harness::with_policy(
        &config_text(upstream.addr(), &settings),
        &fleet("upstream = \"sink\""),
    );
    harness.write_policy(&fleet(""));
    harness.gateway.reload().await.expect("no panic");
    assert_eq!(harness.metric(REFUSED).await, 1);
    let reply = send_message(&mut harness.client().await, b"Subject: x\r\n\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    upstream.stop().await;
}
