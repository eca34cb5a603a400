//! A running gateway: from configuration to parts, and from parts to their end.
//!
//! Nothing here decides about mail. The parts are made, handed to each other and started in
//! [`Gateway::start`], which tests and the demo use as well as `gatepost run`; [`Gateway::drain`]
//! stops them in the order in which nothing is lost.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gatepost_admin::{MetricsHandle, Pages, Readiness, Recorder};
use gatepost_delivery::Upstream;
use gatepost_inbound::{Drain, Listener, Service, bind};
use gatepost_policy::generation::Generation;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::snapshot::{Snapshot, is_unused};
use gatepost_relay::{MailLog, MailLogWriter, Relay};
use gatepost_stream::Clock;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::policy;

/// How long sessions that were cut off may take to be gone.
const CUT_OFF_TIMEOUT: Duration = Duration::from_secs(1);

/// A gateway that serves.
pub struct Gateway {
    addresses: Vec<(Arc<str>, SocketAddr)>,
    metrics_address: Option<SocketAddr>,
    metrics: MetricsHandle,
    policy: Arc<Policy>,
    drain: Arc<Drain>,
    drain_timeout: Duration,
    readiness: Readiness,
    mail_log: MailLog,
    /// Dropped when every session is gone: what was logged while draining is written.
    mail_log_writer: MailLogWriter,
    listeners: JoinSet<()>,
    pages: Option<JoinHandle<()>>,
}

/// How a gateway ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every session had ended.
    Empty,
    /// The time was up; this many sessions were cut off.
    CutOff(usize),
}

/// The published ruleset and where it comes from.
struct Policy {
    snapshot: Arc<Snapshot>,
    file: PathBuf,
    services: Vec<Arc<str>>,
    /// The revision in use. Held while a policy is read and compiled: reloads come one by one, so
    /// that the one asked for last is the one that stays.
    revision: Mutex<u64>,
    entries: Gauge,
    revision_gauge: Gauge,
    reloaded: Counter,
    refused: Counter,
}

impl Gateway {
    /// Binds, builds and starts all parts. Must be called inside the runtime.
    pub fn start(config: Config, ruleset: Ruleset) -> anyhow::Result<Self> {
        let recorder = Recorder::new(env!("CARGO_PKG_VERSION"));
        let sockets = bind_all(&config)?;
        let pages = match config.metrics_bind {
            None => None,
            Some(address) => {
                Some(bind(address).with_context(|| format!("[metrics] cannot bind {address}"))?)
            }
        };
        recorder.with(|| Self::assemble(config, ruleset, sockets, pages, &recorder))
    }

    fn assemble(
        config: Config,
        ruleset: Ruleset,
        sockets: Vec<Vec<TcpListener>>,
        pages: Option<TcpListener>,
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let drain = Arc::new(Drain::default());
        let readiness = Readiness::default();
        let services =
            config.listeners.iter().map(|listener| listener.config.name.clone()).collect();
        let policy = Arc::new(Policy::new(ruleset, config.policy_file, services));
        readiness.set_policy_loaded();
        let (mail_log, mail_log_writer) = MailLog::start(&config.log.mail).context("[log] mail")?;
        let upstream =
            Upstream::new(config.upstreams[config.default_upstream].clone(), clock.clone());
        let relay = Relay::new(config.relay, upstream, mail_log.clone());
        let service =
            Service::new(config.session, policy.snapshot.clone(), relay, clock, drain.clone());
        let mut addresses = Vec::new();
        let mut listeners = JoinSet::new();
        for (listener, sockets) in config.listeners.into_iter().zip(sockets) {
            let listener = Listener::new(listener.config);
            for socket in sockets {
                addresses.push((listener.name().clone(), socket.local_addr()?));
                listeners.spawn(listener.clone().serve(socket, service.clone()));
            }
        }
        readiness.set_bound();
        let mut metrics_address = None;
        let pages = match pages {
            None => None,
            Some(socket) => {
                metrics_address = Some(socket.local_addr()?);
                let pages = Pages::new(recorder.handle(), readiness.clone());
                // The pages outlive the drain: readyz must be able to say 503 meanwhile.
                Some(tokio::spawn(gatepost_admin::serve(socket, pages, std::future::pending())))
            }
        };
        recorder.spawn_upkeep();
        Ok(Self {
            addresses,
            metrics_address,
            metrics: recorder.handle(),
            policy,
            drain,
            drain_timeout: config.drain_timeout,
            readiness,
            mail_log,
            mail_log_writer,
            listeners,
            pages,
        })
    }

