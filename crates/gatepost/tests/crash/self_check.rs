//! Whether a run fails when it has to: one with each sabotage, in a process of its own.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use serde_json::Value;

use crate::options::{Sabotage, SelfCheckOptions};
use crate::report::TOO_LITTLE;
use crate::run::kill;

/// How long each of these runs goes on, in seconds.
const SECONDS: &str = "4";

/// A run that is to fail; it is killed when this is dropped.
struct Sabotaged {
    child: Child,
    sabotage: Sabotage,
}

impl Drop for Sabotaged {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// Runs with all of them at the same time; the mode is the one that needs no time to come to rest.
pub(crate) fn main(options: &SelfCheckOptions) -> anyhow::Result<ExitCode> {
    let directory = tempfile::tempdir()?;
    let mut runs = Vec::new();
    for &sabotage in Sabotage::value_variants() {
        let child = Command::new(std::env::current_exe()?)
            .args(["--mode", "sync", "--seconds", SECONDS, "--kills", "2", "--clients", "4"])
            .args(["--sabotage", &sabotage.name(), "--report"])
            .arg(directory.path().join(sabotage.name()))
            .arg("--program")
            .arg(&options.program)
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        runs.push(Sabotaged { child, sabotage });
    }
    for mut run in runs {
        let status = run.child.wait()?;
        ensure!(status.code() == Some(1), "{:?} ended with {status}", run.sabotage);
        was_noticed(&directory.path().join(run.sabotage.name()), run.sabotage)?;
        println!("{:?} was noticed", run.sabotage);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the report has the fault that the sabotage looks like, and nothing else.
fn was_noticed(report: &Path, sabotage: Sabotage) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(report).context("the run has not come to its end")?;
    let report: Value = serde_json::from_str(&text)?;
    let faults = report["modes"][0]["faults"].as_object().context("a report has faults")?;
    let expected = match sabotage {
        Sabotage::Damage => "damaged",
        Sabotage::Double => "twice",
        Sabotage::Forget | Sabotage::MadeUp => "lost",
    };
    // A run of seconds on a busy machine may be one in which little happens.
    let found: Vec<_> = faults.keys().filter(|fault| *fault != TOO_LITTLE).collect();
    ensure!(found == [expected], "{sabotage:?} was taken for {found:?}");
    Ok(())
}
