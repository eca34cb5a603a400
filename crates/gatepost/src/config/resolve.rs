//! From the mirror to the configuration: what is required, what is the default, what makes sense.
//!
//! Everything that is wrong is told, not only the first. So a wrong value is replaced by its default
//! and the work goes on; the result is used only if nothing was wrong.

mod bind;
mod delivery;
mod listener;
mod profile;
mod tls;
mod upstream;
mod values;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gatepost_inbound::{ListenerConfig, ProxyProtocol, ReceivedStyle, SessionConfig};
use gatepost_policy::{
    choice::Choices, document::DocumentError, network::Network, site::Site, units::ByteSize,
};
use gatepost_relay::MailLogTarget;

use self::values::Values;
use super::{
    Config, Keys, Listener, LogConfig, LogFormat,
    file::{ConfigFile, LimitsFile, LogFile, PolicyFile, Text, TimeoutsFile},
    source::Source,
};
use crate::policy;

const RECEIVED: Choices<ReceivedStyle> =
    &[("full", Some(ReceivedStyle::Full)), ("masked", Some(ReceivedStyle::Masked))];
const LEVELS: Choices<&str> = &[
    ("error", Some("error")),
    ("warn", Some("warn")),
    ("info", Some("info")),
    ("debug", Some("debug")),
    ("trace", Some("trace")),
];
const FORMATS: Choices<LogFormat> =
    &[("pretty", Some(LogFormat::Pretty)), ("json", Some(LogFormat::Json))];

/// What a first wrong password costs: nothing to a person, and much to a program that tries many.
const AUTH_PAUSE: Duration = Duration::from_secs(1);

/// The configuration, or everything that is wrong with it. Relative paths begin at `base`.
pub(crate) fn resolve(
    mut file: ConfigFile,
    source: &Source<'_>,
    base: &Path,
) -> Result<Config, Vec<DocumentError>> {
    let ConfigFile { mut delivery, mut limits, mut timeouts, .. } = file;
    let mut values = Values::new(source);

    let hostname = hostname(&mut values, file.hostname);
    let state_dir = path(&mut values, "state_dir", file.state_dir, base, "/var/lib/gatepost");
    let listeners = listener::resolve(&mut values, file.listener, base);
    let upstream::Upstreams { configs: upstreams, files: upstream_files, canaries } =
        upstream::resolve(&mut values, file.upstream, &hostname, base);
    let metrics_bind = bind::metrics(&mut values, file.metrics);
    let shadow = file.policy.shadow.is_some().then(|| {
        path(&mut values, "policy.shadow", file.policy.shadow.take(), base, "candidate.toml")
    });
    let policy = policy(&mut values, file.policy, base, &state_dir);
    let default_upstream = upstream::default(&mut values, delivery.upstream.take(), &upstreams);
    let received = delivery.received.take();
    let spool = delivery::spool(&mut values, &mut limits, &state_dir);
    let received_max = values.count("limits.received_max", limits.received_max.take(), 50);
    let (default_mode, relay) =
        delivery::resolve(&mut values, delivery, (&hostname, received_max), &upstreams);
    let max_recipients = values.count("limits.max_recipients", limits.max_recipients.take(), 1000);
    let drain = timeouts.drain.take();
    let drain_timeout = values.span("timeouts.drain", drain, Duration::from_secs(20));
    let written = (limits, timeouts, received);
    let session = session(&mut values, &hostname, &listeners, written);
    let log = log(&mut values, file.log, base);
    let site = Site {
        hostname: Arc::clone(&hostname),
        listeners: listeners.iter().map(|listener| Arc::clone(&listener.config.name)).collect(),
        proxies: listeners.iter().map(|listener| proxies(&listener.config)).collect(),
        auth: listeners.iter().map(|listener| listener.config.auth).collect(),
        upstreams: upstreams.iter().map(|upstream| Arc::clone(&upstream.name)).collect(),
        default_upstream,
        default_mode,
        max_message_size: session.max_message_size,
        max_recipients,
    };

    let warnings = values.warnings();
    values.finish(Config {
        hostname,
        state_dir,
        listeners,
        upstreams,
        upstream_files,
        canaries,
        site: Arc::new(site),
        policy,
        shadow,
        relay,
        spool,
        session,
        drain_timeout,
        log,
        metrics_bind,
        warnings,
        keys: Keys::default(),
    })
}

