//! What a cell holds.
//!
//! - Nothing: the key is absent.
//! - A list: its items with spaces, commas or semicolons between them; or a JSON array, which an
//!   empty list (`[]`: may not send) and items with such characters or quotes need.
//! - A text: itself; or a JSON string, which an empty text needs, and one that begins with a quote.
//! - A date as in a policy, a number, or true and false, in capitals too.
//!
//! Spreadsheets take a cell that begins with `=`, `+`, `-` or `@` for a formula, and whoever wrote the
//! description of an entry could have it run on the machine that opens the export. Such texts are
//! written as JSON too: the cell begins with a quote then, and still says the same. So are texts with
//! characters that would not be seen, but for those that spreadsheets know.

use gatepost_policy::printable::Printable;
use toml::{Value, value::Datetime};

use crate::exchange::policy_json;

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Date,
    List,
    Number,
    Text,
}

/// What makes a formula at the beginning of a cell, the wide forms of East Asian keyboards too.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// The value of a cell, none if it is empty. The error continues the quoted cell.
pub(super) fn read(cell: &str, of_type: Type) -> Result<Option<Value>, &'static str> {
    if cell.is_empty() || (of_type != Type::Text && cell.trim().is_empty()) {
        return Ok(None);
    }
    let value = match of_type {
        Type::Boolean => match cell.trim() {
            word if word.eq_ignore_ascii_case("true") => Value::Boolean(true),
            word if word.eq_ignore_ascii_case("false") => Value::Boolean(false),
            _ => return Err("is neither true nor false"),
        },
        Type::Date => {
            let date = cell.trim().parse::<Datetime>();
            Value::Datetime(date.map_err(|_| "is not a date; write it like 2027-01-01T00:00:00Z")?)
        }
        Type::List => Value::Array(list(cell.trim())?.into_iter().map(Value::String).collect()),
        Type::Number => {
            Value::Integer(cell.trim().parse().map_err(|_| "is not a number; write it like 100")?)
        }
        Type::Text => Value::String(text(cell)),
    };
    Ok(Some(value))
}

/// The cell of a value, none if the value is not of the type.
pub(super) fn write(value: &Value, of_type: Type) -> Option<String> {
    match (of_type, value) {
        (Type::Boolean, Value::Boolean(value)) => Some(value.to_string()),
        (Type::Date, Value::Datetime(date)) => Some(date.to_string()),
        (Type::Number, Value::Integer(number)) => Some(number.to_string()),
        (Type::Text, Value::String(text)) => Some(shown_text(text)),
        (Type::List, Value::Array(items)) => {
            shown_list(&items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?)
        }
        _ => None,
    }
}

fn list(cell: &str) -> Result<Vec<String>, &'static str> {
    if cell.starts_with('[') {
        return serde_json::from_str(cell)
            .map_err(|_| "begins like a JSON array and is none; write it like [\"a\", \"b\"]");
    }
    if cell.contains('"') {
        return Err("has a quote; write the list as a JSON array, like [\"a\", \"b\"]");
    }
    let items = cell.split(is_separator).filter(|item| !item.is_empty());
    Ok(items.map(str::to_owned).collect())
}

fn shown_list(items: &[&str]) -> Option<String> {
    let is_plain = |item: &&str| {
        !item.is_empty() && !item.contains(|c| c == '"' || is_separator(c) || is_unseen(c))
    };
    let begins_plain = |first: &&str| !first.starts_with('[') && !first.starts_with(FORMULA);
    if items.first().is_some_and(begins_plain) && items.iter().all(is_plain) {
        Some(items.join(" "))
    } else {
        serde_json::to_string(items).ok().map(|json| policy_json::printable(&json))
    }
}

/// What a cell holds only in JSON, where it is escaped. Lines and tabs are cells' own.
fn is_unseen(c: char) -> bool {
    Printable::escapes(c) && !matches!(c, '\n' | '\r' | '\t')
}

/// What is between the items of a list.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';')
}

/// Only what [`shown_text`] writes as JSON is read as JSON, so that `"Office" in Rome` is itself.
fn text(cell: &str) -> String {
    let as_json = cell.starts_with('"').then(|| serde_json::from_str(cell).ok()).flatten();
    as_json.unwrap_or_else(|| cell.to_owned())
}

fn shown_text(text: &str) -> String {
    let begins_wrong = text.starts_with('"') || text.starts_with(FORMULA);
    if text.is_empty() || begins_wrong || text.contains(is_unseen) {
        // A string can always be written as JSON.
        policy_json::printable(&serde_json::to_string(text).unwrap_or_default())
    } else {
        text.to_owned()
    }
}
