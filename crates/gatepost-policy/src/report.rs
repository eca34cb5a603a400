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
    /// Those errors, if there is one.
    pub(crate) fn none_of(mut errors: impl Iterator<Item = DocumentError>) -> Result<(), Self> {
        let told: Vec<_> = errors.by_ref().take(TOLD_MAX).collect();
        if told.is_empty() {
            return Ok(());
        }
        Err(Self { errors: told, left_out: errors.count() })
    }

    /// The errors that are told.
    pub fn errors(&self) -> &[DocumentError] {
        &self.errors
    }

    /// The same without lines and columns: those of a text that nobody has written help nobody.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let errors = self.errors.iter().map(DocumentError::without_place).collect();
        Self { errors, left_out: self.left_out }
    }

    /// How many there are, told or not.
    pub fn count(&self) -> usize {
        self.errors.len() + self.left_out
    }
}

/// One line an error, and below it those that it has to tell more.
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

/// Collects warnings whose places are known.
#[derive(Default)]
pub(crate) struct Warnings {
    told: Vec<DocumentError>,
    left_out: usize,
}

/// Collects errors and warnings about one text, or about a part of it.
#[derive(Default)]
pub(crate) struct Report {
    errors: Findings,
    warnings: Findings,
}

#[derive(Default)]
struct Findings {
    told: Vec<Finding>,
    left_out: usize,
}

/// Something to tell, before its line is looked for.
struct Finding {
    place: Place,
    subject: String,
    message: String,
}

/// Where a finding belongs: an octet of the text, or the whole of it.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    At(usize),
    Whole,
}

impl Report {
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
        self.errors.add(place, subject, message);
    }

    pub(crate) fn warn(
        &mut self,
        place: Place,
        subject: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.warnings.add(place, subject, message);
    }

    /// How many errors there are so far.
    pub(crate) const fn errors(&self) -> usize {
        self.errors.told.len() + self.errors.left_out
    }

    /// Adds what another part of the text has to say.
    pub(crate) fn absorb(&mut self, part: Self) {
        self.errors.absorb(part.errors);
        self.warnings.absorb(part.warnings);
    }

    /// The warnings, or the errors if there is one. `origin` is the file's name.
    pub(crate) fn finish(
        self,
        text: &str,
        origin: &str,
    ) -> Result<Vec<DocumentError>, PolicyErrors> {
        let (errors, left_out) = self.errors.placed(text, origin);
        if !errors.is_empty() {
            return Err(PolicyErrors { errors, left_out });
        }
        let (told, left_out) = self.warnings.placed(text, origin);
        Ok(Warnings { told, left_out }.finish(origin))
    }
}

impl Warnings {
    pub(crate) fn push(&mut self, warning: DocumentError) {
        if self.told.len() < TOLD_MAX {
            self.told.push(warning);
        } else {
            self.left_out += 1;
        }
    }

    /// All that is told, the last of it how many are not. `origin` is the file's name.
    pub(crate) fn finish(self, origin: &str) -> Vec<DocumentError> {
        let Self { mut told, left_out } = self;
        if left_out > 0 {
            let message = format_args!("and {left_out} more warnings");
            told.push(DocumentError::without_position(origin, "", message));
        }
        told
    }
}

impl Findings {
    fn add(&mut self, place: Place, subject: impl fmt::Display, message: impl fmt::Display) {
        if self.told.len() < TOLD_MAX {
            let (subject, message) = (subject.to_string(), message.to_string());
            self.told.push(Finding { place, subject, message });
        } else {
            self.left_out += 1;
        }
    }

    fn absorb(&mut self, other: Self) {
        self.left_out += other.left_out;
        for finding in other.told {
            if self.told.len() < TOLD_MAX {
                self.told.push(finding);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// In the order of the text, and how many were left out. Finding the line of an octet reads the
    /// text from its start: only for those that are told.
    fn placed(self, text: &str, origin: &str) -> (Vec<DocumentError>, usize) {
        let placed = |Finding { place, subject, message }: &Finding| match *place {
            Place::At(offset) => DocumentError::at(origin, text, offset, subject, message),
            Place::Whole => DocumentError::without_position(origin, subject, message),
        };
        let mut told: Vec<_> = self.told.iter().map(placed).collect();
        told.sort_by_key(DocumentError::position);
        (told, self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_win_over_warnings_and_stand_in_order() {
        let mut report = Report::default();
        report.warn(Place::At(0), "entry a", "odd");
        report.error(Place::At(4), "entry c", "late");
        report.error(Place::At(2), "entry b", "early");
        report.error(Place::Whole, "", "everything");
        let errors = report.finish("a\nb\nc\n", "p.toml").expect_err("errors were reported");
        let told = "p.toml: everything\np.toml:2:1: entry b: early\np.toml:3:1: entry c: late";
        assert_eq!(errors.to_string(), told);
        assert_eq!(errors.count(), 3);
    }

    #[test]
    fn parts_report_as_one() {
        let mut whole = Report::default();
        for part in 0..3 {
            let mut report = Report::default();
            for line in 0..TOLD_MAX / 2 {
                report.error(Place::Whole, part, line);
            }
            whole.absorb(report);
        }
        assert_eq!(whole.errors(), TOLD_MAX / 2 * 3);
        let errors = whole.finish("", "p.toml").expect_err("errors were reported");
        assert_eq!((errors.count(), errors.errors().len()), (TOLD_MAX / 2 * 3, TOLD_MAX));
        assert!(errors.errors().iter().all(|error| error.key() != "2"), "the first are told");
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut report = Report::default();
        for _ in 0..TOLD_MAX + 5 {
            report.warn(Place::Whole, "", "odd");
        }
        let warnings = report.finish("", "p.toml").expect("only warnings");
        assert_eq!(warnings.len(), TOLD_MAX + 1);
        assert_eq!(warnings[TOLD_MAX].to_string(), "p.toml: and 5 more warnings");

        let mut report = Report::default();
        for _ in 0..TOLD_MAX + 5 {
            report.error(Place::Whole, "", "wrong");
        }
        let errors = report.finish("", "p.toml").expect_err("errors were reported");
        assert_eq!((errors.count(), errors.errors().len()), (TOLD_MAX + 5, TOLD_MAX));
        assert!(errors.to_string().ends_with("\nand 5 more"));
    }
}
