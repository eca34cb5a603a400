//! `gatepost queue` beside a gateway that runs.
//!
//! Upstreams go on while a program is waited for: they have threads of their own.

use std::time::Duration;

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, END_OF_DATA};
use mail_parser::MessageParser;
use serde_json::Value;

use super::{By, CONTENT, Nobody, ONE, Story, WAYS, delivered, send, until};
use crate::place::Place;
use crate::program::Program;

/// A message that was put off waits longer than any test.
const LATE: &str = "retry = [\"1h\"]";

fn messages(place: &Place) -> Vec<Value> {
    let listed = place.json(&["queue", "list"]);
    listed["messages"].as_array().expect("messages").clone()
}

/// Of each message in the list, the value of a key.
fn listed(place: &Place, key: &str) -> Vec<String> {
    let value = |message: &Value| message[key].as_str().expect("a text").to_owned();
    messages(place).iter().map(value).collect()
}

async fn send_one(program: &Program, by: By) -> String {
    send(&mut program.client().await, by, ONE).await.id()
}

/// What was put off for an hour, and what waits for an upstream that is away, goes when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_need_not_wait() {
    let sink = ScriptedUpstream::builder().end_of_data("451 4.3.0 not now").start();
    let address = sink.addr();
    let place = Place::keeping(address, &format!("mode = \"hybrid\"\n{LATE}"), "");
    let program = place.run();
    let mut ids = vec![send_one(&program, By::Commands).await];
    sink.stop().await;
    for by in WAYS {
        ids.push(send_one(&program, by).await);
    }
    assert_eq!(listed(&place, "id"), ids);
    assert!(listed(&place, "upstream").iter().all(|it| it == "sink"));
    until("queued", async || listed(&place, "standing").iter().all(|it| it == "queued")).await;
    let message = &messages(&place)[0];
    assert_eq!(message["attempts"], 1, "{message}");
    assert!(message["reply"].as_str().is_some_and(|it| it.starts_with("451 4.3.0")), "{message}");

    let held = ids.pop().expect("four");
    let removed = ids.pop().expect("three");
    assert_eq!(place.done(&["queue", "hold", &held]), "1 message is held\n");
    assert_eq!(place.done(&["queue", "remove", &removed, "--yes"]), "1 message is removed\n");
    let shown = place.json(&["queue", "show", &held]);
    assert_eq!((&shown["standing"], &shown["id"]), (&"held".into(), &held.as_str().into()));

    let sink = ScriptedUpstream::builder().at(address).start();
    place.done(&["queue", "retry", "--all"]);
    until("delivered", async || delivered(&sink).len() == ids.len()).await;
    until("one is left", async || listed(&place, "id") == [held.clone()]).await;
    place.done(&["queue", "retry", &held]);
    until("delivered", async || delivered(&sink).len() == ids.len() + 1).await;
    program.end();
    assert_eq!(place.gatepost(&["queue", "list"]).stdout, "the queue is empty\n");
    let story = Story::of(place.directory.path());
    let first = story.about(&ids[0]);
    let tried = "TransientFailure hybrid sink 1 b";
    assert_eq!(first, ["Reception hybrid sink - b", tried, "Delivery hybrid sink 2 b"]);
    assert_eq!(story.about(&removed), ["Reception hybrid sink - b"]);
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_given_to_another_upstream() {
    let (nobody, other) = (Nobody::new(), ScriptedUpstream::start());
    let delivery = format!("mode = \"hybrid\"\nupstream = \"sink\"\n{LATE}");
    let address = other.addr();
    let more = format!("[[upstream]]\nname = \"other\"\nhosts = [\"{address}\"]\ntls = \"none\"\n");
    let place = Place::keeping(nobody.addr(), &delivery, &more);
    let program = place.run();
    let mut ids = Vec::new();
    for by in WAYS {
        ids.push(send_one(&program, by).await);
    }
    let words = ["queue", "retry", "--all", "--from-upstream", "sink", "--upstream", "other"];
    until("none is left", async || {
        // One may be at work: it finds out whether the upstream is back.
        place.gatepost(&words);
        listed(&place, "id").is_empty()
    })
    .await;
    program.end();
    assert_eq!(delivered(&other).len(), ids.len());
    let story = Story::of(place.directory.path());
    for id in ids {
        assert_eq!(story.about(&id), ["Reception hybrid sink - b", "Delivery hybrid other 1 b"]);
    }
    other.stop().await;
}

