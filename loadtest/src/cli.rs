//! The command line, and its way into the options of the library.

mod compare;
mod report;
mod scale;
mod simulate;
mod soak;
mod source;

use std::net::SocketAddr;
use std::{env, fmt, iter};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gatepost_loadtest::SinkOptions;

pub(crate) use self::compare::CompareArguments;
pub(crate) use self::report::ReportArguments;
pub(crate) use self::scale::ScaleArguments;
pub(crate) use self::simulate::SimulateArguments;
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
    Sink(SinkArguments),
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

/// Mode of delivery of a gateway that is started.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// The upstream's word while there is one, a queue while there is none
    Hybrid,
    /// A queue first
    Spool,
    /// The upstream's word and nothing else
    Sync,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hybrid => "hybrid",
            Self::Spool => "spool",
            Self::Sync => "sync",
        })
    }
}

/// How this program was called, for whoever wants to repeat a measurement.
fn command_line() -> String {
    let arguments = env::args_os().skip(1);
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    iter::once("gatepost-loadtest".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Receive messages, count them and throw them away.
///
/// Prints the address it listens on, and on Ctrl-C or SIGTERM one line with the totals.
#[derive(Debug, Args)]
pub(crate) struct SinkArguments {
    /// Address to listen on; port 0 picks a free one
    #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525")]
    pub(crate) bind: SocketAddr,

    /// Connections at the same time; further ones wait in the listen queue
    #[arg(long, value_name = "N", default_value_t = SinkOptions::default().connections_max)]
    connections_max: usize,

    /// Largest message, in octets; announced with SIZE, larger ones get 552
    #[arg(long, value_name = "OCTETS", default_value_t = SinkOptions::default().size_max)]
    size_max: u64,

    /// Name in the greeting
    #[arg(long, value_name = "NAME", default_value_t = SinkOptions::default().hostname)]
    hostname: String,

    /// Print the totals for each line of standard input, and stop at its end: for programs
    #[arg(long, hide = true)]
    pub(crate) answer_totals: bool,
}

impl SinkArguments {
    pub(crate) fn into_options(self) -> SinkOptions {
        SinkOptions {
            hostname: self.hostname,
            connections_max: self.connections_max,
            size_max: self.size_max,
            ..SinkOptions::default()
        }
    }
}
