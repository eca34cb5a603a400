//! The profile of an upstream, and what is written against it.
//!
//! A profile is a word, or the path of a file that ends in `.toml`. What is written counts more than
//! what a profile says, so nothing here is refused: an operator is warned of what the provider will
//! not bear, with key and mend.

use std::{fmt, path::Path, sync::Arc};

use gatepost_delivery::{
    IpVersion, Profile, UpstreamConfig,
    profile::{self, Need, TlsMode},
};
use gatepost_policy::units::Span;

use super::values::{Item, Values, at};
use crate::{
    config::file::{Number, Text, UpstreamFile},
    load,
};

/// Octets of a profile's file: the longest in the program has a few KiB.
const FILE_OCTETS_MAX: u64 = 256 * 1024;

/// What is written of an upstream, as far as a profile has an opinion: where, or what.
pub(super) struct Facts {
    tls_mode: Option<TlsMode>,
    has_auth: bool,
    profile: Option<usize>,
    tls: Option<usize>,
    hosts: Option<usize>,
    ip: Option<usize>,
    source_address: Option<usize>,
    max_connections: Option<usize>,
    max_messages_per_connection: Option<usize>,
    idle_timeout: Option<usize>,
    max_age: Option<usize>,
    max_recipients: Option<usize>,
    client_stall: Option<usize>,
}

impl Facts {
    pub(super) fn of(file: &UpstreamFile) -> Self {
        let text = |written: &Text| written.as_ref().and_then(at);
        let number = |written: &Number| written.as_ref().and_then(at);
        Self {
            tls_mode: file.tls.as_ref().and_then(|word| tls_mode(word.get_ref())),
            has_auth: file.auth.is_some(),
            profile: text(&file.profile),
            tls: text(&file.tls),
            hosts: file.hosts.as_ref().and_then(at),
            ip: text(&file.ip),
            source_address: text(&file.source_address),
            max_connections: number(&file.max_connections),
            max_messages_per_connection: number(&file.max_messages_per_connection),
            idle_timeout: text(&file.idle_timeout),
            max_age: text(&file.max_age),
            max_recipients: number(&file.max_recipients),
            client_stall: text(&file.client_stall),
        }
    }
}

fn tls_mode(word: &str) -> Option<TlsMode> {
    [TlsMode::None, TlsMode::Opportunistic, TlsMode::Required, TlsMode::Implicit]
        .into_iter()
        .find(|mode| mode.to_string() == word)
}

/// The profile that is named, or that for any server.
pub(super) fn resolve(
    values: &mut Values<'_>,
    item: Item,
    written: Text,
    base: &Path,
) -> Arc<Profile> {
    let Some(written) = written else { return Profile::generic() };
    let name = written.get_ref().as_str();
    let read = if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let path = base.join(name);
        let parsed = |text: String| {
            Profile::parse(&text, &path.display().to_string()).map_err(|error| error.to_string())
        };
        let text = load::text(&path, FILE_OCTETS_MAX).map_err(|error| error.to_string());
        text.and_then(parsed).map(Arc::new)
    } else {
        let known = || profile::built_in().iter().map(|known| &*known.name).collect::<Vec<_>>();
        Profile::named(name).ok_or_else(|| {
            format!(
                "{name:?} is unknown; write {}, or the path of a .toml file",
                known().join(", ")
            )
        })
    };
    read.unwrap_or_else(|message| {
        values.error(at(&written), format_args!("{item}.profile"), message);
        Profile::generic()
    })
}

/// Warns of what the provider is known not to bear.
pub(super) fn advise(values: &mut Values<'_>, item: Item, config: &UpstreamConfig, facts: &Facts) {
    let mut advice = Advice { values, item, profile: &config.profile };
    advice.hosts(config, facts);
    advice.auth(facts);
    advice.addresses(config, facts);
    advice.limits(config, facts);
}

struct Advice<'v, 's, 'p> {
    values: &'v mut Values<'s>,
    item: Item,
    profile: &'p Profile,
}

