//! Programs under test as the kernel sees them: what they use, and how they are started and ended.
//!
//! A child is started in a folder of its own and pinned to CPUs; what it uses is read from `/proc`
//! and from nowhere else. It never outlives the value that stands for it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

/// How long a program may take to end well.
const STOP_TIME: Duration = Duration::from_secs(20);

/// Between two looks at whether it has ended.
const STOP_POLL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in figures and logs.
    pub name: String,
    /// The binary.
    pub path: PathBuf,
    /// What it is called with.
    pub arguments: Vec<OsString>,
    /// Where it works, and where its output goes.
    pub folder: PathBuf,
    /// The CPUs it may use; empty for all.
    pub cpus: Vec<usize>,
}

/// What a process has and has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Octets: the proportional set size, or the resident set where that cannot be read.
    pub memory: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

/// A running program.
#[derive(Debug)]
pub struct Measured {
    child: Child,
}

impl Measured {
    /// Starts it.
    pub fn start(program: &Program) -> anyhow::Result<Self> {
        let log = File::create(program.folder.join(format!("{}.log", program.name)))?;
        let mut command = if program.cpus.is_empty() {
            Command::new(&program.path)
        } else {
            let cpus: Vec<String> = program.cpus.iter().map(usize::to_string).collect();
            let mut command = Command::new("taskset");
            command.arg("-c").arg(cpus.join(",")).arg(&program.path);
            command
        };
        command.args(&program.arguments).current_dir(&program.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", program.path.display()))?;
        Ok(Self { child })
    }

    /// What it has and has used.
    pub fn usage(&self) -> io::Result<Usage> {
        usage_of(self.child.id())
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and SIGKILL if that does not help.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().context("cannot run kill")?;
        let end = Instant::now() + STOP_TIME;
        while self.alive() && Instant::now() < end {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // It has ended, or is ended here; there is nobody to tell of more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one process has and has used, whoever started it.
pub fn usage_of(pid: u32) -> io::Result<Usage> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0);
    }
    let kib = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| field(&text, "Pss:"))
        .or_else(|| field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"));
    let kib = kib.ok_or_else(|| io::Error::other(format!("no memory of process {pid}")))?;
    Ok(Usage { cpu: Duration::from_nanos(nanoseconds), memory: kib * 1024, descriptors })
}

/// Processor, number of CPUs, kernel.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cpus = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cpus} CPUs, Linux {}", model.unwrap_or("unknown"), kernel.trim())
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
