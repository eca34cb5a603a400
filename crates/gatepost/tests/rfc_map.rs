//! `docs/rfc-map.md` and `docs/threat-model.md` name files and tests that exist; and the map has every
//! RFC that the sources cite.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MAP: &str = include_str!("../../../docs/rfc-map.md");
const THREATS: &str = include_str!("../../../docs/threat-model.md");

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `smtp/src/line.rs` in the workspace.
fn resolve(short: &str) -> PathBuf {
    let (name, rest) = short.split_once('/').unwrap_or((short, ""));
    let folder = if name == "gatepost" { name.to_owned() } else { format!("gatepost-{name}") };
    crates().join(folder).join(rest)
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Rows of all tables, as their cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells[0] != "section")
}

/// What is wrong with a page.
fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for cells in rows(page) {
        let [section, _, files, tests] = cells[..] else {
            faults.push(format!("{cells:?}: a row has four cells"));
            continue;
        };
        for cell in [files, tests] {
            if quoted(cell).next().is_none() {
                faults.push(format!("{section}: {cell:?} names nothing"));
            }
        }
        faults.extend(quoted(files).filter_map(|file| missing_file(section, file)));
        faults.extend(quoted(tests).filter_map(|test| missing_test(section, test)));
    }
    faults
}

fn missing_file(section: &str, file: &str) -> Option<String> {
    (!resolve(file).is_file()).then(|| format!("{section}: there is no file {file}"))
}

fn missing_test(section: &str, test: &str) -> Option<String> {
    let Some((file, name)) = test.split_once('#') else {
        let is_chapter = is_dialogue(test);
        let unnamed = || Some(format!("{section}: {test} names no function"));
        return if is_chapter { missing_file(section, test) } else { unnamed() };
    };
    let source = fs::read_to_string(resolve(file)).unwrap_or_default();
    (!has_test(&source, name)).then(|| format!("{section}: there is no test {test}"))
}

/// Whether it names a file of dialogues.
fn is_dialogue(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "smtp")
}

/// Whether a function of this name stands right behind its `#[test]`, or that of tokio.
fn has_test(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else { return false };
    let before: Vec<&str> = text[..at].lines().rev().take(4).collect();
    before.iter().any(|line| {
        let line = line.trim_start();
        line.starts_with("#[test") || line.starts_with("#[tokio::test")
    })
}

/// The numbers behind every `RFC ` of a text.
fn cited(text: &str) -> BTreeSet<u32> {
    let numbers = text.match_indices("RFC ").map(|(at, word)| {
        let digits = text[at + word.len()..].split(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap_or_default().parse()
    });
    numbers.filter_map(Result::ok).collect()
}

fn sources(directory: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push(fs::read_to_string(&path).expect("UTF-8"));
        }
    }
}

#[test]
fn every_file_and_every_test_of_the_map_is_there() {
    assert!(rows(MAP).count() > 40, "the page has its tables");
    let faults = faults(MAP);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whatever looks like a test in either page, also in the text and in other tables.
#[test]
fn every_test_that_a_page_names_is_there() {
    for (name, page) in [("rfc-map.md", MAP), ("threat-model.md", THREATS)] {
        let tests = quoted(page)
            .filter(|word| word.contains(".rs#") || (word.contains('/') && is_dialogue(word)));
        let faults: Vec<String> = tests.filter_map(|test| missing_test(name, test)).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn every_rfc_that_the_sources_cite_is_on_the_map() {
    let mut texts = Vec::new();
    for package in fs::read_dir(crates()).expect("the workspace") {
        let source = package.expect("readable").path().join("src");
        if source.is_dir() {
            sources(&source, &mut texts);
        }
    }
    let all: BTreeSet<u32> = texts.iter().flat_map(|text| cited(text)).collect();
    assert!(all.contains(&5321), "{all:?}");
    let named = cited(MAP);
    let missing: Vec<_> = all.difference(&named).collect();
    assert!(missing.is_empty(), "not on docs/rfc-map.md: {missing:?}");
}

/// The check itself would notice.
#[test]
fn what_is_not_there_is_found() {
    for (row, told) in [
        (
            "| §1 | x | `smtp/src/nothing.rs` | `smtp/src/line.rs#only_crlf_ends_a_line` |",
            "no file",
        ),
        ("| §1 | x | `smtp/src/line.rs` | `smtp/src/line.rs#nothing` |", "no test"),
        ("| §1 | x | `smtp/src/line.rs` | `smtp/src/line.rs#frame` |", "no test"),
        ("| §1 | x | `smtp/src/line.rs` | `smtp/src/line.rs` |", "names no function"),
        ("| §1 | x | `smtp/src/line.rs` | `gatepost/tests/dialogues/00.smtp` |", "no file"),
        ("| §1 | x | `smtp/src/line.rs` | – |", "names nothing"),
        ("| §1 | x | `smtp/src/line.rs` |", "four cells"),
    ] {
        let faults = faults(row);
        assert!(faults.len() == 1 && faults[0].contains(told), "{row}: {faults:?}");
    }
}
