//! A check, what it has found, and how that is shown.

use std::fmt::Write as _;

use gatepost_policy::printable::Printable;
use serde::Serialize;

use crate::commands::table::Table;

/// How a check came out, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// Something does not work, or lets in whom it should not.
    Problem,
}

/// What is not as it should be, and the mend.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    status: Status,
    found: String,
    mend: String,
}

/// A check that was made.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    name: &'static str,
    status: Status,
    /// In a few words.
    found: String,
    findings: Vec<Finding>,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Checked {
    /// A check that has found nothing yet.
    pub(super) fn new(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), findings: Vec::new() }
    }

    pub(super) fn warn(&mut self, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Status::Warning, found.into(), mend.into());
    }

    pub(super) fn problem(&mut self, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Status::Problem, found.into(), mend.into());
    }

    pub(super) const fn status(&self) -> Status {
        self.status
    }

    fn add(&mut self, status: Status, found: String, mend: String) {
        self.status = self.status.max(status);
        self.findings.push(Finding { status, found, mend });
    }
}

/// One line a check; then what is not ok, the gravest first, with the mend.
pub(super) fn table(checks: &[Checked]) -> String {
    let row = |it: &Checked| [it.status.name().to_owned(), it.name.to_owned(), it.found.clone()];
    let mut text =
        Table::new(["STATUS", "CHECK", "FOUND"]).lines(&checks.iter().map(row).collect::<Vec<_>>());
    let mut findings: Vec<_> = checks
        .iter()
        .flat_map(|it| it.findings.iter().map(move |found| (it.name, found)))
        .collect();
    findings.sort_by_key(|(_, it)| std::cmp::Reverse(it.status));
    for (name, Finding { status, found, mend }) in &findings {
        let status = status.name();
        // A string takes any text; what others wrote may not move the cursor.
        let _ = writeln!(text, "\n{status}: {name}: {}", Printable(found));
        let _ = writeln!(text, "    mend: {}", Printable(mend));
    }
    let count = |status| checks.iter().filter(|it| it.status == status).count();
    let _ = writeln!(
        text,
        "\n{}: {} ok, {}, {}",
        counted(checks.len(), "check"),
        count(Status::Ok),
        counted(count(Status::Warning), "warning"),
        counted(count(Status::Problem), "problem"),
    );
    text
}

/// `1 address`, `2 addresses`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let ending = match count {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_is_told_first() {
        let mut one = Checked::new("one", "a little wrong");
        one.warn("this", "do that");
        let mut two = Checked::new("second", "wrong");
        two.warn("less", "later");
        two.problem("more\u{1b}", "now");
        let checks = [Checked::new("fine", "all is well"), one, two];
        assert_eq!(checks.iter().map(Checked::status).max(), Some(Status::Problem));
        assert_eq!(
            table(&checks),
            "\
STATUS   CHECK   FOUND
ok       fine    all is well
warning  one     a little wrong
problem  second  wrong

problem: second: more\\u{1b}
    mend: now

warning: one: this
    mend: do that

warning: second: less
    mend: later

3 checks: 1 ok, 1 warning, 1 problem
"
        );
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!(counted(0, "day") + &counted(1, "day"), "0 days1 day");
        assert_eq!(counted(2, "address") + &counted(3, "check"), "2 addresses3 checks");
    }
}
