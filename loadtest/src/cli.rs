//! The command line, and its way into the options of the library.

mod compare;
mod report;
mod scale;
mod simulate;
mod sink;
mod soak;
mod source;

use std::{env, iter};

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::compare::CompareArguments;
pub(crate) use self::report::ReportArguments;
pub(crate) use self::scale::ScaleArguments;
pub(crate) use self::simulate::SimulateArguments;
pub(crate) use self::sink::SinkArguments;
pub(crate) use self::soak::SoakArguments;
pub(crate) use self::source::SourceArguments;

/// Load for an SMTP relay: `source` sends messages, `sink` receives them and counts, `simulate`
/// receives them as a provider would. `soak` and `scale` set up a gateway between them, and look for
/// leaks and for what growth costs; `compare` puts other relays in its place; `report` draws what was
/// measured.
///
/// A relay is measured between two of them:  source -> relay -> sink
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Compare(Box<CompareArguments>),
    Report(ReportArguments),
    Scale(ScaleArguments),
    Simulate(Box<SimulateArguments>),
    Sink(Box<SinkArguments>),
    Soak(Box<SoakArguments>),
    Source(Box<SourceArguments>),
}

/// Form of what is told at the end.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OutputForm {
    /// For programs
    Json,
    /// For people
    Text,
}

/// How this program was called, for whoever wants to repeat a measurement.
fn command_line() -> String {
    let arguments = env::args_os().skip(1);
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    iter::once("gatepost-loadtest".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
