use std::net::SocketAddr;

use super::{Dialogue, load, parse, play};
use crate::ScriptedUpstream;

/// The smallest gateway: it is the upstream.
async fn play_without_gateway(text: &str) {
    let dialogues = parse("test.smtp", text).expect("a dialogue");
    play(&dialogues, async |_: &Dialogue, upstream: SocketAddr| (upstream, ())).await;
}

#[tokio::test]
async fn the_sample_files_are_played() {
    let dialogues = load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogues"));
    assert_eq!(dialogues.len(), 8);
    play(&dialogues, async |_: &Dialogue, upstream: SocketAddr| (upstream, ())).await;
}

#[test]
fn a_setting_is_for_its_dialogue_or_for_all() {
    let text = "@mode sync\n--- one\nS: 220\n--- two\n@mode spool\n@from 127.0.0.2\nS: 220\n";
    let dialogues = parse("test.smtp", text).expect("two dialogues");
    assert_eq!(dialogues[0].setting("mode"), Some("sync"));
    assert_eq!(dialogues[1].setting("mode"), Some("spool"));
    assert_eq!(dialogues[0].setting("from"), None);
    assert_eq!(dialogues[1].setting("from"), Some("127.0.0.2"));
}

#[tokio::test]
#[should_panic(expected = "test.smtp:3: expected [\"250 2.1.0\"], got [\"503 5.5.1 EHLO first\"]")]
async fn a_wrong_reply_names_its_line() {
    play_without_gateway("S: 220\nC: MAIL FROM:<>\nS: 250 2.1.0\n").await;
}

#[tokio::test]
#[should_panic(
    expected = "in the dialogue \"Lost\"; the client's side:\n    S: 220 sink.test ESMTP\n"
)]
async fn a_failure_shows_the_conversation() {
    play_without_gateway("--- Lost\nS: 220\nC: QUIT\nS: 221\nC: NOOP\nS: 250\n").await;
}

#[tokio::test]
#[should_panic(expected = "received \"MAIL FROM:<a@x>\" instead of \"MAIL FROM:<b@x>\"")]
async fn a_wrong_upstream_line_fails() {
    play_without_gateway("S: 220\nC: EHLO x\nC: MAIL FROM:<a@x>\nU< MAIL FROM:<b@x>\n").await;
}

#[tokio::test]
#[should_panic(expected = "test.smtp:3: the upstream received \"DATA\" too")]
async fn an_untold_upstream_line_fails() {
    play_without_gateway("S: 220\nC| EHLO x\\r\\nMAIL FROM:<>\\r\\nDATA\\r\\n\nU< MAIL FROM:<>\n")
        .await;
}

const MESSAGE: &str = "S: 220\nC| EHLO x\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<b@y>\\r\\nDATA\\r\\n\n\
                       S: 250 ...\nS: 250\nS: 250\nS: 354\nC| Subject: x\\r\\n.\\r\\n\nS: 250\n";

#[tokio::test]
#[should_panic(expected = "the upstream's message is\n      Subject: x\\r\\n\n")]
async fn a_wrong_message_fails() {
    play_without_gateway(&format!("{MESSAGE}U= Subject: y\n")).await;
}

#[tokio::test]
#[should_panic(expected = "the upstream received a message: \"Subject: x")]
async fn a_message_is_not_none() {
    play_without_gateway(&format!("{MESSAGE}U= none\n")).await;
}

#[tokio::test]
#[should_panic(expected = "must not see this")]
async fn what_must_never_happen_fails() {
    play_without_gateway("U> NOOP => never\nS: 220\nC: NOOP\nS! closed\n").await;
}

#[tokio::test]
async fn a_dialogue_runs_against_any_gateway() {
    let upstream = ScriptedUpstream::start();
    let gateway = ScriptedUpstream::builder().greeting("220 relay.test").start();
    let dialogues = parse("test.smtp", "S: 220 relay.test\nU= none\n").expect("a dialogue");
    dialogues[0].run(gateway.addr(), &upstream).await;
    gateway.join().await;
    upstream.stop().await;
}

#[test]
fn errors_name_file_and_line() {
    for (text, error) in [
        ("", "f:0: no conversation in this file"),
        ("# only this\n", "f:1: no conversation"),
        ("C: a\nX: b", "f:2: unknown kind of line"),
        ("é", "f:1: unknown kind of line"),
        ("C", "f:1: what kind of line"),
        ("C| \\q", "f:1: unknown escape"),
        ("C! dance", "f:1: the client cannot"),
        ("C! wait soon", "f:1: \"soon\" is not a time"),
        ("S: ok", "f:1: \"ok\" is not the beginning of a reply"),
        ("S: 250-a\nC: b", "f:2: the reply [\"250-a\"] lacks its last line"),
        ("S: 250-a", "f:1: the reply"),
        ("S: 250\nU> MAIL => close", "f:2: settings and U> stand before"),
        ("U> MAIL 250", "f:1: U> wants"),
        ("U> MAIL => dance", "f:1: unknown action"),
        ("U> MAIL => close after lunch", "f:1: unknown action"),
        ("@from here", "f:1: \"here\" is not an address"),
    ] {
        let found = parse("f", text).expect_err(text);
        assert!(found.starts_with(error), "{found}");
    }
}
