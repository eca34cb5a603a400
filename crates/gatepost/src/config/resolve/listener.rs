//! `[[listener]]`.

use std::{net::SocketAddr, sync::Arc};

use gatepost_inbound::ListenerConfig;
use gatepost_policy::{choice::Choices, listener::ListenerId};
use toml::Spanned;

use super::{
    bind,
    values::{Item, Values},
};
use crate::config::{
    Listener,
    file::{ListenerFile, Texts},
};

const TLS: Choices<()> = &[("none", Some(())), ("starttls", None), ("implicit", None)];
const PROXY_PROTOCOL: Choices<()> = &[("off", Some(())), ("required", None)];
const UNKNOWN_CLIENTS: Choices<()> = &[("reject", Some(())), ("authenticate", None)];

/// Every listener, in the order of the file.
pub(super) fn resolve(values: &mut Values<'_>, files: Vec<Spanned<ListenerFile>>) -> Vec<Listener> {
    if files.is_empty() {
        values.error(None, "listener", "there is none; add a [[listener]] with name and bind");
    }
    let mut names = Vec::new();
    let mut listeners = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let item = Item { table: "listener", index, at: file.span().start };
        let listener = one(values, item, file.into_inner(), &names);
        names.push(Arc::clone(&listener.config.name));
        listeners.push(listener);
    }
    listeners
}

fn one(values: &mut Values<'_>, item: Item, file: ListenerFile, names: &[Arc<str>]) -> Listener {
    values.choice(format_args!("{item}.tls"), file.tls, TLS);
    values.choice(format_args!("{item}.proxy_protocol"), file.proxy_protocol, PROXY_PROTOCOL);
    values.choice(format_args!("{item}.unknown_clients"), file.unknown_clients, UNKNOWN_CLIENTS);
    Listener {
        config: ListenerConfig {
            name: values.name(item, file.name, names),
            id: ListenerId::new(item.index),
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
        bind: addresses(values, item, file.bind),
    }
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
