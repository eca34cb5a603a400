//! The command line of `sink`, its way into the options of the library, and its run.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use gatepost_loadtest::{
    Chunking, Delay, Fault, KeyedCertificate, ServerTls, Sink, SinkOptions, SinkProgress, SinkTls,
    ThrowAwayCa, Troubles, Verification,
};
use tokio::sync::oneshot;

use super::OutputForm;
use crate::{live, stop};

/// What stands below the options of `sink --help`.
const AFTER_HELP: &str = "\
Phases of --delay and --fault, each a reply: connect (the greeting), ehlo, mail, rcpt, data, and dot
(to the content; of BDAT to the last chunk).

Kinds of --fault:
  451, 550, ...  a reply code from 400 to 599; 421, and any at connect, ends the connection
  close          no reply, and the end of the connection (FIN)
  reset          no reply, and a reset of the connection (RST)
  silence        no reply, until --idle-timeout is over
  garbage        a line that is no reply

Shares are percentages with at most three decimals. The n-th reply of a phase has the same luck in
every run with the same --seed, whichever connection it is on.

Examples:
  gatepost-loadtest sink 127.0.0.1:2525 --verify --output json
  gatepost-loadtest sink --delay dot=10ms-50ms --delay connect=1s@5%
  gatepost-loadtest sink --fault rcpt=451@5% --fault rcpt=550@1% --fault dot=close@0.1% --seed 7
  gatepost-loadtest sink --tls starttls --write-ca ca.pem

Exit status: 0 if all is well, 1 if --verify has found something wrong, 2 if it could not start.";

/// Receive messages, count them, and throw them away.
///
/// Prints the address it listens on, and on Ctrl-C or SIGTERM the totals. With options it looks at
/// what it gets, comes late, or fails on purpose.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SinkArguments {
    /// Address to listen on; port 0 picks a free one
    #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2525")]
    bind: SocketAddr,

    /// Connections at the same time; further ones wait in the listen queue
    #[arg(long, value_name = "N", default_value_t = SinkOptions::default().connections_max)]
    connections_max: usize,

    /// Messages of one connection; the MAIL after them gets 421 [default: any number]
    #[arg(long, value_name = "N")]
    messages_per_connection_max: Option<u64>,

    /// Largest message, in octets; announced with SIZE, larger ones get 552
    #[arg(long, value_name = "OCTETS", default_value_t = SinkOptions::default().size_max)]
    size_max: u64,

    /// Seconds of silence after which a client gets 421
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    idle_timeout: u64,

    /// Name in the greeting
    #[arg(long, value_name = "NAME", default_value_t = SinkOptions::default().hostname)]
    hostname: String,

    /// Do not offer CHUNKING, and do not know BDAT
    #[arg(long)]
    no_chunking: bool,

    /// Look at the digest and the number that `source` gives each message. Wrong are: a body that is
    /// another one, a message that comes again, a number below the highest that does not come; and
    /// if no message has them at all
    #[arg(long)]
    verify: bool,

    /// Form of the totals; the line with the address comes first in both
    #[arg(long, value_enum, value_name = "FORM", default_value_t = OutputForm::Text)]
    output: OutputForm,

    /// Print the totals as one line of JSON for each line of standard input, and stop at its end: for
    /// programs
    #[arg(long, hide = true)]
    answer_totals: bool,

    #[command(flatten, next_help_heading = "Trouble on purpose")]
    troubles: TroubleArguments,

    #[command(flatten, next_help_heading = "TLS")]
    tls: TlsArguments,
}

#[derive(Debug, Args)]
struct TroubleArguments {
    /// Have replies of a phase come late; may be repeated
    #[arg(long = "delay", value_name = "PHASE=DURATION[-DURATION][@PERCENT]")]
    delays: Vec<Delay>,

    /// Have something else in the place of replies of a phase; may be repeated
    #[arg(long = "fault", value_name = "PHASE=KIND@PERCENT")]
    faults: Vec<Fault>,

    /// Which luck delays and faults have
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Args)]
struct TlsArguments {
    /// When TLS begins
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = TlsBegin::None)]
    tls: TlsBegin,

    /// Write the throw-away CA here, PEM, for clients to trust
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    write_ca: Option<PathBuf>,

    /// Further name in the throw-away certificate; may be repeated
    #[arg(long = "server-name", value_name = "NAME", conflicts_with = "certificate")]
    server_names: Vec<String>,

    /// Certificate, PEM with its chain, instead of a throw-away one
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,

    /// Its key
    #[arg(long, visible_alias = "key", value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TlsBegin {
    /// At once, before the greeting
    Implicit,
    /// Never
    None,
    /// When a client says STARTTLS
    Starttls,
}

