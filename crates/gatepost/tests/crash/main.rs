//! Gateways that are killed in the middle of their work, again and again.
//!
//! Real clients send to a real gateway (`gatepost run`), which relays to an upstream in a process of
//! its own. Both are killed with SIGKILL at moments that nobody has chosen, and started again. A ledger
//! has what each client was told, a record what the upstream has accepted, and in the end the two are
//! compared, and with what the spool has kept: whatever was acknowledged has arrived, once, or is kept
//! for a reason; it may have arrived twice where nobody can know that it had arrived already.
//! docs/reliability.md tells what that shows and how to run it.
//!
//! Nothing here may be believed because it passes: [`self_check`] has it look at lies.

mod chance;
mod client;
mod full_disk;
mod gateway;
mod ledger;
mod letter;
mod lies;
mod options;
mod reconcile;
mod report;
mod run;
mod self_check;
mod spool;
mod upstream;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Command, Options};

/// As a shell says that a signal has ended a program.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let ended = runtime.expect("a runtime").block_on(async {
        tokio::select! {
            ended = begin(options) => ended,
            () = interrupted() => Ok(ExitCode::from(INTERRUPTED)),
        }
    });
    // Whoever is interrupted, or panics, drops the processes that it has started: that ends them.
    ended.unwrap_or_else(|error| {
        eprintln!("crash: {error:#}");
        ExitCode::FAILURE
    })
}

async fn begin(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        Some(Command::FullDisk(options)) => full_disk::main(options).await,
        Some(Command::Upstream(upstream)) => upstream::main(upstream).await,
        Some(Command::SelfCheck(check)) => tokio::task::block_in_place(|| self_check::main(&check)),
        None => run::main(options.run).await,
    }
}

async fn interrupted() {
    let listen = |kind| signal(kind).expect("signals can be listened to");
    let (mut int, mut term) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
