//! The program: arguments, output and exit status.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{env, fs, process};

use gatepost_loadtest::SinkOptions;
use serde_json::Value;
use tokio::task;

use support::{RunningSink, in_time};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gatepost-loadtest");

#[tokio::test]
async fn json_of_a_good_run_parses() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let target = sink.address.to_string();
        let arguments = ["-s", "4", "-m", "200", "--size", "1024", "--pipelining", "--output=json"];
        let output = source(&target, &arguments).await;
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty(), "no progress line without a terminal");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["messages"]["accepted"], 200);
        assert_eq!(summary["loop"], "closed");
        assert!(summary["latency_milliseconds"]["p99.9"].as_f64().unwrap() > 0.0);
        assert_eq!(summary["refusals"], Value::Array(vec![]));
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_open_loop_with_idle_connections_writes_its_page() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let target = sink.address.to_string();
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("run.html");
        let text =
            "-s 3 -R 500 -m 100 --arrivals poisson --size 1k-8k -r 1-3 --idle 7 --output json";
        let mut arguments: Vec<_> = text.split(' ').collect();
        arguments.extend(["--report", page.to_str().unwrap()]);
        let output = source(&target, &arguments).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["loop"], "open");
        assert_eq!(summary["open_loop"]["scheduled"], 100);
        assert_eq!(
            (&summary["idle"]["at_end"], &summary["sizes"]),
            (&7.into(), &"1024-8192".into())
        );
        let phases = summary["phases"].as_array().unwrap();
        let names: Vec<_> = phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
        let mail = ["mail", "rcpt", "data", "content", "message"];
        assert_eq!(names, [&["waiting", "connect", "greeting", "hello"], &mail[..]].concat());
        assert!(phases.iter().all(|phase| phase["p99.9_us"].as_f64().is_some()));
        assert!(summary["seconds"][0]["p99_us"].as_u64().unwrap() > 0);
        assert!(fs::read_to_string(&page).unwrap().to_lowercase().contains("<!doctype html>"));
        let figures: Value =
            serde_json::from_slice(&fs::read(page.with_extension("json")).unwrap()).unwrap();
        assert!(figures.to_string().contains("Source to 127.0.0.1:"), "{figures}");
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_refusal_fails_the_run() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions { size_max: 1000, ..SinkOptions::default() });
        let target = format!("localhost:{}", sink.address.port());
        let output = source(&target, &["-m", "30", "--size", "1024", "--per-session"]).await;
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        let row = "refusals              30 MAIL     552: 5.3.4 Message too big\n";
        assert!(text.contains(row), "{text}");
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_starts() {
    in_time(async {
        for (target, arguments, reason) in [
            ("192.0.2.1:25", &[][..], "--allow-any-target"),
            ("127.0.0.1", &[][..], "address:port"),
            ("127.0.0.1:25", &["--size", "10"][..], "octets"),
            ("127.0.0.1:25", &["--to", "nobody"][..], "local-part@domain"),
            ("127.0.0.1:25", &["--reuse", "--per-session"][..], "cannot be used with"),
            ("127.0.0.1:25", &["--helo", "--pipelining"][..], "cannot be used with"),
            ("127.0.0.1:25", &["--source-count", "3"][..], "--source-address"),
            ("127.0.0.1:25", &["--arrivals", "poisson"][..], "--rate"),
            ("127.0.0.1:25", &["--rate", "0"][..], "more than 0"),
            ("127.0.0.1:25", &["--messages", "0"][..], "idle connections and a duration"),
            ("127.0.0.1:25", &["--duration=-1"][..], "number of seconds"),
            ("127.0.0.1:25", &["--size", "4k-"][..], "number of octets"),
            ("127.0.0.1:25", &["--chunk-size", "4k"][..], "--bdat"),
            ("127.0.0.1:25", &["--insecure"][..], "--tls starttls"),
            ("127.0.0.1:25", &["--tls", "starttls", "--insecure", "--helo"][..], "EHLO"),
            ("127.0.0.1:25", &["--tls", "implicit", "--ca", "/nowhere"][..], "/nowhere"),
            (
                "127.0.0.1:25",
                &["--per-session", "--messages-per-connection=2"][..],
                "cannot be used",
            ),
        ] {
            let output = source(target, arguments).await;
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{complaint}");
            assert!(complaint.contains(reason), "{complaint}");
        }
    })
    .await;
}

