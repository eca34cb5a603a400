//! Without a gateway: what its spool says, and nothing is changed.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;

use serde_json::json;

use crate::place::{FILE, Place, commit, id, kill};

const NOTE: &str = "note: the gateway is not running: shown is what is in its files\n";

/// A spool with messages 1 to 3, of which the last is dead, and nobody at work on it.
async fn filled() -> Place {
    let place = Place::new();
    let spool = place.open();
    for number in 1..=3 {
        commit(&spool, number).await;
    }
    kill(&spool, 3).await;
    spool.close().await;
    place
}

#[test]
fn what_was_never_kept_is_an_empty_queue() {
    let place = Place::new();
    for words in [&["list"][..], &["list", "--totals"], &["list", "--standing=dead"]] {
        let answer = place.queue(words);
        let told = (answer.code, &*answer.stdout, &*answer.stderr);
        assert_eq!(told, (0, "the queue is empty\n", NOTE), "{words:?}");
    }
    let empty = json!({"messages": 0, "size": 0});
    let listed = place.json(&["list"]);
    let expected = json!({"queue": empty, "oldest": null, "matching": empty, "messages": []});
    assert_eq!(listed, expected);
    for words in [&["show", "00000000001"][..], &["export", "00000000001"]] {
        place.refused(1, "error: there is no message 00000000001 in the queue", words);
    }
    assert_eq!(place.done(&["export", "--all", "--directory=x"]), "exported 0 messages to x\n");
    assert!(!place.path("state").exists(), "nothing is made by looking");
}

