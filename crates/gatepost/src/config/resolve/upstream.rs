//! `[[upstream]]`, and which of them is the default.

mod auth;
mod canary;
mod tls;

use std::{fmt, net::IpAddr, path::Path, sync::Arc, time::Duration};

use gatepost_delivery::{
    HostMeans, HostPort, IpVersion, NameServers, Patience, Profile, RatePeriod, RecipientRate,
    UpstreamConfig,
};
use gatepost_policy::{choice::Choices, rate::Rate, site::UpstreamId};
use gatepost_relay::CanaryConfig;
use toml::Spanned;

use super::{
    profile::{self, Facts},
    values::{Item, Values, at},
};
use crate::config::{
    UpstreamFiles,
    file::{Text, Texts, UpstreamFile},
};

const IP_VERSIONS: Choices<IpVersion> =
    &[("any", Some(IpVersion::Any)), ("4", Some(IpVersion::V4)), ("6", Some(IpVersion::V6))];

/// What is written of all upstreams, each list in the order of the file.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) configs: Vec<UpstreamConfig>,
    pub(super) files: Vec<UpstreamFiles>,
    pub(super) canaries: Vec<Option<CanaryConfig>>,
}

/// Every upstream, in the order of the file.
pub(super) fn resolve(
    values: &mut Values<'_>,
    files: Vec<Spanned<UpstreamFile>>,
    hostname: &Arc<str>,
    base: &Path,
) -> Upstreams {
    if files.is_empty() {
        values.error(None, "upstream", "there is none; add an [[upstream]] with name and hosts");
    }
    let mut names = Vec::new();
    let mut all = Upstreams::default();
    for (index, file) in files.into_iter().enumerate() {
        let item = Item { table: "upstream", index, at: file.span().start };
        let mut file = file.into_inner();
        let facts = Facts::of(&file);
        let profile = profile::resolve(values, item, file.profile.take(), base);
        let (tls, files) = tls::resolve(values, item, &mut file, profile.tls, base);
        let ehlo_at = file.ehlo_name.as_ref().and_then(at);
        all.canaries.push(canary::resolve(values, item, file.canary.take()));
        let upstream = one(values, item, file, (&names, hostname), (profile, tls));
        auth_goes_to_whom_we_know(values, item, &upstream, &files);
        profile::advise(values, item, &upstream, &facts);
        ehlo_name_is_ours(values, item, ehlo_at, &upstream);
        names.push(Arc::clone(&upstream.name));
        all.configs.push(upstream);
        all.files.push(files);
    }
    all
}

/// Whoever answers for DNS names an exchanger as he likes, and has a certificate for that name. Mail
/// may take that way; what could be used by others for ever does not.
fn auth_goes_to_whom_we_know(
    values: &mut Values<'_>,
    item: Item,
    upstream: &UpstreamConfig,
    files: &UpstreamFiles,
) {
    let by_dns = upstream.hosts.iter().find(|host| host.means() == HostMeans::MailDomain);
    if let (Some(host), Some(_), None) = (by_dns, &files.auth, &upstream.server_name) {
        let message = format_args!(
            "goes to whomever DNS names as the mail exchanger of {}; write server_name, the name \
             that their certificates must have, or the hosts themselves",
            host.host()
        );
        values.error(Some(item.at), format_args!("{item}.auth"), message);
    }
}

