//! A running gateway: from configuration to parts, and from parts to their end.
//!
//! Nothing here decides about mail. The parts are made, handed to each other and started in
//! [`Gateway::start`], which tests and the demo use as well as `gatepost run`; [`Gateway::drain`]
//! stops them in the order in which nothing is lost: first who brings messages, then who delivers
//! them, then the spool under both.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use gatepost_admin::control::{self, Control};
use gatepost_admin::{MetricsHandle, Pages, Readiness, Recorder};
use gatepost_delivery::Upstream;
use gatepost_inbound::{Denied, Drain, Identity, Listener, Service, ShadowTap, bind};
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::snapshot::Snapshot;
use gatepost_relay::{Canary, CanaryConfig, Ids, MailLog, MailLogWriter, Relay};
use gatepost_spool::{Recovery, Spool};
use gatepost_stream::Clock;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::certificates::{self, Certificates};
use crate::config::Config;
use crate::host::Lent;
use crate::offers::OfferKeeper;
use crate::policy::{self, UsageKeeper};
use crate::rates::RateKeeper;
use crate::self_test::SelfTest;
use crate::spool::{self, Keeper};
use crate::upstream_keys::{self, LoadedKeys, UpstreamKeys};

/// File descriptors beside connections: listeners, logs, the runtime's own.
pub const DESCRIPTORS_SPARE: u64 = 64;
/// How long sessions that were cut off may take to be gone.
const CUT_OFF_TIMEOUT: Duration = Duration::from_secs(1);

/// A gateway that serves.
pub struct Gateway {
    addresses: Vec<(Arc<str>, SocketAddr)>,
    metrics_address: Option<SocketAddr>,
    metrics: MetricsHandle,
    policy: Arc<policy::Live>,
    shadow: Arc<policy::Shadow>,
    /// Keeps what is counted for entries, if it has a state_dir to keep it in.
    usage: Option<Arc<UsageKeeper>>,
    /// The same for what upstreams were given.
    rates: Option<RateKeeper>,
    /// Keeps what upstreams offer, if it has a state_dir to keep it in.
    offers: Option<Arc<OfferKeeper>>,
    certificates: Arc<Certificates>,
    upstream_keys: Arc<UpstreamKeys>,
    denied: Arc<Denied>,
    self_test: Arc<SelfTest>,
    upstreams: Arc<[Arc<Upstream>]>,
    /// The spool, and who delivers what is in it.
    keeper: Keeper,
    /// Answers commands, if it has a state_dir to be found in.
    control: Option<JoinHandle<()>>,
    /// What is done now and then: files are watched, and counts are kept.
    watches: JoinSet<()>,
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

impl Gateway {
    /// Opens the spool, binds, builds and starts all parts. Must be called inside the runtime.
    pub fn start(config: Config, ruleset: Ruleset) -> anyhow::Result<Self> {
        let recorder = Recorder::new(env!("CARGO_PKG_VERSION"));
        let identities = certificates::load(&config.listeners)?;
        // A source of tokens among them is counted from its first request on.
        let load = || upstream_keys::load(&config.upstreams, &config.upstream_files);
        let keys = recorder.with(load)?;
        // What cannot be kept must not be taken: nobody is to connect before this is known.
        let spool = recorder.with(|| spool::open(&config.spool))?;
        let sockets = bind_all(&config)?;
        let pages = match config.metrics_bind {
            None => None,
            Some(address) => {
                Some(bind(address).with_context(|| format!("[metrics] cannot bind {address}"))?)
            }
        };
        let files = (ruleset, identities, keys);
        recorder.with(|| Self::assemble(config, files, spool, (sockets, pages), &recorder))
    }

