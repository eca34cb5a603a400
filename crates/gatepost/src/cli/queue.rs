//! What the commands about the queue are asked.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use gatepost_spool::{QueueId, Standing};

use super::{ConfigArgument, OutputForm};

/// What is done with the queue.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List the messages, the oldest first
    ///
    /// They stand:
    ///   queued    until the time of the next attempt
    ///   leased    somebody is at work on it
    ///   in_doubt  the same, and an upstream was given all of it and has not answered
    ///   held      put aside by `queue hold`
    ///   owing     everything is decided, and a notification is to be sent
    ///   dead      everything is decided, and a failure is kept: a dead letter
    #[command(verbatim_doc_comment)]
    List(QueueListArguments),
    /// Show all that is known of a message: where it comes from, and each recipient
    Show(MessageArguments),
    /// Make messages due now, whatever they wait for
    ///
    /// A message that is held is put back, and a dead letter is tried once more for those
    /// recipients that it is kept for. With --all, everything that is queued is due, and
    /// each upstream is tried at once: back-off begins anew and breakers are reset. A
    /// message that is named waits for its upstream if that rests.
    ///
    ///   retry --all                                  the upstream works again
    ///   retry --all --standing dead                  its set-up was mended
    ///   retry --all --from-upstream a --upstream b   a does not come back: use b
    #[command(verbatim_doc_comment)]
    Retry(RetryArguments),
    /// Put messages aside, until `queue retry` puts them back
    ///
    /// Nothing is tried meanwhile, and nothing expires. One that somebody is at work on is
    /// held when that attempt has ended.
    #[command(verbatim_doc_comment)]
    Hold(HoldArguments),
    /// Remove messages for good; neither sender nor recipient is told
    ///
    /// One that somebody is at work on stays. To keep a copy, export it first.
    #[command(verbatim_doc_comment)]
    Remove(RemoveArguments),
    /// Write messages as files (.eml), as a mail program opens them
    ///
    /// What was received, with the reverse-path in a Return-Path field. The recipients of
    /// the envelope are in `queue show`.
    #[command(verbatim_doc_comment)]
    Export(QueueExportArguments),
}

/// The arguments of `queue list`.
#[derive(Debug, Args)]
pub struct QueueListArguments {
    /// Only messages that stand so
    #[arg(long, value_name = "STANDING", value_parser = standings())]
    pub(crate) standing: Option<String>,

    /// Only messages for this upstream
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,

    /// Only messages of this entry
    #[arg(long, value_name = "ID")]
    pub(crate) entry: Option<String>,

    /// Only messages behind this one
    #[arg(long, value_name = "MESSAGE")]
    pub(crate) after: Option<QueueId>,

    /// How many messages
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) limit: usize,

    /// Show numbers by upstream, entry and standing instead
    #[arg(long, conflicts_with_all = ["standing", "upstream", "entry", "after", "limit"])]
    pub(crate) totals: bool,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `queue show`.
#[derive(Debug, Args)]
pub struct MessageArguments {
    /// The id of the message
    #[arg(value_name = "MESSAGE")]
    pub(crate) id: QueueId,

    /// Show the header section of the message too
    #[arg(long)]
    pub(crate) headers: bool,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// Which messages something is done to.
#[derive(Debug, Args)]
pub struct ChosenArguments {
    /// The ids of the messages
    #[arg(value_name = "MESSAGE", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<QueueId>,

    /// All messages, or all that the following say
    #[arg(long)]
    pub(crate) all: bool,

    /// With --all: messages that stand so
    #[arg(long, value_name = "STANDING", conflicts_with = "ids", value_parser = standings())]
    pub(crate) standing: Option<String>,

    /// With --all: messages of this entry
    #[arg(long, value_name = "ID", conflicts_with = "ids")]
    pub(crate) entry: Option<String>,
}

/// The arguments of `queue retry`.
#[derive(Debug, Args)]
pub struct RetryArguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenArguments,

    /// With --all: messages for this upstream
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    pub(crate) from_upstream: Option<String>,

    /// Give them to this upstream from now on
    #[arg(long, value_name = "NEW")]
    pub(crate) upstream: Option<String>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `queue hold`.
#[derive(Debug, Args)]
pub struct HoldArguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenArguments,

    /// With --all: messages for this upstream
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    pub(crate) upstream: Option<String>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `queue remove`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub(crate) hold: HoldArguments,

    /// With --all: remove them, and do not only tell how many they are
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The arguments of `queue export`.
#[derive(Debug, Args)]
pub struct QueueExportArguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenArguments,

    /// With --all: messages for this upstream
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    pub(crate) upstream: Option<String>,

    /// Write the one message into this file; without it, to standard output
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["all", "directory"])]
    pub(crate) output: Option<PathBuf>,

    /// Write each message into this directory, as MESSAGE.eml
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

fn standings() -> PossibleValuesParser {
    Standing::ALL.map(Standing::name).into()
}
