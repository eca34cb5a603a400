//! Commands about a gateway: one that runs, and one that does not.

use gatepost_testkit::{ByteClient, ScriptedUpstream};
use serde_json::Value;

use crate::harness::{ENVELOPE, Settings, config_text, converse};
use crate::place::{gatepost, json};
use crate::program::Program;

const NOT_RUNNING: &str = "note: the gateway is not running: shown is what is in its files\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_ask_the_gateway_that_runs() {
    let upstream = ScriptedUpstream::start();
    let mut program = Program::start(upstream.addr(), &Settings::default());
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    converse(&mut client, &ENVELOPE[..2]).await;

    let directory = program.directory.path();
    let answer = gatepost(directory, &["entry", "list"]);
    let told = "\
ENTRY  ACTION  CONNECTIONS  NETWORKS               SENDERS                          OWNER
fleet  allow   1            127.0.0.1/32, ::1/128  app.test, *.app.test and 1 more
mute   allow   0            127.0.0.3/32
";
    assert_eq!((answer.code, &*answer.stdout, &*answer.stderr), (Some(0), told, ""));
    let listed = json(directory, &["entry", "list"]);
    assert!(listed["generation"].as_str().is_some_and(|it| it.starts_with("1-")), "{listed}");
    assert_eq!(listed["entries"][0]["live"]["connections"], 1);
    assert_eq!(listed["entries"][1]["senders"], Value::Array(Vec::new()));

    let answer = gatepost(directory, &["entry", "show", "fleet"]);
    assert!(
        answer.stdout.starts_with("[[entry]]\nid = \"fleet\"\nnetworks = ["),
        "{}",
        answer.stdout
    );
    assert!(answer.stdout.ends_with("# connections open: 1\n"), "{}", answer.stdout);
    assert_eq!(json(directory, &["entry", "show", "fleet"]), listed["entries"][0]);
    let answer = gatepost(directory, &["entry", "show", "nobody"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.starts_with("error: there is no enabled entry \"nobody\""),
        "{}",
        answer.stderr
    );

    let answer = gatepost(directory, &["upstream", "list"]);
    let told = format!(
        "UPSTREAM  PROFILE  DEFAULT  BUSY  IDLE  WAITING  LIMIT  MAX  BREAKER  HOSTS\n\
         sink      generic  yes      1     0     0        100    100  closed   {}\n",
        upstream.addr()
    );
    assert_eq!((answer.code, &*answer.stdout), (Some(0), &*told));

    // After its end, from the files.
    client.close();
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
    let directory = program.directory.path();
    assert!(!directory.join("state/control.sock").exists());
    let answer = gatepost(directory, &["entry", "list"]);
    assert!(answer.stdout.contains("\nfleet  allow   -  "), "{}", answer.stdout);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), NOT_RUNNING));
    let listed = json(directory, &["entry", "list"]);
    assert_eq!(
        (&listed["entries"][0]["id"], &listed["entries"][0]["live"]),
        (&"fleet".into(), &Value::Null)
    );
    let listed = json(directory, &["upstream", "list"]);
    assert_eq!(
        (&listed["upstreams"][0]["default"], &listed["upstreams"][0]["live"]),
        (&true.into(), &Value::Null)
    );
    upstream.stop().await;
}

/// What `entry show` prints is an entry: it can be put into a policy and means the same there.
#[tokio::test]
async fn an_entry_that_is_shown_is_an_entry() {
    let upstream = ScriptedUpstream::start();
    let policy = r#"
[[entry]]
id = "all"
networks = ["127.0.0.0/24"]
description = "quotes \" and \\ and ü\nexpires = \"q\"\n"
services = ["smtp"]
senders = ["*", "<>"]
recipients = ["b.test"]
helo = ["*.test"]
header_from = "allowed"
tls = "required-1.3"
client_certificate = ["app.test"]
upstream = "sink"
mode = "sync"
max_message_size = "3 MiB"
max_recipients = 7
max_connections = 9
message_rate = "1/s"
recipient_rate = "2/d"
duplicate_rate = "3/h"
bare_newlines = "normalize"
add_missing_headers = ["message-id"]
not_before = 2020-01-01T00:00:00+01:00
expires = 2030-01-01T00:00:00Z
expiry = "warn"
"#;
    let directory = tempfile::tempdir().expect("a directory");
    let config = config_text(upstream.addr(), &Settings::default());
    std::fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
    std::fs::write(directory.path().join("policy.toml"), policy).expect("writes");
    let shown = gatepost(directory.path(), &["entry", "show", "all"]);
    let before = json(directory.path(), &["entry", "show", "all"]);
    std::fs::write(directory.path().join("policy.toml"), &shown.stdout).expect("writes");
    assert_eq!(
        json(directory.path(), &["entry", "show", "all"]),
        before,
        "{}{}",
        shown.stdout,
        shown.stderr
    );
    upstream.stop().await;
}
