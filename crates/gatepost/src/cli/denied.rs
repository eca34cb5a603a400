//! What `denied` is asked.

use std::net::IpAddr;

use clap::Args;

use super::{ConfigArgument, OutputForm};

/// The arguments of `denied`.
#[derive(Debug, Args)]
pub struct DeniedArguments {
    /// How many clients
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) limit: usize,

    /// Show how the client with this address would be let in
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) allow: Option<IpAddr>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}
