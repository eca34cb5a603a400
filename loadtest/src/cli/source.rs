//! The command line of `source`, its way into the options of the library, and its run.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use gatepost_loadtest::tls::{Resumption, TlsClient, Trust};
use gatepost_loadtest::{
    Arrivals, ConnectionUse, Framing, Hello, Mailbox, Pace, Pipelining, Rate, RecipientCount,
    ReversePath, Security, SizeDistribution, Source, SourceAddresses, SourceOptions, TargetScope,
    process, report,
};
use tokio::net;

use super::{OutputForm, command_line};
use crate::{progress, stop};

/// Messages of a run that nobody gave an end.
const MESSAGES: u64 = 1000;

/// What stands below the options of `source --help`.
const AFTER_HELP: &str = "\
Examples:
  gatepost-loadtest source 127.0.0.1:2600 --messages 100000 --pipelining
  gatepost-loadtest source 127.0.0.1:2600 --rate 500 --duration 60 --arrivals poisson --size lognormal:8k:1m
  gatepost-loadtest source 127.0.0.1:2600 --source-address 127.0.1.1 --source-count 200 --per-session
  gatepost-loadtest source 127.0.0.1:2600 --idle 10000 --rate 100 --duration 60 --tls starttls --ca ca.pem

Exit status: 0 if every message was accepted and every idle connection stood to the end, 1 if not, 2
if it could not start.";

/// Send messages, and measure how long each one takes.
///
/// Closed loop (the default): each session sends its next message when the one before was answered. A
/// slow server therefore gets less load, and the latencies leave out the messages that would have queued
/// up meanwhile (coordinated omission).
///
/// Open loop (--rate): messages are due when the clock says so, whatever the server does, and latency
/// counts from that moment. The sessions are how many can be under way at once.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SourceArguments {
    /// Server, as address:port or name:port; must be this machine (see --allow-any-target)
    #[arg(value_name = "TARGET")]
    target: String,

    #[command(flatten, next_help_heading = "Load")]
    load: LoadArguments,

    #[command(flatten, next_help_heading = "Messages")]
    mail: MailArguments,

    #[command(flatten, next_help_heading = "Connections")]
    connection: ConnectionArguments,

    #[command(flatten, next_help_heading = "TLS")]
    tls: TlsArguments,

    #[command(flatten, next_help_heading = "Output")]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Sessions at the same time
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    sessions: u32,

    /// Messages in all [default: 1000, without end if there is a --duration]
    #[arg(short, long, value_name = "N")]
    messages: Option<u64>,

    /// Begin messages for this long; what is under way then is finished
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Open loop: messages per second, all sessions together, whatever the server does
    #[arg(short = 'R', long, value_name = "MESSAGES/S")]
    rate: Option<Rate>,

    /// Rhythm of the open loop
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Rhythm::Even, requires = "rate")]
    arrivals: Rhythm,

    /// Messages that may be due and wait for a session; what comes on top is not sent
    #[arg(long, value_name = "MESSAGES", default_value = "100000", requires = "rate")]
    backlog: NonZeroUsize,

    /// Connections to open first, and to hold silent to the end while mail flows
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u32,
}

#[derive(Debug, Args)]
struct MailArguments {
    /// Octets of a message, header included, before dot-stuffing: a number (4096, 4k, 1m), a range
    /// (1k-64k), weighted sizes (4k*90,64k*9,1m*1), or lognormal:MEDIAN:P99
    #[arg(long, value_name = "OCTETS", default_value = "4096")]
    size: SizeDistribution,

    /// Recipients of each message: a number, or a range (1-10)
    #[arg(short, long, value_name = "N", default_value = "1")]
    recipients: RecipientCount,

    /// Reverse-path; empty for the null reverse-path
    #[arg(long, value_name = "MAILBOX", default_value = "app@example.com")]
    from: ReversePath,

    /// Forward-path; further recipients are user-2@..., user-3@...
    #[arg(long, value_name = "MAILBOX", default_value = "user@example.net")]
    to: Mailbox,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a flag of the command line each; enums follow")]
struct ConnectionArguments {
    /// Keep the connection for all messages of a session (the default)
    #[arg(long, conflicts_with_all = ["per_session", "messages_per_connection"])]
    reuse: bool,

    /// Open a new connection for each message: one message per SMTP session
    #[arg(long, conflicts_with = "messages_per_connection")]
    per_session: bool,

    /// Open a new connection after so many messages
    #[arg(long, value_name = "MESSAGES")]
    messages_per_connection: Option<NonZeroU32>,

    /// Send MAIL, RCPT and DATA in one group; an error if the server does not offer it
    #[arg(long, conflicts_with = "helo")]
    pipelining: bool,

    /// Send content with BDAT; an error if the server does not offer CHUNKING
    #[arg(long, conflicts_with = "helo")]
    bdat: bool,

    /// Octets of a BDAT chunk
    #[arg(long, value_name = "OCTETS", default_value = "64k", requires = "bdat")]
    chunk_size: ChunkSize,

    /// Say EHLO (the default)
    #[arg(long, conflicts_with = "helo")]
    ehlo: bool,

    /// Say HELO: no extensions
    #[arg(long)]
    helo: bool,

    /// Address that connections come from, for instance 127.0.0.2
    #[arg(long, value_name = "ADDRESS")]
    source_address: Option<IpAddr>,

    /// Spread the connections over this many addresses, from --source-address on; idle ones come from
    /// those behind them
    #[arg(long, value_name = "N", default_value_t = 1, requires = "source_address")]
    source_count: u32,

    /// Seconds that connecting, each write and each reply may take
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    reply_timeout: Duration,