impl SinkArguments {
    /// Serves until it is told to stop.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let sink = Sink::bind(self.bind, self.options()?)
            .with_context(|| format!("cannot listen on {}", self.bind))?;
        let progress = sink.progress();
        let signal = stop::signal()?;
        println!("listening on {}", sink.local_addr());
        let unasked = self.answer_totals.then(|| answer_totals(progress.clone()));
        let stopped = async {
            tokio::select! {
                () = signal => {}
                Some(_) = async { Some(unasked?.await) } => {}
            }
        };
        // In a task: what accepts shares a thread with sessions then, and need not wake one.
        let serving = tokio::spawn(sink.run(stopped));
        live::show_while(serving, || describe(&progress)).await.context("the sink broke down")?;
        let totals = progress.totals();
        match self.output {
            OutputForm::Json => println!("{}", serde_json::to_string_pretty(&totals)?),
            OutputForm::Text => print!("{totals}"),
        }
        Ok(if totals.all_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn options(&self) -> anyhow::Result<SinkOptions> {
        let TroubleArguments { delays, faults, seed } = &self.troubles;
        Ok(SinkOptions {
            hostname: self.hostname.clone(),
            connections_max: self.connections_max,
            messages_per_connection_max: self.messages_per_connection_max,
            size_max: self.size_max,
            idle_timeout: Duration::from_secs(self.idle_timeout),
            chunking: if self.no_chunking { Chunking::Hidden } else { Chunking::Offered },
            verification: if self.verify { Verification::On } else { Verification::Off },
            troubles: Troubles::new(delays.clone(), faults.clone(), *seed)?,
            tls: self.tls.begin(&self.hostname, self.bind)?,
            deliver: None,
        })
    }
}

impl TlsArguments {
    fn begin(&self, hostname: &str, bind: SocketAddr) -> anyhow::Result<SinkTls> {
        if self.tls == TlsBegin::None {
            let given = self.write_ca.is_some()
                || self.certificate.is_some()
                || !self.server_names.is_empty();
            ensure!(!given, "certificates are for TLS: add --tls starttls or --tls implicit");
            return Ok(SinkTls::None);
        }
        let tls = ServerTls::new(&self.pair(hostname, bind)?)?;
        Ok(match self.tls {
            TlsBegin::Implicit => SinkTls::Implicit(tls),
            TlsBegin::None => SinkTls::None,
            TlsBegin::Starttls => SinkTls::Starttls(tls),
        })
    }

    fn pair(&self, hostname: &str, bind: SocketAddr) -> anyhow::Result<KeyedCertificate> {
        if let (Some(certificate), Some(private_key)) = (&self.certificate, &self.private_key) {
            let (certificate, private_key) = (read(certificate)?, read(private_key)?);
            return Ok(KeyedCertificate { certificate, private_key });
        }
        let ca = ThrowAwayCa::new()?;
        let address = bind.ip().to_string();
        let names = [hostname, "localhost", "127.0.0.1", "::1", &address].map(str::to_owned);
        let names: Vec<_> = names.into_iter().chain(self.server_names.iter().cloned()).collect();
        let pair = ca.issue_server(&names)?;
        if let Some(file) = &self.write_ca {
            fs::write(file, ca.pem())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(pair)
    }
}

/// Prints the totals for each line of standard input. What is returned is ready at the end of it:
/// whoever asked is gone then, and nobody else will stop the sink.
fn answer_totals(progress: SinkProgress) -> oneshot::Receiver<()> {
    let (gone, is_gone) = oneshot::channel();
    // A read of standard input cannot be cancelled: the runtime would wait for it at the end.
    thread::spawn(move || {
        for _question in io::stdin().lines().map_while(Result::ok) {
            // Totals are numbers and names: they are always JSON.
            println!("{}", serde_json::to_string(&progress.totals()).unwrap_or_default());
        }
        // Nobody waits for it if a signal was first.
        let _ = gone.send(());
    });
    is_gone
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// One line for the terminal.
fn describe(progress: &SinkProgress) -> String {
    let counters = progress.counters();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut line = format!(
        "{} messages, {:.0}/s, {} of {} connections open",
        count(&counters.messages),
        progress.rate().last,
        count(&counters.connections_open),
        count(&counters.connections),
    );
    let more = [
        (count(&counters.refused), "refused"),
        (count(&counters.faulted), "faulted"),
        (progress.wrong(), "wrong"),
    ];
    for (count, what) in more.into_iter().filter(|&(count, _)| count > 0) {
        // Writing to a String cannot fail.
        let _ = write!(line, ", {count} {what}");
    }
    line
}
