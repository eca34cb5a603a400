//! `[[listener]]`.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc};

use gatepost_inbound::{ListenerConfig, OnHiddenClients, ProxyProtocol};
use gatepost_policy::{
    choice::Choices,
    listener::ListenerId,
    network::{Network, NetworkError},
    site::AuthOffer,
};
use toml::Spanned;

use super::{
    bind, tls,
    values::{Item, Values, at},
};
use crate::config::{
    Listener,
    file::{ListenerFile, Text, Texts},
};

const PROXY_PROTOCOL: Choices<ProxyMode> =
    &[("off", Some(ProxyMode::Off)), ("required", Some(ProxyMode::Required))];
const HIDDEN_CLIENTS: Choices<OnHiddenClients> = &[
    ("off", Some(OnHiddenClients::Off)),
    ("warn", Some(OnHiddenClients::Warn)),
    ("refuse", Some(OnHiddenClients::Refuse)),
];
const UNKNOWN_CLIENTS: Choices<UnknownClients> = &[
    ("reject", Some(UnknownClients::Reject)),
    ("authenticate", Some(UnknownClients::Authenticate)),
];

/// What `proxy_protocol` may be.
#[derive(Clone, Copy)]
enum ProxyMode {
    Off,
    Required,
}

/// What `unknown_clients` may be.
#[derive(Clone, Copy)]
enum UnknownClients {
    Authenticate,
    Reject,
}

/// Every listener, in the order of the file.
pub(super) fn resolve(
    values: &mut Values<'_>,
    files: Vec<Spanned<ListenerFile>>,
    base: &Path,
) -> Vec<Listener> {
    if files.is_empty() {
        values.error(None, "listener", "there is none; add a [[listener]] with name and bind");
    }
    let mut names = Vec::new();
    let mut listeners = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let item = Item { table: "listener", index, at: file.span().start };
        let listener = one(values, item, file.into_inner(), (&names, base));
        names.push(Arc::clone(&listener.config.name));
        listeners.push(listener);
    }
    listeners
}

fn one(
    values: &mut Values<'_>,
    item: Item,
    file: ListenerFile,
    (names, base): (&[Arc<str>], &Path),
) -> Listener {
    let tls = tls::Written {
        mode: file.tls,
        certificate: file.certificate,
        private_key: file.private_key,
        sni: file.sni,
        client_ca: file.client_ca,
    };
    let tls = tls::resolve(values, item, tls, base);
    Listener {
        config: ListenerConfig {
            name: values.name(item, file.name, names),
            id: ListenerId::new(item.index),
            proxy_protocol: proxy_protocol(values, item, file.proxy_protocol, file.trusted_proxies),
            hidden_clients: values
                .choice(format_args!("{item}.hidden_clients"), file.hidden_clients, HIDDEN_CLIENTS)
                .unwrap_or_default(),
            auth: auth(values, item, file.unknown_clients, tls.is_some()),
            max_connections: values.count(
                format_args!("{item}.max_connections"),
                file.max_connections,
                10_000,
            ) as usize,
            max_connections_per_address: values.count(
                format_args!("{item}.max_connections_per_address"),
                file.max_connections_per_address,
                100,
            ) as usize,
        },
        tls,
        bind: addresses(values, item, file.bind),
    }
}

/// Passwords are not asked for in plain text, so without TLS nobody could ever authenticate.
fn auth(values: &mut Values<'_>, item: Item, unknown_clients: Text, has_tls: bool) -> AuthOffer {
    let key = format_args!("{item}.unknown_clients");
    let place = unknown_clients.as_ref().and_then(at);
    match (values.choice(key, unknown_clients, UNKNOWN_CLIENTS), has_tls) {
        (Some(UnknownClients::Authenticate), true) => AuthOffer::Everybody,
        (Some(UnknownClients::Authenticate), false) => {
            let message = r#"needs TLS, because AUTH is not offered in plain text; write tls = "starttls" or "implicit""#;
            values.error(place, key, message);
            AuthOffer::Nobody
        }
        (Some(UnknownClients::Reject) | None, true) => AuthOffer::Required,
        (Some(UnknownClients::Reject) | None, false) => AuthOffer::Nobody,
    }
}

/// Whoever is trusted can be any client, so nobody is by default.
fn proxy_protocol(
    values: &mut Values<'_>,
    item: Item,
    mode: Text,
    trusted: Texts,
) -> ProxyProtocol {
    let is_written = mode.is_some();
    let mode = values.choice(format_args!("{item}.proxy_protocol"), mode, PROXY_PROTOCOL);
    let key = format_args!("{item}.trusted_proxies");
    match mode {
        // It has been told already what may be written there.
        None if is_written => ProxyProtocol::Off,
        None | Some(ProxyMode::Off) => {
            if let Some(trusted) = trusted {
                let message = r#"has no effect without proxy_protocol = "required"; add that, or leave this out"#;
                values.error(at(&trusted), key, message);
            }
            ProxyProtocol::Off
        }
        Some(ProxyMode::Required) => {
            let trusted = trusted.filter(|list| !list.get_ref().is_empty());
            let mend = r#"write trusted_proxies = ["10.0.0.5"], the addresses that the proxies connect from"#;
            let list = values.required(key, Some(item.at), trusted, mend);
            let list = list.map(Spanned::into_inner).unwrap_or_default();
            let each = |(index, network): (usize, &Spanned<String>)| {
                trusted_proxy(values, format_args!("{item}.trusted_proxies[{index}]"), network)
            };
            ProxyProtocol::Required(list.iter().enumerate().filter_map(each).collect())
        }
    }
}

fn trusted_proxy(
    values: &mut Values<'_>,
    key: impl fmt::Display,
    written: &Spanned<String>,
) -> Option<Network> {
    let text = written.get_ref();
    let message = match text.parse::<Network>() {
        Ok(network) => return Some(network),
        Err(NetworkError::Everything) => {
            "covers every address, so anybody could claim to be any client; name the proxies"
                .to_owned()
        }
        Err(error) => error.to_string(),
    };
    values.error(at(written), key, format_args!("{text:?}: {message}"));
    None
}

fn addresses(values: &mut Values<'_>, item: Item, written: Texts) -> Vec<SocketAddr> {
    let written = written.filter(|list| !list.get_ref().is_empty());
    let mend = r#"write bind = ["0.0.0.0:25", "[::]:25"]"#;
    let list = values.required(format_args!("{item}.bind"), Some(item.at), written, mend);
    let list = list.map(Spanned::into_inner).unwrap_or_default();
    let each = |(index, address): (usize, &Spanned<String>)| {
        bind::address(values, format_args!("{item}.bind[{index}]"), address)
    };
    list.iter().enumerate().filter_map(each).collect()
}
