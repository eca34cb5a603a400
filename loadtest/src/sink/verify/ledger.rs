//! The books of verification: which messages came, of which run, how often, and which did not.
//!
//! A number is one bit, in pages that are made when the first of their numbers comes. Runs and pages
//! are bounded; a message beyond is verified, but nobody says whether it came twice, and it is
//! counted as such.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Serialize;

use super::{Body, Finding};

/// Numbers of one page.
const PAGE_NUMBERS: u64 = 65_536;

/// Words of one page: 8 KiB.
const PAGE_WORDS: usize = (PAGE_NUMBERS / 64) as usize;

/// Pages of all runs: 128 MiB, for a thousand million messages.
const PAGES_MAX: usize = 16_384;

/// Runs: each source that is started is one, and a long test starts a few hundred.
const RUNS_MAX: usize = 1024;

/// Examples of each kind of trouble.
const EXAMPLES_MAX: usize = 10;

/// A message by its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageNumber {
    /// `X-Loadtest-Run`.
    #[serde(serialize_with = "as_hexadecimal")]
    pub run: u64,
    /// `X-Loadtest-Number`.
    pub number: u64,
}

impl fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.run, self.number)
    }
}

/// What verification has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerificationTotals {
    /// Messages whose digest is right.
    pub verified: u64,
    /// Messages whose digest is wrong.
    pub changed: u64,
    /// Messages with marks that are not whole.
    pub mangled: u64,
    /// Messages without marks.
    pub unmarked: u64,
    /// Messages that had come before.
    pub repeated: u64,
    /// Numbers below the highest of their run that have not come.
    pub missing: u64,
    /// Messages beyond the limits of the books: whether they came twice is not known.
    pub untracked: u64,
    /// The first messages whose digest is wrong.
    pub changed_examples: Vec<MessageNumber>,
    /// The first messages that came again.
    pub repeated_examples: Vec<MessageNumber>,
    /// The lowest numbers that are missing.
    pub missing_examples: Vec<MessageNumber>,
    /// Each run.
    pub runs: Vec<RunTotals>,
}

impl VerificationTotals {
    /// True if every message is what was sent and came once, and at least one was looked at if any
    /// came.
    pub fn all_well(&self) -> bool {
        let wrong = self.changed + self.mangled + self.repeated + self.missing + self.untracked > 0;
        !wrong && (self.verified > 0 || self.unmarked == 0)
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunTotals {
    /// `X-Loadtest-Run`.
    #[serde(serialize_with = "as_hexadecimal")]
    pub run: u64,
    /// Numbers that have come, each counted once.
    pub numbers: u64,
    /// The highest of them.
    pub highest: u64,
    /// How many below it have not come.
    pub missing: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn as_hexadecimal<S: serde::Serializer>(run: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{run:016x}"))
}

/// All messages that a sink has taken.
#[derive(Debug, Default)]
pub(in crate::sink) struct Ledger {
    verified: u64,
    changed: u64,
    mangled: u64,
    unmarked: u64,
    repeated: u64,
    untracked: u64,
    changed_examples: Vec<MessageNumber>,
    repeated_examples: Vec<MessageNumber>,
    runs: BTreeMap<u64, Run>,
    pages: usize,
}

/// The numbers of one run. It has at least one.
#[derive(Debug, Default)]
struct Run {
    numbers: u64,
    highest: u64,
    /// By their first number, divided by [`PAGE_NUMBERS`].
    pages: BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
}

impl Ledger {
    /// Enters a message that was taken.
    pub(in crate::sink) fn enter(&mut self, finding: Finding) {
        match finding {
            Finding::Mangled => self.mangled += 1,
            Finding::Unmarked => self.unmarked += 1,
            Finding::Marked { run, number, body } => {
                let message = MessageNumber { run, number };
                match body {
                    Body::Intact => self.verified += 1,
                    Body::Changed => {
                        self.changed += 1;
                        note(&mut self.changed_examples, message);
                    }
                }
                self.mark(message);
            }
        }
    }

    fn mark(&mut self, message: MessageNumber) {
        let MessageNumber { run, number } = message;
        let (page, bit) = (number / PAGE_NUMBERS, number % PAGE_NUMBERS);
        let room = match self.runs.get(&run) {
            Some(run) => run.pages.contains_key(&page) || self.pages < PAGES_MAX,
            None => self.runs.len() < RUNS_MAX && self.pages < PAGES_MAX,
        };
        if !room {
            self.untracked += 1;
            return;
        }
        let run = self.runs.entry(run).or_default();
        let page = match run.pages.entry(page) {
            Entry::Occupied(page) => page.into_mut(),
            Entry::Vacant(place) => {
                self.pages += 1;
                place.insert(Box::new([0; PAGE_WORDS]))
            }
        };
        let (word, mask) = (&mut page[(bit / 64) as usize], 1 << (bit % 64));
        if *word & mask != 0 {
            self.repeated += 1;
            note(&mut self.repeated_examples, message);
            return;
        }
        *word |= mask;
        run.numbers += 1;
        run.highest = run.highest.max(number);
    }

    /// What is not as it should be so far, without what is missing: that is known at the end.
    pub(in crate::sink) fn wrong(&self) -> u64 {
        self.changed + self.mangled + self.repeated
    }

    pub(in crate::sink) fn totals(&self) -> VerificationTotals {
        let runs = self.runs.iter();
        let runs: Vec<_> = runs.map(|(&name, run)| run.totals(name)).collect();
        let mut missing_examples = Vec::new();
        let with_gaps = self.runs.iter().filter(|(_, run)| run.missing() > 0);
        for (&name, run) in with_gaps {
            let room = EXAMPLES_MAX - missing_examples.len();
            let missing = run.missing_numbers().take(room);
            missing_examples.extend(missing.map(|number| MessageNumber { run: name, number }));
        }
        VerificationTotals {
            verified: self.verified,
            changed: self.changed,
            mangled: self.mangled,
            unmarked: self.unmarked,
            repeated: self.repeated,
            missing: runs.iter().fold(0, |sum: u64, run| sum.saturating_add(run.missing)),
            untracked: self.untracked,
            changed_examples: self.changed_examples.clone(),
            repeated_examples: self.repeated_examples.clone(),
            missing_examples,
            runs,
        }
    }
}

impl Run {
    fn totals(&self, run: u64) -> RunTotals {
        RunTotals { run, numbers: self.numbers, highest: self.highest, missing: self.missing() }
    }

    fn missing(&self) -> u64 {
        // At least one number has come, and none counts twice: no less than zero, no overflow.
        self.highest - (self.numbers - 1)
    }

    /// In ascending order; a page that was never made has all of its numbers missing.
    fn missing_numbers(&self) -> impl Iterator<Item = u64> {
        let last_page = self.highest / PAGE_NUMBERS;
        let of_page = |page: u64| {
            let words = self.pages.get(&page);
            let all = page * PAGE_NUMBERS..=page * PAGE_NUMBERS + (PAGE_NUMBERS - 1);
            all.filter(move |number| {
                let bit = number % PAGE_NUMBERS;
                words.is_none_or(|words| words[(bit / 64) as usize] & (1 << (bit % 64)) == 0)
            })
        };
        (0..=last_page).flat_map(of_page).take_while(|&number| number < self.highest)
    }
}

fn note(examples: &mut Vec<MessageNumber>, message: MessageNumber) {
    if examples.len() < EXAMPLES_MAX {
        examples.push(message);
    }
}
