//! When and where something was measured.

use std::process::{self, Command};

use anyhow::{Context, ensure};
use jiff::{Timestamp, Unit};

/// The time, RFC 3339, UTC.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    // A clock at the end of its range cannot be rounded; then it is told as it is.
    now.round(Unit::Second).unwrap_or(now).to_string()
}

/// Keeps this process, and all that it will start, on one CPU: the other one is the gateway's.
pub(crate) fn stay_on(cpu: usize) -> anyhow::Result<()> {
    let (cpu, pid) = (cpu.to_string(), process::id().to_string());
    let told = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &cpu, &pid])
        .output()
        .context("cannot run taskset, which keeps load and gateway on CPUs of their own")?;
    let reason = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "cannot stay on CPU {cpu}: {}", reason.trim());
    Ok(())
}
