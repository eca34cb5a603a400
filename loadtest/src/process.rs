//! Programs under test: started, watched, measured and ended.
//!
//! A program that is one process is `Running`: what it uses can be asked of the kernel by its number,
//! and whoever may start it may measure it. One that may be many processes that come and go is
//! `Measured`, in a control group of its own, which takes root. Nothing here knows what a program
//! does. A measurement that is dropped takes its programs with it.

mod certificate;
mod group;
mod machine;
mod measured;
mod port;
mod running;
mod template;
mod usage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

pub use self::machine::{machine, now};

pub(crate) use self::certificate::{
    CERTIFICATE, CERTIFICATE_AND_KEY, PRIVATE_KEY, write_certificate,
};
pub(crate) use self::machine::{allowed_cpus, find_program, stay_on};
pub(crate) use self::measured::Measured;
pub(crate) use self::port::free_port;
pub(crate) use self::running::Opening;
#[cfg(test)]
use self::running::Running;
pub(crate) use self::template::render;
pub(crate) use self::usage::{Usage, usage_of};

/// A program and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// For messages, and a part of a control group's name.
    pub(crate) name: String,
    /// What is executed; a name without a slash is looked for in `PATH`.
    pub(crate) path: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// The working directory, in which the log is written too.
    pub(crate) folder: PathBuf,
    /// The CPUs it may use; empty for all.
    pub(crate) cpus: Vec<usize>,
}

/// A command that runs on these CPUs alone, and ends with whoever holds its child.
pub(crate) fn pinned(path: &Path, cpus: &[usize]) -> anyhow::Result<Command> {
    let mut words = pinning(cpus)?;
    words.push(path.as_os_str().to_owned());
    let mut command = Command::new(&words[0]);
    // Ctrl-C is for whoever measures, who then ends this in good order.
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

#[cfg(test)]
mod tests;
