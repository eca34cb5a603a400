//! The gateway of a run: its files, its process, and what it tells about its spool.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::chance::now;
use crate::options::Mode;
use crate::run::{kill, wait_until_it_listens};
use crate::upstream::Killed;

/// How long the gateway may take to end when it is asked to.
const DRAIN_MAX: Duration = Duration::from_secs(40);
/// How long a page of it may take.
const PAGE_MAX: Duration = Duration::from_secs(5);
/// Lines of its log that are shown when it does not start.
const TAIL_LINES: usize = 12;
/// Octets of such a page, at the most.
const PAGE_OCTETS_MAX: u64 = 4 << 20;

/// Who may send what: the clients of the run, in two entries. Some recipients go another way than the
/// others of their message, to the same upstream.
const POLICY: &str = r#"
[[entry]]
id = "even"
networks = ["127.77.10.0/24"]
senders = ["app.test"]
recipients = ["sink.test", "apart.test"]

[[entry]]
id = "odd"
networks = ["127.77.11.0/24"]
senders = ["app.test"]
recipients = ["sink.test", "apart.test"]

[[route]]
id = "apart"
recipient_domains = ["apart.test"]
upstream = "apart"
"#;

/// Where a gateway is, in all of its incarnations.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) listen: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) upstream: SocketAddr,
}

/// A gateway that runs; it is killed when this is dropped.
pub(crate) struct Gateway {
    child: Child,
    incarnation: u32,
}

impl Place {
    /// Writes the policy: the configuration is written for each incarnation.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        std::fs::write(self.directory.join("policy.toml"), POLICY)
    }

    /// Where the spool is, if the mode has one.
    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.join("state/spool")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.join("gatepost.toml")
    }

    /// The configuration. The name in EHLO tells the upstream which incarnation it talks to.
    fn config(&self, incarnation: u32) -> String {
        let Self { mode, listen, metrics, upstream, .. } = self;
        let mut config = format!(
            r#"
hostname = "relay.test"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["{listen}"]
tls = "none"
hidden_clients = "off"
[[upstream]]
name = "sink"
hosts = ["{upstream}"]
tls = "none"
ehlo_name = "g{incarnation}.relay.test"
max_connections = 20
connect_timeout = "2s"
[[upstream]]
name = "apart"
hosts = ["{upstream}"]
tls = "none"
ehlo_name = "g{incarnation}.relay.test"
max_connections = 10
connect_timeout = "2s"
[policy]
file = "policy.toml"
[log]
mail = "mail.jsonl"
[metrics]
bind = "{metrics}"
[delivery]
upstream = "sink"
mode = "{}"
"#,
            mode.name()
        );
        if *mode != Mode::Sync {
            config += r#"
answer_within = "1s"
retry = ["1s", "2s"]
bounces = "keep"
[limits]
free_space_floor = "1 MiB"
message_memory = "8 MiB"
"#;
        }
        config
    }
}

impl Gateway {
    /// Starts one, which does not listen yet.
    pub(crate) fn start(place: &Place, incarnation: u32) -> anyhow::Result<Self> {
        std::fs::write(place.config_path(), place.config(incarnation))?;
        let log = place.directory.join("gatepost.log");
        let log = OpenOptions::new().append(true).create(true).open(log)?;
        let mut command = Command::new(&place.program);
        command.args(["run", "--config"]).arg(place.config_path()).env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("cannot start {}", place.program.display()))?;
        Ok(Self { child, incarnation })
    }

    /// Waits until it listens.
    pub(crate) async fn listens(&mut self, place: &Place) -> anyhow::Result<()> {
        let waited = wait_until_it_listens(&mut self.child, place.listen).await;
        waited.with_context(|| format!("the gateway does not start:\n{}", tail(&place.directory)))
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Killed {
        let after = now();
        kill(&mut self.child);
        Killed { incarnation: self.incarnation, after, before: now() }
    }

    /// Ends it as an administrator does.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "no such process");
        let patience = Instant::now() + DRAIN_MAX;
        while Instant::now() < patience {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the gateway has ended with {status}");
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the gateway does not end")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The end of what the gateway has said, for people.
pub(crate) fn tail(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("gatepost.log")).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// How many messages are on their way, by the metrics page: dead letters stay. None if the page tells
/// nothing of a spool.
pub(crate) async fn messages_on_their_way(metrics: SocketAddr) -> anyhow::Result<Option<u64>> {
    let page = get(metrics, "/metrics").await?;
    let mut sum = None;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("gatepost_spool_messages{state=\"") else { continue };
        let (state, value) = rest.split_once("\"} ").context("a sample of the metrics page")?;
        let value: u64 = value.parse().context("a number of messages")?;
        let counts = if state == "dead" { 0 } else { value };
        *sum.get_or_insert(0) += counts;
    }
    Ok(sum)
}

/// A page of it, with its head.
pub(crate) async fn get(metrics: SocketAddr, path: &str) -> std::io::Result<String> {
    timeout(PAGE_MAX, page(metrics, path)).await?
}

async fn page(metrics: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(metrics).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    socket.take(PAGE_OCTETS_MAX).read_to_string(&mut page).await?;
    Ok(page)
}
