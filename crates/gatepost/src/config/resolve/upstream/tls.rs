//! TLS of an upstream: whether, whom it is taken for, and what is shown to it. Whether the files are
//! any good is found when they are read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use gatepost_delivery::{TlsPolicy, profile::TlsMode};
use gatepost_policy::choice::Choices;

use super::{
    super::values::{Item, Values, at},
    auth, non_empty,
};
use crate::config::{
    PairFiles, UpstreamFiles,
    file::{Text, UpstreamFile},
};

const POLICIES: Choices<TlsPolicy> = &[
    ("required", Some(TlsPolicy::Required)),
    ("implicit", Some(TlsPolicy::Implicit)),
    ("opportunistic", Some(TlsPolicy::Opportunistic)),
    ("none", Some(TlsPolicy::None)),
];

/// What of it is no file.
pub(super) struct Resolved {
    pub(super) policy: TlsPolicy,
    pub(super) server_name: Option<Arc<str>>,
}

/// Takes the keys of TLS and AUTH out of an `[[upstream]]`.
pub(super) fn resolve(
    values: &mut Values<'_>,
    item: Item,
    file: &mut UpstreamFile,
    usual: TlsMode,
    base: &Path,
) -> (Resolved, UpstreamFiles) {
    let is_written = file.tls.is_some();
    let policy = values.choice(format_args!("{item}.tls"), file.tls.take(), POLICIES);
    // A wrong word is told alone.
    let is_told = is_written && policy.is_none();
    let policy = policy.unwrap_or_else(|| policy_of(usual));
    let written = [
        ("ca_file", file.ca_file.take()),
        ("server_name", file.server_name.take()),
        ("client_certificate", file.client_certificate.take()),
        ("client_key", file.client_key.take()),
    ];
    refuse_unused(values, item, policy, &written);
    let [ca_file, server_name, certificate, key] = written.map(|(_, written)| written);
    let files = UpstreamFiles {
        ca: ca_file.and_then(|written| {
            let key = format_args!("{item}.ca_file");
            let mend = "write the path of a PEM file, like upstream-ca.pem, or leave it out for the \
                        roots of this machine";
            Some(base.join(&*non_empty(values, key, Some(written), mend)?))
        }),
        client: pair(values, item, (certificate, key), base),
        auth: auth::resolve(values, item, file.auth.take(), (policy, is_told), base),
    };
    (Resolved { policy, server_name: name(values, item, server_name) }, files)
}

/// What the provider has, if nothing is written. Nobody gets plain text who has not asked for it in
/// writing, be it in a profile of their own.
const fn policy_of(mode: TlsMode) -> TlsPolicy {
    match mode {
        TlsMode::None => TlsPolicy::None,
        TlsMode::Opportunistic => TlsPolicy::Opportunistic,
        TlsMode::Required => TlsPolicy::Required,
        TlsMode::Implicit => TlsPolicy::Implicit,
    }
}

/// What is written for TLS and looked at by nobody: somebody believes that it is.
fn refuse_unused(values: &mut Values<'_>, item: Item, policy: TlsPolicy, written: &[(&str, Text)]) {
    let (keys, message) = match policy {
        TlsPolicy::None => (
            written,
            "has no effect, this upstream is spoken to in plain text; write tls = \"required\" or \
             \"implicit\", or leave it out",
        ),
        TlsPolicy::Opportunistic => (
            &written[..2],
            "has no effect, opportunistic TLS verifies no certificate; write tls = \"required\" or \
             \"implicit\", or leave it out",
        ),
        TlsPolicy::Required | TlsPolicy::Implicit => return,
    };
    for (key, written) in keys {
        if let Some(written) = written {
            values.error(at(written), format_args!("{item}.{key}"), message);
        }
    }
}

fn pair(
    values: &mut Values<'_>,
    item: Item,
    (certificate, key): (Text, Text),
    base: &Path,
) -> Option<PairFiles> {
    if certificate.is_none() && key.is_none() {
        return None;
    }
    let place = certificate.as_ref().or(key.as_ref()).and_then(at);
    let mut file = |name: &str, written: Text, example: &str| -> PathBuf {
        let written = written.filter(|path| !path.get_ref().is_empty());
        let mend = format!(
            "write the path of a PEM file, like {example}: certificate and key go together"
        );
        let path = values.required(format_args!("{item}.{name}"), place, written, &mend);
        path.map(|path| base.join(path.into_inner())).unwrap_or_default()
    };
    Some(PairFiles {
        certificate: file("client_certificate", certificate, "relay.pem"),
        private_key: file("client_key", key, "relay.key"),
    })
}

fn name(values: &mut Values<'_>, item: Item, written: Text) -> Option<Arc<str>> {
    let written = written?;
    let name = written.get_ref().as_str();
    if !gatepost_delivery::is_server_name(name) {
        let message = format_args!(
            "{name:?} is no name that a certificate may have; write a host name, like \
             smtp.example.com, or an address"
        );
        values.error(at(&written), format_args!("{item}.server_name"), message);
    }
    Some(name.into())
}
