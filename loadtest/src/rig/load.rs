//! One run of `gatepost-loadtest source`, in a process of its own; its summary is the interface.
//!
//! The summary is read leniently: what is not there is zero, what is new is passed over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::process::Command;

/// Connections of one run may come from this many addresses; ports of one alone run out.
const ADDRESSES: &str = "50";

/// The first of them.
const FIRST_ADDRESS: &str = "127.0.0.2";

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) target: SocketAddr,
    pub(crate) sessions: u32,
    pub(crate) messages: u64,
    /// Octets of a message.
    pub(crate) size: u64,
    pub(crate) manner: Manner,
    /// Messages a second, come what may; otherwise as many as are answered.
    pub(crate) rate: Option<u32>,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A connection for each message.
    PerSession,
    /// Connections are kept, commands go in groups.
    Pipelining,
    /// Connections are kept.
    Reused,
    /// Connections are kept, with TLS from the first octet on.
    Tls,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    pub(crate) messages: Counts,
    pub(crate) messages_per_second: f64,
    pub(crate) latency_milliseconds: Option<Percentiles>,
    refusals: Vec<Row>,
    failures: Vec<Row>,
}

/// Messages by outcome.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) asked: u64,
    pub(crate) accepted: u64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    stage: String,
    cause: String,
    count: u64,
    example: String,
}

/// The program that sends: this one.
pub(crate) fn sender() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it lies")
}

impl Load {
    /// Sends it all. An error if it could not start; refusals are told in the outcome.
    pub(crate) async fn run(&self) -> anyhow::Result<Outcome> {
        let mut command = Command::new(sender()?);
        command.args(self.arguments()).stdin(Stdio::null()).kill_on_drop(true);
        let told = command.output().await.context("cannot start the load")?;
        match serde_json::from_slice(&told.stdout) {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                let reason = String::from_utf8_lossy(&told.stderr);
                bail!("the load ended without a summary ({error}): {}", reason.trim())
            }
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["source".into(), self.target.to_string()];
        let mut add = |name: &str, value: &str| arguments.extend([name.into(), value.into()]);
        add("--sessions", &self.sessions.to_string());
        add("--messages", &self.messages.to_string());
        add("--size", &self.size.to_string());
        add("--output", "json");
        if self.target.is_ipv4() {
            add("--source-address", FIRST_ADDRESS);
            add("--source-count", ADDRESSES);
        }
        if let Some(rate) = self.rate {
            add("--rate", &rate.to_string());
        }
        let more: &[&str] = match self.manner {
            Manner::PerSession => &["--per-session"],
            Manner::Pipelining => &["--pipelining"],
            Manner::Reused => &[],
            Manner::Tls => &["--tls", "implicit", "--insecure"],
        };
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }
}

impl Outcome {
    /// What was not accepted and the first reason, in one line; `None` if all were.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Counts { asked, accepted } = self.messages;
        if accepted == asked && asked > 0 {
            return None;
        }
        let first = self.refusals.iter().chain(&self.failures).next();
        let reason = first.map_or_else(String::new, |Row { stage, cause, count, example }| {
            format!(": {count} times {cause} to {stage}, {example:?}")
        });
        Some(format!("{accepted} of {asked} messages were accepted{reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_leniently() {
        let outcome: Outcome = serde_json::from_str(
            r#"{"messages": {"asked": 9, "accepted": 7, "new": 1}, "phases": {},
                "refusals": [{"stage": "RCPT", "cause": "450", "count": 2, "example": "4.3.2 no"}]}"#,
        )
        .unwrap();
        let told = outcome.trouble().unwrap();
        assert_eq!(told, "7 of 9 messages were accepted: 2 times 450 to RCPT, \"4.3.2 no\"");
        let good: Outcome =
            serde_json::from_str(r#"{"messages": {"asked": 9, "accepted": 9}}"#).unwrap();
        assert_eq!(good.trouble(), None);
        assert!(
            Outcome::default().trouble().is_some(),
            "a summary that says nothing is no success"
        );
    }

    #[test]
    fn a_load_is_a_command_line() {
        let load = Load {
            target: "127.0.0.1:2600".parse().unwrap(),
            sessions: 20,
            messages: 500,
            size: 4096,
            manner: Manner::PerSession,
            rate: Some(100),
        };
        let told = load.arguments().join(" ");
        assert_eq!(
            told,
            "source 127.0.0.1:2600 --sessions 20 --messages 500 --size 4096 --output json \
             --source-address 127.0.0.2 --source-count 50 --rate 100 --per-session"
        );
    }
}
