//! `gatepost check`: are the configuration and the policy good, and what do they say in short?

use std::{
    fmt::{self, Display},
    path::Path,
};

use gatepost_policy::ruleset::Ruleset;

use super::print;
use crate::{config::Config, errors::tell_warning, exit::Exit, policy};

/// Loads both as `run` would. Warnings go to standard error, the summary to standard output.
pub fn check(config_path: &Path) -> anyhow::Result<Exit> {
    let config = Config::load(config_path)?;
    let compiled = policy::load(&config.policy, &config.site)?;
    for warning in &compiled.warnings {
        tell_warning(warning);
    }
    if compiled.ruleset.allows_nobody() {
        let file = &config.policy;
        tell_warning(&format!("{file}: there is no enabled allow entry: nobody may send"));
    }
    let candidate = config.shadow.clone().map(policy::Source::File);
    if let Some(candidate) = &candidate {
        for warning in policy::load(candidate, &config.site)?.warnings {
            tell_warning(&warning);
        }
    }
    print(&Summary { config: &config, ruleset: &compiled.ruleset }.to_string())?;
    Ok(Exit::Ok)
}

struct Summary<'a> {
    config: &'a Config,
    ruleset: &'a Ruleset,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, ruleset } = self;
        for listener in &config.listeners {
            line(
                f,
                "listener",
                format_args!("{}: {}", listener.config.name, list(&listener.bind)),
            )?;
        }
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let is_default = config.site.default_upstream.is_some_and(|it| it.index() == index);
            let default = if is_default { " (default)" } else { "" };
            let hosts = list(&upstream.hosts);
            line(f, "upstream", format_args!("{}: {hosts}{default}", upstream.name))?;
        }
        let entries = match ruleset.entries().len() {
            1 => "1 entry".to_owned(),
            count => format!("{count} entries"),
        };
        let (file, generation) = (&config.policy, ruleset.generation());
        let routes = match ruleset.routes().len() {
            0 => String::new(),
            1 => ", 1 route".to_owned(),
            count => format!(", {count} routes"),
        };
        let expectations = match ruleset.expectations() {
            0 => String::new(),
            1 => ", 1 expectation holds".to_owned(),
            count => format!(", {count} expectations hold"),
        };
        let all = format_args!("{file}: {entries}{routes}{expectations}, generation {generation}");
        line(f, "policy", all)?;
        if let Some(candidate) = &config.shadow {
            line(f, "shadow", format_args!("{}", candidate.display()))?;
        }
        if let Some(address) = config.metrics_bind {
            line(f, "metrics", format_args!("{address}"))?;
        }
        writeln!(f, "ok")
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, detail: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{name:<11}{detail}")
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