/// What an upstream is being given cannot be taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_at_work_stays() {
    let slow = Action::Delay(Duration::from_secs(2), "250 2.0.0 Ok".into());
    let sink = ScriptedUpstream::builder().end_of_data(slow).start();
    let place = Place::keeping(sink.addr(), "mode = \"spool\"", "");
    let program = place.run();
    let id = send_one(&program, By::Group).await;
    sink.wait_for_messages(1).await;
    assert_not_removed(&place, &id, "somebody is at work on message");
    until("delivered", async || listed(&place, "id").is_empty()).await;
    assert_not_removed(&place, &id, "there is no message");
    program.end();
    assert_eq!(delivered(&sink).len(), 1);
    sink.stop().await;
}

#[track_caller]
fn assert_not_removed(place: &Place, id: &str, why: &str) {
    let answer = place.gatepost(&["queue", "remove", id]);
    assert_eq!((answer.code, &*answer.stdout), (Some(1), "0 messages are removed\n"), "{answer:?}");
    assert!(answer.stderr.starts_with(&format!("error: {why} {id}")), "{answer:?}");
}

/// A dead letter is a file that mail programs read, and looks the same without a gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_looked_at() {
    let sink = ScriptedUpstream::builder().on(END_OF_DATA, "550 5.7.1 no").start();
    let place = Place::keeping(sink.addr(), "mode = \"spool\"\nbounces = \"keep\"", "");
    let program = place.run();
    let id = send_one(&program, By::Chunks).await;
    until("dead", async || listed(&place, "standing") == ["dead"]).await;
    let commands: [&[&str]; 4] = [
        &["queue", "list", "--output=json"],
        &["queue", "list", "--totals", "--output=json"],
        &["queue", "show", &id, "--headers", "--output=json"],
        &["queue", "export", &id],
    ];
    let running = commands.map(|words| place.done(words));
    let file = running[3].as_bytes();
    assert!(file.starts_with(b"Return-Path: <a@app.test>\r\nReceived: from app.test "));
    assert!(file.ends_with(CONTENT), "{}", running[3]);
    let parsed = MessageParser::default().parse(file).expect("a message");
    assert_eq!(parsed.subject(), Some("x"));
    assert_eq!(parsed.body_text(0).as_deref(), Some(".a dot\r\n..\r\n.\r\nend\r\n"));
    let report = place.json(&["doctor"]);
    let checks = report["checks"].as_array().expect("checks");
    for (name, status) in [("spool", "ok"), ("queue", "warning")] {
        let check = checks.iter().find(|it| it["name"] == name).expect(name);
        assert_eq!(check["status"], status, "{check}");
    }
    let told = place.done(&["check"]);
    assert!(told.contains("\ndelivery   mode spool, kept for 5d in "), "{told}");
    program.end();
    assert_eq!(commands.map(|words| place.done(words)), running);

    // Its cause is mended.
    let program = place.run();
    sink.on(END_OF_DATA, "250 2.0.0 Ok");
    assert_eq!(place.done(&["queue", "retry", &id]), "1 message is due\n");
    until("delivered", async || listed(&place, "id").is_empty()).await;
    program.end();
    let told = Story::of(place.directory.path()).about(&id);
    assert_eq!(
        told,
        ["Reception spool sink - b", "Bounce spool sink 1 b", "Delivery spool sink 2 b"]
    );
    sink.stop().await;
}
