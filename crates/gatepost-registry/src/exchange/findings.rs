//! What an import has to tell: notes, and errors up to a number that can be read.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::{Serialize, Serializer};

use super::Imported;
use crate::item::{Item, Kind};

/// Errors that are told one by one; whoever has more has them for one reason.
const ERRORS_MAX: usize = 100;
/// Octets between two calls for progress: 100 calls for a list of 100,000 addresses.
const PROGRESS_OCTETS: usize = 16 * 1024;
/// Characters of a list that a remark quotes.
const QUOTED_CHARS_MAX: usize = 80;

/// One thing to tell about a list, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The file, or whatever else the list came from.
    #[serde(serialize_with = "as_str")]
    pub origin: Arc<str>,
    /// The line, from 1, unless the whole list is meant.
    pub line: Option<usize>,
    /// What was found. Holds no control characters.
    pub message: String,
}

/// Everything that is wrong with a list; nothing of it was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportErrors {
    /// The first of them.
    pub errors: Vec<Remark>,
    /// How many there are beyond.
    pub more: usize,
}

/// Collects remarks while a list is read.
pub(super) struct Findings<'p> {
    origin: Arc<str>,
    notes: Vec<Remark>,
    errors: Vec<Remark>,
    errors_more: usize,
    progress: &'p mut dyn FnMut(usize, usize),
    octets: usize,
    octets_told: usize,
}

impl<'p> Findings<'p> {
    pub(super) fn new(
        origin: &str,
        octets: usize,
        progress: &'p mut dyn FnMut(usize, usize),
    ) -> Self {
        Self {
            origin: origin.into(),
            notes: Vec::new(),
            errors: Vec::new(),
            errors_more: 0,
            progress,
            octets,
            octets_told: 0,
        }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Something is not as it was written.
    pub(super) fn note(&mut self, line: impl Into<Option<usize>>, message: impl fmt::Display) {
        let remark = self.remark(line.into(), &message);
        self.notes.push(remark);
    }

    /// Something is wrong, and the list will not be imported.
    pub(super) fn error(&mut self, line: impl Into<Option<usize>>, message: impl fmt::Display) {
        if self.errors.len() < ERRORS_MAX {
            let remark = self.remark(line.into(), &message);
            self.errors.push(remark);
        } else {
            self.errors_more += 1;
        }
    }

    /// Whether anything is wrong so far.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// So many octets of the list are read.
    pub(super) fn read(&mut self, octets: usize) {
        if octets >= self.octets_told + PROGRESS_OCTETS {
            self.octets_told = octets;
            (self.progress)(octets.min(self.octets), self.octets);
        }
    }

    /// The items, none twice. `lines` tells where they stand; it may be dear, and is asked only when
    /// two have the same name.
    pub(super) fn unique(
        &mut self,
        mut items: Vec<Item>,
        lines: impl FnOnce() -> Vec<usize>,
    ) -> Vec<Item> {
        let repeated = repeated(&items);
        if repeated.is_empty() {
            return items;
        }
        let lines = lines();
        let line_of = |index: usize| lines.get(index).copied();
        for &(first, second) in &repeated {
            let item = &items[second];
            let there = line_of(first)
                .map_or_else(|| "before".to_owned(), |line| format!("in line {line}"));
            if item.kind() == Kind::Expect {
                // Expectations are named by what they say: there is nothing to choose between.
                let message = format_args!("the same [[expect]] is {there}; once is enough");
                self.note(line_of(second), message);
            } else {
                let message = format_args!(
                    "{} {} is {there} already; give one of them another id",
                    item.kind(),
                    quoted(item.id())
                );
                self.error(line_of(second), message);
            }
        }
        let mut index = 0;
        let mut repeated = repeated.into_iter().map(|(_, second)| second).peekable();
        items.retain(|_| {
            let keep = repeated.next_if_eq(&index).is_none();
            index += 1;
            keep
        });
        items
    }

    /// What became of the list.
    pub(super) fn finish(mut self, items: Vec<Item>) -> Result<Imported, ImportErrors> {
        (self.progress)(self.octets, self.octets);
        // A list is read more than once; what is told of it follows its lines, the whole last.
        for remarks in [&mut self.notes, &mut self.errors] {
            remarks.sort_by_key(|remark| remark.line.unwrap_or(usize::MAX));
        }
        if self.errors.is_empty() {
            Ok(Imported { items, notes: self.notes })
        } else {
            Err(ImportErrors { errors: self.errors, more: self.errors_more })
        }
    }

    fn remark(&self, line: Option<usize>, message: &dyn fmt::Display) -> Remark {
        Remark { origin: Arc::clone(&self.origin), line, message: message.to_string() }
    }
}

/// The items whose name an earlier one has: the index of the earlier, and theirs.
fn repeated(items: &[Item]) -> Vec<(usize, usize)> {
    let mut firsts = HashMap::with_capacity(items.len());
    let mut repeated = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let first = *firsts.entry((item.kind(), item.id())).or_insert(index);
        if first != index {
            repeated.push((first, index));
        }
    }
    repeated
}

/// A piece of a list, short enough and safe to show.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `list.csv:7: …`
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

impl std::error::Error for ImportErrors {}

fn as_str<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
