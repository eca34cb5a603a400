//! The command line of `scale`, and its way into the options of the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

use anyhow::bail;
use clap::{Args, ValueEnum};
use gatepost_loadtest::scale::{Effort, Question, ScaleOptions, scale};
use gatepost_loadtest::{Mode, report};

use super::{OutputForm, command_line};
use crate::stop;

/// What stands below the options of `scale --help`.
const AFTER_HELP: &str = "\
Examples:
  gatepost-loadtest scale --gatepost target/release/gatepost --report scale.html
  gatepost-loadtest scale --gatepost target/release/gatepost --only idle,accept --rounds 5

Exit status: 0 if all messages were accepted and all idle sessions stood to the end, 1 if not, 2 if it
could not start.";

/// Measure what Gatepost costs as things grow: entries, idle sessions, messages, workers.
///
/// Gatepost has one CPU, and the load and the sink another one. Rounds alternate between the things that
/// are compared, and medians are told. The machine should have nothing else to do.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ScaleArguments {
    /// Gatepost's program
    #[arg(long, value_name = "PATH")]
    gatepost: PathBuf,

    /// Questions, separated by commas [default: all of them]
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Asked>,

    /// Rounds of each question
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,

    /// Small numbers and short times: shows that it works, the figures mean little
    #[arg(long)]
    quick: bool,

    /// Mode of delivery
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Sync)]
    mode: Mode,

    /// The gateway's CPU
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    gateway_cpu: usize,

    /// The CPU of load and sink, and of a second worker
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    load_cpu: usize,

    /// Write a page with plots here, and the figures as JSON beside it
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Form of the summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    output: OutputForm,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// CPU per message with policies of 10 to 1,000,000 entries
    Entries,
    /// Memory and CPU of up to 10,000 idle sessions, without TLS and with it
    Idle,
    /// CPU and memory over 1,000 to 100,000 messages
    Messages,
    /// CPU per message with one and with two workers
    Workers,
    /// What the gateway adds to the latency at fixed rates
    Latency,
    /// Connections a second
    Accept,
}

impl From<Asked> for Question {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Accept => Self::Accept,
            Asked::Entries => Self::Entries,
            Asked::Idle => Self::Idle,
            Asked::Latency => Self::Latency,
            Asked::Messages => Self::Messages,
            Asked::Workers => Self::Workers,
        }
    }
}

impl ScaleArguments {
    /// Asks, tells, and says whether all mail got through.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let stopped = stop::signal()?;
        let outcome = tokio::select! {
            outcome = scale(self.options(), |line| eprintln!("{line}")) => outcome?,
            () = stopped => bail!("stopped before all questions were answered"),
        };
        if let Some(page) = &self.report {
            report::write(page, slice::from_ref(&outcome.figures))?;
        }
        match self.output {
            OutputForm::Json => println!("{}", serde_json::to_string_pretty(&outcome.figures)?),
            OutputForm::Text => print!("{}", outcome.text()),
        }
        for trouble in &outcome.troubles {
            eprintln!("gatepost-loadtest: {trouble}");
        }
        Ok(if outcome.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn options(&self) -> ScaleOptions {
        let asked = if self.only.is_empty() { Asked::value_variants() } else { &self.only };
        ScaleOptions {
            gatepost: self.gatepost.clone(),
            mode: self.mode,
            questions: asked.iter().map(|&asked| asked.into()).collect(),
            rounds: self.rounds.into(),
            effort: if self.quick { Effort::Quick } else { Effort::Full },
            gateway_cpu: self.gateway_cpu,
            load_cpu: self.load_cpu,
            command: command_line(),
        }
    }
}
