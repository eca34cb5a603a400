//! The command line of `compare`, and its way into the options of the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use gatepost_loadtest::compare::{Compare, CompareOptions, Load, Peer, Volume, WorkFolders};
use gatepost_loadtest::report;

use super::{OutputForm, command_line};
use crate::stop;

/// What stands below the options of `compare --help`.
const AFTER_HELP: &str = "\
Needs root, for control groups, and two CPUs: one for the relay, one for the load. All loads with
all relays take some minutes a round.

Examples:
  gatepost-loadtest compare --gatepost target/release/gatepost --load reused,per-session
  gatepost-loadtest compare --gatepost gatepost --peers postfix,gatepost-spool --rounds 5 --load reused
  gatepost-loadtest compare --gatepost gatepost --load latency --rate 1000 --report latency.html

Exit status: 0 if every relay has relayed everything, 1 if one failed or it was stopped, 2 if it
could not start.";

/// Give the same load to Gatepost and to other relays, and tell what each of them costs.
///
/// One after the other, and all of them in each round; medians over the rounds, and ratios to
/// HAProxy, or to Postfix for relays that answer when the message is on the disk.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CompareArguments {
    /// Gatepost's program
    #[arg(long, value_name = "PATH")]
    gatepost: Option<PathBuf>,

    /// Relays, separated by commas [default: all that are installed, and what is left out is told]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    peers: Option<Vec<Peer>>,

    /// Loads, separated by commas [default: all of them]
    #[arg(long = "load", value_name = "NAMES", value_delimiter = ',', num_args = 1..)]
    loads: Option<Vec<Load>>,

    /// How often each relay is given each load
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,

    /// Messages of each load [default: each load's own number]
    #[arg(long, value_name = "N")]
    messages: Option<u64>,

    /// Messages a second of the load `latency`
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u32,

    /// Seconds of the load `latency`
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    duration: u64,

    /// Seconds that a load may take, and again until all of it is at the sink
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,

    /// Where queues and spools are made for a round; on a disk, or durability costs nothing
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    work: PathBuf,

    /// Keep these folders, with configurations and logs
    #[arg(long)]
    keep: bool,

    /// Write a page with plots here, and the figures as JSON beside it
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Form of the summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    output: OutputForm,
}

impl CompareArguments {
    /// Compares, tells, and says whether every relay has relayed everything.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let stopped = stop::signal()?;
        let compare = Compare::new(self.options())?;
        let comparison = compare.run(stopped, |line| eprintln!("{line}")).await?;
        match self.output {
            OutputForm::Json => println!("{}", serde_json::to_string_pretty(&comparison)?),
            OutputForm::Text => print!("{comparison}"),
        }
        if let Some(page) = &self.report {
            report::write(page, &[comparison.figures(command_line())])?;
        }
        Ok(if comparison.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn options(&self) -> CompareOptions {
        CompareOptions {
            gatepost: self.gatepost.clone(),
            peers: self.peers.clone(),
            loads: self.loads.clone().unwrap_or_else(|| Load::value_variants().to_vec()),
            rounds: self.rounds,
            volume: Volume {
                messages: self.messages,
                rate: self.rate,
                duration: Duration::from_secs(self.duration),
            },
            timeout: Duration::from_secs(self.timeout),
            work: self.work.clone(),
            folders: if self.keep { WorkFolders::Kept } else { WorkFolders::Removed },
        }
    }
}
