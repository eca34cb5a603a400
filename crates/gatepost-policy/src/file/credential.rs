//! One `[[credential]]`: who knows its password, and the keys of an entry that are not about where
//! its clients are.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Day, EntryFile, Number, Strings, Text};

/// One `[[credential]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialFile {
    id: Text,
    username: Text,
    #[serde(default, deserialize_with = "untold")]
    password_hash: Text,
    description: Option<Box<str>>,
    owner: Option<Box<str>>,
    enabled: Option<bool>,
    services: Option<Strings>,
    senders: Option<Strings>,
    recipients: Option<Strings>,
    helo: Option<Strings>,
    header_from: Text,
    tls: Text,
    client_certificate: Option<Strings>,
    upstream: Text,
    mode: Text,
    max_message_size: Text,
    max_recipients: Number,
    max_connections: Number,
    message_rate: Text,
    recipient_rate: Text,
    duplicate_rate: Text,
    bare_newlines: Text,
    add_missing_headers: Option<Strings>,
    not_before: Day,
    expires: Day,
    expiry: Text,
}

/// The keys that an entry does not have.
pub(crate) struct Secret {
    pub(crate) username: Text,
    pub(crate) password_hash: Text,
}

/// A text that is not repeated when it is none: it may be the password itself.
fn untold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Text::deserialize(deserializer).map_err(|_| D::Error::custom("it is not a string"))
}

impl CredentialFile {
    /// What is judged as an entry is judged, and the rest.
    pub(crate) fn divide(self) -> (EntryFile, Secret) {
        let entry = EntryFile {
            id: self.id,
            networks: None,
            description: self.description,
            owner: self.owner,
            enabled: self.enabled,
            services: self.services,
            senders: self.senders,
            acknowledge: None,
            action: None,
            recipients: self.recipients,
            helo: self.helo,
            header_from: self.header_from,
            tls: self.tls,
            client_certificate: self.client_certificate,
            authentication: None,
            upstream: self.upstream,
            mode: self.mode,
            max_message_size: self.max_message_size,
            max_recipients: self.max_recipients,
            max_connections: self.max_connections,
            message_rate: self.message_rate,
            recipient_rate: self.recipient_rate,
            duplicate_rate: self.duplicate_rate,
            bare_newlines: self.bare_newlines,
            add_missing_headers: self.add_missing_headers,
            not_before: self.not_before,
            expires: self.expires,
            expiry: self.expiry,
        };
        (entry, Secret { username: self.username, password_hash: self.password_hash })
    }
}
