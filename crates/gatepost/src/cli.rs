//! The command line: what can be asked for, and who answers.

mod denied;
mod entry;
mod explain;
mod history;
mod queue;
mod shown;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

pub use self::{
    denied::DeniedArguments,
    entry::{
        AddArguments, ChangeArguments, EditArguments, EntryCommand, ExportArguments,
        FieldArguments, ImportArguments, NamedArguments,
    },
    explain::ExplainArguments,
    history::{DiffArguments, HistoryArguments, RevertArguments},
    queue::{
        ChosenArguments, HoldArguments, MessageArguments, QueueCommand, QueueExportArguments,
        QueueListArguments, RemoveArguments, RetryArguments,
    },
    shown::{ListArguments, OutputForm, ShowArguments},
};
use crate::{commands, demo, exit::Exit, run};

/// Where the configuration is if nobody says.
const CONFIG_DEFAULT: &str = "/etc/gatepost/gatepost.toml";

/// SMTP relay gateway: knows applications by where they connect from.
///
/// A client whose address is on the allow-list may send what its entry allows,
/// without a password. Gatepost relays the mail to a smart host, hands the smart
/// host's answer back, and keeps the mail while there is none.
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
  1   another failure (explain: reject; doctor: a problem)
  64  wrong usage
  69  the gateway is not running, and the command needs it
  74  the spool cannot be read or written
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
    /// Show and edit the entries of the allow-list
    ///
    /// A gateway that runs answers for itself, with what it counts, and takes edits into
    /// use at once. If none runs, the policy is read, and edited, where it is kept. One
    /// that is kept in a file is edited as files are.
    #[command(subcommand, verbatim_doc_comment)]
    Entry(EntryCommand),
    /// List the revisions of the policy: who changed what, when, and why
    History(HistoryArguments),
    /// Show what has changed between two revisions of the policy
    Diff(DiffArguments),
    /// Make the policy what it was at a revision
    ///
    /// That is an edit like others: the policy of then must be right today, and the
    /// history goes on.
    #[command(verbatim_doc_comment)]
    Revert(RevertArguments),
    /// Tell what the policy that is tried would have done
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// List clients that were refused with the greeting, the most frequent first
    ///
    /// With --allow, show the command that would let one of them in.
    Denied(DeniedArguments),
    /// Look for what is wrong, or will be, and tell how it is mended
    ///
    /// Above all: do clients come by addresses of their own? A gateway that runs tells
    /// what it sees; without one, files and the machine are looked at.
    #[command(verbatim_doc_comment)]
    Doctor(ListArguments),
    /// Show the messages that wait, and take a hand in them
    ///
    /// A gateway that runs answers for itself. If none runs, list, show and export read its
    /// spool and change nothing; retry, hold and remove need one that runs.
    #[command(subcommand, verbatim_doc_comment)]
    Queue(QueueCommand),
    /// Show the upstreams
    #[command(subcommand)]
    Upstream(UpstreamCommand),
    /// Make the password_hash of a credential
    ///
    /// The password is asked for twice, and not shown. Where there is no terminal, it is one
    /// line of standard input.
    #[command(verbatim_doc_comment)]
    HashPassword,
    /// Show a gateway at work, without any configuration
    Demo(DemoArguments),
}

#[derive(Debug, Subcommand)]
enum ShadowCommand {
    /// Report decisions that would have been others, by entry, with samples
    Report(ListArguments),
}

#[derive(Debug, Subcommand)]
enum UpstreamCommand {
    /// List all upstreams
    List(ListArguments),
    /// Open a connection as the gateway would, and show what is said on it
    ///
    /// The dialogue with secrets masked, TLS and certificates, what is offered, and whether
    /// AUTH works; with --to and --from, or --canary, a message is sent too. It tests what
    /// is in the files now, and takes no connection from a gateway that runs.
    #[command(verbatim_doc_comment)]
    Test(TestArguments),
    /// Print what is known of a provider, to be copied; without NAME, list the providers
    ///
    /// A copy is taken by `profile = "my.toml"` of an upstream. It may say `extends` with
    /// the name of another profile, and then only what is different.
    #[command(verbatim_doc_comment)]
    Profile(ProfileArguments),
}

/// What of `upstream test` is asked for.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// The name of an upstream
    pub(crate) name: String,
    /// Send a message to this mailbox
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) to: Option<String>,
    /// Its reverse-path, which the upstream must accept; that of the canary if it has one
    #[arg(long, value_name = "MAILBOX")]
    pub(crate) from: Option<String>,
    /// Send the message of its canary
    #[arg(long, conflicts_with = "to")]
    pub(crate) canary: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
struct ProfileArguments {
    /// The name of a profile, like ses
    name: Option<String>,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArgument {
    /// The configuration; GATEPOST_SECTION__KEY in the environment overrides its keys
    #[arg(long, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
}

impl ConfigArgument {
    /// Whether it is where it is if nobody says.
    pub(crate) fn is_default(&self) -> bool {
        self.config == Path::new(CONFIG_DEFAULT)
    }
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
        Command::Entry(command) => entry(&command),
        Command::History(arguments) => commands::history::history(&arguments),
        Command::Diff(arguments) => commands::history::diff(&arguments),
        Command::Revert(arguments) => commands::edit::revert(&arguments),
        Command::Shadow(ShadowCommand::Report(arguments)) => commands::shadow::report(&arguments),
        Command::Denied(arguments) => commands::denied::denied(&arguments),
        Command::Doctor(arguments) => commands::doctor::doctor(&arguments),
        Command::Queue(command) => queue(&command),
        Command::Upstream(UpstreamCommand::List(arguments)) => commands::upstream::list(&arguments),
        Command::Upstream(UpstreamCommand::Test(arguments)) => commands::upstream::test(&arguments),
        Command::Upstream(UpstreamCommand::Profile(ProfileArguments { name })) => {
            commands::upstream::profile(name.as_deref())
        }
        Command::HashPassword => commands::hash_password::hash_password(),
        Command::Demo(DemoArguments { once }) => demo::demo(once),
    }
}

fn entry(command: &EntryCommand) -> anyhow::Result<Exit> {
    match command {
        EntryCommand::List(arguments) => commands::entry::list(arguments),
        EntryCommand::Show(arguments) => commands::entry::show(arguments),
        EntryCommand::Add(arguments) => commands::edit::add(arguments),
        EntryCommand::Edit(arguments) => commands::edit::change(arguments),
        EntryCommand::Remove(arguments) => commands::edit::remove(arguments),
        EntryCommand::Enable(arguments) => commands::edit::enable(arguments),
        EntryCommand::Disable(arguments) => commands::edit::disable(arguments),
        EntryCommand::Import(arguments) => commands::exchange::import(arguments),
        EntryCommand::Export(arguments) => commands::exchange::export(arguments),
        EntryCommand::Report(arguments) => commands::report::report(arguments),
    }
}

fn queue(command: &QueueCommand) -> anyhow::Result<Exit> {
    match command {
        QueueCommand::List(arguments) => commands::queue::list(arguments),
        QueueCommand::Show(arguments) => commands::queue::show(arguments),
        QueueCommand::Retry(arguments) => commands::queue::retry(arguments),
        QueueCommand::Hold(arguments) => commands::queue::hold(arguments),
        QueueCommand::Remove(arguments) => commands::queue::remove(arguments),
        QueueCommand::Export(arguments) => commands::queue::export(arguments),
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