fn proxies(listener: &ListenerConfig) -> Box<[Network]> {
    match &listener.proxy_protocol {
        ProxyProtocol::Off => Box::default(),
        ProxyProtocol::Required(proxies) => proxies.clone(),
    }
}

fn hostname(values: &mut Values<'_>, written: Text) -> Arc<str> {
    let mend = "write the name others know this gateway by, like relay.example.com";
    let Some(written) = values.required("hostname", None, written, mend) else { return "".into() };
    values.host_name("hostname", &written)
}

fn path(values: &mut Values<'_>, key: &str, written: Text, base: &Path, example: &str) -> PathBuf {
    let written = written.filter(|path| !path.get_ref().is_empty());
    let mend = format!("write a path, like {example}");
    let path = values.required(key, None, written, &mend);
    path.map(|path| base.join(path.into_inner())).unwrap_or_default()
}

/// One of two places, and exactly one: with both, an edit of the one would be undone by the other.
fn policy(
    values: &mut Values<'_>,
    PolicyFile { file, store, .. }: PolicyFile,
    base: &Path,
    state_dir: &Path,
) -> policy::Source {
    let is_stored = store.as_ref().is_some_and(|store| *store.get_ref());
    if let (true, Some(file)) = (is_stored, &file) {
        let message =
            "is named, and policy.store is true; the policy is in one place: leave one out";
        values.error(values::at(file), "policy.file", message);
    }
    if is_stored {
        return policy::Source::Store(policy::store_path(state_dir));
    }
    let mend =
        "write a path, like policy.toml, or store = true for a policy that is edited by commands";
    let file = file.filter(|path| !path.get_ref().is_empty());
    let file = values.required("policy.file", None, file, mend);
    policy::Source::File(file.map(|path| base.join(path.into_inner())).unwrap_or_default())
}

/// What sessions have in common.
fn session(
    values: &mut Values<'_>,
    hostname: &Arc<str>,
    listeners: &[Listener],
    (limits, timeouts, received): (LimitsFile, TimeoutsFile, Text),
) -> SessionConfig {
    let seconds = Duration::from_secs;
    SessionConfig {
        hostname: Arc::clone(hostname),
        max_message_size: values.size(
            "limits.max_message_size",
            limits.max_message_size,
            ByteSize::new(50 * 1024 * 1024),
        ),
        max_connections: listeners.iter().map(|listener| listener.config.max_connections).sum(),
        errors_max: values.count("limits.errors_max", limits.errors_max, 20),
        received: values.choice("delivery.received", received, RECEIVED).unwrap_or_default(),
        command_timeout: values.span("timeouts.command", timeouts.command, minutes(5)),
        data_timeout: values.span("timeouts.data", timeouts.data, minutes(3)),
        proxy_timeout: values.span("timeouts.proxy", timeouts.proxy, seconds(5)),
        tls_timeout: values.span("timeouts.tls", timeouts.tls, seconds(10)),
        session_timeout: values.span("timeouts.session", timeouts.session, minutes(60)),
        auth_pause: AUTH_PAUSE,
    }
}

fn log(values: &mut Values<'_>, file: LogFile, base: &Path) -> LogConfig {
    let mail = match file.mail.as_ref().map(|target| target.get_ref().as_str()) {
        None | Some("stdout") => MailLogTarget::Stdout,
        Some("off") => MailLogTarget::Off,
        Some(_) => MailLogTarget::File(path(values, "log.mail", file.mail, base, "mail.jsonl")),
    };
    LogConfig {
        level: values.choice("log.level", file.level, LEVELS).unwrap_or("info"),
        format: values.choice("log.format", file.format, FORMATS).unwrap_or_default(),
        mail,
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

#[cfg(test)]
mod tests;