#[tokio::test]
async fn messages_are_listed_with_what_they_wait_for() {
    let place = filled().await;
    let answer = place.queue(&["list"]);
    let told = "\
MESSAGE      AGE  SIZE  SENDER               PENDING  UPSTREAM  STANDING  NEXT   ATTEMPTS  LAST REPLY
00000000001  3h   60 B  \\u{1b}[2J@a.example  1/2      google    queued    in 1h  1         451 4.3.2 not? now
00000000002  3h   60 B  \\u{1b}[2J@a.example  1/2      ses       queued    in 1h  1         451 4.3.2 not? now
00000000003  3h   60 B  \\u{1b}[2J@a.example  0/2      google    dead      -      2         550 5.1.1 unknown

3 messages, 180 B; the oldest that waits has done so for 3h
";
    assert_eq!((answer.code, &*answer.stdout, &*answer.stderr), (0, told, NOTE));

    let told = place.done(&["list", "--limit=1"]);
    let end = "\n1 of 3 messages, 180 B; the oldest that waits has done so for 3h; go on with --after 00000000001\n";
    assert!(told.ends_with(end) && told.lines().count() == 4, "{told}");
    let told = place.done(&["list", "--limit=2", "--after=00000000001"]);
    assert!(
        told.ends_with("\n2 of 3 messages, 180 B; the oldest that waits has done so for 3h\n"),
        "{told}"
    );
    let told = place.done(&["list", "--standing=dead", "--upstream=google", "--entry=billing"]);
    assert!(told.contains("\n00000000003  "), "{told}");
    assert!(told.contains("\n1 message, 60 B, of 3 messages in the queue; "), "{told}");
    let told = place.done(&["list", "--standing=held"]);
    assert_eq!(told, "none of the 3 messages in the queue\n");
    let told = place.done(&["list", "--limit=0"]);
    assert_eq!(told, "0 of 3 messages, 180 B; the oldest that waits has done so for 3h\n");

    let told = place.done(&["list", "--totals"]);
    let expected = "\
UPSTREAM  ENTRY    STANDING  MESSAGES  SIZE
google    billing  dead      1         60 B
google    billing  queued    1         60 B
ses       billing  queued    1         60 B

3 messages, 180 B; the oldest that waits has done so for 3h
";
    assert_eq!(told, expected);
    let totals = place.json(&["list", "--totals"]);
    assert_eq!(
        totals["totals"][2],
        json!({
            "upstream": "ses", "entry": "billing", "standing": "queued", "messages": 1, "size": 60,
        })
    );
}

#[tokio::test]
async fn a_list_is_json_for_programs() {
    let place = filled().await;
    let listed = place.json(&["list", "--limit=2"]);
    assert_eq!(listed["next"], "00000000002");
    assert_eq!(listed["queue"], json!({"messages": 3, "size": 180}));
    assert_eq!(listed["messages"][1]["sender"], "\u{1b}[2J@a.example");
    assert_eq!(listed["messages"][1]["reply"], "451 4.3.2 not? now");
    let rest = place.json(&["list", "--after=00000000002"]);
    assert_eq!(rest["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest.get("next"), None);
    let shown = place.json(&["show", "00000000002", "--headers"]);
    for (key, value) in listed["messages"][1].as_object().expect("an object") {
        assert_eq!(&shown[key], value, "{key}");
    }
    assert_eq!(shown["recipients"][1]["recipient"], "c\u{7}@b.example");
    let headers = shown["headers"].as_str().expect("headers");
    assert!(headers.ends_with("\r\nSubject: \u{1b}[31mx\r\n"), "{headers:?}");
}

#[tokio::test]
async fn all_of_a_message_is_shown() {
    let place = filled().await;
    let told = place.done(&["show", "00000000001", "--headers"]);
    // Times of the moment apart.
    let fixed = |line: &&str| !line.starts_with("received ") && !line.starts_with("expires ");
    let lines: Vec<_> = told.lines().filter(fixed).collect();
    let expected = "\
message       00000000001
standing      queued, next attempt in 1h
attempts      1
size          60 B (60 octets)
sender        \\u{1b}[2J@a.example
reverse-path  bounces@a.example
upstream      google
mode          spool
entry         billing
generation    41-abcdef
client        10.20.0.7
helo          app
listener      smtp
session       s1

RECIPIENT         STATE      ATTEMPTS  TOLD  PARAMETERS  LAST REPLY
b@b.example       pending    1                           451 4.3.2 not? now
c\\u{7}@b.example  delivered  1

Return-Path: <bounces@a.example>
Received: from app.test
Subject: \\u{1b}[31mx";
    assert_eq!(lines.join("\n"), expected);
    assert!(told.contains("Z, 3h ago\nexpires       20"), "{told}");
    assert!(told.contains("Z, in 4d 21h\n"), "{told}");
    let told = place.done(&["show", "00000000003"]);
    assert!(told.contains("standing      dead\n") && told.contains("  failed, kept  "), "{told}");
}

#[tokio::test]
async fn messages_are_exported_as_files() {
    let place = filled().await;
    let file = str::from_utf8(FILE).expect("UTF-8");
    assert_eq!(place.done(&["export", "00000000001"]), file);
    assert_eq!(place.done(&["export", "00000000001", "-o", "one.eml"]), "");
    assert_eq!(fs::read(place.path("one.eml")).expect("is there"), FILE);
    let mode = fs::metadata(place.path("one.eml")).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "mail is its owner's alone");

    let dead = ["export", "--all", "--standing=dead", "--directory=a/dead"];
    assert_eq!(place.done(&dead), "exported 1 message to a/dead\n");
    assert_eq!(fs::read(place.path("a/dead/00000000003.eml")).expect("is there"), FILE);
    assert_eq!(
        place.done(&["export", "--all", "--directory=a/dead"]),
        "exported 3 messages to a/dead\n"
    );
    assert_eq!(
        fs::read_dir(place.path("a/dead")).expect("is there").count(),
        3,
        "nothing is left over"
    );

    let answer = place.queue(&["export", "00000000001", "00000000009", "--directory=some"]);
    assert_eq!((answer.code, &*answer.stdout), (1, "exported 1 message to some\n"));
    assert!(answer.stderr.contains("there is no message 00000000009 in the queue"), "{answer:?}");
    place.refused(64, "need a --directory", &["export", "00000000001", "00000000002"]);
    place.refused(64, "need a --directory", &["export", "--all"]);
    place.refused(1, "cannot write none/x.eml", &["export", "00000000001", "-o", "none/x.eml"]);
    place.refused(1, "there is no message", &["export", "00000000009", "-o", "nine.eml"]);
    assert!(!place.path("nine.eml").exists());
}

/// `-o /dev/stdout` must not put a file in its place.
#[tokio::test]
async fn a_pipe_that_is_written_to_stays_a_pipe() {
    let place = filled().await;
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("runs").success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).expect("reads")
    });
    assert_eq!(place.done(&["export", "00000000001", "-o", "pipe"]), "");
    assert_eq!(reader.join().expect("no panic"), FILE);
    assert!(fs::metadata(pipe).expect("is there").file_type().is_fifo());
}

#[tokio::test]
async fn nothing_is_changed_without_a_gateway() {
    let place = filled().await;
    let told = "; only a gateway that runs changes its queue: start it and ask again\n";
    for words in [
        &["retry", "00000000001"][..],
        &["retry", "--all", "--from-upstream=google", "--upstream=ses"],
        &["hold", "--all", "--entry=billing"],
        &["remove", "00000000001"],
        &["remove", "--all", "--yes"],
    ] {
        place.refused(69, told, words);
    }
    assert_eq!(place.json(&["list"])["queue"]["messages"], 3);
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let place = Place::new();
    for (told, words) in [
        ("a queue id is 11 digits", &["show", "../x"][..]),
        ("required", &["retry"]),
        ("cannot be used with", &["retry", "--all", "00000000001"]),
        ("cannot be used with", &["hold", "00000000001", "--entry=x"]),
        ("required", &["remove", "--entry=x", "--yes"]),
        ("possible values: dead, held, in_doubt, leased, owing, queued", &["list", "--standing=x"]),
        ("cannot be used with", &["list", "--totals", "--limit=3"]),
        ("cannot be used with", &["export", "00000000001", "-o", "x", "--directory=y"]),
    ] {
        place.refused(64, told, words);
    }
}

#[tokio::test]
async fn a_spool_that_cannot_be_read_is_told_with_its_mend() {
    let place = filled().await;
    fs::write(
        place.path("state/spool/spool.db"),
        "no database, and longer than a head of one is".repeat(9),
    )
    .expect("writes");
    for words in [&["list"][..], &["show", "00000000001"], &["export", "00000000001"]] {
        place.refused(74, "is not a spool of Gatepost, or its head is damaged", words);
    }
}

#[tokio::test]
async fn a_body_that_is_damaged_makes_no_file() {
    let place = Place::new();
    let spool = place.open();
    commit(&spool, 1).await;
    spool.close().await;
    // The content of a short message is a row of the database; its octets are found there.
    let database = place.path("state/spool/spool.db");
    let mut octets = fs::read(&database).expect("is there");
    let at = octets.windows(7).position(|it| it == b"..a dot").expect("is there");
    octets[at + 2] = b'x';
    fs::write(&database, octets).expect("writes");
    place.refused(74, "its body is damaged", &["export", "00000000001", "-o", "x.eml"]);
    assert!(!place.path("x.eml").exists());
    place.refused(74, "its body is damaged", &["show", &id(1).to_string(), "--headers"]);
    place.done(&["show", "00000000001"]);
}
