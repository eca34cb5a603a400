//! The command line, and its way into the options of the library.

mod report;
mod simulate;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use gatepost_loadtest::{
    ConnectionUse, Hello, Mailbox, Pipelining, ReversePath, SinkOptions, SourceAddresses,
    SourceOptions, TargetScope,
};
use tokio::net;

pub(crate) use self::report::ReportArguments;
pub(crate) use self::simulate::SimulateArguments;

/// Load for an SMTP relay: `source` sends messages, `sink` receives them and counts, `simulate`
/// receives them as a provider would, `report` draws what was measured.
///
/// A relay is measured between two of them:  source -> relay -> sink
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Report(ReportArguments),
    Simulate(Box<SimulateArguments>),
    Sink(SinkArguments),
    Source(SourceArguments),
}

/// Receive messages, count them and throw them away.
///
/// Prints the address it listens on, and on Ctrl-C or SIGTERM one line with the totals.
#[derive(Debug, Args)]
pub(crate) struct SinkArguments {
    /// Address to listen on; port 0 picks a free one
    #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525")]
    pub(crate) bind: SocketAddr,

    /// Connections at the same time; further ones wait in the listen queue
    #[arg(long, value_name = "N", default_value_t = SinkOptions::default().connections_max)]
    connections_max: usize,

    /// Largest message, in octets; announced with SIZE, larger ones get 552
    #[arg(long, value_name = "OCTETS", default_value_t = SinkOptions::default().size_max)]
    size_max: u64,

    /// Name in the greeting
    #[arg(long, value_name = "NAME", default_value_t = SinkOptions::default().hostname)]
    hostname: String,
}

impl SinkArguments {
    pub(crate) fn into_options(self) -> SinkOptions {
        SinkOptions {
            hostname: self.hostname,
            connections_max: self.connections_max,
            size_max: self.size_max,
            ..SinkOptions::default()
        }
    }
}

/// Send messages in a closed loop and measure how long each one takes.
///
/// Each session sends its next message when the one before was answered. A slow server therefore
/// gets less load, and the latencies leave out the messages that would have queued up meanwhile
/// (coordinated omission).
///
/// Exit status: 0 if every message was accepted, 1 if not, 2 if the arguments are refused.
#[derive(Debug, Args)]
pub(crate) struct SourceArguments {
    /// Server, as address:port or name:port; must be this machine (see --allow-any-target)
    #[arg(value_name = "TARGET")]
    target: String,

    /// Sessions at the same time
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    sessions: u32,

    /// Messages in all
    #[arg(short, long, value_name = "N", default_value_t = 1000)]
    messages: u64,

    /// Octets of a message, header included, before dot-stuffing
    #[arg(long, value_name = "OCTETS", default_value_t = 4096)]
    size: usize,

    /// Recipients of each message
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    recipients: u32,

    #[command(flatten)]
    connection: ConnectionArguments,

    /// Reverse-path; empty for the null reverse-path
    #[arg(long, value_name = "MAILBOX", default_value = "app@example.com")]
    from: ReversePath,

    /// Forward-path; further recipients are user-2@..., user-3@...
    #[arg(long, value_name = "MAILBOX", default_value = "user@example.net")]
    to: Mailbox,

    /// Address that connections come from, for instance 127.0.0.2
    #[arg(long, value_name = "ADDRESS")]
    source_address: Option<IpAddr>,

    /// Spread the connections over this many addresses, from --source-address on
    #[arg(long, value_name = "N", default_value_t = 1, requires = "source_address")]
    source_count: u32,

    /// Seconds that connecting, each write and each reply may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    reply_timeout: u64,

    /// Also send to machines other than this one. Make sure that the target is yours
    #[arg(long)]
    allow_any_target: bool,

    /// Form of the summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag of the command line each; enums follow")]
struct ConnectionArguments {
    /// Keep the connection for all messages of a session (the default)
    #[arg(long, conflicts_with = "per_session")]
    reuse: bool,

    /// Open a new connection for each message: one message per SMTP session
    #[arg(long)]
    per_session: bool,

    /// Send MAIL, RCPT and DATA in one group; an error if the server does not offer it
    #[arg(long, conflicts_with = "helo")]
    pipelining: bool,

    /// Say EHLO (the default)
    #[arg(long, conflicts_with = "helo")]
    ehlo: bool,

    /// Say HELO: no extensions
    #[arg(long)]
    helo: bool,
}

/// Form of the summary.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OutputForm {
    /// For programs
    Json,
    /// For people
    Text,
}

impl SourceArguments {
    pub(crate) async fn into_options(self) -> anyhow::Result<SourceOptions> {
        let source_addresses = self
            .source_address
            .map(|base| SourceAddresses::new(base, self.source_count))
            .transpose()?;
        Ok(SourceOptions {
            target: resolve(&self.target).await?,
            scope: if self.allow_any_target { TargetScope::Any } else { TargetScope::Loopback },
            sessions: self.sessions,
            messages: self.messages,
            size: self.size,
            recipients: self.recipients,
            connection: self.connection.usage(),
            pipelining: self.connection.pipelining(),
            hello: self.connection.hello(),
            from: self.from,
            to: self.to,
            source_addresses,
            reply_timeout: Duration::from_secs(self.reply_timeout),
        })
    }
}

impl ConnectionArguments {
    fn usage(&self) -> ConnectionUse {
        if self.per_session { ConnectionUse::PerMessage } else { ConnectionUse::Kept }
    }

    fn pipelining(&self) -> Pipelining {
        if self.pipelining { Pipelining::On } else { Pipelining::Off }
    }

    fn hello(&self) -> Hello {
        if self.helo { Hello::Helo } else { Hello::Ehlo }
    }
}

/// One address for the whole run, so that all sessions hit the same server. Of a name with both
/// kinds it is the IPv4 one: `localhost` usually means 127.0.0.1.
async fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let found = net::lookup_host(target)
        .await
        .with_context(|| format!("cannot resolve {target:?}, which should be address:port"))?;
    found.min_by_key(SocketAddr::is_ipv6).with_context(|| format!("{target} has no address"))
}
