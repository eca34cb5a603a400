//! What `explain` is asked: a client, and as much of its message as is known.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use gatepost_policy::document::NotBuilt;
use gatepost_smtp::path::{ForwardPath, ReversePath};

use super::ConfigArgument;
use crate::config::units::ByteSize;

/// Octets of an EHLO argument (contract §3).
const HELO_OCTETS_MAX: usize = 255;

/// The arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,

    /// Address of the client
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: IpAddr,

    /// Sender of the envelope; '<>' is the null sender
    #[arg(long, value_name = "MAILBOX", value_parser = reverse_path)]
    from: Option<String>,

    /// Recipient of the envelope; may be repeated
    #[arg(long, value_name = "MAILBOX", value_parser = forward_path)]
    rcpt: Vec<String>,

    /// Name that the client gives itself in EHLO or HELO
    #[arg(long, value_name = "NAME", value_parser = helo)]
    pub(crate) helo: Option<String>,

    /// Size of the message, in octets or like "25 MiB"
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) size: Option<u64>,

    /// Listener that the client connects to; the first one of the configuration if left out
    #[arg(long, value_name = "LISTENER")]
    pub(crate) service: Option<String>,

    /// Form of the answer
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Table)]
    pub(crate) output: OutputForm,

    #[command(flatten)]
    later: Later,
}

/// Inputs of checks that have to wait: refused by name, like keys of a file.
#[derive(Debug, Args)]
struct Later {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, value_parser = not_built, default_missing_value = "any")]
    tls: Option<NotBuilt>,
    #[arg(long, hide = true, value_parser = not_built)]
    certificate: Option<NotBuilt>,
    #[arg(long, hide = true, value_parser = not_built)]
    auth: Option<NotBuilt>,
    #[arg(long, hide = true, value_parser = not_built)]
    header_from: Option<NotBuilt>,
    #[arg(long, hide = true, value_parser = not_built)]
    at: Option<NotBuilt>,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people
    Table,
    /// For programs
    Json,
}

impl ExplainArguments {
    /// The reverse-path, if it is known.
    pub(crate) fn sender(&self) -> Option<ReversePath<'_>> {
        // It was read once already, by `reverse_path`.
        let path = ReversePath::split_from(self.from.as_ref()?.as_bytes());
        path.ok().map(|(path, _)| path)
    }

    /// The forward-paths, as far as they are known.
    pub(crate) fn recipients(&self) -> Vec<ForwardPath<'_>> {
        // They were read once already, by `forward_path`.
        let paths = self.rcpt.iter().map(|text| ForwardPath::split_from(text.as_bytes()));
        paths.flatten().map(|(path, _)| path).collect()
    }
}

/// A path in its brackets, which may be left out on a command line.
fn bracketed(text: &str) -> String {
    if text.starts_with('<') { text.to_owned() } else { format!("<{text}>") }
}

fn reverse_path(text: &str) -> Result<String, String> {
    let path = bracketed(text);
    match ReversePath::split_from(path.as_bytes()) {
        // Nothing at all is more often a variable that is not set than the null sender.
        Ok((_, b"")) if !text.is_empty() => Ok(path),
        Ok(_) => Err("write user@example.com, or '<>' for the null sender".to_owned()),
        Err(error) => Err(format!("{error}; write user@example.com, or '<>' for the null sender")),
    }
}

fn forward_path(text: &str) -> Result<String, String> {
    let path = bracketed(text);
    match ForwardPath::split_from(path.as_bytes()) {
        Ok((_, b"")) => Ok(path),
        Ok(_) => Err("write user@example.com".to_owned()),
        Err(error) => Err(format!("{error}; write user@example.com")),
    }
}

fn helo(text: &str) -> Result<String, String> {
    let printable = text.chars().all(|c| !c.is_control() && c != ' ');
    if (1..=HELO_OCTETS_MAX).contains(&text.len()) && printable {
        Ok(text.to_owned())
    } else {
        Err(format!("a name has 1 to {HELO_OCTETS_MAX} printable octets"))
    }
}

fn size(text: &str) -> Result<u64, String> {
    text.parse().or_else(|_| {
        text.parse::<ByteSize>().map(ByteSize::octets).map_err(|error| error.to_string())
    })
}

fn not_built(_: &str) -> Result<NotBuilt, &'static str> {
    Err("not built yet")
}
