//! What `explain` is asked: a client, and as much of its message as is known.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use gatepost_policy::{
    check::SessionTls,
    date::{Date, DateError},
    units::ByteSize,
};
use gatepost_smtp::{
    command::{self, Command, Greeting},
    path::{ForwardPath, Mailbox, ReversePath},
};
use toml::value::Datetime;

use super::{ConfigArgument, OutputForm};

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

    /// TLS of the session: 1.2, 1.3 or none; without a value any version that is required
    #[arg(long, value_enum, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "1.3")]
    tls: Option<TlsArgument>,

    /// Name in the certificate that the client shows; may be repeated
    #[arg(long, value_name = "NAME")]
    certificate: Vec<String>,

    /// Address in the From field of the message; may be repeated
    #[arg(long, value_name = "MAILBOX", value_parser = mailbox)]
    header_from: Vec<String>,

    /// Time to ask about, like 2027-01-01T00:00:00Z; now if left out
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<i64>,

    /// Name with which the client has authenticated; the password is taken to be right
    #[arg(long, value_name = "USERNAME")]
    pub(crate) auth: Option<String>,
}

/// How the session is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsArgument {
    /// Plain text.
    None,
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
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

impl ExplainArguments {
    /// How the session is protected, if that is known.
    pub(crate) fn tls(&self) -> Option<SessionTls> {
        self.tls.map(|tls| match tls {
            TlsArgument::None => SessionTls::Plain,
            TlsArgument::Tls12 => SessionTls::Tls12,
            TlsArgument::Tls13 => SessionTls::Tls13,
        })
    }

    /// The names in the client's certificate, if they are known: a session in plain text has none.
    pub(crate) fn certificate(&self) -> Option<Vec<&str>> {
        let known = !self.certificate.is_empty() || self.tls == Some(TlsArgument::None);
        known.then(|| self.certificate.iter().map(String::as_str).collect())
    }

    /// The addresses of the From field, as far as they are known.
    pub(crate) fn header_from(&self) -> Vec<Mailbox<'_>> {
        // They were read once already, by `mailbox`.
        self.header_from.iter().flat_map(|text| Mailbox::parse(text.as_bytes())).collect()
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

/// What a session would take as well.
fn helo(text: &str) -> Result<String, String> {
    match command::parse(format!("EHLO {text}").as_bytes(), Greeting::Ehlo) {
        Ok(Command::Hello(_, name)) if name == text => Ok(name.to_owned()),
        _ => Err("a name is 1 to 255 printable ASCII characters".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    text.parse().or_else(|_| {
        text.parse::<ByteSize>().map(ByteSize::octets).map_err(|error| error.to_string())
    })
}

fn mailbox(text: &str) -> Result<String, String> {
    match Mailbox::parse(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write user@example.com")),
    }
}

fn time(text: &str) -> Result<i64, String> {
    let written: Datetime = text.parse().map_err(|_| DateError.to_string())?;
    Date::try_from(&written).map(|date| date.unix_seconds()).map_err(|error| error.to_string())
}
