//! `gatepost-loadtest`: the load (`source`), the places where it ends (`sink`, `simulate`), what is
//! measured with them (`scale`, `soak`), and pages of it (`report`).
//!
//! Results go to standard output, what is live or wrong to standard error. Exit status: 0 if all went well,
//! 1 if what was measured did not (mail that was not accepted, a rule that was broken, a leak), 2 if it
//! could not start; the `--help` of each says what that means there.

#![forbid(unsafe_code)]

mod cli;
mod live;
mod progress;
mod stop;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Parser;
use gatepost_loadtest::simulate::Simulator;
use gatepost_loadtest::{Sink, SinkCounters, SinkOptions};

use crate::cli::{Arguments, Command, SimulateArguments};

/// Could not start; what clap uses for arguments that it refuses itself.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let finished = match Arguments::parse().command {
        Command::Report(arguments) => arguments.run(),
        Command::Scale(arguments) => arguments.run().await,
        Command::Simulate(arguments) => run_simulator(&arguments).await,
        Command::Sink(arguments) => run_sink(arguments.bind, arguments.into_options()).await,
        Command::Soak(arguments) => arguments.run().await,
        Command::Source(arguments) => arguments.run().await,
    };
    finished.unwrap_or_else(|error| {
        eprintln!("gatepost-loadtest: {error:#}");
        ExitCode::from(EXIT_USAGE)
    })
}

async fn run_simulator(arguments: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let stopped = stop::signal()?;
    let simulator = Simulator::start(arguments.options()?).await?;
    arguments.write_files(&simulator)?;
    println!("listening on {}", simulator.local_addr());
    if let Some(address) = simulator.implicit_addr() {
        println!("listening on {address}, TLS at once");
    }
    if let Some(endpoint) = simulator.token_endpoint() {
        println!("tokens from {endpoint}");
    }
    live::show_while(stopped, || simulator.record().to_string()).await;
    let record = simulator.shutdown().await;
    println!("{record}");
    for violation in &record.violations {
        println!("{violation}");
    }
    Ok(if record.violation_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_sink(bind: SocketAddr, options: SinkOptions) -> anyhow::Result<ExitCode> {
    let sink = Sink::bind(bind, options).with_context(|| format!("cannot listen on {bind}"))?;
    let counters = sink.counters();
    let stopped = stop::signal()?;
    println!("listening on {}", sink.local_addr());
    live::show_while(sink.run(stopped), || describe_sink(&counters)).await;
    println!("{}", describe_sink(&counters));
    Ok(ExitCode::SUCCESS)
}

fn describe_sink(counters: &SinkCounters) -> String {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "{} messages, {} recipients, {} octets, {} connections",
        count(&counters.messages),
        count(&counters.recipients),
        count(&counters.octets),
        count(&counters.connections),
    )
}
