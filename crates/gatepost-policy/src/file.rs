//! The policy file as it is written: a mirror of contract §2 and nothing else.
//!
//! Every key of the contract is here. Those whose step has not come are [`NotBuilt`] and refused by
//! name; the step that builds one gives it a type. Nothing is required and nothing is judged here:
//! the compiler does that, because it can name the entry.

use serde::Deserialize;
use toml::Spanned;

use crate::{
    document::{self, DocumentError, NotBuilt},
    report::TOLD_MAX,
};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are not built have no value to read")]
struct PolicyFile {
    #[serde(default)]
    entry: Vec<Spanned<EntryFile>>,
    route: Option<NotBuilt>,
    credential: Option<NotBuilt>,
    expect: Option<NotBuilt>,
}

/// One `[[entry]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are not built have no value to read")]
pub(crate) struct EntryFile {
    pub(crate) id: Option<Spanned<String>>,
    pub(crate) networks: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) enabled: Option<bool>,
    pub(crate) services: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) senders: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) acknowledge: Option<Box<str>>,

    action: Option<NotBuilt>,
    recipients: Option<NotBuilt>,
    helo: Option<NotBuilt>,
    header_from: Option<NotBuilt>,
    tls: Option<NotBuilt>,
    client_certificate: Option<NotBuilt>,
    authentication: Option<NotBuilt>,
    upstream: Option<NotBuilt>,
    mode: Option<NotBuilt>,
    max_message_size: Option<NotBuilt>,
    max_recipients: Option<NotBuilt>,
    max_connections: Option<NotBuilt>,
    message_rate: Option<NotBuilt>,
    recipient_rate: Option<NotBuilt>,
    bare_newlines: Option<NotBuilt>,
    add_missing_headers: Option<NotBuilt>,
    not_before: Option<NotBuilt>,
    expires: Option<NotBuilt>,
    expiry: Option<NotBuilt>,
}

/// The entries that are well-formed, and what is wrong with the rest.
pub(crate) fn read(text: &str, origin: &str) -> (Vec<Spanned<EntryFile>>, Vec<DocumentError>) {
    match document::parse::<PolicyFile>(text, origin) {
        Ok(file) => (file.entry, Vec::new()),
        Err(_) => document::salvage::<EntryFile, PolicyFile>(text, origin, "entry", TOLD_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        read(text, "policy.toml").1.iter().map(DocumentError::to_string).collect()
    }

    #[test]
    fn every_key_that_has_to_wait_is_refused_by_name() {
        for (key, value) in [
            ("action", "\"deny\""),
            ("recipients", "[\"*\"]"),
            ("helo", "[\"*.billing.internal\"]"),
            ("header_from", "\"off\""),
            ("tls", "\"optional\""),
            ("client_certificate", "[\"billing.internal\"]"),
            ("authentication", "\"bypass\""),
            ("upstream", "\"google\""),
            ("mode", "\"hybrid\""),
            ("max_message_size", "\"25 MiB\""),
            ("max_recipients", "100"),
            ("max_connections", "200"),
            ("message_rate", "\"600/min\""),
            ("recipient_rate", "\"5000/h\""),
            ("bare_newlines", "\"reject\""),
            ("add_missing_headers", "[]"),
            ("not_before", "2026-01-01T00:00:00Z"),
            ("expires", "2027-01-01T00:00:00Z"),
            ("expiry", "\"reject\""),
        ] {
            let text = format!("[[entry]]\nid = \"billing\"\n{key} = {value}\n");
            let column = key.len() + 4;
            let told = format!("policy.toml:3:{column}: entry[0].{key}: not built yet");
            assert_eq!(errors(&text), [told]);
        }
        for table in ["route", "credential", "expect"] {
            let text = format!("[[entry]]\nid = \"billing\"\n\n[[{table}]]\nid = \"a\"\n");
            assert_eq!(errors(&text), [format!("policy.toml:4:1: {table}: not built yet")]);
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let errors = errors("[[entry]]\nid = \"a\"\n  nets = []\n[[entrys]]\n");
        assert_eq!(errors.len(), 2);
        assert!(
            errors[0].starts_with("policy.toml:4:3: entrys: unknown key `entrys`"),
            "{errors:?}"
        );
        assert!(errors[1].starts_with("policy.toml:3:3: entry[0].nets: unknown key `nets`"));
    }
}
