//! What the commands about entries are asked: which entry, and what is said of it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use gatepost_registry::{exchange::Format, item};
use toml::{Table, Value, value::Datetime};

use super::{ConfigArgument, ListArguments, OutputForm, ShowArguments};

/// The commands about entries.
#[derive(Debug, Subcommand)]
pub enum EntryCommand {
    /// List all enabled entries, in the order of the policy
    List(ListArguments),
    /// Show all of one entry, as it could stand in a policy
    Show(ShowArguments),
    /// Add an entry
    ///
    /// Flags are the fields of an entry; lists are repeated flags. The policy with the
    /// entry in it must be right as a whole, and what it expects must hold: if not,
    /// nothing is changed. A running gateway takes it over with the next connection.
    #[command(verbatim_doc_comment)]
    Add(AddArguments),
    /// Change fields of an entry
    ///
    /// A list that is named is replaced as a whole; --unset takes a field away.
    #[command(verbatim_doc_comment)]
    Edit(ChangeArguments),
    /// Remove an entry
    Remove(NamedArguments),
    /// Let an entry hold again
    Enable(NamedArguments),
    /// Keep an entry, and let it hold no more
    Disable(NamedArguments),
    /// Take over a list of entries from a file
    ///
    /// Entries of a toml, json or csv list replace those of the same id; lists of other
    /// programs only add. Addresses, ranges and wildcards become the fewest networks
    /// that say the same, and each conversion is told. With an error in the file nothing
    /// is taken over.
    #[command(verbatim_doc_comment)]
    Import(ImportArguments),
    /// Write the policy to standard output: a backup that `entry import` reads
    Export(ExportArguments),
    /// Tell which entries are not used, too wide, hidden, said twice, or end soon
    Report(ListArguments),
}

/// Who edits, and what the edit depends on.
#[derive(Debug, Args)]
pub struct EditArguments {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    /// Edit only if this is the revision; what `gatepost history` shows first
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_revision: Option<u64>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// The arguments of `add`.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// The id of the new entry: lower-case letters, digits, ".", "-" and "_"
    pub(crate) id: String,

    // Its heading holds for whatever comes after it.
    #[command(flatten)]
    pub(crate) edit: EditArguments,

    #[command(flatten)]
    pub(crate) fields: Box<FieldArguments>,
}

/// The arguments of `edit`.
#[derive(Debug, Args)]
pub struct ChangeArguments {
    /// The id of the entry
    pub(crate) id: String,

    /// Field to take away, like max-connections; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = field)]
    pub(crate) unset: Vec<String>,

    #[command(flatten)]
    pub(crate) edit: EditArguments,

    #[command(flatten)]
    pub(crate) fields: Box<FieldArguments>,
}

/// The arguments of what is done to an entry as a whole.
#[derive(Debug, Args)]
pub struct NamedArguments {
    /// The id of the entry
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) edit: EditArguments,
}

/// The fields of an entry (contract §2), but for its id.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Fields of the entry")]
pub struct FieldArguments {
    /// Network of the clients, like 10.20.0.0/16; may be repeated
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Sender that is allowed, like "*.example.com"; may be repeated, '' alone allows none
    #[arg(long, value_name = "PATTERN")]
    sender: Vec<String>,
    /// Recipient that is allowed; may be repeated
    #[arg(long, value_name = "PATTERN")]
    recipient: Vec<String>,
    /// Listener that the entry exists for; may be repeated
    #[arg(long, value_name = "LISTENER")]
    service: Vec<String>,
    /// Name that may be given in EHLO; may be repeated
    #[arg(long, value_name = "PATTERN")]
    helo: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Whom to ask
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// allow or deny
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// off, or allowed: every From address must be an allowed sender
    #[arg(long, value_name = "CHECK")]
    header_from: Option<String>,
    /// optional, required or required-1.3
    #[arg(long, value_name = "TLS")]
    tls: Option<String>,
    /// Name that the client's certificate must have; may be repeated
    #[arg(long, value_name = "PATTERN")]
    client_certificate: Vec<String>,
    /// bypass or required
    #[arg(long, value_name = "HOW")]
    authentication: Option<String>,
    /// Where its messages go
    #[arg(long, value_name = "UPSTREAM")]
    upstream: Option<String>,
    /// How they are handed over
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Size of a message, like "25 MiB"
    #[arg(long, value_name = "SIZE")]
    max_message_size: Option<String>,
    /// Recipients of a message
    #[arg(long, value_name = "NUMBER")]
    max_recipients: Option<u32>,
    /// Connections at once
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u32>,
    /// Messages, like 600/min
    #[arg(long, value_name = "RATE")]
    message_rate: Option<String>,
    /// Recipients, like 5000/h
    #[arg(long, value_name = "RATE")]
    recipient_rate: Option<String>,
    /// The same message again and again, like 10/min
    #[arg(long, value_name = "RATE")]
    duplicate_rate: Option<String>,
    /// reject or normalize
    #[arg(long, value_name = "HOW")]
    bare_newlines: Option<String>,
    /// Header that is added where it is missing: message-id or date; may be repeated
    #[arg(long, value_name = "HEADER")]
    add_missing_header: Vec<String>,
    /// Before it nobody is let in, like 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_before: Option<Datetime>,
    /// After it, what --expiry says
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Datetime>,
    /// reject, defer or warn
    #[arg(long, value_name = "HOW")]
    expiry: Option<String>,
    /// Why a wide or public network is right here
    #[arg(long, value_name = "TEXT")]
    acknowledge: Option<String>,
}

