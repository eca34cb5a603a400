//! `gatepost run`: a gateway in the foreground, driven by signals.

use std::io::IsTerminal;
use std::path::Path;

use gatepost_policy::ruleset::Ruleset;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Keys, LogFormat};
use crate::exit::Exit;
use crate::gateway::{DESCRIPTORS_SPARE, Drained, Gateway};
use crate::host::process_user;
use crate::policy;
use crate::state_dir::StateDir;

/// Runs until a signal ends it.
pub fn run(config_path: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(config_path)?;
    start_log(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let _state_dir = StateDir::take(&config.state_dir)?;
    policy::prepare(&config.policy)?;
    let compiled = policy::load(&config.policy, &config.site)?;
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    if compiled.ruleset.allows_nobody() {
        tracing::warn!("the policy has no enabled allow entry: every client will be refused");
    }
    warn_if_root();
    raise_descriptor_limit(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(serve(config, config_path, compiled.ruleset));
    // A look-up that hangs in the resolver must not keep the program from ending.
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config, config_path: &Path, ruleset: Ruleset) -> anyhow::Result<Exit> {
    // Before anything is bound: a signal that comes early must not kill us half-started.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut reopen = signal(SignalKind::user_defined1())?;
    let keys = config.keys.clone();
    let state_dir = config.state_dir.clone();
    let mut gateway = Gateway::start(config, ruleset)?;
    gateway.settle(&state_dir)?;
    for (listener, address) in gateway.addresses() {
        tracing::info!(%listener, %address, "listening");
    }
    if let Some(address) = gateway.metrics_address() {
        tracing::info!(%address, "metrics and health");
    }
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                tell_changes(config_path, &keys);
                drop(gateway.reload());
            }
            error = gateway.listener_failed() => return Err(error),
            _ = reopen.recv() => gateway.reopen_logs(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("draining; a second signal ends at once");
    notify(&[sd_notify::NotifyState::Stopping]);
    tokio::select! {
        drained = gateway.drain() => match drained {
            Drained::Empty => tracing::info!("drained"),
            Drained::CutOff(sessions) => tracing::warn!(sessions, "drain timeout: sessions were cut off"),
        },
        _ = terminate.recv() => tracing::warn!("ended by a second signal"),
        _ = interrupt.recv() => tracing::warn!("ended by a second signal"),
    }
    Ok(Exit::Ok)
}

/// What a reload does not take over, so that nobody believes it did.
fn tell_changes(config_path: &Path, running: &Keys) {
    match Config::load(config_path) {
        Ok(config) => {
            let changed = running.changed(&config.keys).join(", ");
            if !changed.is_empty() {
                tracing::warn!("needs restart: {changed}");
            }
        }
        Err(error) => {
            tracing::error!("the configuration on disk would not start a gateway: {error}");
        }
    }
}

fn start_log(config: &Config) {
    // The level was checked when the configuration was read.
    let level = config.log.level.parse().unwrap_or(tracing::Level::INFO);
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => log.json().init(),
        LogFormat::Pretty => {
            log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
    }
}

fn warn_if_root() {
    if process_user() == Some(0) {
        tracing::warn!(
            "running as root; give it a user of its own and CAP_NET_BIND_SERVICE instead"
        );
    }
}

fn raise_descriptor_limit(config: &Config) {
    let wanted = descriptors_wanted(config);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            "too few file descriptors for max_connections of all listeners and upstreams; raise LimitNOFILE"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of file descriptors"),
    }
}

/// Two for each client, because it may need one upstream, and those that go upstream, and some to spare.
pub(crate) fn descriptors_wanted(config: &Config) -> u64 {
    let clients: usize =
        config.listeners.iter().map(|listener| listener.config.max_connections).sum();
    let upstreams: usize = config.upstreams.iter().map(|upstream| upstream.max_connections).sum();
    2 * clients as u64 + upstreams as u64 + DESCRIPTORS_SPARE
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(states);
}
