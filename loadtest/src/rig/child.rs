//! A gateway as a child of ours: one process, so that measuring it takes no control group and no root.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use crate::process::{Usage, pinned, usage_of};

/// How long it may take to end well: it drains.
const STOP_TIME: Duration = Duration::from_secs(20);

/// A process that ends with the value that stands for it.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Starts a program in a folder, on these CPUs; what it prints goes to a log there.
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        cpus: &[usize],
    ) -> anyhow::Result<Self> {
        let log = File::create(folder.join("printed.log"))?;
        let mut command = pinned(program, cpus)?;
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    /// What it has and has used.
    pub(super) fn usage(&self) -> io::Result<Usage> {
        usage_of(self.0.id().ok_or_else(|| io::Error::other("it has ended"))?)
    }

    /// Whether it still runs.
    pub(super) fn alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// SIGTERM, and SIGKILL if that does not help.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIME, self.0.wait()).await.is_err() {
            self.0.kill().await?;
        }
        Ok(())
    }
}
