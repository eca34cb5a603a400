//! TLS of a listener: which files it takes. Whether they are any good is found when they are read.

use std::path::{Path, PathBuf};

use gatepost_policy::choice::Choices;

use super::values::{Item, Values, at};
use crate::config::{
    PairFiles, TlsFiles, TlsMode,
    file::{SniFile, SniFiles, Text},
};

const MODES: Choices<Option<TlsMode>> = &[
    ("none", Some(None)),
    ("starttls", Some(Some(TlsMode::StartTls))),
    ("implicit", Some(Some(TlsMode::Implicit))),
];

/// The keys of a listener that are about TLS.
pub(super) struct Written {
    pub(super) mode: Text,
    pub(super) certificate: Text,
    pub(super) private_key: Text,
    pub(super) sni: SniFiles,
    pub(super) client_ca: Text,
}

/// None: plain text.
pub(super) fn resolve(
    values: &mut Values<'_>,
    item: Item,
    written: Written,
    base: &Path,
) -> Option<TlsFiles> {
    let Written { mode, certificate, private_key, sni, client_ca } = written;
    let is_written = mode.is_some();
    let Some(mode) = values.choice(format_args!("{item}.tls"), mode, MODES) else {
        // A wrong word is told alone: what it was meant to be says what is needed beside it.
        if !is_written {
            refuse_all(values, item, &[certificate, private_key, client_ca], &sni);
        }
        return None;
    };
    let Some(mode) = mode else {
        refuse_all(values, item, &[certificate, private_key, client_ca], &sni);
        return None;
    };
    let place = (item.to_string(), item.at);
    let certificate = pair(values, &place, (certificate, private_key), base);
    let sni = sni.map(toml::Spanned::into_inner).unwrap_or_default();
    let sni = sni.into_iter().enumerate().map(|(index, written)| {
        let place = (format!("{item}.sni[{index}]"), written.span().start);
        let SniFile { certificate, private_key } = written.into_inner();
        pair(values, &place, (certificate, private_key), base)
    });
    let sni = sni.collect();
    let client_ca = client_ca.map(|written| {
        let key = format!("{item}.client_ca");
        file(values, &key, item.at, Some(written), base, "clients-ca.pem")
    });
    Some(TlsFiles { mode, certificate, sni, client_ca })
}

/// What is written for TLS where there is none: somebody believes that there is.
fn refuse_all(values: &mut Values<'_>, item: Item, written: &[Text; 3], sni: &SniFiles) {
    let mend = "this listener speaks plain text; write tls = \"starttls\" or \"implicit\", or leave \
                it out";
    for (key, written) in ["certificate", "private_key", "client_ca"].into_iter().zip(written) {
        if let Some(written) = written {
            values.error(at(written), format_args!("{item}.{key}"), mend);
        }
    }
    if let Some(sni) = sni {
        values.error(at(sni), format_args!("{item}.sni"), mend);
    }
}

fn pair(
    values: &mut Values<'_>,
    (table, at): &(String, usize),
    (certificate, private_key): (Text, Text),
    base: &Path,
) -> PairFiles {
    let certificate_key = format!("{table}.certificate");
    let private_key_key = format!("{table}.private_key");
    PairFiles {
        certificate: file(values, &certificate_key, *at, certificate, base, "relay.pem"),
        private_key: file(values, &private_key_key, *at, private_key, base, "relay.key"),
    }
}

fn file(
    values: &mut Values<'_>,
    key: &str,
    table_at: usize,
    written: Text,
    base: &Path,
    example: &str,
) -> PathBuf {
    let written = written.filter(|path| !path.get_ref().is_empty());
    let mend = format!("write the path of a PEM file, like {example}");
    let path = values.required(key, Some(table_at), written, &mend);
    path.map(|path| base.join(path.into_inner())).unwrap_or_default()
}
