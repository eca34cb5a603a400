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

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use clap::Parser;
use gatepost_loadtest::simulate::Simulator;
use gatepost_loadtest::{Sink, SinkCounters};
use tokio::sync::oneshot;

use crate::cli::{Arguments, Command, SimulateArguments, SinkArguments};

/// Could not start; what clap uses for arguments that it refuses itself.
const EXIT_USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let finished = match Arguments::parse().command {
        Command::Compare(arguments) => arguments.run().await,
        Command::Report(arguments) => arguments.run(),
        Command::Scale(arguments) => arguments.run().await,
        Command::Simulate(arguments) => run_simulator(&arguments).await,
        Command::Sink(arguments) => run_sink(arguments).await,
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

async fn run_sink(arguments: SinkArguments) -> anyhow::Result<ExitCode> {
    let (bind, answers) = (arguments.bind, arguments.answer_totals);
    let sink = Sink::bind(bind, arguments.into_options())
        .with_context(|| format!("cannot listen on {bind}"))?;
    let counters = sink.counters();
    let signal = stop::signal()?;
    println!("listening on {}", sink.local_addr());
    let unasked = if answers { Some(answer_totals(Arc::clone(&counters))) } else { None };
    let stopped = async {
        tokio::select! {
            () = signal => {}
            Some(_) = async { Some(unasked?.await) } => {}
        }
    };
    live::show_while(sink.run(stopped), || describe_sink(&counters)).await;
    println!("{}", describe_sink(&counters));
    Ok(ExitCode::SUCCESS)
}

/// Prints the totals for each line of standard input. What is returned is ready at the end of it:
/// whoever asked is gone then, and nobody else will stop the sink.
fn answer_totals(counters: Arc<SinkCounters>) -> oneshot::Receiver<()> {
    let (gone, is_gone) = oneshot::channel();
    // A read of standard input cannot be cancelled: the runtime would wait for it at the end.
    thread::spawn(move || {
        let questions = io::stdin().lines().map_while(Result::ok);
        questions.for_each(|_| println!("{}", describe_sink(&counters)));
        // Nobody waits for it if a signal was first.
        let _ = gone.send(());
    });
    is_gone
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
