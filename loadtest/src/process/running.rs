//! A program that runs: its log, its greeting and its end.
//!
//! One process, or the first one of several. Starting it takes no rights that the program itself does
//! not need.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{self, Instant};

use super::usage::{Usage, usage_of};
use super::{Program, pinning};

/// The time that a gateway has to end by itself: it drains.
const STOP_TIME: Duration = Duration::from_secs(30);

/// How long one attempt to be greeted may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at something that has no event to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a program prints, in its folder.
const LOG: &str = "printed.log";

/// How much of a log is shown: what a terminal holds.
const LOG_TAIL_OCTETS_MAX: u64 = 1500;

/// What a client is given first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// The greeting (RFC 5321 §4.3.1), in plain text.
    Greeting,
    /// Nothing: the client begins with a TLS handshake (RFC 8314 §3).
    Handshake,
}

/// A process that ends with the value that stands for it.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Running {
    /// Starts a program. Must be called from within a tokio runtime.
    pub(crate) fn start(program: &Program) -> anyhow::Result<Self> {
        Self::start_behind(&[], program)
    }

    /// Starts it with other words in front, which must become the program in the end.
    pub(super) fn start_behind(first: &[OsString], program: &Program) -> anyhow::Result<Self> {
        let Program { name, path, arguments, folder, cpus } = program;
        let log = folder.join(LOG);
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut words = [first, &pinning(cpus)?].concat();
        words.push(path.into());
        words.extend_from_slice(arguments);
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for whoever measures, who then ends this in good order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.clone(), log, child })
    }

    /// Its number, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has and has used, without its children.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        usage_of(self.pid().ok_or_else(|| io::Error::other("it has ended"))?)
    }

    /// True while it has not ended.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it takes connections, and greets if it should.
    pub(crate) async fn ready(
        &mut self,
        address: SocketAddr,
        opening: Opening,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if is_open(address, opening).await {
                return Ok(());
            }
            if !self.alive() {
                bail!("{} has ended: {}", self.name, self.log_tail());
            }
            time::sleep(LOOK_AGAIN).await;
        }
        let seconds = patience.as_secs();
        bail!("{} does not greet within {seconds} s: {}", self.name, self.log_tail())
    }

    /// The end of what it has printed.
    pub(crate) fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// SIGTERM, and time to drain. An error if that does not end it, or not well; that it had ended
    /// before is for whoever watched it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if !self.alive() {
            return Ok(());
        }
        let ended = self.terminate(STOP_TIME).await;
        let ended = ended
            .with_context(|| format!("{} has not ended {STOP_TIME:?} after SIGTERM", self.name))?;
        let (name, tail) = (&self.name, self.log_tail());
        ensure!(ended.success(), "{name} ended after SIGTERM with {ended}: {tail}");
        Ok(())
    }

    /// SIGTERM, and how it ended if it did within `grace`.
    pub(super) async fn terminate(&mut self, grace: Duration) -> Option<ExitStatus> {
        if let Some(pid) = self.pid().and_then(process_id) {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process_group(pid, Signal::TERM);
        }
        time::timeout(grace, self.child.wait()).await.ok()?.ok()
    }
}

async fn is_open(address: SocketAddr, opening: Opening) -> bool {
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut code = *b"220";
        if opening == Opening::Greeting {
            stream.read_exact(&mut code).await?;
        }
        io::Result::Ok(code == *b"220")
    };
    matches!(time::timeout(GREETING_TIMEOUT, attempt).await, Ok(Ok(true)))
}

/// The end of a log, or why there is none.
fn log_tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_OCTETS_MAX)))?;
        let mut tail = Vec::new();
        file.take(LOG_TAIL_OCTETS_MAX).read_to_end(&mut tail)?;
        Ok(tail)
    };
    match read() {
        Ok(tail) if tail.is_empty() => "it has printed nothing".to_owned(),
        Ok(tail) => String::from_utf8_lossy(&tail).trim().to_owned(),
        Err(error) => format!("no log: {error}"),
    }
}

pub(super) fn process_id(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_a_greeting_is_a_greeting() {
        for (said, greets) in [("220 relay.test\r\n", true), ("421 busy\r\n", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                for _ in 0..2 {
                    // A client that wants no greeting is gone before it is written.
                    let _ = listener.accept().unwrap().0.write_all(said.as_bytes());
                }
            });
            assert_eq!(is_open(address, Opening::Greeting).await, greets);
            assert!(is_open(address, Opening::Handshake).await);
            server.join().unwrap();
            assert!(!is_open(address, Opening::Handshake).await, "nobody listens any more");
        }
    }

    #[test]
    fn the_end_of_a_log_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        assert!(log_tail(&file).starts_with("no log: "));
        fs::write(&file, "").unwrap();
        assert_eq!(log_tail(&file), "it has printed nothing");
        fs::write(&file, "x".repeat(5000) + "\nlast\n").unwrap();
        let tail = log_tail(&file);
        assert!(tail.ends_with("x\nlast") && tail.len() < 1501, "{}", tail.len());
    }
}
