//! What a compilation has to say: errors that refuse the policy, warnings that do not.
//!
//! It collects and sorts; what is worth saying is decided elsewhere. Both lists are bounded: a
//! generated policy with one mistake in each of a million entries needs no million lines.

use std::fmt;

use crate::document::{DocumentError, Fault};

/// Errors, and warnings, that are told; the rest is counted.
const TOLD_MAX: usize = 100;

/// Why a policy was refused. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors {
    /// In the order of the text.
    errors: Vec<DocumentError>,
    left_out: usize,
}

impl PolicyErrors {
    /// The errors that are told.
    pub fn errors(&self) -> &[DocumentError] {
        &self.errors
    }

    /// How many there are, told or not.
    pub fn count(&self) -> usize {
        self.errors.len() + self.left_out
    }
}

/// One line an error.
impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Collects errors and warnings about one text.
pub(crate) struct Report<'a> {
    text: &'a str,
    origin: &'a str,
    errors: Findings,
    warnings: Findings,
}

#[derive(Default)]
struct Findings {
    told: Vec<DocumentError>,
    left_out: usize,
}

/// Where a finding belongs: an octet of the text, or the whole of it.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    At(usize),
    Whole,
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str, origin: &'a str) -> Self {
        Self { text, origin, errors: Findings::default(), warnings: Findings::default() }
    }

    /// What a part that begins at `at` has for faults.
    pub(crate) fn faults(&mut self, at: usize, faults: Vec<Fault>) {
        for Fault { offset, key, message } in faults {
            self.error(offset.map_or(Place::Whole, |offset| Place::At(at + offset)), key, message);
        }
    }

    /// `subject` is the entry or key that is meant.
    pub(crate) fn error(
        &mut self,
        place: Place,
        subject: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.errors.add(|| finding(self.text, self.origin, place, subject, message));
    }

    pub(crate) fn warn(
        &mut self,
        place: Place,
        subject: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.warnings.add(|| finding(self.text, self.origin, place, subject, message));
    }

    /// The warnings, or the errors if there is one.
    pub(crate) fn finish(self) -> Result<Vec<String>, PolicyErrors> {
        let Findings { told: errors, left_out } = self.errors.sorted();
        if !errors.is_empty() {
            return Err(PolicyErrors { errors, left_out });
        }
        let Findings { told, left_out } = self.warnings.sorted();
        let mut warnings: Vec<_> = told.iter().map(DocumentError::to_string).collect();
        if left_out > 0 {
            warnings.push(format!("{}: and {left_out} more warnings", self.origin));
        }
        Ok(warnings)
    }
}

impl Findings {
    /// Finding the line of an octet reads the text from its start: only for those that are told.
    fn add(&mut self, finding: impl FnOnce() -> DocumentError) {
        if self.told.len() < TOLD_MAX {
            self.told.push(finding());
        } else {
            self.left_out += 1;
        }
    }

    fn sorted(mut self) -> Self {
        self.told.sort_by_key(DocumentError::position);
        self
    }
}

fn finding(
    text: &str,
    origin: &str,
    place: Place,
    subject: impl fmt::Display,
    message: impl fmt::Display,
) -> DocumentError {
    match place {
        Place::At(offset) => DocumentError::at(origin, text, offset, subject, message),
        Place::Whole => DocumentError::without_position(origin, subject, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_win_over_warnings_and_stand_in_order() {
        let mut report = Report::new("a\nb\nc\n", "p.toml");
        report.warn(Place::At(0), "entry a", "odd");
        report.error(Place::At(4), "entry c", "late");
        report.error(Place::At(2), "entry b", "early");
        report.error(Place::Whole, "", "everything");
        let errors = report.finish().expect_err("errors were reported");
        let told = "p.toml: everything\np.toml:2:1: entry b: early\np.toml:3:1: entry c: late";
        assert_eq!(errors.to_string(), told);
        assert_eq!(errors.count(), 3);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut report = Report::new("", "p.toml");
        for _ in 0..TOLD_MAX + 5 {
            report.warn(Place::Whole, "", "odd");
        }
        let warnings = report.finish().expect("only warnings");
        assert_eq!(warnings.len(), TOLD_MAX + 1);
        assert_eq!(warnings[TOLD_MAX], "p.toml: and 5 more warnings");

        let mut report = Report::new("", "p.toml");
        for _ in 0..TOLD_MAX + 5 {
            report.error(Place::Whole, "", "wrong");
        }
        let errors = report.finish().expect_err("errors were reported");
        assert_eq!((errors.count(), errors.errors().len()), (TOLD_MAX + 5, TOLD_MAX));
        assert!(errors.to_string().ends_with("\nand 5 more"));
    }
}