    /// Also send to machines other than this one. Make sure that the target is yours
    #[arg(long)]
    allow_any_target: bool,
}

#[derive(Debug, Args)]
struct TlsArguments {
    /// When a session is encrypted
    #[arg(long = "tls", value_enum, value_name = "WHEN", default_value_t = Encryption::None)]
    encryption: Encryption,

    /// Roots that vouch for the server, PEM [default: those of this machine]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Believe any certificate
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,

    /// Name that the certificate must be for [default: the host of TARGET]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,

    /// Resume TLS sessions where the server lets it [default: a full handshake each time]
    #[arg(long)]
    resume: bool,
}

#[derive(Debug, Args)]
struct OutputArguments {
    /// Form of the summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    output: OutputForm,

    /// Write a page with plots here, and the figures as JSON beside it
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Rhythm of an open loop.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Rhythm {
    /// One period after the other
    Even,
    /// At random, as from many clients that know nothing of each other
    Poisson,
}

/// When a session is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encryption {
    /// Before the greeting (SMTPS)
    Implicit,
    /// Never
    None,
    /// Behind STARTTLS; an error if the server does not offer it
    Starttls,
}

/// Octets of a chunk.
#[derive(Clone, Copy, Debug)]
struct ChunkSize(usize);

impl std::str::FromStr for ChunkSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.parse()? {
            SizeDistribution::Same(octets) => Ok(Self(octets)),
            _ => anyhow::bail!("{text:?} is no number of octets, such as 4096, 4k or 1m"),
        }
    }
}

impl SourceArguments {
    /// Sends, tells, and says how it went.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        // A session is a descriptor. As many as this user may have; what is missing shows up as failures.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let OutputArguments { output, ref report } = self.output;
        let began = jiff::Timestamp::now().to_string();
        let page = report.clone();
        let source = Source::new(self.into_options().await?)?;
        let shown = source.progress();
        let summary = progress::show_while(source.run(stop::signal()?), &shown).await;
        match output {
            OutputForm::Json => println!("{}", serde_json::to_string_pretty(&summary)?),
            OutputForm::Text => print!("{summary}"),
        }
        if let Some(page) = page {
            report::write(&page, &[summary.figures(command_line(), began, process::machine())])?;
        }
        Ok(if summary.all_accepted() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn into_options(self) -> anyhow::Result<SourceOptions> {
        let Self { target, load, mail, connection, tls, output: _ } = self;
        let messages = load.messages.or(load.duration.is_none().then_some(MESSAGES));
        Ok(SourceOptions {
            security: tls.security(&target)?,
            target: resolve(&target).await?,
            scope: if connection.allow_any_target {
                TargetScope::Any
            } else {
                TargetScope::Loopback
            },
            sessions: load.sessions,
            pace: load.pace(),
            messages,
            duration: load.duration,
            idle: load.idle,
            sizes: mail.size,
            recipients: mail.recipients,
            connection: connection.usage(),
            pipelining: if connection.pipelining { Pipelining::On } else { Pipelining::Off },
            framing: connection.framing(),
            hello: if connection.helo { Hello::Helo } else { Hello::Ehlo },
            from: mail.from,
            to: mail.to,
            source_addresses: connection
                .source_address
                .map(|base| SourceAddresses::new(base, connection.source_count))
                .transpose()?,
            reply_timeout: connection.reply_timeout,
        })
    }
}

impl LoadArguments {
    fn pace(&self) -> Pace {
        let arrivals = match self.arrivals {
            Rhythm::Even => Arrivals::Even,
            Rhythm::Poisson => Arrivals::Poisson,
        };
        match self.rate {
            None => Pace::Answers,
            Some(rate) => Pace::Clock { rate, arrivals, backlog: self.backlog },
        }
    }
}

impl ConnectionArguments {
    fn usage(&self) -> ConnectionUse {
        match (self.per_session, self.messages_per_connection) {
            (true, _) => ConnectionUse::PerMessage,
            (false, Some(messages)) => ConnectionUse::PerMessages(messages),
            (false, None) => ConnectionUse::Kept,
        }
    }

    fn framing(&self) -> Framing {
        if self.bdat { Framing::Bdat { chunk_octets: self.chunk_size.0 } } else { Framing::Data }
    }
}

impl TlsArguments {
    fn security(&self, target: &str) -> anyhow::Result<Security> {
        if self.encryption == Encryption::None {
            let asked =
                self.ca.is_some() || self.insecure || self.tls_name.is_some() || self.resume;
            ensure!(!asked, "there is no TLS without --tls starttls or --tls implicit");
            return Ok(Security::None);
        }
        let trust = match &self.ca {
            Some(file) => Trust::Roots(
                fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?,
            ),
            None if self.insecure => Trust::Anyone,
            None => Trust::System,
        };
        let resumption = if self.resume { Resumption::On } else { Resumption::Off };
        let name = self.tls_name.as_deref().unwrap_or_else(|| host(target));
        let client = TlsClient::new(&trust, name, resumption)?;
        Ok(match self.encryption {
            Encryption::Implicit => Security::Implicit(client),
            _ => Security::StartTls(client),
        })
    }
}

/// The host of `host:port`; an IPv6 address without its brackets.
fn host(target: &str) -> &str {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.with_context(|| format!("{text:?} is no number of seconds"))
}

/// One address for the whole run, so that all sessions hit the same server. Of a name with both
/// kinds it is the IPv4 one: `localhost` usually means 127.0.0.1.
async fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let found = net::lookup_host(target)
        .await
        .with_context(|| format!("cannot resolve {target:?}, which should be address:port"))?;
    found.min_by_key(SocketAddr::is_ipv6).with_context(|| format!("{target} has no address"))
}
