//! TOML documents: from text to a serde mirror, or to errors that name file, line, column and key.
//!
//! The policy and the program's own configuration are both read with it, so that they complain
//! alike. It reads no file, and knows no key: mirrors say `deny_unknown_fields`, and name the keys
//! that have to wait with [`NotBuilt`].

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_path_to_error::{Path, Segment};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, ValueDeserializer},
};

use crate::printable::Printable;

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    origin: String,
    position: Option<Position>,
    key: String,
    message: String,
    details: Vec<String>,
}

/// A place in a document. Both numbers count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A key that the contract names and this version does not know yet: refused by name, never
/// ignored.
///
/// No value of the type exists; a mirror has `Option<NotBuilt>`, which takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBuilt {}

/// An error before its place is looked for: counting lines is not for errors that nobody reads.
pub(crate) struct Fault {
    pub(crate) offset: Option<usize>,
    pub(crate) key: String,
    pub(crate) message: String,
}

/// What could be read of an array in a document that is not right.
pub(crate) struct Salvage<Item> {
    /// The items that are well-formed.
    pub(crate) items: Vec<Spanned<Item>>,
    /// How many items there are, well-formed or not.
    pub(crate) count: usize,
    pub(crate) faults: Vec<Fault>,
}

/// Reads a document.
pub fn parse<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DocumentError> {
    // Tracking the key costs an allocation each: it is done only when there is an error to tell.
    if let Ok(value) = toml::from_str(text) {
        return Ok(value);
    }
    toml::Deserializer::parse(text)
        .map_err(|error| Fault::new(String::new(), &error))
        .and_then(|document| tracked(document, ""))
        .map_err(|fault| match fault.offset {
            Some(offset) => DocumentError::at(origin, text, offset, fault.key, fault.message),
            None => DocumentError::without_position(origin, fault.key, fault.message),
        })
}

/// Reads a document that is not right, item by item of the array `key`: the first fault of each item
/// and of the rest of the document does not hide the others.
///
/// Syntax errors hide everything else, because what follows them cannot be trusted. `Rest` is the
/// mirror of the whole; `first` is the number of the first item, for the names of keys.
pub(crate) fn salvage<Item, Rest>(text: &str, key: &str, first: usize) -> Salvage<Item>
where
    Item: DeserializeOwned,
    Rest: DeserializeOwned,
{
    let (mut root, syntax_errors) = DeTable::parse_recoverable(text);
    let array = match root.get_mut().get_mut(key).map(Spanned::get_mut) {
        Some(DeValue::Array(array)) => std::mem::replace(array, DeArray::new()),
        _ => DeArray::new(),
    };
    let mut salvage = Salvage { items: Vec::new(), count: array.len(), faults: Vec::new() };
    if !syntax_errors.is_empty() {
        let faults = syntax_errors.iter().map(|error| Fault::new(String::new(), error));
        salvage.faults.extend(faults);
        return salvage;
    }
    salvage.faults.extend(tracked::<Rest, _>(toml::Deserializer::from(root), "").err());
    for (index, value) in (first..).zip(array) {
        match tracked(ValueDeserializer::from(value), &format!("{key}[{index}]")) {
            Ok(item) => salvage.items.push(item),
            Err(fault) => salvage.faults.push(fault),
        }
    }
    salvage
}

fn tracked<'de, T, D>(deserializer: D, prefix: &str) -> Result<T, Fault>
where
    T: Deserialize<'de>,
    D: Deserializer<'de, Error = toml::de::Error>,
{
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| Fault::new(shown_path(prefix, error.path()), error.inner()))
}

impl Fault {
    fn new(key: String, error: &toml::de::Error) -> Self {
        // serde speaks of fields; in a document they are keys.
        let message = error.message().replacen("unknown field `", "unknown key `", 1).replacen(
            "missing field `",
            "missing key `",
            1,
        );
        Self { offset: error.span().map(|span| span.start), key, message }
    }
}

impl DocumentError {
    /// An error that a resolver found behind the mirror. `offset` counts octets from the start of
    /// `text`, as the spans of [`Spanned`] do.
    pub fn at(
        origin: &str,
        text: &str,
        offset: usize,
        key: impl fmt::Display,
        message: impl fmt::Display,
    ) -> Self {
        let position = Some(Position::of(text, offset));
        Self { position, ..Self::without_position(origin, key, message) }
    }

    /// An error that belongs to no place in the text.
    pub fn without_position(
        origin: &str,
        key: impl fmt::Display,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            origin: origin.to_owned(),
            position: None,
            key: Printable(&key.to_string()).to_string(),
            message: Printable(&message.to_string()).to_string(),
            details: Vec::new(),
        }
    }

    /// The same, with lines that tell more.
    pub(crate) fn with_details<'a>(mut self, lines: impl Iterator<Item = &'a str>) -> Self {
        self.details.extend(lines.map(|line| Printable(line).to_string()));
        self
    }

    /// The same error at a place that is known already.
    pub(crate) const fn in_place(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// The same without its line and column.
    #[must_use]
    pub fn without_place(&self) -> Self {
        Self { position: None, ..self.clone() }
    }

    /// The file, or whatever else the text came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where it is, if it is in one place.
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// The key, like `entry[0].networks`, or what else is meant, like `entry billing`. May be empty.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and how it is mended.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Lines that tell more, if that takes more than a message.
    pub fn details(&self) -> &[String] {
        &self.details
    }
}

/// `policy.toml:3:10: entry[0].networks: …`, and each line that tells more below it, indented.
impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        self.details.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl std::error::Error for DocumentError {}

impl Position {
    /// The place of an octet. An offset past the end means the end.
    pub fn of(text: &str, offset: usize) -> Self {
        Places::of(text).next(offset)
    }
}

/// Finds the places of many octets in one pass over the text: each must not be before the last.
pub(crate) struct Places<'t> {
    rest: &'t str,
    /// How many octets are before the rest, and where it begins.
    read: usize,
    position: Position,
}

impl<'t> Places<'t> {
    pub(crate) const fn of(text: &'t str) -> Self {
        Self { rest: text, read: 0, position: Position { line: 1, column: 1 } }
    }

    /// The place of the next octet.
    pub(crate) fn next(&mut self, offset: usize) -> Position {
        let octets = self.rest.floor_char_boundary(offset.saturating_sub(self.read));
        let (passed, rest) = self.rest.split_at(octets);
        self.rest = rest;
        self.read += octets;
        let line_start = passed.rfind('\n').map(|newline| newline + 1);
        if line_start.is_some() {
            self.position.line += passed.bytes().filter(|&octet| octet == b'\n').count();
            self.position.column = 1;
        }
        self.position.column += passed[line_start.unwrap_or(0)..].chars().count();
        self.position
    }
}

impl<'de> Deserialize<'de> for NotBuilt {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("not built yet"))
    }
}

/// `entry[0].networks`, without the inner key by which toml hands a [`Spanned`] over.
fn shown_path(prefix: &str, path: &Path) -> String {
    let mut shown = prefix.to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => shown.extend(["[", &index.to_string(), "]"]),
            Segment::Map { key } if key.starts_with("$__serde_spanned") => {}
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests;
