//! `compare` as a program: what it refuses, and one comparison that needs nobody but itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gatepost-loadtest");

fn compare(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("compare").args(arguments).output().unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_before_it_starts() {
    for (arguments, reason) in [
        (&["--peers", "sendmail"][..], "invalid value 'sendmail'"),
        (&["--load", "reused,heavy"], "invalid value 'heavy'"),
        (&["--peers", "gatepost-spool"], "gatepost-spool cannot take part: no --gatepost"),
        (&["--gatepost", "/no/gatepost"], "--gatepost: there is no program /no/gatepost"),
        (&["--peers", "direct", "--rounds", "0"], "rounds must be from 1"),
        (&["--peers", "direct", "--messages", "0"], "there must be messages"),
        (&["--peers", "direct", "--rate", "0"], "the rate must not be zero"),
        (&["--peers", "direct", "--work", "/no/folder"], "--work: no folder /no/folder"),
    ] {
        let output = compare(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(reason), "{arguments:?}: {complaint}");
    }
}

#[test]
fn who_is_asked_for_and_absent_is_an_error() {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["compare", "--peers", "direct,haraka"]).env("PATH", "/no").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaint, "gatepost-loadtest: haraka cannot take part: not installed\n");
}

#[test]
fn source_and_sink_alone_are_compared_with_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (work, page) = (folder.path().to_str().unwrap(), folder.path().join("report.html"));
    let mut arguments = vec!["--peers=direct", "--load", "reused,recipients", "--messages=40"];
    let report = format!("--report={}", page.display());
    arguments.extend(["--rounds=2", "--output=json", "--work", work, &report]);
    let output = compare(&arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("recipients, round 2 of 2, direct: "), "{told}");
    let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (load, name) in comparison["loads"].as_array().unwrap().iter().zip(["reused", "recipients"])
    {
        assert_eq!(load["load"], name);
        let direct = &load["relays"][0];
        assert_eq!(direct["relay"], "direct");
        assert!(direct["rate"]["min"].as_f64().unwrap() > 0.0, "{direct}");
        assert!(direct["p99_milliseconds"]["median"].as_f64().unwrap() > 0.0, "{direct}");
        assert_eq!(direct["cpu_microseconds"], Value::Null);
        assert_eq!(direct["failures"], Value::Array(vec![]));
    }
    let figures: Value =
        serde_json::from_slice(&fs::read(page.with_extension("json")).unwrap()).unwrap();
    assert_eq!(figures[0]["sections"][1]["title"], "Load: recipients");
    let left: Vec<_> = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|file| file.file_stem().unwrap() == "report"), "{left:?}");
}

#[test]
fn a_sink_answers_and_ends_with_whoever_asks() {
    let mut sink = Command::new(PROGRAM)
        .args(["sink", "--answer-totals", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = sink.stdin.take().unwrap();
    let mut lines = BufReader::new(sink.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("listening on 127.0.0.1:"));
    questions.write_all(b"\n").unwrap();
    assert!(lines.next().unwrap().starts_with("{\"messages\":0,\"recipients\":0,"));
    drop(questions);
    assert!(sink.wait().unwrap().success());
}
