//! Both ends of a measurement, as children of this program: the source that sends and the sink that
//! counts.
//!
//! What they print is read leniently: a value that is not there is not known.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{self, Instant};

use super::peer::Protection;
use crate::process::{log_tail, pinned};

/// A sink that does not answer at once is not there any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two questions: what is delivered meanwhile is charged to the relay as time.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The sink, which counts what arrives.
#[derive(Debug)]
pub(super) struct SinkProcess {
    _child: Child,
    questions: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(super) address: SocketAddr,
}

impl SinkProcess {
    pub(super) async fn start(
        cpus: &[usize],
        protection: Protection,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("this program does not know its own path")?;
        let log = folder.join("sink.log");
        let mut child = pinned(&program, cpus)?
            .args(["sink", "--answer-totals"])
            .args(protection.flag())
            .arg("127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).await?.into_std().await)
            .spawn()
            .context("cannot start the sink")?;
        let questions = child.stdin.take().context("the sink has no input")?;
        let output = child.stdout.take().context("the sink has no output")?;
        let mut lines = BufReader::new(output).lines();
        let first = next_line(&mut lines)
            .await
            .with_context(|| format!("the sink does not start: {}", log_tail(&log)))?;
        let address = first.strip_prefix("listening on ").and_then(|text| text.parse().ok());
        let address = address.with_context(|| format!("the sink says {first:?}"))?;
        Ok(Self { _child: child, questions, lines, address })
    }

    /// Recipients of what it has taken so far.
    pub(super) async fn recipients(&mut self) -> anyhow::Result<u64> {
        self.questions.write_all(b"\n").await.context("the sink is gone")?;
        let line = next_line(&mut self.lines).await.context("the sink is gone")?;
        count_in(&line).with_context(|| format!("the sink says {line:?}"))
    }

    /// Waits until it has taken so many; whether it has, in time.
    pub(super) async fn wait_for(
        &mut self,
        recipients: u64,
        timeout: Duration,
    ) -> anyhow::Result<Result<(), u64>> {
        let deadline = Instant::now() + timeout;
        loop {
            let taken = self.recipients().await?;
            if taken >= recipients {
                return Ok(Ok(()));
            }
            if Instant::now() > deadline {
                return Ok(Err(taken));
            }
            time::sleep(ASK_AGAIN).await;
        }
    }
}

async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<String> {
    let line = time::timeout(ANSWER_TIMEOUT, lines.next_line()).await??;
    line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// What a sink says when it is asked; there is more, which is of no interest here.
#[derive(Deserialize)]
struct Totals {
    recipients: u64,
}

fn count_in(line: &str) -> Option<u64> {
    serde_json::from_str(line).ok().map(|Totals { recipients }| recipients)
}

/// What a source says at its end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SourceReport {
    messages: Option<Messages>,
    pub(super) elapsed_seconds: Option<f64>,
    latency_milliseconds: Option<Latency>,
    refusals: Vec<Trouble>,
    failures: Vec<Trouble>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Messages {
    asked: u64,
    accepted: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Trouble {
    stage: String,
    cause: String,
    count: u64,
    example: String,
}

impl SourceReport {
    /// Messages, all of which were accepted; otherwise what went wrong first.
    pub(super) fn accepted(&self) -> anyhow::Result<u64> {
        let messages = self.messages.as_ref().context("the source tells no messages")?;
        if let Some(trouble) = self.refusals.iter().chain(&self.failures).next() {
            let Trouble { stage, cause, count, example } = trouble;
            bail!("{count} messages ended at {stage} with {cause}: {example}");
        }
        let Messages { asked, accepted } = *messages;
        ensure!(accepted > 0, "no message was accepted");
        ensure!(accepted >= asked, "{accepted} of {asked} messages were accepted");
        Ok(accepted)
    }

    pub(super) fn latency(&self) -> Latency {
        self.latency_milliseconds.unwrap_or_default()
    }
}

/// Runs a source to its end.
pub(super) async fn run_source(
    cpus: &[usize],
    arguments: &[String],
    protection: Protection,
    target: SocketAddr,
    timeout: Duration,
) -> anyhow::Result<SourceReport> {
    let program = env::current_exe().context("this program does not know its own path")?;
    let mut command = pinned(&program, cpus)?;
    command.arg("source").args(arguments).arg("--output=json");
    if let Some(flag) = protection.flag() {
        command.args([flag, "--insecure"]);
    }
    command.arg(target.to_string()).stdin(Stdio::null());
    let ended = time::timeout(timeout, command.output()).await;
    let ended =
        ended.with_context(|| format!("the source takes more than {} s", timeout.as_secs()))?;
    let output = ended.context("cannot start the source")?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::anyhow!("the source has failed: {}", complaint.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> SourceReport {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn recipients_are_read_from_the_totals() {
        assert_eq!(count_in(r#"{"messages": 7, "recipients": 700, "new": {}}"#), Some(700));
        assert_eq!(count_in(r#"{"messages": 7}"#), None);
        assert_eq!(count_in("listening on 127.0.0.1:25"), None);
    }

    #[test]
    fn a_report_may_lack_anything_and_have_more() {
        let text = r#"{"messages": {"asked": 9, "accepted": 9, "new": 1}, "phases": [],
            "latency_milliseconds": {"p50": 0.5, "p99.9": 3}, "elapsed_seconds": 0.25}"#;
        let report = report(text);
        assert_eq!(report.accepted().unwrap(), 9);
        assert_eq!(report.latency().p50, Some(0.5));
        assert_eq!((report.latency().p99, report.elapsed_seconds), (None, Some(0.25)));
        assert_eq!(self::report("{}").latency().p50, None);
        self::report("{}").accepted().unwrap_err();
    }

    #[test]
    fn not_everything_is_not_enough() {
        let few = report(r#"{"messages": {"asked": 9, "accepted": 8}}"#).accepted().unwrap_err();
        assert_eq!(few.to_string(), "8 of 9 messages were accepted");
        let text = r#"{"messages": {"asked": 9, "accepted": 8}, "refusals":
            [{"stage": "MAIL", "cause": "450", "count": 1, "example": "4.7.1 later"}]}"#;
        let refused = report(text).accepted().unwrap_err();
        assert_eq!(refused.to_string(), "1 messages ended at MAIL with 450: 4.7.1 later");
    }
}
