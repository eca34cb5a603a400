//! The program: arguments, output and exit status.

mod support;

use std::process::{Command, Output};

use gatepost_loadtest::SinkOptions;
use serde_json::Value;
use tokio::task;

use support::{RunningSink, in_time};

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
        ] {
            let output = source(target, arguments).await;
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{complaint}");
            assert!(complaint.contains(reason), "{complaint}");
        }
    })
    .await;
}

async fn source(target: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost-loadtest"));
    command.arg("source").args(arguments).arg(target);
    task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
