//! Values of any table: checked, or told what is wrong with them.
//!
//! A method that finds something wrong remembers the error and returns a stand-in, so that its
//! caller can go on to the next key.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use gatepost_policy::{
    choice::{self, Choices},
    document::DocumentError,
    entry,
    units::{ByteSize, Span},
};
use toml::Spanned;

use super::bind::Bound;
use crate::config::{
    file::{Number, Text},
    source::Source,
};

/// Longest host name (RFC 5321 §4.5.3.1.2).
const HOST_NAME_OCTETS_MAX: usize = 255;
/// Longest label of one (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// Checks values and remembers what is wrong.
pub(super) struct Values<'a> {
    source: &'a Source<'a>,
    errors: Vec<DocumentError>,
    warnings: Vec<DocumentError>,
    /// What listeners and pages are bound to so far.
    pub(super) bound: Vec<Bound>,
}

/// `listener[0]`: one of several tables, for the names of its keys.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) table: &'static str,
    pub(super) index: usize,
    /// Where the table begins.
    pub(super) at: usize,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.table, self.index)
    }
}

impl<'a> Values<'a> {
    pub(super) const fn new(source: &'a Source<'a>) -> Self {
        Self { source, errors: Vec::new(), warnings: Vec::new(), bound: Vec::new() }
    }

    /// The result, if nothing was wrong.
    pub(super) fn finish<T>(mut self, result: T) -> Result<T, Vec<DocumentError>> {
        self.errors.sort_by_key(DocumentError::position);
        if self.errors.is_empty() { Ok(result) } else { Err(self.errors) }
    }

    /// `at` is where it is wrong; none if something is missing in the whole.
    pub(super) fn error(
        &mut self,
        at: Option<usize>,
        key: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.errors.push(self.source.error(at, key, message));
    }

    /// Something that is not wrong, and will hardly do what was meant.
    pub(super) fn warn(
        &mut self,
        at: Option<usize>,
        key: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.warnings.push(self.source.error(at, key, message));
    }

    /// All that was warned of, in the order of the file.
    pub(super) fn warnings(&mut self) -> Vec<DocumentError> {
        self.warnings.sort_by_key(DocumentError::position);
        std::mem::take(&mut self.warnings)
    }

    /// A key without a default. `at` is where its table begins.
    pub(super) fn required<T>(
        &mut self,
        key: impl fmt::Display,
        at: Option<usize>,
        written: Option<T>,
        mend: &str,
    ) -> Option<T> {
        if written.is_none() {
            self.error(at, key, format_args!("is missing or empty; {mend}"));
        }
        written
    }

    pub(super) fn parsed<T>(
        &mut self,
        key: impl fmt::Display,
        written: &Spanned<String>,
    ) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = written.get_ref();
        let result = text.parse();
        result.map_err(|error| self.error(at(written), key, format_args!("{text:?}: {error}"))).ok()
    }

    /// A size in octets, at least one.
    pub(super) fn size(
        &mut self,
        key: impl fmt::Display + Copy,
        written: Text,
        default: ByteSize,
    ) -> u64 {
        let Some(written) = written else { return default.octets() };
        let size = self.parsed::<ByteSize>(key, &written).unwrap_or(default);
        if size.octets() == 0 {
            self.error(
                at(&written),
                key,
                format_args!("must not be zero; the default is {default}"),
            );
        }
        size.octets()
    }

    /// A duration of at least a second.
    pub(super) fn span(
        &mut self,
        key: impl fmt::Display + Copy,
        written: Text,
        default: Duration,
    ) -> Duration {
        let Some(written) = written else { return default };
        let default = Span::new(default);
        let span = self.parsed::<Span>(key, &written).unwrap_or(default);
        if span.duration().is_zero() {
            self.error(
                at(&written),
                key,
                format_args!("must not be zero; the default is {default}"),
            );
        }
        span.duration()
    }

    pub(super) fn count(&mut self, key: impl fmt::Display, written: Number, default: u32) -> u32 {
        let mend = format_args!("must not be zero; the default is {default}");
        self.positive(key, written, mend).unwrap_or(default)
    }

    /// A number that is without limit if it is not written.
    pub(super) fn limit(&mut self, key: impl fmt::Display, written: Number) -> Option<u32> {
        let mend = format_args!("must not be zero; leave it out for no limit");
        self.positive(key, written, mend)
    }

    fn positive(
        &mut self,
        key: impl fmt::Display,
        written: Number,
        mend: fmt::Arguments<'_>,
    ) -> Option<u32> {
        let written = written?;
        if *written.get_ref() == 0 {
            self.error(at(&written), key, mend);
        }
        Some(written.into_inner())
    }

    /// The value behind a word. `None`: the key is not written.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: impl fmt::Display,
        written: Text,
        choices: Choices<T>,
    ) -> Option<T> {
        let written = written?;
        let chosen = choice::choose(written.get_ref(), choices);
        chosen.map_err(|error| self.error(at(&written), key, error)).ok()
    }

    /// The unique name of a table.
    pub(super) fn name(&mut self, item: Item, written: Text, taken: &[Arc<str>]) -> Arc<str> {
        let key = format_args!("{item}.name");
        let mend = "give it a unique name";
        let Some(written) = self.required(key, Some(item.at), written, mend) else {
            return "".into();
        };
        let name = written.get_ref().as_str();
        if !entry::is_id(name) {
            let octets_max = entry::ID_OCTETS_MAX;
            let message = format_args!(
                "{name:?} is not a slug; write lower-case letters, digits, -, _ and ., at most {octets_max}"
            );
            self.error(at(&written), key, message);
        } else if taken.iter().any(|taken| **taken == *name) {
            let message = format_args!("{name:?} is used by an earlier one; give each its own");
            self.error(at(&written), key, message);
        }
        name.into()
    }

    /// The name of a host, which may stand in a greeting.
    pub(super) fn host_name(
        &mut self,
        key: impl fmt::Display,
        written: &Spanned<String>,
    ) -> Arc<str> {
        let name = written.get_ref().as_str();
        if !is_host_name(name) {
            let message = format_args!(
                "{name:?} is not a full host name; write one like relay.example.com, or localhost"
            );
            self.error(at(written), key, message);
        }
        name.into()
    }
}

/// Where a value stands.
#[expect(clippy::unnecessary_wraps, reason = "what `Values::error` takes")]
pub(super) fn at<T>(written: &Spanned<T>) -> Option<usize> {
    Some(written.span().start)
}

/// `Domain` of RFC 5321 §4.1.2 with at least two labels, or `localhost`. An address is none: its
/// last label is a number.
fn is_host_name(name: &str) -> bool {
    let label_valid = |label: &str| {
        let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        (1..=LABEL_OCTETS_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    let numeric = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    let full = name.rsplit_once('.').is_some_and(|(_, last)| !numeric(last));
    name.eq_ignore_ascii_case("localhost")
        || full && name.len() <= HOST_NAME_OCTETS_MAX && name.split('.').all(label_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_full_or_localhost() {
        for good in ["localhost", "relay.example.com", "a.b", "1a.2b.c3", "xn--bcher-kva.example"] {
            assert!(is_host_name(good), "{good}");
        }
        let long_label = format!("{}.example", "a".repeat(64));
        let long = format!("{}b", "a.".repeat(128));
        for wrong in [
            "",
            "relay",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b.c",
            "10.0.0.1",
            "a.1",
            "[10.0.0.1]",
            "bücher.example",
            "a.b\n",
            &long_label,
            &long,
        ] {
            assert!(!is_host_name(wrong), "{wrong:?}");
        }
    }
}
