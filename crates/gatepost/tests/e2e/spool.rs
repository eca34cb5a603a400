//! The spool of a gateway: opened before anybody can connect, shown while it serves, closed at the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use gatepost_spool::{
    Entrance, Envelope, Message, Mode, Origin, QueueId, Recipient, Spool, SpoolOptions,
};
use gatepost_testkit::{Action, ByteClient, ScriptedUpstream};

use crate::harness::{
    ENVELOPE, Harness, Settings, config_text, converse, fleet, get, send_message,
};
use crate::place::Place;

/// What a gateway is configured with that says nothing about how mail is handed over.
const MINIMAL: &str = r#"
hostname = "relay.example.com"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "none"
[[upstream]]
name = "google"
hosts = ["smtp-relay.gmail.com:587"]
[policy]
file = "policy.toml"
"#;

/// A configuration whose messages are handed over in the default mode.
fn kept(upstream: SocketAddr, tables: &str) -> String {
    let settings = Settings { tables: tables.to_owned(), ..Settings::default() };
    config_text(upstream, &settings).replacen("[delivery]\nmode = \"sync\"\n", "", 1)
}

fn open(directory: &Path) -> Spool {
    let options = SpoolOptions { free_space_floor: 1, ..SpoolOptions::default() };
    let opened = Spool::open(directory, options, SystemTime::now());
    opened.expect("nobody has it").0
}

/// A message that waits for an upstream.
async fn commit(spool: &Spool, number: u64, upstream: &str) {
    // Tomorrow: the test is over by then.
    let tomorrow = SystemTime::now() + std::time::Duration::from_hours(24);
    commit_as(Entrance::Due(tomorrow), spool, number, upstream).await;
}

async fn commit_as(entrance: Entrance, spool: &Spool, number: u64, upstream: &str) {
    let id = QueueId::new(number).expect("is small");
    let now = SystemTime::now();
    let origin = Origin {
        session_id: "1".into(),
        listener: "smtp".into(),
        entry: "fleet".into(),
        credential: None,
        generation: "0-000000".into(),
        client: [127, 0, 0, 1].into(),
        helo: None,
        tls: None,
    };
    let envelope = Envelope {
        id,
        received_at: now,
        expires_at: now,
        reverse_path: Arc::from(&b"a@app.test"[..]),
        sender: Arc::from(&b"a@app.test"[..]),
        dsn: Arc::default(),
        body: None,
        smtputf8: false,
        mode: Mode::Spool,
        upstream: upstream.into(),
        origin,
    };
    let recipients = vec![Recipient { path: b"b@b.test"[..].into(), dsn: Box::default() }];
    let message = Message { envelope, recipients, entrance, about: None };
    spool.commit(message, spool.body(id)).await.expect("there is room");
}

#[tokio::test]
async fn the_smallest_configuration_keeps_what_it_acknowledges() {
    let place = Place::with_file(([127, 0, 0, 1], 25).into());
    place.write("gatepost.toml", MINIMAL);
    let told = place.done(&["check"]);
    let spool = place.path("state/spool");
    let line = format!("delivery   mode hybrid, kept for 5d in {}\n", spool.display());
    assert!(told.contains(&line), "{told}");
    assert!(!spool.exists(), "a check makes nothing");
    let explained =
        place.done(&["explain", "--ip=127.0.0.1", "--from=a@app.test", "--rcpt=b@b.test"]);
    assert!(explained.contains("google (the default), mode hybrid\n"), "{explained}");
    let program = place.run();
    assert!(spool.join("spool.db").exists());
    program.end();
}

