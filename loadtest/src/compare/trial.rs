//! One relay, one load, once: everything is started for it, and ended after it.

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use tempfile::{Builder, TempDir};
use tokio::time::Instant;

use super::load::{Load, Volume};
use super::peer::{Peer, Protection};
use super::setup::{Site, prepare};
use super::{CompareOptions, WorkFolders, own_cpus};
use crate::process::{Measured, Opening, Usage, free_port};
use crate::rig::sink::{ANY_PORT, SinkProcess, Taken};
use crate::rig::source::{self, Report};

/// The time that a relay has until it greets. Postfix looks through its whole queue first.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What all rounds have in common.
#[derive(Debug)]
pub(super) struct Bench {
    relay_cpus: Vec<usize>,
    load_cpus: Vec<usize>,
    gatepost: Option<PathBuf>,
    volume: Volume,
    timeout: Duration,
    work: PathBuf,
    folders: WorkFolders,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Trial {
    /// Messages a second, from the first connection to the last message at the sink.
    pub rate: f64,
    /// CPU of the relay by message, µs; none without a relay.
    pub cpu_microseconds: Option<f64>,
    /// Memory of the relay right after the load, MiB.
    pub memory_mib: Option<f64>,
    /// Median of the time that a message took, ms.
    pub p50_milliseconds: Option<f64>,
    /// 99 of 100 were as quick, ms.
    pub p99_milliseconds: Option<f64>,
}

/// A relay, if there is one, between both ends.
struct Line<'a> {
    bench: &'a Bench,
    load: Load,
    sink: SinkProcess,
    relay: Option<Measured>,
    target: SocketAddr,
    client: Protection,
    /// Recipients that the sink should have counted by now.
    expected: u64,
}

impl Bench {
    pub(super) fn new(options: &CompareOptions) -> anyhow::Result<Self> {
        let (relay_cpus, load_cpus) = own_cpus();
        let work = &options.work;
        fs::metadata(work).with_context(|| format!("--work: no folder {}", work.display()))?;
        Ok(Self {
            relay_cpus,
            load_cpus,
            gatepost: options.gatepost.clone(),
            volume: options.volume.clone(),
            timeout: options.timeout,
            work: work.clone(),
            folders: options.folders,
        })
    }

    pub(super) fn relay_cpus(&self) -> &[usize] {
        &self.relay_cpus
    }

    /// Who runs where, for people.
    pub(super) fn pinning(&self) -> String {
        match (self.relay_cpus.as_slice(), self.load_cpus.as_slice()) {
            ([relay], [load]) => format!("Relay on CPU {relay}, source and sink on CPU {load}"),
            _ => "One CPU for all: rates say how well they share it".to_owned(),
        }
    }

    /// Everything it starts has ended, or is ended, when this is done or dropped.
    pub(super) async fn run(&self, peer: Peer, load: Load) -> anyhow::Result<Trial> {
        let folder = self.folder(peer, load)?;
        let sides = peer.sides(load);
        let options: Vec<_> = sides.sink.flag().into_iter().collect();
        let sink = SinkProcess::start(ANY_PORT, &options, &self.load_cpus).await?;
        let port = free_port()?;
        let site = Site {
            folder: folder.path(),
            port,
            sink: sink.address,
            load,
            cpus: &self.relay_cpus,
            gatepost: self.gatepost.as_deref(),
        };
        let mut target = sink.address;
        let mut relay = None;
        if let Some(program) = prepare(peer, &site)? {
            target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            relay = Some(Measured::start(&program)?);
        }
        let client = sides.client;
        let mut line = Line { bench: self, load, sink, relay, target, client, expected: 0 };
        let result = line.measure().await;
        let told = line.relay.as_ref().map(|relay| relay.running.log_tail());
        if let Some(relay) = line.relay.take() {
            relay.stop().await?;
        }
        result.map_err(|error| match told {
            // The tail is in the message already if it is why the relay does not greet.
            Some(tail) if !format!("{error:#}").contains(&tail) => {
                anyhow!("{error:#}; the relay has printed: {tail}")
            }
            _ => error,
        })
    }

    fn folder(&self, peer: Peer, load: Load) -> anyhow::Result<TempDir> {
        let folder = Builder::new()
            .prefix(&format!("gatepost-compare-{peer}-{load}-"))
            .disable_cleanup(self.folders == WorkFolders::Kept)
            .tempdir_in(&self.work)
            .with_context(|| format!("cannot make a folder in {}", self.work.display()))?;
        // Postfix and Exim work there as users of their own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }
}

impl Line<'_> {
    async fn measure(&mut self) -> anyhow::Result<Trial> {
        if let Some(relay) = &mut self.relay {
            let opening = match self.client {
                Protection::Implicit => Opening::Handshake,
                Protection::None | Protection::Starttls => Opening::Greeting,
            };
            relay.running.ready(self.target, opening, START_TIMEOUT).await?;
        }
        let volume = &self.bench.volume;
        self.send(&self.load.warm_up_arguments(volume)).await.context("before measuring")?;
        let before = self.usage()?;
        let (report, messages, seconds) = self.send(&self.load.arguments(volume)).await?;
        let after = self.usage()?;
        let latency = report.latency_milliseconds;
        let each = |(before, after): (Usage, Usage)| {
            (after.cpu.saturating_sub(before.cpu)).as_secs_f64() * 1e6 / messages
        };
        Ok(Trial {
            rate: messages / seconds,
            cpu_microseconds: before.zip(after).map(each),
            memory_mib: after.map(|used| mebibytes(used.memory)),
            p50_milliseconds: latency.map(|latency| latency.p50),
            p99_milliseconds: latency.map(|latency| latency.p99),
        })
    }

    fn usage(&self) -> anyhow::Result<Option<Usage>> {
        let usage = self.relay.as_ref().map(Measured::usage).transpose();
        usage.context("cannot tell what the relay uses")
    }

    /// Sends a load and waits until the sink has all of it: the report, messages, and seconds from
    /// the source's start to the sink's last one.
    async fn send(&mut self, arguments: &[String]) -> anyhow::Result<(Report, f64, f64)> {
        let Bench { load_cpus, timeout, .. } = self.bench;
        let mut arguments = arguments.to_vec();
        if let Some(flag) = self.client.flag() {
            arguments.extend([flag.to_owned(), "--insecure".to_owned()]);
        }
        arguments.push(self.target.to_string());
        let report = source::run(&arguments, load_cpus, Some(*timeout)).await?;
        if let Some(trouble) = report.trouble() {
            bail!("{trouble}");
        }
        let answered = Instant::now();
        let accepted = report.messages.accepted;
        self.expected += accepted * u64::from(self.load.recipients());
        let expected = self.expected;
        let enough = |taken: Taken| taken.recipients >= expected;
        let taken = self.sink.wait_until(enough, *timeout).await?;
        let (told, seconds) = (taken.recipients, timeout.as_secs());
        ensure!(enough(taken), "{told} of {expected} recipients at the sink after {seconds} s");
        // Without the time that the source itself takes to start.
        let seconds = report.elapsed_seconds + answered.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is read to a few digits")]
        let messages = accepted as f64;
        Ok((report, messages, seconds))
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is read to a few digits")]
fn mebibytes(octets: u64) -> f64 {
    octets as f64 / (1024.0 * 1024.0)
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s", self.rate)?;
        if let Some(cpu) = self.cpu_microseconds {
            write!(f, ", {cpu:.1} µs of CPU a message")?;
        }
        Ok(())
    }
}
