//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Kills gateways, and looks whether they have kept their word.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// What else this program is.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// What else this program is.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Fills the disk that a gateway runs on; as root, because it mounts one
    FullDisk(FullDiskOptions),
    /// The upstream of a run: it ends with the run that has started it
    Upstream(UpstreamOptions),
    /// Runs with each sabotage, and fails if one was not noticed
    SelfCheck(SelfCheckOptions),
}

/// What a run is.
#[derive(Args, Clone)]
pub(crate) struct RunOptions {
    /// The mode of delivery
    #[arg(long, value_enum, default_value_t = Modes::All)]
    pub(crate) mode: Modes,
    /// How long gateways are killed, at the least, in each mode
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// How often, at the least, in each mode
    #[arg(long, default_value_t = 1)]
    pub(crate) kills: u32,
    /// Clients that send at the same time
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) clients: u8,
    /// Where chance begins; what the machine does with it differs from run to run
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// The program that is killed
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gatepost"))]
    pub(crate) program: PathBuf,
    /// Where the report goes, as JSON
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// Something is made wrong: the run has to fail
    #[arg(long, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// The upstream of a run.
#[derive(Args)]
pub(crate) struct UpstreamOptions {
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// The file that it appends what it has accepted to
    #[arg(long)]
    pub(crate) record: PathBuf,
    #[arg(long)]
    pub(crate) incarnation: u32,
    #[arg(long)]
    pub(crate) seed: u64,
    /// It accepts what it can, at once
    #[arg(long)]
    pub(crate) healthy: bool,
    #[arg(long, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// How the harness looks at lies.
#[derive(Args)]
pub(crate) struct SelfCheckOptions {
    /// The program that is killed
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gatepost"))]
    pub(crate) program: PathBuf,
}

/// A gateway on a full disk.
#[derive(Args)]
pub(crate) struct FullDiskOptions {
    /// The program that runs on it
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gatepost"))]
    pub(crate) program: PathBuf,
}

/// The modes of a run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Modes {
    Sync,
    Spool,
    Hybrid,
    /// One after the other
    All,
}

/// A mode of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Sync,
    Spool,
    Hybrid,
}

impl Modes {
    pub(crate) const fn list(self) -> &'static [Mode] {
        match self {
            Self::Sync => &[Mode::Sync],
            Self::Spool => &[Mode::Spool],
            Self::Hybrid => &[Mode::Hybrid],
            Self::All => &[Mode::Sync, Mode::Spool, Mode::Hybrid],
        }
    }
}

impl Mode {
    /// The word for it in a configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Spool => "spool",
            Self::Hybrid => "hybrid",
        }
    }
}

/// What is made wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// The upstream says 250 to a message that it does not record: as if the gateway had lost it
    Forget,
    /// The upstream records a message twice: as if it had come twice for no reason
    Double,
    /// The upstream damages what it has received: as if the gateway had
    Damage,
    /// The ledger has a message that no client has sent
    MadeUp,
}

impl Sabotage {
    /// The word for it on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }
}
