//! The command line of `soak`, and its way into the options of the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{ArgGroup, Args};
use gatepost_loadtest::soak::{SoakOptions, SoakProgress, SoakedGateway, Tolerance, soak};
use gatepost_loadtest::{Mode, report};

use super::{OutputForm, command_line};
use crate::{live, stop};

const SECONDS_PER_HOUR: f64 = 3600.0;

/// A year; more is a slip of the keyboard.
const HOURS_MAX: f64 = 24.0 * 365.0;

/// What stands below the options of `soak --help`.
const AFTER_HELP: &str = "\
Examples:
  gatepost-loadtest soak --gatepost target/release/gatepost --hours 8 --tls --report soak.html
  gatepost-loadtest soak --pid 4711 --target 127.0.0.1:25 --sink 127.0.0.1:2525 --duration 600

Exit status: 0 if all mail arrived and nothing is known to grow, 1 if mail was lost or something
leaks, 2 if it could not start. What is too short to tell is told as that, and is no failure.";

/// Send mixed load for hours, and look for mail that is lost and for what grows.
///
/// Rounds of kept sessions, a connection per message, pipelining, large messages, idle sessions that
/// come and go, clients that hang up in the middle and, with TLS, encrypted ones follow each other,
/// while memory, descriptors and CPU of the gateway are sampled. At the end stands a verdict on both
/// memory and descriptors: steady, growing, or too short to tell.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("gateway").required(true))]
pub(crate) struct SoakArguments {
    /// Gatepost's program: started with a policy that lets the load in, in front of a sink
    #[arg(long, value_name = "PATH", group = "gateway")]
    gatepost: Option<PathBuf>,

    /// Process of a gateway that runs already, on this machine
    #[arg(long, value_name = "PID", group = "gateway", requires = "target")]
    pid: Option<u32>,

    /// Its listener without TLS
    #[arg(long, value_name = "ADDRESS:PORT", requires = "pid")]
    target: Option<SocketAddr>,

    /// Its listener where TLS begins at once; its certificate is not verified
    #[arg(long, value_name = "ADDRESS:PORT", requires = "pid")]
    tls_target: Option<SocketAddr>,

    /// Where its upstream is: a sink listens there and counts what arrives
    #[arg(long, value_name = "ADDRESS:PORT", requires = "pid")]
    sink: Option<SocketAddr>,

    /// Rounds with TLS as well
    #[arg(long, requires = "gatepost")]
    tls: bool,

    /// Mode of delivery
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Sync, requires = "gatepost")]
    mode: Mode,

    /// How long, in hours
    #[arg(long, value_name = "H", conflicts_with = "duration", default_value_t = 1.0)]
    hours: f64,

    /// How long, in seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,

    /// Seconds at the beginning that are not judged [default: a fifth of all, at most 900]
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<u64>,

    /// Sessions at the same time
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    sessions: u32,

    /// Messages of a round; of large ones a twentieth, and with --rate at most those of five seconds
    #[arg(short, long, value_name = "N", default_value_t = 4000)]
    messages: u64,

    /// Messages a second; as many as are answered, if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// KiB that memory may gain over the judged time without being a leak
    #[arg(long, value_name = "KIB", default_value_t = 4096)]
    memory_tolerance: u64,

    /// Descriptors that may be gained over the judged time without being a leak
    #[arg(long, value_name = "N", default_value_t = 10)]
    descriptor_tolerance: u64,

    /// Write a page with plots here, and the figures as JSON beside it
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,

    /// Form of the summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    output: OutputForm,
}

impl SoakArguments {
    /// Soaks, tells, and says what the verdict is.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let progress = SoakProgress::default();
        let soaking = soak(self.options()?, &progress, stop::signal()?);
        let outcome = live::show_while(soaking, || progress.to_string()).await?;
        if let Some(page) = &self.report {
            report::write(page, &[outcome.figures()])?;
        }
        match self.output {
            OutputForm::Json => println!("{}", serde_json::to_string_pretty(&outcome)?),
            OutputForm::Text => print!("{outcome}"),
        }
        Ok(if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn options(&self) -> anyhow::Result<SoakOptions> {
        let hours = self.hours;
        ensure!(hours > 0.0 && hours <= HOURS_MAX, "--hours must be from 0 to {HOURS_MAX}");
        let hours = Duration::from_secs_f64(hours * SECONDS_PER_HOUR);
        let duration = self.duration.map_or(hours, Duration::from_secs);
        let warm_up = self.warm_up.map(Duration::from_secs);
        if let Some(warm_up) = warm_up {
            ensure!(warm_up < duration, "a warm-up of {warm_up:?} leaves nothing of {duration:?}");
        }
        Ok(SoakOptions {
            gateway: self.gateway(),
            duration,
            warm_up,
            sessions: self.sessions,
            messages: self.messages,
            rate: self.rate,
            tolerance: Tolerance {
                memory: self.memory_tolerance.saturating_mul(1024),
                descriptors: self.descriptor_tolerance,
            },
            command: command_line(),
        })
    }

    fn gateway(&self) -> SoakedGateway {
        match (self.pid, self.target) {
            (Some(pid), Some(target)) => {
                let (tls_target, sink) = (self.tls_target, self.sink);
                SoakedGateway::Running { pid, target, tls_target, sink }
            }
            _ => SoakedGateway::Program {
                // One of the group is required, and the other one is not there.
                path: self.gatepost.clone().unwrap_or_default(),
                mode: self.mode,
                tls: self.tls,
            },
        }
    }
}
