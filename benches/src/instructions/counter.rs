//! Rows, and where counting begins and ends.
//!
//! Callgrind is told to count from the moment `counted` is entered until it is left, and not inside
//! `uncounted`. Both are found by their names, so they must never be inlined or renamed.

use std::{
    future::Future,
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
};

/// Whose instructions are counted.
pub const COUNTED: &str = "gatepost_benches::instructions::counter::counted";
/// Where counting begins or ends, on the way in and on the way out: both functions in one pattern, because
/// callgrind takes neither of two that begin alike.
pub const TOGGLES: &str = "gatepost_benches::instructions::counter::*counted";

/// How often a row runs before it is counted: buffers have grown then, and what is made only once is
/// there.
pub const WARM_UP: u32 = 4;

/// Runs the rows of one group that were asked for, and tells which.
#[derive(Debug)]
pub struct Counter<'a> {
    names: &'a [String],
    told: Vec<Told>,
}

/// What the program that runs a row knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name, which no other row has.
    pub name: String,
    /// How many operations were counted together.
    pub times: u32,
    /// How many octets an operation looks at, where that is what it costs.
    pub octets: Option<usize>,
}

impl<'a> Counter<'a> {
    /// Runs rows with one of these words in their names; all of them, if there are none.
    pub const fn new(names: &'a [String]) -> Self {
        Self { names, told: Vec::new() }
    }

    /// Whether one of these rows was asked for: what is long to prepare need not be prepared for none.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|word| name.contains(word.as_str()))
    }

    /// Counts an operation, `times` times.
    pub fn row<T>(&mut self, name: &str, times: u32, operation: impl FnMut() -> T) {
        self.count(Told { name: name.to_owned(), times, octets: None }, operation);
    }

    /// The same for an operation that looks at so many octets.
    pub fn octets_row<T>(
        &mut self,
        (name, octets): (&str, usize),
        times: u32,
        operation: impl FnMut() -> T,
    ) {
        self.count(Told { name: name.to_owned(), times, octets: Some(octets) }, operation);
    }

    /// The rows that were run, in their order.
    pub fn told(self) -> Vec<Told> {
        self.told
    }

    fn count<T>(&mut self, told: Told, mut operation: impl FnMut() -> T) {
        if !self.wants(&told.name) {
            return;
        }
        let mut operation = || {
            black_box(operation());
        };
        (0..WARM_UP).for_each(|_| operation());
        counted(told.times, &mut operation);
        self.told.push(told);
    }
}

/// What it calls is counted.
#[inline(never)]
fn counted(times: u32, operation: &mut dyn FnMut()) {
    for _ in 0..times {
        operation();
    }
}

/// What it calls is not, wherever it is called.
#[inline(never)]
fn uncounted(operation: &mut dyn FnMut()) {
    operation();
}

/// A task that stands in for another machine: what it does is not counted.
pub struct Elsewhere<F>(Pin<Box<F>>);

impl<F: Future> Elsewhere<F> {
    /// Such a task.
    pub fn new(task: F) -> Self {
        Self(Box::pin(task))
    }
}

impl<F: Future> Future for Elsewhere<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut polled = Poll::Pending;
        uncounted(&mut || polled = self.0.as_mut().poll(cx));
        polled
    }
}

/// One line of the report that the program inside callgrind gives: its reader is [`Told::parse`].
impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\t{}\t{}", self.times, self.octets.unwrap_or(0), self.name)
    }
}

impl Told {
    /// Reads a line of the report.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, '\t');
        let times = words.next()?.parse().ok().filter(|&times| times > 0)?;
        let octets = words.next()?.parse().ok()?;
        Some(Self {
            name: words.next()?.to_owned(),
            times,
            octets: Some(octets).filter(|&o| o > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_run_when_they_are_asked_for() {
        for (words, expected) in
            [(vec![], 9), (vec!["reply".to_owned()], 9), (vec!["data".into()], 0)]
        {
            let mut counter = Counter::new(&words);
            let mut runs = 0;
            counter.row("reply/say", 5, || runs += 1);
            assert_eq!(runs, expected, "{words:?}: warm-up and what is counted");
            assert_eq!(counter.told().len(), expected.min(1));
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        for octets in [None, Some(4096)] {
            let told = Told { name: "data/text/4 KiB".to_owned(), times: 16, octets };
            assert_eq!(Told::parse(&told.to_string()), Some(told));
        }
        for wrong in ["", "1", "1\t2", "0\t0\tnever", "x\t0\ty"] {
            assert_eq!(Told::parse(wrong), None, "{wrong:?}");
        }
    }

    /// The names by which callgrind finds them are those of this module.
    #[test]
    fn what_is_counted_is_found_by_its_name() {
        let module = module_path!().trim_end_matches("::tests");
        assert_eq!(COUNTED, format!("{module}::counted"));
        assert_eq!(TOGGLES, format!("{module}::*counted"));
    }
}
