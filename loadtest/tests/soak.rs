//! The soak and its neighbour `scale`, as programs. A sink stands in for a gateway that runs already:
//! both take mail and can be looked at.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gatepost-loadtest");

/// Rounds so small that several of them come within a second.
const SMALL: [&str; 6] = ["--messages", "40", "--sessions", "4", "--output", "json"];

/// A sink in a process of its own.
struct SinkProcess {
    child: Child,
    address: String,
}

impl SinkProcess {
    fn start() -> Self {
        let mut command = Command::new(PROGRAM);
        let mut child =
            command.args(["sink", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    /// A soak of this sink, for so many seconds.
    fn soak(&self, seconds: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        let pid = self.child.id().to_string();
        command.args(["soak", "--pid", &pid, "--target", &self.address]);
        command.args(["--duration", seconds]).args(SMALL);
        command
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        // It may have ended; a failing test must not leave it behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_short_soak_is_too_short_to_tell() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("soak.html");
    let sink = SinkProcess::start();
    let output = sink.soak("1").arg("--report").arg(&page).output().unwrap();
    let told: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.status.code(), Some(0), "{told:#}");
    assert_eq!(told["memory"]["verdict"], "too_short");
    assert_eq!(told["descriptors"]["verdict"], "too_short");
    assert_eq!(told["troubles"], Value::Array(vec![]));
    assert!(told["rounds"].as_u64().unwrap() >= 1, "{told:#}");
    let messages = &told["messages"];
    assert!(messages["accepted"].as_u64().unwrap() >= 40, "{told:#}");
    assert_eq!(messages["accepted"], messages["asked"]);
    assert_eq!(messages["arrived"], Value::Null, "nobody counts what arrives");
    assert!(fs::metadata(&page).unwrap().len() > 0);
    let figures = fs::read_to_string(page.with_extension("json")).unwrap();
    assert!(figures.contains("Does it grow?") && figures.contains("--duration 1"), "{figures}");
}

#[test]
fn a_gateway_that_ends_fails_the_soak() {
    // A process without a listener, and a listener that is the sign that the soak is under way.
    let mut gateway = Command::new("sleep").arg("60").spawn().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (pid, target) = (gateway.id().to_string(), listener.local_addr().unwrap().to_string());
    let mut command = Command::new(PROGRAM);
    command.args(["soak", "--pid", &pid, "--target", &target, "--duration", "60"]).args(SMALL);
    let soak = command.stdout(Stdio::piped()).spawn().unwrap();
    listener.accept().unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    drop(listener);
    let output = soak.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the gateway has ended"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_before_it_starts() {
    let here = std::process::id().to_string();
    for (arguments, reason) in [
        (&["soak"][..], "<--gatepost <PATH>|--pid <PID>>"),
        (&["soak", "--gatepost", "no/such/program"], "there is no program no/such/program"),
        (&["soak", "--pid", &here], "--target"),
        (&["soak", "--gatepost", "x", "--pid", &here, "--target", "127.0.0.1:1"], "cannot be used"),
        (&["soak", "--gatepost", "x", "--hours", "1", "--duration", "5"], "cannot be used"),
        (&["soak", "--gatepost", "x", "--hours", "0"], "--hours"),
        (&["soak", "--gatepost", "x", "--rate", "0"], "--rate"),
        (&["soak", "--gatepost", "x", "--duration", "5", "--warm-up", "5"], "leaves nothing"),
        (&["soak", "--pid", "4294967295", "--target", "127.0.0.1:1"], "cannot look at process"),
        (&["scale"], "--gatepost <PATH>"),
        (&["scale", "--gatepost", "x", "--only", "speed"], "possible values: entries, idle"),
        (&["scale", "--gatepost", "x", "--rounds", "0"], "--rounds"),
        (&["scale", "--gatepost", "no/such/program", "--only", "accept"], "there is no program"),
        (&["scale", "--gatepost", "x", "--load-cpu", "100000"], "cannot stay on CPU 100000"),
    ] {
        let output = run(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(reason), "{arguments:?}: {complaint}");
    }
}

#[test]
fn a_program_that_is_no_gateway_is_told() {
    let output = run(&["soak", "--gatepost", "/bin/true", "--duration", "5"]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(Path::new("/bin/true").exists() && complaint.contains("has ended"), "{complaint}");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}