#[tokio::test]
async fn without_a_sound_spool_nothing_is_served() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    std::fs::create_dir_all(place.path("state/spool")).expect("makes");
    place.write("state/spool/spool.db", &"no database at all ".repeat(1000));
    let told = "the spool cannot be opened: ";
    let answer = place.refused(74, told, &["run"]);
    assert!(answer.stderr.contains("spool.db is not a spool of Gatepost"), "{answer:?}");
    assert!(!answer.stderr.contains("listening"), "{answer:?}");

    // Another process has it, and not the directory around it.
    std::fs::remove_file(place.path("state/spool/spool.db")).expect("is there");
    let spool = open(&place.path("state/spool"));
    let answer = place.refused(75, told, &["run"]);
    assert!(answer.stderr.contains("in use by another gateway"), "{answer:?}");
    spool.close().await;
    drop(spool);

    // What cannot be a directory.
    std::fs::remove_dir_all(place.path("state/spool")).expect("is there");
    place.write("state/spool", "a file");
    let answer = place.refused(74, told, &["run"]);
    assert!(answer.stderr.contains("look after the disk that state_dir is on"), "{answer:?}");
    upstream.stop().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_keep_a_message_is_not_ready() {
    let upstream = ScriptedUpstream::start();
    let text = kept(upstream.addr(), "");
    let full = |config: &mut gatepost::config::Config| {
        config.spool.options.free_space_floor = u64::MAX;
    };
    let harness = Harness::adjusted(&text, crate::harness::POLICY, full);
    let pages = harness.gateway.metrics_address().expect("metrics are on");
    let told = get(pages, "/readyz").await;
    assert!(told.starts_with("spool: ") && told.lines().count() == 1, "{told}");
    assert!(told.ends_with("are to stay free); free some space on this disk\n"), "{told}");
    let told = get(pages, "/readyz?verbose").await;
    assert!(told.starts_with("bound: ok\npolicy: ok\nspool: ") && told.ends_with("draining: ok\n"));
    assert_eq!(get(pages, "/livez").await, "ok");
    harness.drain().await;

    let harness = Harness::from_text(&text);
    assert_eq!(get(harness.gateway.metrics_address().expect("is on"), "/readyz").await, "ok");
    assert_eq!(harness.metric("gatepost_spool_stopped").await, 0);
    harness.drain().await;
    upstream.stop().await;
}

/// Otherwise the next gateway would not get it.
#[tokio::test]
async fn after_the_end_the_spool_is_nobodys() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::from_text(&kept(upstream.addr(), ""));
    let spool = harness.directory.path().join("state/spool");
    let (_, _directory) = harness.drain().await;
    let spool = open(&spool);
    commit(&spool, 1, "sink").await;
    spool.close().await;
    upstream.stop().await;
}

/// A clock that was set back while the gateway was down must not give an id to two messages.
#[tokio::test]
async fn ids_go_on_behind_what_is_kept() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::from_text(&kept(upstream.addr(), "[delivery]\nmode = \"spool\"\n"));
    let text = kept(upstream.addr(), "[delivery]\nmode = \"spool\"\n");
    let (_, directory) = harness.drain().await;
    let later = SystemTime::now() + std::time::Duration::from_hours(1);
    let micros = later.duration_since(SystemTime::UNIX_EPOCH).expect("is after").as_micros() as u64;
    let path = directory.path().join("state/spool");
    let spool = open(&path);
    commit(&spool, micros, "sink").await;
    spool.close().await;
    let harness = Harness::adjusted(&text, crate::harness::POLICY, |config| {
        config.spool.directory.clone_from(&path);
    });
    let reply = send_message(&mut harness.client().await, b"Subject: a\r\n").await;
    let id = reply.trim_end().strip_prefix("250 2.0.0 Ok: queued as ").expect("is kept");
    let id: QueueId = id.parse().expect("an id");
    assert!(id > QueueId::new(micros).expect("is small"), "{reply}");
    harness.drain().await;
    upstream.stop().await;
}

/// A client that was told nothing sends its message again: that is counted, wherever it may be.
#[tokio::test]
async fn a_message_that_is_cut_off_at_its_end_is_counted() {
    let upstream = ScriptedUpstream::builder().end_of_data(Action::Silence).start();
    let text = kept(upstream.addr(), "[timeouts]\ndrain = \"1s\"\n");
    let harness = Harness::from_text(&text);
    let metrics = harness.gateway.metrics_handle();
    let mut client = harness.client().await;
    converse(&mut client, &ENVELOPE).await;
    client.send(b"Subject: a\r\n.\r\n").await;
    upstream.wait_for_messages(1).await;
    harness.drain().await;
    client.expect_closed().await;
    let page = metrics.render();
    for sample in [
        "gatepost_handoffs_total{mode=\"hybrid\",result=\"cut_off\"} 1\n",
        "gatepost_deliveries_total{upstream=\"sink\",result=\"ambiguous\"} 1\n",
    ] {
        assert!(page.contains(sample), "{sample}: {page}");
    }
    upstream.stop().await;
}