#[test]
fn a_sink_says_where_it_is_and_what_it_took() {
    let folder = env::temp_dir().join(format!("gatepost-loadtest-sink-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let ca = folder.join("ca.pem");
    let mut command = Command::new(PROGRAM);
    command.args(["sink", "127.0.0.1:0", "--verify", "--output", "json", "--tls", "starttls"]);
    command.args(["--fault", "mail=452@100%", "--delay", "ehlo=1ms", "--write-ca"]).arg(&ca);
    let mut sink = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(sink.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    let address = first.trim_end().strip_prefix("listening on ").unwrap();
    assert!(fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let mut last_line = || replies.find(|line| line.as_bytes()[3] == b' ').unwrap();
    assert!(last_line().starts_with("220 "));
    for (line, code) in [("EHLO c", "250 "), ("MAIL FROM:<>", "452 "), ("WHAT", "500 ")] {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        assert!(last_line().starts_with(code));
    }
    let terminate = format!("kill -TERM {}", sink.id());
    assert!(Command::new("sh").args(["-c", &terminate]).status().unwrap().success());
    let totals: Value = serde_json::from_reader(output).unwrap();
    assert_eq!((&totals["messages"], &totals["refused"]), (&0.into(), &1.into()));
    assert_eq!(totals["connections"]["peak"], 1);
    assert_eq!(totals["faults"][0]["kind"], "452");
    assert_eq!(totals["faults"][0]["played"], 1);
    assert_eq!(totals["verification"]["verified"], 0);
    assert_eq!(sink.wait().unwrap().code(), Some(0), "no mail, no complaint");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_sink_that_finds_something_wrong_says_so() {
    let mut command = Command::new(PROGRAM);
    command.args(["sink", "127.0.0.1:0", "--verify"]);
    let mut sink = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(sink.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let mut stream = TcpStream::connect(first.strip_prefix("listening on ").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let message = format!(
        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nX-Loadtest-Run: {:016x}\r\n\
         X-Loadtest-Number: {:020}\r\nX-Loadtest-Digest: {:064x}\r\n\r\n.\r\nQUIT\r\n",
        0xbeef, 1, 0
    );
    stream.write_all(message.as_bytes()).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert!(replies.ends_with("221 2.0.0 Bye\r\n"), "{replies}");
    let terminate = format!("kill -TERM {}", sink.id());
    assert!(Command::new("sh").args(["-c", &terminate]).status().unwrap().success());
    let table: Vec<_> = lines.collect();
    for row in [
        "messages               1",
        "                       1 changed: 000000000000beef/1",
        "                       1 missing: 000000000000beef/0",
    ] {
        assert!(table.iter().any(|line| line == row), "{row} is not in {table:#?}");
    }
    assert_eq!(sink.wait().unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_sink_that_makes_no_sense_is_refused() {
    in_time(async {
        for (arguments, reason) in [
            (&["--fault", "rcpt=451"][..], "has no share: write how often, such as rcpt=451@5%"),
            (&["--fault", "rcpt=200@5%"], "reply code 200 refuses nothing: write one from 400"),
            (&["--fault", "dot=reset@60%", "--fault", "dot=550@41%"], "together are 101%"),
            (&["--delay", "quit=1s"], "there is no phase \"quit\": write one of connect, ehlo"),
            (&["--write-ca", "x"], "add --tls starttls or --tls implicit"),
            (&["--tls", "starttls", "--certificate", "x"], "--private-key"),
            (&["--tls", "implicit", "--certificate", "no/c", "--key", "no/k"], "cannot read no/c"),
        ] {
            let output = Command::new(PROGRAM).arg("sink").args(arguments).output().unwrap();
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{complaint}");
            assert!(complaint.contains(reason), "{complaint}");
        }
    })
    .await;
}

#[test]
fn a_simulator_says_where_it_is_and_what_it_saw() {
    let folder = env::temp_dir().join(format!("gatepost-loadtest-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (ca, client) = (folder.join("ca.pem"), folder.join("client.pem"));
    let mut command = Command::new(PROGRAM);
    command.args(["simulate", "--as", "ses", "127.0.0.1:0", "--limit", "connections=1"]);
    command.arg("--write-ca").arg(&ca).arg("--write-client-certificate").arg(&client);
    let mut simulator = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(simulator.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("listening on ").unwrap();
    let second = lines.next().unwrap();
    assert!(second.starts_with("listening on 127.0.0.1:"), "{second}");
    assert!(second.ends_with(", TLS at once"), "{second}");
    assert!(fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(fs::read_to_string(&client).unwrap().contains("PRIVATE KEY-----"));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    assert!(replies.next().unwrap().starts_with("220 "));
    stream.write_all(b"WHAT\r\n").unwrap();
    assert!(replies.next().unwrap().starts_with("502 "));
    let terminate = format!("kill -TERM {}", simulator.id());
    assert!(Command::new("sh").args(["-c", &terminate]).status().unwrap().success());
    let totals = lines.next().unwrap();
    assert!(totals.starts_with("0 messages, 0 recipients, 0 octets, 1 connections"), "{totals}");
    assert!(totals.ends_with("1 refused (1 syntax), 1 violations"), "{totals}");
    assert_eq!(lines.next().unwrap(), "connection 1: malformed command: WHAT");
    assert_eq!(simulator.wait().unwrap().code(), Some(1), "a rule was broken");
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_simulator_that_makes_no_sense_is_refused() {
    in_time(async {
        for (arguments, reason) in [
            (&["--as", "postfix"][..], "there is no provider \"postfix\"; there are google-relay,"),
            (&[], "--as <PROVIDER>"),
            (&["--as", "ses", "--limit", "messages-per-minute=1"], "ses has no limit"),
            (&["--as", "ses", "--limit", "messages=1"], "there is no limit \"messages\""),
            (&["--as", "ses", "--limit", "connections=few"], "N should be a number"),
            (&["--as", "ses", "--address", "10.0.0.0/33"], "should be an address, or a network"),
            (&["--as", "ses", "--account", "x"], "USER:PASSWORD"),
            (&["--as", "ses", "--hurry", "0"], "--hurry"),
            (&["--as", "ses", "--certificate", "x"], "--private-key"),
        ] {
            let output = Command::new(PROGRAM).arg("simulate").args(arguments).output().unwrap();
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{complaint}");
            assert!(complaint.contains(reason), "{complaint}");
        }
    })
    .await;
}

async fn source(target: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("source").args(arguments).arg(target);
    task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
