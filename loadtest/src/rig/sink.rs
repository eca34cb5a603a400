//! The sink, `gatepost-loadtest sink` in a process of its own, which is asked what has arrived.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::{self, Instant};

use crate::process::pinned;

/// Any free port of this machine.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A sink that does not answer at once is not there any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two questions: what is delivered meanwhile is charged to the relay as time.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The sink, which ends with this value.
#[derive(Debug)]
pub(crate) struct SinkProcess {
    _child: Child,
    questions: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where the relay's upstream is.
    pub(crate) address: SocketAddr,
}

/// What it has taken; there is more, which is of no interest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Taken {
    pub(crate) messages: u64,
    pub(crate) recipients: u64,
}

impl SinkProcess {
    /// Starts it with these options. What it complains of goes to where our own complaints go.
    pub(crate) async fn start(
        address: SocketAddr,
        options: &[&str],
        cpus: &[usize],
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("this program does not know where it lies")?;
        let mut child = pinned(&program, cpus)?
            .args(["sink", "--answer-totals"])
            .args(options)
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the sink")?;
        let questions = child.stdin.take().context("the sink has no input")?;
        let output = child.stdout.take().context("the sink has no output")?;
        let mut lines = BufReader::new(output).lines();
        let first = next_line(&mut lines)
            .await
            .with_context(|| format!("the sink does not start on {address}"))?;
        let address = first.strip_prefix("listening on ").and_then(|text| text.parse().ok());
        let address = address.with_context(|| format!("the sink says {first:?}"))?;
        Ok(Self { _child: child, questions, lines, address })
    }

    /// What it has taken so far.
    pub(crate) async fn taken(&mut self) -> anyhow::Result<Taken> {
        self.questions.write_all(b"\n").await.context("the sink is gone")?;
        let line = next_line(&mut self.lines).await.context("the sink is gone")?;
        serde_json::from_str(&line).with_context(|| format!("the sink says {line:?}"))
    }

    /// What it has taken as soon as that is enough, or when the time is over.
    pub(crate) async fn wait_until(
        &mut self,
        enough: impl Fn(Taken) -> bool,
        limit: Duration,
    ) -> anyhow::Result<Taken> {
        let deadline = Instant::now() + limit;
        loop {
            let taken = self.taken().await?;
            if enough(taken) || Instant::now() > deadline {
                return Ok(taken);
            }
            time::sleep(ASK_AGAIN).await;
        }
    }
}

async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> io::Result<String> {
    let line = time::timeout(ANSWER_TIMEOUT, lines.next_line()).await??;
    line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_read_from_the_totals() {
        let read = |line| serde_json::from_str::<Taken>(line).ok();
        let taken = read(r#"{"messages": 7, "recipients": 700, "new": {}}"#);
        assert_eq!(taken, Some(Taken { messages: 7, recipients: 700 }));
        assert_eq!(read(r#"{"messages": 7}"#), None);
        assert_eq!(read("listening on 127.0.0.1:25"), None);
    }
}
