//! Items: the tables that a policy is made of, one by one.
//!
//! An item is kept as the text it has in a policy file, without the line of its header. The text is
//! canonical: the keys of contract §2 in their order, one a line, so that two items say the same
//! when their texts are the same, and a difference between revisions is a difference of lines. What is
//! not seen where it stands is escaped: a body is safe to show as it is.
//! Nothing is judged here but that an item has its name; the compiler of the policy judges the rest.

use std::fmt::{self, Write as _};

use gatepost_policy::{
    credential,
    document::{self, DocumentError},
    printable::Printable,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

/// Octets of the hash that names an expectation, in hexadecimal. Two of a million expectations
/// have the same with a chance of one to 500.
const HASH_OCTETS: usize = 6;

/// What kind of table an item is. Kinds stand in this order in the text of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `[[entry]]`
    Entry,
    /// `[[route]]`
    Route,
    /// `[[credential]]`
    Credential,
    /// `[[expect]]`
    Expect,
}

/// One table of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    kind: Kind,
    id: String,
    body: String,
}

/// Why a table is no item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// It cannot be read as TOML.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// Nothing names it.
    #[error("a table [[{0}]] has no id; give it one, like id = \"billing\"")]
    Unnamed(Kind),
    /// The text has a key that is neither of the kinds.
    #[error(
        "{0:?} is not a table of a policy; there are [[entry]], [[route]], [[credential]] and [[expect]]"
    )]
    UnknownTable(String),
    /// The key of a kind is not an array of tables.
    #[error("{0} is not a list of tables; write [[{0}]]")]
    NotTables(Kind),
}

/// The keys of all kinds, in the order of contract §2. One that is not here comes last.
const KEYS: [&str; 41] = [
    "id",
    "networks",
    "username",
    "password_hash",
    "description",
    "owner",
    "enabled",
    "action",
    "services",
    "entries",
    "sender_domains",
    "recipient_domains",
    "senders",
    "recipients",
    "helo",
    "header_from",
    "tls",
    "client_certificate",
    "authentication",
    "upstream",
    "mode",
    "rewrite_mail_from",
    "max_message_size",
    "max_recipients",
    "max_connections",
    "message_rate",
    "recipient_rate",
    "duplicate_rate",
    "bare_newlines",
    "add_missing_headers",
    "not_before",
    "expires",
    "expiry",
    "acknowledge",
    "service",
    "ip",
    "from",
    "rcpt",
    "at",
    "result",
    "entry",
];

impl Kind {
    /// All of them, in the order of a policy.
    pub const ALL: [Self; 4] = [Self::Entry, Self::Route, Self::Credential, Self::Expect];

    /// The name of its tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Expect => "expect",
        }
    }

    /// The kind whose tables have a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Item {
    /// The item that a table is. An expectation has no id in a policy: its hash names it, and two
    /// that say the same are one.
    pub fn new(kind: Kind, table: &Table) -> Result<Self, ItemError> {
        let body = body(table);
        let id = match (kind, table.get("id")) {
            (Kind::Expect, _) => hash(&body),
            (_, Some(Value::String(id))) if !id.is_empty() => id.clone(),
            _ => return Err(ItemError::Unnamed(kind)),
        };
        Ok(Self { kind, id, body })
    }

    /// The item of a body, written by hand or by [`Item::body`]. `origin` is named in errors.
    pub fn from_body(kind: Kind, body: &str, origin: &str) -> Result<Self, ItemError> {
        Self::new(kind, &document::parse::<Table>(body, origin)?)
    }

    /// An item as a store has kept it, which has read it before.
    pub(crate) const fn kept(kind: Kind, id: String, body: String) -> Self {
        Self { kind, id, body }
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its name among its kind.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its keys and values as text, without the line of the header.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Whether it is kept and does not hold.
    pub fn is_disabled(&self) -> bool {
        // A body is canonical, a key a line: there is no other way to say it.
        self.body.lines().any(|line| line == "enabled = false")
    }

    /// Its keys and values.
    pub fn table(&self) -> Table {
        // Every body was written from a table.
        self.body.parse().unwrap_or_default()
    }
}

