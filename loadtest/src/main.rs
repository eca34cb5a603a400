//! `gatepost-loadtest`: the load (`source`), the places where it ends (`sink`, `simulate`), what is
//! measured with them (`compare`, `scale`, `soak`), and pages of it (`report`).
//!
//! Results go to standard output, what is live or wrong to standard error. Exit status: 0 if all went well,
//! 1 if what was measured did not (mail that was not accepted, a rule that was broken, a leak), 2 if it
//! could not start; the `--help` of each says what that means there.

#![forbid(unsafe_code)]

mod cli;
mod live;
mod progress;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Command};

/// Could not start; what clap uses for arguments that it refuses itself.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let finished = match Arguments::parse().command {
        Command::Compare(arguments) => arguments.run().await,
        Command::Report(arguments) => arguments.run(),
        Command::Scale(arguments) => arguments.run().await,
        Command::Simulate(arguments) => arguments.run().await,
        Command::Sink(arguments) => arguments.run().await,
        Command::Soak(arguments) => arguments.run().await,
        Command::Source(arguments) => arguments.run().await,
    };
    finished.unwrap_or_else(|error| {
        eprintln!("gatepost-loadtest: {error:#}");
        ExitCode::from(EXIT_USAGE)
    })
}
