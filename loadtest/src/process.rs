//! Programs under test: started in a control group of their own, measured with all their children,
//! and ended.
//!
//! A relay may be many processes that come and go. The control group counts the CPU time of all of
//! them, also of those that are gone, and nothing that a program leaves behind can hide from its end.
//! Making one needs root. Nothing here knows what a program does; [`GatepostSetup`] alone knows how
//! one of them is configured. A measurement that is dropped takes its programs with it.

mod certificate;
mod gatepost;
mod group;
mod machine;
mod port;
mod template;
mod usage;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{self, Instant};

pub use self::certificate::{CERTIFICATE, CERTIFICATE_AND_KEY, PRIVATE_KEY, write_certificate};
pub use self::gatepost::{GatepostSetup, RunningGatepost};
pub use self::machine::{allowed_cpus, find_program, machine, now};
pub use self::port::free_port;
pub use self::template::render;
pub use self::usage::{Usage, usage_of};

use self::group::Group;

/// The time that a program has to end by itself; a relay that drains takes a moment.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The time that a program has until it greets. Postfix looks through its whole queue first.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one attempt to be greeted may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at something that has no event to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a program prints, in its folder.
const LOG: &str = "printed.log";

/// How much of a log is shown: what a terminal holds.
const LOG_TAIL_OCTETS_MAX: u64 = 1500;

/// Enters the control group and becomes the program: nothing that it starts is ever outside.
const ENTER: &str = r#"echo $$ > "$1" && shift && exec "$@""#;

/// A program and where it runs.
#[derive(Clone, Debug)]
pub struct Program {
    /// For messages, and a part of the control group's name.
    pub name: String,
    /// What is executed; a name without a slash is looked for in `PATH`.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The working directory, in which the log is written too.
    pub folder: PathBuf,
    /// The CPUs it may use; empty for all.
    pub cpus: Vec<usize>,
}

/// What a client is given first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The greeting (RFC 5321 §4.3.1), in plain text.
    Greeting,
    /// Nothing: the client begins with a TLS handshake (RFC 8314 §3).
    Handshake,
}

/// A running program in a control group of its own.
#[derive(Debug)]
pub struct Measured {
    name: String,
    log: PathBuf,
    child: Child,
    group: Group,
}

impl Measured {
    /// Makes the control group, which needs root, and starts the program in it. Must be called from
    /// within a tokio runtime.
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let name = &program.name;
        let group = Group::new(name)?;
        let log = program.folder.join(LOG);
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]).arg(group.entrance());
        command.args(pinning(&program.cpus)?);
        let child = command
            .arg(&program.path)
            .args(&program.arguments)
            .current_dir(&program.folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for whoever measures, who then ends this in good order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.clone(), log, child, group })
    }

    /// What all its processes have, and have used since the start.
    pub fn usage(&self) -> io::Result<Usage> {
        self.group.usage()
    }

    /// True while the process that was started has not ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it takes connections, and greets if it should.
    pub async fn ready(&mut self, address: SocketAddr, opening: Opening) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if is_open(address, opening).await {
                return Ok(());
            }
            if !self.alive() {
                bail!("{} has ended: {}", self.name, self.log_tail());
            }
            time::sleep(LOOK_AGAIN).await;
        }
        let seconds = START_TIMEOUT.as_secs();
        bail!("{} does not greet within {seconds} s: {}", self.name, self.log_tail())
    }

    /// The end of what it has printed.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// SIGTERM, some seconds of patience, and SIGKILL for whatever is left of the group.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(process_id) {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process_group(pid, Signal::TERM);
            let _ = time::timeout(STOP_GRACE, self.child.wait()).await;
        }
        self.group.kill_all();
        // Nobody is left of the group, and this collects what the kernel keeps of the first process.
        let _ = time::timeout(STOP_GRACE, self.child.wait()).await;
        self.group.remove().with_context(|| format!("{} does not end", self.name))
    }
}

/// A command that runs on these CPUs alone, and ends with whoever holds its child.
pub fn pinned(path: &Path, cpus: &[usize]) -> anyhow::Result<Command> {
    let mut words = pinning(cpus)?;
    words.push(path.as_os_str().to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).process_group(0).kill_on_drop(true);
    Ok(command)
}

/// The words in front of a command that keep it on these CPUs.
fn pinning(cpus: &[usize]) -> anyhow::Result<Vec<OsString>> {
    if cpus.is_empty() {
        return Ok(Vec::new());
    }
    let taskset = find_program("taskset").context("taskset (of util-linux) is not installed")?;
    let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
    Ok(vec![taskset.into(), "-c".into(), list.join(",").into()])
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
pub fn log_tail(path: &Path) -> String {
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

fn process_id(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests;
