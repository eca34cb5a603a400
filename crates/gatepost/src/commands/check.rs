//! `gatepost check`: are the configuration and the policy good, and what do they say in short?

use std::{
    fmt::{self, Display},
    path::{Path, PathBuf},
};

use gatepost_policy::{ruleset::Ruleset, units::Span};

use super::print;
use crate::{
    certificates,
    config::{Config, TlsMode},
    errors::tell_warning,
    exit::Exit,
    policy, upstream_keys,
};

/// Loads both as `run` would. Warnings go to standard error, the summary to standard output.
pub fn check(config_path: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(config_path)?;
    for warning in &config.warnings {
        tell_warning(&warning.to_string());
    }
    let identities = certificates::load(&config.listeners)?;
    for warning in certificates::warnings(&config.listeners, &identities) {
        tell_warning(&warning);
    }
    let keys = upstream_keys::load(&config.upstreams, &config.upstream_files)?;
    for warning in upstream_keys::warnings(&config.upstream_files, &keys) {
        tell_warning(&warning);
    }
    let compiled = policy::load(&config.policy, &config.site)?;
    for warning in &compiled.warnings {
        tell_warning(&warning.to_string());
    }
    if compiled.ruleset.allows_nobody() {
        let file = &config.policy;
        tell_warning(&format!("{file}: there is no enabled allow entry: nobody may send"));
    }
    let candidate = config.shadow.clone().map(|file| candidate(file, &config)).transpose()?;
    let ruleset = &compiled.ruleset;
    print(&Summary { config: &config, ruleset, candidate: candidate.as_ref() }.to_string())?;
    Ok(Exit::Ok)
}

/// The policy that is tried: it stops no gateway, and is to be right all the same.
fn candidate(file: PathBuf, config: &Config) -> anyhow::Result<Ruleset> {
    let compiled = policy::load(&policy::Source::File(file), &config.site)?;
    for warning in &compiled.warnings {
        tell_warning(&warning.to_string());
    }
    Ok(compiled.ruleset)
}

struct Summary<'a> {
    config: &'a Config,
    ruleset: &'a Ruleset,
    candidate: Option<&'a Ruleset>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, ruleset, candidate } = self;
        for listener in &config.listeners {
            let tls = match listener.tls.as_ref().map(|tls| tls.mode) {
                None => "",
                Some(TlsMode::Implicit) => " (implicit TLS)",
                Some(TlsMode::StartTls) => " (STARTTLS)",
            };
            line(
                f,
                "listener",
                format_args!("{}: {}{tls}", listener.config.name, list(&listener.bind)),
            )?;
        }
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let is_default = config.site.default_upstream.is_some_and(|it| it.index() == index);
            let default = if is_default { " (default)" } else { "" };
            let hosts = list(&upstream.hosts);
            line(f, "upstream", format_args!("{}: {hosts}{default}", upstream.name))?;
        }
        line(f, "delivery", format_args!("{}", delivery(config)))?;
        line(f, "policy", format_args!("{}: {}", config.policy, contents(ruleset)))?;
        if let (Some(file), Some(candidate)) = (&config.shadow, candidate) {
            line(f, "shadow", format_args!("{}: {}", file.display(), contents(candidate)))?;
        }
        if let Some(address) = config.metrics_bind {
            line(f, "metrics", format_args!("{address}"))?;
        }
        writeln!(f, "ok")
    }
}

/// What becomes of a message about which the policy says nothing else.
fn delivery(config: &Config) -> String {
    let mode = config.site.default_mode;
    if !mode.keeps_messages() {
        return format!("mode {}", mode.name());
    }
    let (kept, place) = (Span::new(config.relay.queue.expire_after), &config.spool.directory);
    format!("mode {}, kept for {kept} in {}", mode.name(), place.display())
}

/// What a policy has, and which one it is.
pub(super) fn contents(ruleset: &Ruleset) -> String {
    let entries = match ruleset.entries().len() {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    let routes = match ruleset.routes().len() {
        0 => String::new(),
        1 => ", 1 route".to_owned(),
        count => format!(", {count} routes"),
    };
    let credentials = match ruleset.credentials().len() {
        0 => String::new(),
        1 => ", 1 credential".to_owned(),
        count => format!(", {count} credentials"),
    };
    let expectations = match ruleset.expectations() {
        0 => String::new(),
        1 => ", 1 expectation holds".to_owned(),
        count => format!(", {count} expectations hold"),
    };
    format!("{entries}{routes}{credentials}{expectations}, generation {}", ruleset.generation())
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, detail: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{name:<11}{detail}")
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
