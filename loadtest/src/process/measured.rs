//! A program with all its children, in a control group of its own.
//!
//! The group counts the CPU time of all of them, also of those that are gone, and nothing that a
//! program leaves behind can hide from its end. Making one needs root.

use std::io;
use std::time::Duration;

use anyhow::Context;

use super::group::Group;
use super::running::Running;
use super::{Program, Usage};

/// The time that a program has to end by itself; what is left of the group then is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Enters the control group and becomes the program: nothing that it starts is ever outside.
const ENTER: &str = r#"echo $$ > "$1" && shift && exec "$@""#;

/// A running program in a control group.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Its first process.
    pub(crate) running: Running,
    name: String,
    /// None if it is one process that is content without.
    pub(super) group: Option<Group>,
}

impl Measured {
    /// Makes the control group, which needs root, and starts the program in it. Must be called from
    /// within a tokio runtime.
    pub(crate) fn start(program: &Program) -> anyhow::Result<Self> {
        Self::within(Some(Group::new(&program.name)?), program)
    }

    /// Starts a program that is one process, in a control group if one can be made: without it, its CPU
    /// time is known to a hundredth of a second only.
    pub(crate) fn start_alone(program: &Program) -> anyhow::Result<Self> {
        Self::within(Group::new(&program.name).ok(), program)
    }

    fn within(group: Option<Group>, program: &Program) -> anyhow::Result<Self> {
        let name = program.name.clone();
        let running = match &group {
            None => Running::start(program)?,
            Some(group) => {
                let entrance = group.entrance().into();
                let enter = ["sh".into(), "-c".into(), ENTER.into(), "sh".into(), entrance];
                Running::start_behind(&enter, program)?
            }
        };
        Ok(Self { running, name, group })
    }

    /// What all its processes have, and have used since the start.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        self.group.as_ref().map_or_else(|| self.running.usage(), Group::usage)
    }

    /// SIGTERM, and time to drain; an error if that does not end it well. Nothing of its group is left.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        let Self { running, group: _group, .. } = self;
        running.stop().await
    }

    /// SIGTERM, some seconds of patience, and SIGKILL for whatever is left of the group.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let _ = self.running.terminate(STOP_GRACE).await;
        let Some(group) = self.group else { return Ok(()) };
        group.kill_all();
        // Nobody is left of the group, and this collects what the kernel keeps of the first process.
        let _ = self.running.terminate(STOP_GRACE).await;
        group.remove().with_context(|| format!("{} does not end", self.name))
    }
}