/// A body as it may be shown: a password hash in it is masked.
pub(crate) fn masked(kind: Kind, body: String) -> String {
    if kind != Kind::Credential {
        return body;
    }
    let mask = |line: &str| match line.strip_prefix("password_hash = ") {
        Some(value) => {
            format!("password_hash = {:?}\n", credential::masked(value.trim_matches('"')))
        }
        None => format!("{line}\n"),
    };
    // A body is canonical, a key a line.
    body.lines().map(mask).collect()
}

/// Whether tables of a policy have a key of that name.
pub fn is_key(name: &str) -> bool {
    KEYS.contains(&name)
}

/// The items of a policy text, in the order of the kinds, and of the text within each.
pub fn items(text: &str, origin: &str) -> Result<Vec<Item>, ItemError> {
    let mut document = document::parse::<Table>(text, origin)?;
    let mut items = Vec::new();
    for kind in Kind::ALL {
        let Some(tables) = document.remove(kind.name()) else { continue };
        let Value::Array(tables) = tables else { return Err(ItemError::NotTables(kind)) };
        for table in tables {
            let Value::Table(table) = table else { return Err(ItemError::NotTables(kind)) };
            items.push(Item::new(kind, &table)?);
        }
    }
    match document.into_iter().next() {
        Some((key, _)) => Err(ItemError::UnknownTable(key)),
        None => Ok(items),
    }
}

/// The policy text that items make in their order.
pub fn policy_text<'i>(items: impl IntoIterator<Item = &'i Item>) -> String {
    let mut text = String::new();
    for Item { kind, body, .. } in items {
        let separator = if text.is_empty() { "" } else { "\n" };
        text.extend([separator, "[[", kind.name(), "]]\n", body]);
    }
    text
}

/// Keys in their order, one a line.
fn body(table: &Table) -> String {
    let rank = |key: &str| KEYS.iter().position(|known| *known == key).unwrap_or(KEYS.len());
    let mut pairs: Vec<_> = table.iter().collect();
    // Stable: unknown keys stay in the order of the table, which is the alphabet's.
    pairs.sort_by_cached_key(|(key, _)| rank(key));
    let mut body = String::new();
    for (key, value) in pairs {
        write_pair(&mut body, key, value);
        body.push('\n');
    }
    body
}

fn write_pair(body: &mut String, key: &str, value: &Value) {
    let is_bare = |octet: u8| octet.is_ascii_alphanumeric() || b"_-".contains(&octet);
    if !key.is_empty() && key.bytes().all(is_bare) {
        body.push_str(key);
    } else {
        write_string(body, key);
    }
    body.push_str(" = ");
    write_value(body, value);
}

/// A value in one line: one with line breaks is written with escapes, not in several lines.
fn write_value(body: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_string(body, text),
        Value::Array(items) => {
            body.push('[');
            for (index, item) in items.iter().enumerate() {
                body.push_str(if index == 0 { "" } else { ", " });
                write_value(body, item);
            }
            body.push(']');
        }
        Value::Table(table) if !table.is_empty() => {
            for (index, (key, value)) in table.iter().enumerate() {
                body.push_str(if index == 0 { "{ " } else { ", " });
                write_pair(body, key, value);
            }
            body.push_str(" }");
        }
        // A string takes any text.
        other => drop(write!(body, "{other}")),
    }
}

/// A basic string. Its escapes are those of JSON, and of all that would not be seen where it stands,
/// which JSON leaves as it is.
fn write_string(body: &mut String, text: &str) {
    for c in serde_json::Value::from(text).to_string().chars() {
        // A string takes any text.
        let _ = match u32::from(c) {
            _ if !Printable::escapes(c) => body.write_char(c),
            code @ ..=0xffff => write!(body, "\\u{code:04x}"),
            code => write!(body, "\\U{code:08x}"),
        };
    }
}

fn hash(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().take(HASH_OCTETS).fold(String::new(), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