impl Advice<'_, '_, '_> {
    fn warn(&mut self, at: Option<usize>, key: &str, message: impl fmt::Display) {
        let item = self.item;
        self.values.warn(at.or(Some(item.at)), format_args!("{item}.{key}"), message);
    }

    fn hosts(&mut self, config: &UpstreamConfig, facts: &Facts) {
        let profile = self.profile;
        let other = |host: &str| {
            let known = profile::built_in().iter().find(|known| known.knows_host(host));
            known.filter(|_| !profile.knows_host(host))
        };
        let known = config.hosts.iter().find_map(|host| Some((host, other(host.host())?)));
        if let Some((host, known)) = known {
            let message = format_args!(
                "{host} is a host of {}; did you mean profile = {:?}?",
                known.description, known.name
            );
            self.warn(facts.profile.or(facts.hosts), "profile", message);
            // Its ports are not this profile's.
            return;
        }
        let tls = facts.tls_mode.unwrap_or(profile.tls);
        for host in &config.hosts {
            let ports: Vec<_> =
                profile.ports.iter().filter(|port| port.number == host.port()).collect();
            if ports.is_empty() && !profile.ports.is_empty() {
                let known = profile.ports.iter().map(|port| {
                    let tls = port.tls.iter().map(ToString::to_string).collect::<Vec<_>>();
                    format!("{} ({})", port.number, tls.join(", "))
                });
                let known = known.collect::<Vec<_>>().join(", ");
                let message = format_args!(
                    "{host}: {} is not known to listen on that port; write one of {known}",
                    profile.description
                );
                self.warn(facts.hosts, "hosts", message);
            } else if let Some(port) = ports.first().filter(|port| !port.tls.contains(&tls)) {
                let known = port.tls.iter().map(|tls| format!("{:?}", tls.to_string()));
                let message = format_args!(
                    "{tls} does not work on port {} of {}; write tls = {}, or another port",
                    port.number,
                    profile.description,
                    known.collect::<Vec<_>>().join(" or ")
                );
                self.warn(facts.tls, "tls", message);
            }
        }
    }

    fn auth(&mut self, facts: &Facts) {
        let Profile { description, auth, .. } = self.profile;
        match (auth.need, facts.has_auth) {
            (Need::Required, false) => {
                let words = auth.mechanisms.iter().map(ToString::to_string).collect::<Vec<_>>();
                let message = format_args!(
                    "is missing, and {description} takes nothing without; write it with mechanism {}",
                    words.join(" or ")
                );
                self.warn(None, "auth", message);
            }
            (Need::Never, true) => {
                let message = format_args!("{description} has no use for it; leave it out");
                self.warn(None, "auth", message);
            }
            _ => {}
        }
    }

    fn addresses(&mut self, config: &UpstreamConfig, facts: &Facts) {
        let Profile { description, ip, .. } = self.profile;
        if *ip == IpVersion::V4 && config.ip != IpVersion::V4 {
            let message = format_args!("{description} knows IPv4 addresses only; write ip = \"4\"");
            self.warn(facts.ip, "ip", message);
            if config.source_address.is_some_and(|address| address.is_ipv6()) {
                let message = format_args!(
                    "{description} knows IPv4 addresses only; write one of this machine, or leave it out"
                );
                self.warn(facts.source_address, "source_address", message);
            }
        }
    }

    fn limits(&mut self, config: &UpstreamConfig, facts: &Facts) {
        let limits = &self.profile.limits;
        let connections = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
        let messages = config.max_messages_per_connection;
        for (at, key, value, most) in [
            (
                facts.max_connections,
                "max_connections",
                Some(connections),
                limits.max_connections.most,
            ),
            (
                facts.max_messages_per_connection,
                "max_messages_per_connection",
                messages,
                limits.max_messages_per_connection.most.flatten(),
            ),
            (
                facts.max_recipients,
                "max_recipients",
                config.max_recipients,
                limits.max_recipients.most.flatten(),
            ),
        ] {
            self.at_most(at, key, value, most);
        }
        for (at, key, value, limit) in [
            (facts.idle_timeout, "idle_timeout", config.idle_timeout, &limits.idle_timeout),
            (facts.max_age, "max_age", config.max_age, &limits.max_age),
            (facts.client_stall, "client_stall", config.client_stall, &limits.client_stall),
        ] {
            self.at_most(at, key, Some(Span::new(value)), limit.most.map(Span::new));
        }
    }

    fn at_most<T>(&mut self, at: Option<usize>, key: &str, value: Option<T>, most: Option<T>)
    where
        T: Copy + PartialOrd + fmt::Display,
    {
        let (Some(value), Some(most)) = (value, most) else { return };
        if value > most {
            let description = &self.profile.description;
            let message =
                format_args!("{value} is more than {description} bears; write {most} or less");
            self.warn(at, key, message);
        }
    }
}

#[cfg(test)]
mod tests;
