//! What the commands about revisions are asked.

use clap::Args;

use super::{ConfigArgument, EditArguments, OutputForm};

/// The arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Only what has changed this entry
    #[arg(long, value_name = "ID")]
    pub(crate) entry: Option<String>,

    /// How many revisions
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) limit: u32,

    /// Only those before this one
    #[arg(long, value_name = "REVISION")]
    pub(crate) before: Option<u64>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The earlier revision; the one before the last if left out
    pub(crate) from: Option<u64>,

    /// The later revision; the last if left out
    pub(crate) to: Option<u64>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `revert`.
#[derive(Debug, Args)]
pub struct RevertArguments {
    /// The revision whose policy is to hold again; 0 is the empty one
    pub(crate) revision: u64,

    #[command(flatten)]
    pub(crate) edit: EditArguments,
}
