//! The form of an explanation, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::Explanation;
use crate::printable::Printable;

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked at: `client`, `listener`, `network`, `hidden`, `entry`, `credential`, `allowed`, `upstream`, or the name
    /// of a [check](crate::check::Check).
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub detail: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A fact, not a check.
    Found,
    /// A check that accepts.
    Passed,
    /// A check that refuses; the first gives the verdict.
    Refused,
    /// A check that was not made.
    Skipped,
}

/// One line a step, and the verdict as the last.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "generation", "", &self.generation)?;
        for Step { name, outcome, detail } in &self.steps {
            let word = match outcome {
                Outcome::Found | Outcome::Passed => "",
                Outcome::Refused => "refused: ",
                Outcome::Skipped => "skipped: ",
            };
            line(f, name, word, &Printable(detail))?;
        }
        write!(f, "{:<16}{}", "verdict", self.verdict)
    }
}

fn line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    word: &str,
    detail: &dyn fmt::Display,
) -> fmt::Result {
    writeln!(f, "{name:<16}{word}{detail}")
}