    /// Where it listens: name of the listener, and address.
    pub fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.addresses
    }

    /// Where its metrics page is.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Its metrics, for as long as anybody wants to look at them.
    pub fn metrics_handle(&self) -> MetricsHandle {
        self.metrics.clone()
    }

    /// Reads the policy file again, in a task of its own: signals are heard meanwhile. A bad policy
    /// is refused, and the old ruleset stays.
    pub fn reload(&self) -> JoinHandle<()> {
        let policy = self.policy.clone();
        tokio::spawn(async move {
            match policy.reload().await {
                Ok(generation) => tracing::info!(%generation, "policy reloaded"),
                Err(error) => {
                    policy.refused.increment(1);
                    tracing::error!("policy not reloaded, the old one stays: {error:#}");
                }
            }
        })
    }

    /// Opens the mail log anew.
    pub fn reopen_logs(&self) {
        self.mail_log.reopen();
    }

    /// Waits until a listener has failed, which only a bug can make it.
    pub async fn listener_failed(&mut self) -> anyhow::Error {
        match self.listeners.join_next().await {
            Some(Err(error)) => anyhow::anyhow!("a listener failed: {error}"),
            _ => anyhow::anyhow!("a listener has ended"),
        }
    }

    /// Stops accepting, lets sessions finish, and ends.
    pub async fn drain(mut self) -> Drained {
        self.readiness.set_draining();
        self.drain.begin();
        while self.listeners.join_next().await.is_some() {}
        let finished = tokio::time::timeout(self.drain_timeout, self.drain.finished()).await;
        if let Some(pages) = self.pages.take() {
            pages.abort();
        }
        let drained = match finished {
            Ok(()) => Drained::Empty,
            Err(_) => Drained::CutOff(self.drain.cut_off()),
        };
        // What sessions say when they are cut off is said while there is a log to say it to.
        let _ = tokio::time::timeout(CUT_OFF_TIMEOUT, self.drain.finished()).await;
        drop(self.mail_log_writer);
        drained
    }
}

impl Policy {
    fn new(ruleset: Ruleset, file: PathBuf, services: Vec<Arc<str>>) -> Self {
        describe_counter!(
            "gatepost_policy_reloads_total",
            "Reloads of the policy, by how they ended"
        );
        describe_gauge!("gatepost_policy_entries", "Entries of the ruleset in use");
        describe_gauge!(
            "gatepost_policy_revision",
            "Revision of the ruleset in use, counted by this process"
        );
        let reloads = |result: &'static str| {
            let counter = counter!("gatepost_policy_reloads_total", "result" => result);
            counter.increment(0);
            counter
        };
        let policy = Self {
            entries: gauge!("gatepost_policy_entries"),
            revision_gauge: gauge!("gatepost_policy_revision"),
            reloaded: reloads("ok"),
            refused: reloads("refused"),
            revision: Mutex::new(1),
            snapshot: Arc::new(Snapshot::new(ruleset.with_revision(1))),
            file,
            services,
        };
        policy.show();
        policy
    }

    async fn reload(&self) -> anyhow::Result<Generation> {
        let mut revision = self.revision.lock().await;
        let (file, services) = (self.file.clone(), self.services.clone());
        // Compiling a million entries takes seconds: not on a thread that carries mail.
        let compiled = tokio::task::spawn_blocking(move || {
            let services: Vec<&str> = services.iter().map(|service| &**service).collect();
            policy::load(&file, &services)
        })
        .await??;
        for warning in &compiled.warnings {
            tracing::warn!("{warning}");
        }
        anyhow::ensure!(
            !compiled.ruleset.is_empty(),
            "{}: no enabled entry is left; a gateway that nobody may use is started, not reloaded",
            self.file.display()
        );
        *revision += 1;
        let ruleset = compiled.ruleset.with_revision(*revision);
        let generation = ruleset.generation();
        let retired = self.snapshot.publish(ruleset);
        tokio::spawn(free(retired));
        self.reloaded.increment(1);
        self.show();
        Ok(generation)
    }

    #[allow(clippy::cast_precision_loss)] // a gauge is a float; no policy has 2^53 entries
    fn show(&self) {
        let ruleset = self.snapshot.load();
        self.entries.set(ruleset.entries().len() as f64);
        self.revision_gauge.set(ruleset.generation().revision() as f64);
    }
}

/// Takes a retired ruleset apart where no mail waits for it, once no session reads it any more.
async fn free(retired: Arc<Ruleset>) {
    /// A guard is held for a decision: microseconds.
    const PAUSE: Duration = Duration::from_millis(10);
    while !is_unused(&retired) {
        tokio::time::sleep(PAUSE).await;
    }
    tokio::task::spawn_blocking(move || drop(retired));
}

fn bind_all(config: &Config) -> anyhow::Result<Vec<Vec<TcpListener>>> {
    let bind_one = |name: &str, address: SocketAddr| {
        bind(address).with_context(|| format!("listener {name}: cannot bind {address}"))
    };
    config
        .listeners
        .iter()
        .map(|listener| {
            listener.bind.iter().map(|&address| bind_one(&listener.config.name, address)).collect()
        })
        .collect()
}