    fn assemble(
        mut config: Config,
        (ruleset, identities, keys): (Ruleset, Vec<Option<Identity>>, Vec<Option<LoadedKeys>>),
        (spool, recovery): (Spool, Recovery),
        (sockets, pages): (Vec<Vec<TcpListener>>, Option<TcpListener>),
        recorder: &Recorder,
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let drain = Arc::new(Drain::default());
        let probed = spool.clone();
        let readiness = Readiness::new(move || probed.is_writable().map_err(|it| spool::told(&it)));
        config.session.max_connections =
            config.session.max_connections.min(connections_max(&config));
        let policy = policy::Live::new(ruleset, config.policy)?;
        readiness.set_policy_loaded();
        let (mail_log, mail_log_writer) = MailLog::start(&config.log.mail).context("[log] mail")?;
        let upstream_keys = UpstreamKeys::begin(&config.upstreams, config.upstream_files, keys)?;
        let upstreams: Vec<_> =
            config.upstreams.into_iter().map(|it| Upstream::new(it, clock.clone())).collect();
        let (ids, kept) = (Arc::new(Ids::after(recovery.latest)), Some(spool.clone()));
        let relay = Relay::new(config.relay, upstreams.clone(), mail_log.clone(), kept, ids);
        let keeper = Keeper::start(&relay, spool, recovery);
        let canaries = canaries(config.canaries, &relay, &upstreams, &config.session.hostname);
        let (tap, envelopes) = ShadowTap::new();
        let shadow = policy::Shadow::start(envelopes, recorder.clone());
        let service =
            Service::new(config.session, policy.snapshot().clone(), relay, clock, drain.clone());
        let service = Arc::new(service.with_shadow(tap));
        let mut watches = JoinSet::new();
        watches.spawn(policy.clone().watch());
        watches.spawn(keeper.watch());
        for canary in canaries {
            watches.spawn(canary.run());
        }
        let (certificates, tls) = Certificates::begin(&config.listeners, identities)?;
        watches.spawn(certificates.clone().watch());
        watches.spawn(upstream_keys.clone().watch());
        if let Some(file) = config.shadow {
            watches.spawn(shadow.clone().follow(file, policy.clone()));
        }
        let listening = config.listeners.into_iter().zip(tls).map(|(it, tls)| (it.config, tls));
        let served: Vec<_> = listening.map(|(config, tls)| Listener::new(config, tls)).collect();
        let mut addresses = Vec::new();
        let listeners = serve_all(&served, sockets, &service, &mut addresses)?;
        readiness.set_bound();
        let self_test = SelfTest::new(served, policy.snapshot().clone());
        watches.spawn(self_test.clone().run());
        let pages = pages.map(|it| show(it, Pages::new(recorder.handle(), readiness.clone())));
        let (metrics_address, pages) = pages.transpose()?.unzip();
        recorder.spawn_upkeep();
        Ok(Self {
            addresses,
            metrics_address,
            metrics: recorder.handle(),
            watches,
            policy,
            shadow,
            usage: None,
            rates: None,
            offers: None,
            certificates,
            upstream_keys,
            denied: service.denied().clone(),
            self_test,
            upstreams: upstreams.into(),
            keeper,
            control: None,
            drain,
            drain_timeout: config.drain_timeout,
            readiness,
            mail_log,
            mail_log_writer,
            listeners,
            pages,
        })
    }

    /// Takes a directory that is its own: commands find it there, and counts are kept there.
    pub fn settle(&mut self, state_dir: &Path) -> anyhow::Result<()> {
        match UsageKeeper::open(state_dir, self.policy.snapshot().clone()) {
            Ok(usage) => {
                self.watches.spawn(usage.clone().run());
                self.usage = Some(usage);
            }
            // Mail matters more than what is counted.
            Err(error) => tracing::error!("what entries are used for is not kept: {error}"),
        }
        self.rates = RateKeeper::open(state_dir, &self.upstreams);
        let offers = OfferKeeper::open(state_dir, self.upstreams.clone());
        self.watches.spawn(offers.clone().run());
        self.offers = Some(offers);
        let socket = control::bind(state_dir).context("the control socket")?;
        let host = Lent {
            policy: self.policy.clone(),
            shadow: self.shadow.clone(),
            usage: self.usage.clone(),
            upstreams: self.upstreams.clone(),
            denied: self.denied.clone(),
            self_test: self.self_test.clone(),
            queue: self.keeper.queue(),
        };
        // It answers until all is over: what happens while draining is of interest too.
        let control = Control::new(self.policy.snapshot().clone(), host);
        let served = control::serve(socket, control, std::future::pending());
        self.control = Some(tokio::spawn(served));
        Ok(())
    }