/// The arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The list
    pub(crate) file: PathBuf,

    /// What kind of list it is
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: ImportFormat,

    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Let a list of another program replace entries of the same id, whatever they say
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Make the policy what the file says: what is not in it is removed (toml, json)
    #[arg(long)]
    pub(crate) replace: bool,

    /// Sender of entries whose list says nothing of senders; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) sender: Vec<String>,

    /// Listener of such entries; may be repeated
    #[arg(long, value_name = "LISTENER")]
    pub(crate) service: Vec<String>,

    /// Description of such entries that have none of their own
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,

    /// Owner of such entries
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,

    /// Why wide or public networks are right in such entries
    #[arg(long, value_name = "TEXT")]
    pub(crate) acknowledge: Option<String>,

    /// What the ids of such entries begin with
    #[arg(long, value_name = "PREFIX")]
    pub(crate) id_prefix: Option<String>,

    #[command(flatten)]
    pub(crate) edit: EditArguments,
}

/// The arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The form of the list
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ExportFormat::Toml)]
    pub(crate) format: ExportFormat,

    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// Lists that can be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// A policy file
    Toml,
    /// What `entry export --format json` writes
    Json,
    /// A table with the fields of an entry as columns
    Csv,
    /// The value of mynetworks, or a CIDR table
    Postfix,
    /// A whitelist of addresses, ranges and networks
    Smartermail,
    /// An IP access list, with * for the rest of an address
    Sendgrid,
}

/// Forms that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A policy file
    Toml,
    /// For programs
    Json,
    /// For spreadsheets: entries only
    Csv,
}

impl FieldArguments {
    /// The fields that are named, as a table of a policy.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        for (key, list) in [
            ("networks", &self.network),
            ("senders", &self.sender),
            ("recipients", &self.recipient),
            ("services", &self.service),
            ("helo", &self.helo),
            ("client_certificate", &self.client_certificate),
            ("add_missing_headers", &self.add_missing_header),
        ] {
            if !list.is_empty() {
                let items = list.iter().filter(|item| !item.is_empty());
                table.insert(
                    key.to_owned(),
                    Value::Array(items.cloned().map(Value::String).collect()),
                );
            }
        }
        for (key, text) in [
            ("description", &self.description),
            ("owner", &self.owner),
            ("action", &self.action),
            ("header_from", &self.header_from),
            ("tls", &self.tls),
            ("authentication", &self.authentication),
            ("upstream", &self.upstream),
            ("mode", &self.mode),
            ("max_message_size", &self.max_message_size),
            ("message_rate", &self.message_rate),
            ("recipient_rate", &self.recipient_rate),
            ("duplicate_rate", &self.duplicate_rate),
            ("bare_newlines", &self.bare_newlines),
            ("expiry", &self.expiry),
            ("acknowledge", &self.acknowledge),
        ] {
            table.extend(text.clone().map(|text| (key.to_owned(), Value::String(text))));
        }
        for (key, number) in
            [("max_recipients", self.max_recipients), ("max_connections", self.max_connections)]
        {
            table.extend(number.map(|number| (key.to_owned(), Value::Integer(number.into()))));
        }
        for (key, date) in [("not_before", self.not_before), ("expires", self.expires)] {
            table.extend(date.map(|date| (key.to_owned(), Value::Datetime(date))));
        }
        table
    }
}

/// The key of a field that is named as a flag is: `--max-connections`, or as in a policy.
fn field(text: &str) -> Result<String, String> {
    const SINGULAR: [(&str, &str); 6] = [
        ("network", "networks"),
        ("sender", "senders"),
        ("recipient", "recipients"),
        ("service", "services"),
        ("add_missing_header", "add_missing_headers"),
        ("enable", "enabled"),
    ];
    let named = text.trim_start_matches("--").replace('-', "_");
    let key = SINGULAR.iter().find(|(flag, _)| *flag == named).map_or(&*named, |(_, key)| key);
    match key {
        "id" => Err("an entry has its id for life; add another and remove this one".to_owned()),
        _ if item::is_key(key) => Ok(key.to_owned()),
        _ => Err("is not a field of an entry; `entry add --help` lists them".to_owned()),
    }
}

fn time(text: &str) -> Result<Datetime, String> {
    text.parse().map_err(|_| "write a time like 2027-01-01T00:00:00Z".to_owned())
}

impl From<ImportFormat> for Format {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Toml => Self::Toml,
            ImportFormat::Json => Self::Json,
            ImportFormat::Csv => Self::Csv,
            ImportFormat::Postfix => Self::Postfix,
            ImportFormat::Smartermail => Self::Smartermail,
            ImportFormat::Sendgrid => Self::Sendgrid,
        }
    }
}

impl From<ExportFormat> for Format {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Toml => Self::Toml,
            ExportFormat::Json => Self::Json,
            ExportFormat::Csv => Self::Csv,
        }
    }
}