/// Every machine calls itself localhost: providers answer that with a 421 that looks transient, and
/// is not.
fn ehlo_name_is_ours(
    values: &mut Values<'_>,
    item: Item,
    place: Option<usize>,
    upstream: &UpstreamConfig,
) {
    let is_elsewhere = upstream.hosts.iter().any(|host| !host.is_loopback());
    if is_elsewhere && upstream.ehlo_name.eq_ignore_ascii_case("localhost") {
        let message = "is localhost, if only by the hostname: upstreams refuse what every machine \
                       calls itself; write a name of yours, like relay.example.com";
        values.error(place.or(Some(item.at)), format_args!("{item}.ehlo_name"), message);
    }
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
    (profile, tls): (Arc<Profile>, tls::Resolved),
) -> UpstreamConfig {
    let limits = &profile.limits;
    let ip = values.choice(format_args!("{item}.ip"), file.ip, IP_VERSIONS).unwrap_or(profile.ip);
    let ehlo_name =
        file.ehlo_name.map(|name| values.host_name(format_args!("{item}.ehlo_name"), &name));
    let source_address = source_address(values, item, file.source_address, ip);
    let seconds = Duration::from_secs;
    UpstreamConfig {
        name: values.name(item, file.name, names),
        hosts: hosts(values, item, file.hosts, ip.from_source(source_address)),
        ip,
        name_servers: NameServers::System,
        tls: tls.policy,
        server_name: tls.server_name,
        access: Arc::default(),
        ehlo_name: ehlo_name.unwrap_or_else(|| Arc::clone(hostname)),
        source_address,
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
        recipient_rates: recipient_rates(values, item, file.recipient_rate, &profile),
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
    }
}

/// The text of a key that is written, if it is not empty.
fn non_empty(
    values: &mut Values<'_>,
    key: fmt::Arguments<'_>,
    written: Text,
    mend: &str,
) -> Option<Arc<str>> {
    let written = written?;
    if written.get_ref().is_empty() {
        values.error(at(&written), key, format_args!("is empty; {mend}"));
    }
    Some(written.into_inner().into())
}

fn hosts(
    values: &mut Values<'_>,
    item: Item,
    written: Texts,
    reachable: IpVersion,
) -> Vec<HostPort> {
    let written = written.filter(|list| !list.get_ref().is_empty());
    let mend = r#"write hosts = ["smarthost.example.com:25"]"#;
    let list = values.required(format_args!("{item}.hosts"), Some(item.at), written, mend);
    let list = list.map(Spanned::into_inner).unwrap_or_default();
    let each = |(index, written): (usize, &Spanned<String>)| {
        let key = format_args!("{item}.hosts[{index}]");
        let host: HostPort = values.parsed(key, written)?;
        if let Ok(address) = host.host().parse::<IpAddr>()
            && !reachable.takes(&address)
        {
            let message = format_args!(
                "{address} is none that ip and source_address allow, and never used; change one"
            );
            values.warn(at(written), key, message);
        }
        Some(host)
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

fn recipient_rates(
    values: &mut Values<'_>,
    item: Item,
    written: Texts,
    profile: &Profile,
) -> Vec<RecipientRate> {
    let Some(written) = written.map(Spanned::into_inner) else {
        return usual_rates(values, item, profile);
    };
    let mut rates: Vec<RecipientRate> = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let key = format_args!("{item}.recipient_rate[{index}]");
        let Some(rate) = values.parsed::<Rate>(key, text).map(recipient_rate) else { continue };
        if let Some(earlier) = rates.iter().find(|earlier| earlier.period == rate.period) {
            let message = format_args!(
                "{rate} is for the same period as {earlier}; write the smaller one only"
            );
            values.error(at(text), key, message);
            continue;
        }
        rates.push(rate);
    }
    rates
}

/// What the profile says where nothing is written.
fn usual_rates(values: &mut Values<'_>, item: Item, profile: &Profile) -> Vec<RecipientRate> {
    let mut rates = Vec::new();
    for text in &profile.limits.recipient_rate.default {
        match text.parse::<Rate>() {
            Ok(rate) => rates.push(recipient_rate(rate)),
            Err(error) => {
                let message = format_args!("{text:?} of the profile {}: {error}", profile.name);
                values.error(Some(item.at), format_args!("{item}.recipient_rate"), message);
            }
        }
    }
    rates
}

const fn recipient_rate(rate: Rate) -> RecipientRate {
    let period = match rate.period().as_secs() {
        1 => RatePeriod::Second,
        60 => RatePeriod::Minute,
        3600 => RatePeriod::Hour,
        _ => RatePeriod::Day,
    };
    RecipientRate { count: rate.burst(), period }
}
