//! The command line: what can be asked for, and who answers.

mod explain;
mod shown;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

pub use self::{
    explain::ExplainArguments,
    shown::{ListArguments, OutputForm, ShowArguments},
};
use crate::{commands, demo, exit::Exit, run};

/// Where the configuration is if nobody says.
const CONFIG_DEFAULT: &str = "/etc/gatepost/gatepost.toml";

/// SMTP relay gateway: knows applications by where they connect from.
///
/// A client whose address is on the allow-list may send what its entry allows,
/// without a password. Gatepost relays the mail to a smart host and hands the smart
/// host's answer back.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, verbatim_doc_comment)]
#[command(arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0   done (explain: accept)
  1   another failure (explain: reject)
  64  wrong usage
  75  state_dir is in use by another gateway (explain: defer)
  77  a permission is missing
  78  an error in the configuration or the policy";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground
    ///
    /// SIGTERM drains and ends, a second one ends at once. SIGHUP reloads the policy.
    /// SIGUSR1 opens the mail log again.
    #[command(verbatim_doc_comment)]
    Run(ConfigArgument),
    /// Check configuration and policy, as `run` would read them
    Check(ConfigArgument),
    /// Tell what would happen to a message, and why
    ///
    /// The answer is given by the code that decides when the gateway runs. A check
    /// whose input is missing is shown as skipped.
    #[command(verbatim_doc_comment)]
    Explain(ExplainArguments),
    /// Show the entries of the allow-list
    ///
    /// A gateway that runs answers for itself, with what it counts. If none does, the
    /// policy is read from its file.
    #[command(subcommand, verbatim_doc_comment)]
    Entry(EntryCommand),
    /// Show the upstreams
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// Show a gateway at work, without any configuration
    Demo(DemoArguments),
}

#[derive(Debug, Subcommand)]
enum EntryCommand {
    /// List all enabled entries, in the order of the policy
    List(ListArguments),
    /// Show all of one entry, as it could stand in a policy
    Show(ShowArguments),
    #[command(hide = true, visible_aliases = ["edit", "remove", "enable", "disable", "import"])]
    Add(EditArguments),
}

/// Edits are for a policy that is kept in a store; a file is edited as a file.
#[derive(Debug, Args)]
struct EditArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl EditArguments {
    /// Where the configuration is, wherever among the other words it is named.
    fn config(&self) -> &Path {
        let at = self.words.iter().position(|word| word == "--config");
        let named = at.and_then(|at| self.words.get(at + 1).map(String::as_str));
        let joined = self.words.iter().find_map(|word| word.strip_prefix("--config="));
        Path::new(named.or(joined).unwrap_or(CONFIG_DEFAULT))
    }
}

#[derive(Debug, Subcommand)]
enum UpstreamCommand {
    /// List all upstreams
    List(ListArguments),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArgument {
    /// The configuration; GATEPOST_SECTION__KEY in the environment overrides its keys
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Relay one message and end
    #[arg(long)]
    once: bool,
}

/// Reads a command line. What cannot be read is told, and gives the exit code; so are `--help` and
/// `--version`.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Arguments, Exit> {
    Arguments::try_parse_from(line).map_err(|error| {
        // If nobody reads it, there is nobody to tell that either.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Ok }
    })
}

/// Does what the command line asks for.
pub fn dispatch(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Command::Run(ConfigArgument { config }) => run::run(&config),
        Command::Check(ConfigArgument { config }) => commands::check::check(&config),
        Command::Explain(arguments) => commands::explain::explain(&arguments),
        Command::Entry(EntryCommand::List(arguments)) => commands::entry::list(&arguments),
        Command::Entry(EntryCommand::Show(arguments)) => commands::entry::show(&arguments),
        Command::Entry(EntryCommand::Add(arguments)) => commands::entry::edit(arguments.config()),
        Command::Upstream(UpstreamCommand::List(arguments)) => commands::upstream::list(&arguments),
        Command::Demo(DemoArguments { once }) => demo::demo(once),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