    /// The policy in use, for whoever wants to look at it.
    pub fn policy(&self) -> &Arc<Snapshot> {
        self.policy.snapshot()
    }

    /// What a candidate policy would change.
    pub const fn shadow(&self) -> &Arc<policy::Shadow> {
        &self.shadow
    }

    /// Who comes by which address.
    pub const fn self_test(&self) -> &Arc<SelfTest> {
        &self.self_test
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

    /// Reads the policy, all certificates and all secrets again, in a task of its own: signals are heard
    /// meanwhile. What is bad is refused, and what was there before stays.
    pub fn reload(&self) -> JoinHandle<()> {
        let (policy, certificates) = (self.policy.clone(), self.certificates.clone());
        let upstream_keys = self.upstream_keys.clone();
        tokio::spawn(async move {
            tokio::join!(policy.reload(), certificates.reload(), upstream_keys.reload());
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

    /// Stops accepting, lets sessions finish, then deliveries, and ends.
    pub async fn drain(mut self) -> Drained {
        let end = Instant::now() + self.drain_timeout;
        self.readiness.set_draining();
        self.watches.abort_all();
        self.drain.begin();
        self.keeper.begin_end();
        while self.listeners.join_next().await.is_some() {}
        let finished = timeout_at(end, self.drain.finished()).await;
        for server in self.pages.take().into_iter().chain(self.control.take()) {
            server.abort();
            // What it leaves behind, like the control socket, is gone with it.
            let _ = server.await;
        }
        let drained = match finished {
            Ok(()) => Drained::Empty,
            Err(_) => Drained::CutOff(self.drain.cut_off()),
        };
        // What sessions say when they are cut off is said while there is a log to say it to.
        let _ = timeout(CUT_OFF_TIMEOUT, self.drain.finished()).await;
        self.keeper.end(end.max(Instant::now() + CUT_OFF_TIMEOUT)).await;
        drop(self.mail_log_writer);
        if let Some(usage) = self.usage
            && let Err(error) = usage.save().await
        {
            tracing::error!("what entries were used for at last is not kept: {error}");
        }
        if let Some(offers) = self.offers {
            offers.save().await;
        }
        if let Some(rates) = self.rates {
            rates.end().await;
        }
        drained
    }
}

/// One for each upstream that has one.
fn canaries(
    configs: Vec<Option<CanaryConfig>>,
    relay: &Arc<Relay>,
    upstreams: &[Arc<Upstream>],
    hostname: &Arc<str>,
) -> Vec<Canary> {
    let canary = |(index, (config, upstream)): (usize, (Option<CanaryConfig>, &Arc<Upstream>))| {
        let place = (index, upstream.config().name.clone());
        Some(Canary::new(relay.clone(), place, hostname.clone(), config?))
    };
    configs.into_iter().zip(upstreams).enumerate().filter_map(canary).collect()
}

/// Lets every listener serve on its sockets. Says where that is.
fn serve_all(
    served: &[Arc<Listener>],
    sockets: Vec<Vec<TcpListener>>,
    service: &Arc<Service>,
    addresses: &mut Vec<(Arc<str>, SocketAddr)>,
) -> std::io::Result<JoinSet<()>> {
    let mut listeners = JoinSet::new();
    for (listener, sockets) in served.iter().zip(sockets) {
        for socket in sockets {
            addresses.push((listener.name().clone(), socket.local_addr()?));
            listeners.spawn(listener.clone().serve(socket, service.clone()));
        }
    }
    Ok(listeners)
}

/// Serves the pages until the end: they outlive the drain, because readyz must be able to say 503
/// meanwhile.
fn show(socket: TcpListener, pages: Pages) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let address = socket.local_addr()?;
    Ok((address, tokio::spawn(gatepost_admin::serve(socket, pages, std::future::pending()))))
}

/// Connections that there are file descriptors for, beside those that go upstream.
fn connections_max(config: &Config) -> usize {
    let upstreams: usize = config.upstreams.iter().map(|upstream| upstream.max_connections).sum();
    let limit = rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
    let spare = DESCRIPTORS_SPARE + upstreams as u64;
    usize::try_from(limit.saturating_sub(spare)).unwrap_or(usize::MAX).max(1)
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