/// While one message is waited for to the end of the drain, no other is begun that would be cut off.
#[tokio::test]
async fn a_gateway_that_ends_takes_nothing_more_from_its_spool() {
    let upstream = ScriptedUpstream::builder()
        .end_of_data(Action::Silence)
        .on_nth("RCPT TO:<later@", 1, "450 4.2.0 later")
        .start();
    let delivery = "[delivery]\nanswer_within = \"1s\"\nretry = [\"1s\"]\n";
    let tables = format!("{delivery}[timeouts]\ndrain = \"4s\"\n");
    let harness = Harness::from_text(&kept(upstream.addr(), &tables));
    let mut client = harness.client().await;
    let reply = send_message(&mut client, b"Subject: in doubt\r\n").await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    converse(
        &mut client,
        &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<later@b.test>", "250"), ("DATA", "354")],
    )
    .await;
    client.send(b"Subject: due soon\r\n.\r\n").await;
    client.expect("250 2.0.0 Ok: queued as ").await;
    harness.drain().await;
    let asked = upstream.lines().iter().filter(|line| line.starts_with("RCPT TO:<later@")).count();
    assert_eq!(asked, 1, "{:?}", upstream.lines());
    upstream.stop().await;
}

/// Whether its body is a row or a file: nothing else has to happen for it to go on.
#[tokio::test]
async fn what_is_kept_goes_on_at_once() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::from_text(&kept(upstream.addr(), "[delivery]\nmode = \"spool\"\n"));
    let mut client = harness.client().await;
    for (number, octets) in [(1, 100), (2, 3_000_000)] {
        let content = [&b"Subject: x\r\n\r\n"[..], &vec![b'x'; octets], b"\r\n"].concat();
        let reply = send_message(&mut client, &content).await;
        assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
        let messages = upstream.wait_for_messages(number).await;
        assert!(messages[number - 1].content.bytes.len() > octets, "all of it");
    }
    harness.drain().await;
    upstream.stop().await;
}

/// What the last process was at when it was killed.
#[tokio::test]
async fn what_may_arrive_twice_is_counted() {
    let upstream = ScriptedUpstream::start();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("spool");
    let spool = open(&path);
    for number in 1..=200 {
        let entrance = if number <= 50 { Entrance::Leased } else { Entrance::InDoubt };
        commit_as(entrance, &spool, number, "sink").await;
    }
    spool.close().await;
    drop(spool);
    let at = |config: &mut gatepost::config::Config| config.spool.directory.clone_from(&path);
    let harness = Harness::adjusted(&kept(upstream.addr(), ""), crate::harness::POLICY, at);
    upstream.wait_for_messages(200).await;
    assert_eq!(harness.metric("gatepost_queue_recovered_messages").await, 200);
    let ambiguous = "gatepost_queue_attempts_total{upstream=\"sink\",result=\"ambiguous\"}";
    assert_eq!(harness.metric(ambiguous).await, 150);
    harness.drain().await;
    upstream.stop().await;
}

