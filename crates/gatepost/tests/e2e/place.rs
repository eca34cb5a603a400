//! A directory that gateways and commands are run on, one after another and at once.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gatepost_testkit::ByteClient;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{POLICY, Settings, config_text};
use crate::program::Program;

/// What the edits of tests are signed with.
pub(crate) const AUTHOR: &str = "ada";

/// Adds an entry for a client on 127.0.0.1.
pub(crate) const FLEET: [&str; 5] =
    ["entry", "add", "fleet", "--network=127.0.0.1", "--sender=app.test"];
/// Adds one for somebody else, so that the policy is never one that lets nobody in.
pub(crate) const OTHER: [&str; 5] =
    ["entry", "add", "other", "--network=127.0.0.2", "--sender=app.test"];

/// A directory with a configuration.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) directory: Arc<TempDir>,
}

/// What a command has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// One whose policy is in a store, which is empty.
    pub(crate) fn with_store(upstream: SocketAddr) -> Self {
        Self::new(upstream, "store = true")
    }

    /// A store with both entries, at revision 2.
    pub(crate) fn filled(upstream: SocketAddr) -> Self {
        let place = Self::with_store(upstream);
        place.done(&FLEET);
        place.done(&OTHER);
        place
    }

    /// One whose policy is in a file.
    pub(crate) fn with_file(upstream: SocketAddr) -> Self {
        Self::new(upstream, "file = \"policy.toml\"")
    }

    /// One with these lines in `[policy]`.
    pub(crate) fn new(upstream: SocketAddr, policy: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config =
            config_text(upstream, &Settings::default()).replace("file = \"policy.toml\"", policy);
        let place = Self { directory: Arc::new(directory) };
        place.write("gatepost.toml", &config);
        place.write("policy.toml", POLICY);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
    }

    /// A gateway that serves.
    pub(crate) fn run(&self) -> Program {
        Program::start_in(&self.directory)
    }

    pub(crate) fn gatepost(&self, arguments: &[&str]) -> Answer {
        gatepost(self.directory.path(), arguments)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        json(self.directory.path(), arguments)
    }

    /// A command that does what it is asked to; what it prints.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let answer = self.gatepost(arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        answer.stdout
    }

    /// A command that does nothing: it prints nothing, and tells why.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, told: &str, arguments: &[&str]) -> Answer {
        let answer = self.gatepost(arguments);
        let is_told = answer.stderr.lines().any(|line| line.starts_with(&format!("error: {told}")));
        assert!(is_told, "{arguments:?}: {answer:?}");
        assert_eq!((answer.code, &*answer.stdout), (Some(code), ""), "{arguments:?}: {answer:?}");
        answer
    }

    /// The ids of the entries that hold.
    pub(crate) fn ids(&self) -> Vec<String> {
        let listed = self.json(&["entry", "list"]);
        let entries = listed["entries"].as_array().expect("entries");
        entries.iter().map(|entry| entry["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The revisions of the history, the newest first.
    pub(crate) fn revisions(&self) -> Vec<u64> {
        let history = self.json(&["history", "--limit=1000"]);
        let revisions = history["revisions"].as_array().expect("revisions");
        revisions.iter().map(|it| it["number"].as_u64().expect("a number")).collect()
    }
}

impl Program {
    /// A client from 127.0.0.1, and its greeting.
    pub(crate) async fn greeted(&self, greeting: &str) -> ByteClient {
        let mut client = ByteClient::connect(self.addr).await;
        client.expect(greeting).await;
        client
    }

    /// A client that has been let in and has said EHLO.
    pub(crate) async fn client(&self) -> ByteClient {
        let mut client = self.greeted("220").await;
        client.send_line("EHLO app.test").await;
        client.expect("250").await;
        client
    }
}

/// Runs the program with the configuration of a directory.
pub(crate) fn gatepost(directory: &Path, arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(arguments)
        .arg("--config")
        .arg(directory.join("gatepost.toml"))
        .env_remove("SUDO_USER")
        .env("USER", AUTHOR)
        .output()
        .expect("the program runs");
    let text = |octets| String::from_utf8(octets).expect("UTF-8");
    Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What a command prints for programs.
pub(crate) fn json(directory: &Path, arguments: &[&str]) -> Value {
    let answer = gatepost(directory, &[arguments, &["--output=json"]].concat());
    serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}
