//! Clients that are refused with the greeting: who they say they are, and what lets one of them in.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{POLICY, converse};
use crate::place::Place;
use crate::program::Program;

/// What a shell would do with this, if it were more than a word.
const EVIL: &str = "x';touch${IFS}evil;'";

/// A client that goes on speaking after its refusal.
async fn knock(program: &Program, last: u8, helo: &str, senders: &[&str]) {
    let mut client = ByteClient::connect_from([127, 0, 0, last].into(), program.addr).await;
    client.expect("554").await;
    converse(&mut client, &[(&format!("EHLO {helo}"), "503")]).await;
    for sender in senders {
        converse(&mut client, &[(&format!("MAIL FROM:<{sender}>"), "503")]).await;
    }
    client.send_line("QUIT").await;
    client.expect("221").await;
}

/// Those who knock in these tests. Two of them have the same name.
async fn knock_all(program: &Program) {
    knock(program, 5, "Printer7.office.test", &["scan@office.test", ""]).await;
    knock(program, 5, "Printer7.office.test", &["Scan@OFFICE.test", "x@second.test"]).await;
    knock(program, 6, "printer7", &["a@b.test"]).await;
    knock(program, 7, EVIL, &["a@b.test"]).await;
    knock(program, 8, "silent", &[]).await;
}

/// A session of a client that has been let in.
async fn may_send(program: &Program, last: u8, sender: &str) {
    let mut client = ByteClient::connect_from([127, 0, 0, last].into(), program.addr).await;
    client.expect("220").await;
    let mail = format!("MAIL FROM:<{sender}>");
    converse(&mut client, &[("EHLO x", "250"), (&mail, "250"), ("QUIT", "221")]).await;
}

/// Executes a line as it was printed, where `gatepost` is found.
fn shell(directory: &Path, line: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_gatepost")).parent().expect("has a directory");
    let mut paths = vec![program.to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", std::env::join_paths(paths).expect("no colon in them"))
        .current_dir(directory)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{line}: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_that_lets_a_client_in_does() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    let program = place.run();
    knock_all(&program).await;

    let table = place.done(&["denied"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("ADDRESS    COUNT  FIRST SEEN"), "{table}");
    assert!(rows[1].starts_with("127.0.0.5  2      "), "the most frequent first: {table}");
    assert!(
        rows[1].contains("  Printer7.office.test  office.test, <>, second.test  allow_list"),
        "{table}"
    );
    assert_eq!((rows.len(), place.done(&["denied", "--limit=1"]).lines().count()), (5, 2));
    let json = place.json(&["denied"]);
    let client = &json["clients"][0];
    assert_eq!((&client["count"], &client["helo"]), (&2.into(), &"Printer7.office.test".into()));
    assert_eq!(client["sender_domains"], serde_json::json!(["office.test", "<>", "second.test"]));

    for (last, sender, id) in [
        (5, "scan@office.test", "printer7"),
        (6, "a@b.test", "client-127-0-0-6"),
        (7, "a@b.test", "client-127-0-0-7"),
    ] {
        let address = IpAddr::from([127, 0, 0, last]).to_string();
        let line = place.done(&["denied", "--allow", &address]);
        assert!(
            line.starts_with(&format!("gatepost entry add {id} --network {address} --sender "))
        );
        shell(place.directory.path(), &line);
        may_send(&program, last, sender).await;
    }
    may_send(&program, 5, "").await;
    assert!(!place.path("evil").exists());
    let shown = place.done(&["entry", "show", "client-127-0-0-7"]);
    assert!(shown.contains(EVIL), "{shown}");

    // What is not known has to be written by somebody.
    let answer = place.gatepost(&["denied", "--allow=127.0.0.8"]);
    assert!(answer.stdout.contains(" --sender DOMAIN --description "), "{answer:?}");
    assert!(answer.stderr.starts_with("note: what it sends is not known"), "{answer:?}");
    let answer = place.gatepost(&["denied", "--allow=127.0.0.9"]);
    assert!(answer.stderr.starts_with("note: 127.0.0.9 was not refused of late"), "{answer:?}");
    assert_eq!(answer.code, Some(0));

    // One that an entry keeps out is not helped by another entry, and who asks is told.
    place.done(&["entry", "add", "block", "--network=127.0.0.9", "--action=deny"]);
    knock(&program, 9, "blocked", &["a@b.test"]).await;
    let answer = place.gatepost(&["denied", "--allow=127.0.0.9"]);
    assert!(
        answer.stderr.contains(" of entry block: see `gatepost entry show block`"),
        "{answer:?}"
    );
    program.end();
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_that_let_a_client_in_are_lines_of_a_policy() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_file(upstream.addr());
    let mut program = place.run();
    knock_all(&program).await;
    let mut policy = POLICY.to_owned();
    for last in [5, 6, 7] {
        let address = IpAddr::from([127, 0, 0, last]).to_string();
        policy += "\n";
        policy += &place.done(&["denied", "--allow", &address]);
        place.write("policy.toml", &policy);
        let answer = place.gatepost(&["check"]);
        assert_eq!(answer.code, Some(0), "{policy}{answer:?}");
    }
    program.signal("HUP");
    program.wait_for_line("policy reloaded");
    may_send(&program, 5, "scan@office.test").await;
    may_send(&program, 7, "a@b.test").await;
    program.end();
    upstream.stop().await;
}
