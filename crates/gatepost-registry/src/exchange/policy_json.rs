//! Policies as JSON: `{"entry": [{…}], "route": […], "credential": […], "expect": […]}`.
//!
//! JSON has no dates: under the keys that hold one, a date is a string as RFC 3339 has it. Nothing is
//! guessed: a key that is there twice, null, and a number that TOML has not, are errors.

mod value;

use std::fmt::Write as _;

use gatepost_policy::printable::Printable;
use serde::Deserialize;
use serde_json::value::RawValue;
use toml::{Value, value::Datetime};

use self::value::{JsonTable, tellable};
use super::{
    ExportError, Exported, Format,
    findings::{Findings, quoted},
    lines::Lines,
};
use crate::item::{Item, Kind};

/// The keys that hold dates, whatever the kind.
const DATES: [&str; 3] = ["not_before", "expires", "at"];

/// The whole document; each table is read by itself, so that all errors are told.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Policy<'t> {
    #[serde(borrow)]
    entry: Vec<&'t RawValue>,
    #[serde(borrow)]
    route: Vec<&'t RawValue>,
    #[serde(borrow)]
    credential: Vec<&'t RawValue>,
    #[serde(borrow)]
    expect: Vec<&'t RawValue>,
}

pub(super) fn import(text: &str, findings: &mut Findings<'_>) -> Vec<Item> {
    let policy = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map(|entry| Policy { entry, ..Policy::default() })
    } else {
        serde_json::from_str(text)
    };
    let Policy { entry, route, credential, expect } = match policy {
        Ok(policy) => policy,
        Err(error) => {
            findings.error(error.line().max(1), message(&error));
            return Vec::new();
        }
    };
    let mut lines = Lines::new(text);
    let (mut items, mut items_lines) = (Vec::new(), Vec::new());
    for (kind, tables) in Kind::ALL.into_iter().zip([entry, route, credential, expect]) {
        for raw in tables {
            let (line, offset) = lines.of(raw.get());
            findings.read(offset);
            match item(kind, raw.get()) {
                Ok(item) => {
                    items.push(item);
                    items_lines.push(line);
                }
                Err((lines_below, error)) => findings.error(line + lines_below, error),
            }
        }
    }
    findings.unique(items, || items_lines)
}

/// The item of a JSON object, or what is wrong and how many lines below its beginning.
fn item(kind: Kind, text: &str) -> Result<Item, (usize, String)> {
    let JsonTable(mut table) = serde_json::from_str(text)
        .map_err(|error| (error.line().saturating_sub(1), message(&error)))?;
    for key in DATES {
        if let Some(value) = table.get_mut(key)
            && let Value::String(written) = value
        {
            *value = Value::Datetime(date(key, written).map_err(|error| (0, error))?);
        }
    }
    Item::new(kind, &table).map_err(|error| (0, error.to_string()))
}

fn date(key: &str, written: &str) -> Result<Datetime, String> {
    written.parse().map_err(|_| {
        format!("{key}: {} is not a date; write it like 2027-01-01T00:00:00Z", quoted(written))
    })
}

/// One table a line, so that two exports differ in the lines of what differs.
pub(super) fn export(items: &[Item]) -> Result<Exported, ExportError> {
    let mut text = String::from("{");
    for kind in Kind::ALL {
        let of_kind = || items.iter().filter(|item| item.kind() == kind);
        if of_kind().next().is_none() {
            continue;
        }
        text.push_str(if text.len() == 1 { "\n" } else { ",\n" });
        text.extend(["  \"", kind.name(), "\": ["]);
        for (index, item) in of_kind().enumerate() {
            text.push_str(if index == 0 { "\n    " } else { ",\n    " });
            text.push_str(&object(item)?);
        }
        text.push_str("\n  ]");
    }
    text.push_str(if text.len() == 1 { "}\n" } else { "\n}\n" });
    Ok(Exported { text, left_out: 0 })
}

fn object(item: &Item) -> Result<String, ExportError> {
    let table = item.table();
    let untold = |key: &str| ExportError::Untold {
        kind: item.kind(),
        id: item.id().to_owned(),
        key: key.to_owned(),
        format: Format::Json,
    };
    if let Some((key, _)) = table.iter().find(|(key, value)| !comes_back(key, value)) {
        return Err(untold(key));
    }
    // What can come back can be written.
    serde_json::to_string(&JsonTable(table))
        .map(|json| printable(&json))
        .map_err(|_| untold("a value"))
}

/// The same JSON with all that would not be seen in it escaped. It is in one line: such characters
/// stand in its texts only.
pub(super) fn printable(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for c in json.chars() {
        if Printable::escapes(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A string takes any text.
                let _ = write!(printable, "\\u{unit:04x}");
            }
        } else {
            printable.push(c);
        }
    }
    printable
}

/// Whether a value is the same after JSON.
fn comes_back(key: &str, value: &Value) -> bool {
    match value {
        Value::Datetime(_) => DATES.contains(&key),
        Value::String(_) if DATES.contains(&key) => false,
        value => tellable(value),
    }
}

/// serde_json's message without the place, which is counted in the whole text.
pub(super) fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    Printable(message).to_string()
}