/// The end takes its time: a client does not go, and an upstream does not answer. Nothing more sets out
/// meanwhile, so nothing is cut off on its way but what nobody can wait for.
#[tokio::test]
async fn nothing_sets_out_at_the_end() {
    const MESSAGES: u64 = 30;
    let taken = "250 2.6.0 taken".to_owned();
    let action = Action::Delay(std::time::Duration::from_millis(500), taken);
    let upstream = ScriptedUpstream::builder().end_of_data(action).start();
    let silent = ScriptedUpstream::builder().end_of_data(Action::Silence).start();
    let tables = format!(
        "[delivery]\nupstream = \"sink\"\nanswer_within = \"1s\"\n[timeouts]\ndrain = \"2s\"\n\
         [[upstream]]\nname = \"silent\"\nhosts = [\"{}\"]\ntls = \"none\"\n",
        silent.addr()
    );
    let settings =
        Settings { tables, upstream: "max_connections = 2".to_owned(), ..Settings::default() };
    let text =
        config_text(upstream.addr(), &settings).replacen("[delivery]\nmode = \"sync\"\n", "", 1);
    let policy = fleet(
        "mode = \"spool\"\n[[route]]\nid = \"r\"\nrecipient_domains = [\"silent.test\"]\n\
         upstream = \"silent\"\nmode = \"hybrid\"",
    );
    let harness = Harness::with_policy(&text, &policy);
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<b@silent.test>", "250"),
        ("DATA", "354"),
        (".", "250 2.0.0 Ok: queued as "),
    ];
    converse(&mut client, &lines).await;
    for _ in 0..MESSAGES {
        send_message(&mut client, b"Subject: x\r\n\r\n").await;
    }
    let spool = harness.directory.path().join("state/spool");
    let (_, _directory) = harness.drain().await;
    let delivered = upstream.messages().len() as u64;
    assert!(
        (1..MESSAGES / 3).contains(&delivered),
        "{delivered}: only those that were on their way"
    );
    let spool = open(&spool);
    let stats = spool.stats(SystemTime::now()).await.expect("is readable");
    assert_eq!(stats.messages, MESSAGES - delivered + 1, "who has it is written down");
    spool.close().await;
    silent.stop().await;
    upstream.stop().await;
}

/// DSN is a promise to tell, and only what is kept can be told about.
#[tokio::test]
async fn notifications_are_offered_where_everything_is_kept() {
    let upstream = ScriptedUpstream::start();
    let sync = "[[route]]\nid = \"r\"\nmode = \"sync\"\n";
    let some = format!("{sync}recipient_domains = [\"b.test\"]\n");
    for (mode, policy, is_offered) in [
        ("", fleet(""), true),
        ("mode = \"spool\"", fleet(""), true),
        ("mode = \"sync\"", fleet(""), false),
        ("mode = \"sync\"", fleet("mode = \"hybrid\""), true),
        ("", fleet("mode = \"sync\""), false),
        ("", fleet(sync), false),
        ("", fleet(&some), false),
        ("", fleet(&sync.replace("sync", "spool")), true),
    ] {
        let text = kept(upstream.addr(), &format!("[delivery]\n{mode}\n"));
        let harness = Harness::with_policy(&text, &policy);
        let mut client = ByteClient::connect(harness.addr()).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        let offered = client.expect("250").await;
        assert_eq!(offered.contains("DSN"), is_offered, "{mode}, {policy}: {offered}");
        client.send_line("MAIL FROM:<a@app.test> RET=HDRS").await;
        client.expect(if is_offered { "250" } else { "555 5.5.4" }).await;
        client.send_line("QUIT").await;
        client.expect("221").await;
        harness.drain().await;
    }
    upstream.stop().await;
}

#[tokio::test]
async fn the_doctor_looks_at_what_is_kept() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let found = |name: &str| {
        let report = place.json(&["doctor"]);
        let checks = report["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|it| it["name"] == name).expect(name)
    };
    assert_eq!(found("queue")["found"], "there is no spool yet: the first start makes it");
    std::fs::create_dir_all(place.path("state")).expect("makes");
    let spool = open(&place.path("state/spool"));
    for number in 1..=3 {
        commit(&spool, number, if number == 1 { "sink" } else { "gone" }).await;
    }
    // As while a gateway runs.
    let queue = found("queue");
    assert_eq!((&queue["status"], &queue["found"]), (&"problem".into(), &"3 messages, 0 B".into()));
    assert_eq!(
        queue["findings"][0]["found"],
        "there is no upstream gone, and 2 messages wait for it"
    );
    spool.move_upstream("gone".into(), "sink".into()).await.expect("moves");
    spool.close().await;
    drop(spool);
    assert_eq!(found("queue")["status"], "ok");

    let config = std::fs::read_to_string(place.path("gatepost.toml")).expect("readable");
    place.write("gatepost.toml", &format!("{config}[limits]\nfree_space_floor = \"900000 GiB\"\n"));
    let spool = found("spool");
    assert_eq!(spool["status"], "problem", "{spool}");
    let told = spool["findings"][0]["found"].as_str().expect("told");
    assert!(told.ends_with("and 900000 GiB are to stay free: no message is kept"), "{told}");
    upstream.stop().await;
}
