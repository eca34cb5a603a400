//! Budgets: how many instructions a row may take.
//!
//! They are checked in, in `budgets.toml`, with the compiler and the processor that they were counted with.
//! A row may exceed its budget by a tolerance and no more. Every row has a budget and every budget a row;
//! else a row could grow without anybody being told.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use super::callgrind::Counted;

/// Where the numbers begin in the file: what stands above is for people, and is kept.
const NUMBERS: &str = "[instructions]\n";

/// What is checked in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// What the numbers were counted with.
    pub counted_with: Surroundings,
    /// How far a row may be from its number.
    pub tolerance: Tolerance,
    /// The numbers.
    pub instructions: BTreeMap<String, u64>,
}

/// What decides how many instructions the same source takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surroundings {
    /// Version of the compiler.
    pub rustc: String,
    /// Its instructions, as far as programs ask for them at run time.
    pub processor: String,
}

/// In percent of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Where the surroundings are those of the file.
    pub same: u64,
    /// Anywhere else.
    pub other: u64,
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More than its budget and the tolerance.
    Above,
    /// Less than its budget without the tolerance.
    FarBelow,
    /// It has no budget.
    Unknown,
    /// Near its budget.
    Within,
}

impl Verdict {
    /// Whether the change must not be merged like this.
    pub const fn fails(self) -> bool {
        matches!(self, Self::Above | Self::Unknown)
    }

    /// The word for it in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Above => "ABOVE",
            Self::FarBelow => "far below",
            Self::Unknown => "NO BUDGET",
            Self::Within => "",
        }
    }
}

impl Budgets {
    /// Reads the file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The tolerance that holds for numbers of these surroundings.
    pub fn percent(&self, surroundings: &Surroundings) -> u64 {
        if self.counted_with == *surroundings { self.tolerance.same } else { self.tolerance.other }
    }

    /// What becomes of a row. A part of an instruction is never too much.
    pub fn judge(&self, row: &Counted, percent: u64) -> Verdict {
        let Some(&budget) = self.instructions.get(&row.name) else { return Verdict::Unknown };
        let slack = (budget * percent).div_ceil(100);
        if row.instructions > budget + slack {
            Verdict::Above
        } else if row.instructions + slack < budget {
            Verdict::FarBelow
        } else {
            Verdict::Within
        }
    }

    /// Budgets of rows that are no more.
    pub fn without_row(&self, rows: &[Counted]) -> Vec<&str> {
        let has_row = |name: &str| rows.iter().any(|row| row.name == name);
        self.instructions.keys().map(String::as_str).filter(|name| !has_row(name)).collect()
    }
}

/// The file with other numbers. What stands above them stays, but for the surroundings. `None`: there is no
/// place for them.
pub fn rewritten(
    text: &str,
    surroundings: &Surroundings,
    numbers: &BTreeMap<String, u64>,
) -> Option<String> {
    let above = &text[..text.find(NUMBERS)?];
    let mut rewritten = String::new();
    for line in above.lines() {
        let line = match line.split_once(" = ") {
            Some(("rustc", _)) => &format!("rustc = {:?}", surroundings.rustc),
            Some(("processor", _)) => &format!("processor = {:?}", surroundings.processor),
            _ => line,
        };
        rewritten.push_str(line);
        rewritten.push('\n');
    }
    rewritten.push_str(NUMBERS);
    for (name, number) in numbers {
        writeln!(rewritten, "{name:?} = {number}").expect("a String takes all");
    }
    Some(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# For people.
[counted_with]
rustc = "1.95.0"
processor = "x86_64, AVX2"

[tolerance]
# Because.
same = 3
other = 10

[instructions]
"data/text" = 1000
"reply/say" = 10
"#;

    fn row(name: &str, instructions: u64) -> Counted {
        Counted { name: name.to_owned(), instructions, octets: None }
    }

    #[test]
    fn a_row_that_grows_fails() {
        let budgets = Budgets::parse(FILE).expect("a good file");
        let judge = |name, instructions| budgets.judge(&row(name, instructions), 3);
        assert_eq!(judge("data/text", 1030), Verdict::Within);
        assert_eq!(judge("data/text", 1031), Verdict::Above);
        assert_eq!(judge("data/text", 970), Verdict::Within);
        assert_eq!(judge("data/text", 969), Verdict::FarBelow);
        assert_eq!(judge("reply/say", 11), Verdict::Within, "a part of one");
        assert_eq!(judge("reply/say", 12), Verdict::Above);
        assert_eq!(judge("reply/hear", 1), Verdict::Unknown);
        let fails = [Verdict::Above, Verdict::FarBelow, Verdict::Unknown, Verdict::Within];
        assert_eq!(fails.map(Verdict::fails), [true, false, true, false]);
    }

    #[test]
    fn a_budget_without_a_row_is_found() {
        let budgets = Budgets::parse(FILE).expect("a good file");
        assert_eq!(budgets.without_row(&[row("data/text", 1)]), ["reply/say"]);
    }

    #[test]
    fn another_compiler_may_differ_by_more() {
        let budgets = Budgets::parse(FILE).expect("a good file");
        let mut surroundings = budgets.counted_with.clone();
        assert_eq!(budgets.percent(&surroundings), 3);
        surroundings.rustc = "1.96.0".to_owned();
        assert_eq!(budgets.percent(&surroundings), 10);
    }

    #[test]
    fn a_file_is_rewritten_below_its_words() {
        let surroundings =
            Surroundings { rustc: "1.96.0".to_owned(), processor: "aarch64".to_owned() };
        let numbers = BTreeMap::from([("reply/say".to_owned(), 9)]);
        let text = rewritten(FILE, &surroundings, &numbers).expect("it has a place for numbers");
        assert!(text.starts_with("# For people.\n") && text.contains("# Because.\n"));
        let budgets = Budgets::parse(&text).expect("what is written can be read");
        assert_eq!((&budgets.counted_with, &budgets.instructions), (&surroundings, &numbers));
        assert_eq!(rewritten("", &surroundings, &numbers), None);
        assert_eq!(budgets.tolerance, Tolerance { same: 3, other: 10 });
    }
}
