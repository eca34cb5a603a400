//! `gatepost upstream test` against real sockets and real TLS.

use gatepost_testkit::ScriptedUpstream;

use crate::harness::{POLICY, Settings, config_text};
use crate::place::{Answer, gatepost, json};
use crate::upstream_tls::World;

const PASSWORD: &str = "correct horse battery staple";
const LINES: &str = "ca_file = \"DIR/ca.pem\"\nauth = { mechanism = \"plain\", username = \"tim\", \
                     password_file = \"DIR/password\" }\n\
                     canary = { from = \"canary@app.test\", to = \"probe@b.test\" }";

/// Runs it where `config` is the configuration.
async fn test(config: &str, arguments: &[&str]) -> Answer {
    let directory = place(config);
    let arguments: Vec<String> =
        ["upstream", "test"].iter().chain(arguments).map(|it| (*it).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        gatepost(directory.path(), &arguments)
    };
    tokio::task::spawn_blocking(run).await.expect("runs")
}

fn place(config: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
    std::fs::write(directory.path().join("policy.toml"), POLICY).expect("writes");
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_shown_with_everything_but_the_password() {
    let world = World::new();
    world.put("password", PASSWORD);
    let upstream = world.upstream().account("tim", PASSWORD).start();
    let answer = test(&world.config(&upstream, LINES), &["sink", "--canary"]).await;
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    for words in [
        "> STARTTLS",
        "> AUTH PLAIN ********",
        "> MAIL FROM:<canary@app.test>",
        "TLS          TLSv1_3, ",
        ", verified",
        "certificate  smtp.test, 127.0.0.1; by CN=Gatepost throw-away root; until ",
        "AUTH         PLAIN as tim",
        "verdict      it works",
        "the message was accepted: 250 ",
    ] {
        assert!(answer.stdout.contains(words), "{words}\n{}", answer.stdout);
    }
    let base64 = "AHRpbQBjb3JyZWN0IGhvcnNlIGJhdHRlcnkgc3RhcGxl";
    assert!(!answer.stdout.contains(PASSWORD) && !answer.stdout.contains(base64));
    assert_eq!(upstream.messages().len(), 1);
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_is_told_with_the_mend() {
    let world = World::new();
    world.put("password", "wrong");
    let upstream = world.upstream().account("tim", PASSWORD).start();
    let config = world.config(&upstream, LINES);
    let answer = test(&config, &["sink"]).await;
    assert_eq!(answer.code, Some(1));
    for words in ["verdict      IT DOES NOT WORK", "AUTH refused: 535"] {
        assert!(answer.stdout.contains(words), "{words}\n{}", answer.stdout);
    }
    let ses = config.replace("name = \"sink\"", "name = \"sink\"\nprofile = \"ses\"");
    world.put("password", PASSWORD);
    upstream.on("RCPT", "554 Message rejected: Email address is not verified.");
    let answer = test(&ses, &["sink", "--to", "b@c.test"]).await;
    assert_eq!(answer.code, Some(1));
    assert!(answer.stdout.contains("verify the address or its domain"), "{}", answer.stdout);
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_can_read_it() {
    let upstream = ScriptedUpstream::start();
    let config = config_text(upstream.addr(), &Settings::default());
    let directory = place(&config);
    let found =
        tokio::task::spawn_blocking(move || json(directory.path(), &["upstream", "test", "sink"]));
    let found = found.await.expect("runs");
    assert_eq!((&found["works"], &found["upstream"]), (&true.into(), &"sink".into()));
    assert!(found["connected"]["tls"].is_null());
    assert_eq!(found["transcript"][2]["text"], "EHLO relay.test");
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_tested_is_a_matter_of_usage() {
    let upstream = ScriptedUpstream::start();
    let config = config_text(upstream.addr(), &Settings::default());
    for (arguments, words) in [
        (&["nobody"][..], "there is no upstream \"nobody\"; known are sink"),
        (&["sink", "--canary"], "this upstream has no canary"),
        (&["sink", "--to", "a@b.test"], "say --from too"),
        (&["sink", "--to", "a@b", "--from", "x"], "\"x\" is not a mailbox"),
        (&["sink", "--to", "a@b>\r\nRCPT TO:<c@d", "--from", "a@b"], "is not a mailbox"),
    ] {
        let answer = test(&config, arguments).await;
        assert_eq!(answer.code, Some(64), "{arguments:?} {}", answer.stderr);
        assert!(answer.stderr.contains(words), "{arguments:?} {}", answer.stderr);
    }
    upstream.stop().await;
}
