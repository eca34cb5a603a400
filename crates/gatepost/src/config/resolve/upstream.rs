//! `[[upstream]]`, and which of them is the default.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use gatepost_delivery::{
    HostPort, IpVersion, NameServers, Patience, RatePeriod, RecipientRate, UpstreamConfig,
};
use gatepost_policy::{choice::Choices, rate::Rate, site::UpstreamId};
use toml::Spanned;

use super::{
    profile::{self, Facts},
    values::{Item, Values, at},
};
use crate::config::file::{Text, Texts, UpstreamFile};

const IP_VERSIONS: Choices<IpVersion> =
    &[("any", Some(IpVersion::Any)), ("4", Some(IpVersion::V4)), ("6", Some(IpVersion::V6))];
const TLS: Choices<()> =
    &[("none", Some(())), ("required", None), ("opportunistic", None), ("implicit", None)];

/// Every upstream, in the order of the file.
pub(super) fn resolve(
    values: &mut Values<'_>,
    files: Vec<Spanned<UpstreamFile>>,
    hostname: &Arc<str>,
    base: &Path,
) -> Vec<UpstreamConfig> {
    if files.is_empty() {
        values.error(None, "upstream", "there is none; add an [[upstream]] with name and hosts");
    }
    let mut names = Vec::new();
    let mut upstreams = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let item = Item { table: "upstream", index, at: file.span().start };
        let upstream = one(values, item, file.into_inner(), (&names, hostname), base);
        names.push(Arc::clone(&upstream.name));
        upstreams.push(upstream);
    }
    upstreams
}

/// The upstream for all that policy does not send elsewhere: the one that is named, or the only one.
/// With several and none named the policy has to name one for everything.
pub(super) fn default(
    values: &mut Values<'_>,
    written: Text,
    upstreams: &[UpstreamConfig],
) -> Option<UpstreamId> {
    let key = "delivery.upstream";
    let known = || upstreams.iter().map(|upstream| &*upstream.name).collect::<Vec<_>>().join(", ");
    let Some(written) = written else {
        return (upstreams.len() == 1).then(|| UpstreamId::new(0));
    };
    let name = written.get_ref().as_str();
    let index = upstreams.iter().position(|upstream| *upstream.name == *name);
    if index.is_none() {
        let message = format_args!("there is no upstream {name:?}; known are {}", known());
        values.error(at(&written), key, message);
    }
    index.map(UpstreamId::new)
}

fn one(
    values: &mut Values<'_>,
    item: Item,
    file: UpstreamFile,
    (names, hostname): (&[Arc<str>], &Arc<str>),
    base: &Path,
) -> UpstreamConfig {
    let facts = Facts::of(&file);
    let profile = profile::resolve(values, item, file.profile, base);
    let limits = &profile.limits;
    tls(values, item, file.tls);
    let ip = values.choice(format_args!("{item}.ip"), file.ip, IP_VERSIONS).unwrap_or(profile.ip);
    let ehlo_name =
        file.ehlo_name.map(|name| values.host_name(format_args!("{item}.ehlo_name"), &name));
    let seconds = Duration::from_secs;
    let config = UpstreamConfig {
        name: values.name(item, file.name, names),
        hosts: hosts(values, item, file.hosts),
        ip,
        name_servers: NameServers::System,
        ehlo_name: ehlo_name.unwrap_or_else(|| Arc::clone(hostname)),
        source_address: source_address(values, item, file.source_address, ip),
        max_connections: values.count(
            format_args!("{item}.max_connections"),
            file.max_connections,
            limits.max_connections.default,
        ) as usize,
        max_messages_per_connection: values
            .limit(
                format_args!("{item}.max_messages_per_connection"),
                file.max_messages_per_connection,
            )
            .or(limits.max_messages_per_connection.default),
        idle_timeout: values.span(
            format_args!("{item}.idle_timeout"),
            file.idle_timeout,
            limits.idle_timeout.default,
        ),
        max_age: values.span(format_args!("{item}.max_age"), file.max_age, limits.max_age.default),
        max_recipients: values
            .limit(format_args!("{item}.max_recipients"), file.max_recipients)
            .or(limits.max_recipients.default),
        recipient_rates: recipient_rates(values, item, file.recipient_rate),
        connect_timeout: values.span(
            format_args!("{item}.connect_timeout"),
            file.connect_timeout,
            seconds(10),
        ),
        client_stall: values.span(
            format_args!("{item}.client_stall"),
            file.client_stall,
            limits.client_stall.default,
        ),
        patience: Patience::default(),
        profile: Arc::clone(&profile),
    };
    profile::advise(values, item, &config, &facts);
    config
}

/// The default will be TLS. Until it is built, plain text has to be wanted in writing.
fn tls(values: &mut Values<'_>, item: Item, written: Text) {
    const MESSAGE: &str =
        "TLS to upstreams is not built yet; write tls = \"none\" for a plain upstream";
    let key = format_args!("{item}.tls");
    match written {
        None => values.error(Some(item.at), key, format_args!("is missing, and {MESSAGE}")),
        Some(written) => {
            let is_planned = |(word, built): &(&str, Option<()>)| {
                built.is_none() && *word == written.get_ref().as_str()
            };
            if TLS.iter().any(is_planned) {
                values.error(at(&written), key, MESSAGE);
            } else {
                values.choice(key, Some(written), TLS);
            }
        }
    }
}

fn hosts(values: &mut Values<'_>, item: Item, written: Texts) -> Vec<HostPort> {
    let written = written.filter(|list| !list.get_ref().is_empty());
    let mend = r#"write hosts = ["smarthost.example.com:25"]"#;
    let list = values.required(format_args!("{item}.hosts"), Some(item.at), written, mend);
    let list = list.map(Spanned::into_inner).unwrap_or_default();
    let each = |(index, host): (usize, &Spanned<String>)| {
        values.parsed(format_args!("{item}.hosts[{index}]"), host)
    };
    list.iter().enumerate().filter_map(each).collect()
}

fn source_address(
    values: &mut Values<'_>,
    item: Item,
    written: Text,
    ip: IpVersion,
) -> Option<IpAddr> {
    let written = written?;
    let key = format_args!("{item}.source_address");
    let Ok(address) = written.get_ref().parse::<IpAddr>() else {
        let message = format_args!("{:?} is not an IP address", written.get_ref());
        values.error(at(&written), key, message);
        return None;
    };
    let usable = match ip {
        IpVersion::Any => true,
        IpVersion::V4 => address.is_ipv4(),
        IpVersion::V6 => address.is_ipv6(),
    };
    if !usable {
        let message =
            format_args!("{address} cannot reach the addresses that ip allows; change one");
        values.error(at(&written), key, message);
    }
    Some(address)
}

fn recipient_rates(values: &mut Values<'_>, item: Item, written: Texts) -> Vec<RecipientRate> {
    let written = written.map(Spanned::into_inner).unwrap_or_default();
    let mut rates: Vec<RecipientRate> = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let key = format_args!("{item}.recipient_rate[{index}]");
        let Some(rate) = values.parsed::<Rate>(key, text) else { continue };
        let period = match rate.period().as_secs() {
            1 => RatePeriod::Second,
            60 => RatePeriod::Minute,
            3600 => RatePeriod::Hour,
            _ => RatePeriod::Day,
        };
        if let Some(earlier) = rates.iter().find(|rate| rate.period == period) {
            let message = format_args!(
                "{rate} is for the same period as {earlier}; write the smaller one only"
            );
            values.error(at(text), key, message);
            continue;
        }
        rates.push(RecipientRate { count: rate.burst(), period });
    }
    rates
}
