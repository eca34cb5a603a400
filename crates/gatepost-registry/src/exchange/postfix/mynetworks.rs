//! `mynetworks`: in main.cf, as `postconf mynetworks` shows it, or the contents of a file it names.

use super::{
    logical::Logical,
    order::{Meaning, Rule},
    pattern,
};
use crate::exchange::findings::{Findings, quoted};

/// The parameter.
const NAME: &str = "mynetworks";

/// The rules of a list, in its order.
pub(super) fn rules(lines: &[Logical<'_>], findings: &mut Findings<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (line, part) in value(lines, findings) {
        // Only these (CHARS_COMMA_SP of Postfix): other white space would be part of a pattern there.
        let is_separator = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n' | ',');
        for word in part.split(is_separator).filter(|word| !word.is_empty()) {
            match rule(line, word) {
                Ok(rule) => rules.push(rule),
                Err(error) => findings.error(line, format_args!("{}: {error}", quoted(word))),
            }
        }
    }
    rules
}

/// Whether a text is main.cf, or a part of it.
pub(super) fn is_main_cf(lines: &[Logical<'_>]) -> bool {
    lines.iter().any(|line| assignment(line).is_some())
}

/// The lines of the value. All lines, unless parameters are named.
fn value<'t>(lines: &[Logical<'t>], findings: &mut Findings<'_>) -> Vec<(usize, &'t str)> {
    if !is_main_cf(lines) {
        return lines.iter().flat_map(|line| line.parts.iter().copied()).collect();
    }
    let mut found: Option<(usize, Vec<_>)> = None;
    let mut others = 0;
    for line in lines {
        match (assignment(line), &found) {
            (Some((NAME, _)), Some((first, _))) => {
                let message =
                    format_args!("{NAME} is set in line {first} already; take one of them out");
                findings.error(line.line(), message);
            }
            (Some((NAME, value)), None) => {
                let mut parts = line.parts.clone();
                if let Some((_, first)) = parts.first_mut() {
                    *first = value;
                }
                found = Some((line.line(), parts));
            }
            (Some(_), _) => others += 1,
            (None, _) => findings.error(line.line(), "neither name = value nor a continuation"),
        }
    }
    if others > 0 {
        findings.note(None, format_args!("{others} other parameters are passed over"));
    }
    if found.is_none() {
        findings.error(None, "mynetworks is not set in it; `postconf mynetworks` shows what holds");
    }
    found.map(|(_, parts)| parts).unwrap_or_default()
}

/// Name and the beginning of the value.
fn assignment<'t>(line: &Logical<'t>) -> Option<(&'t str, &'t str)> {
    let (name, value) = line.parts.first()?.1.split_once('=')?;
    let name = name.trim_ascii_end();
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, value))
}

fn rule(line: usize, word: &str) -> Result<Rule, String> {
    let (pattern, meaning) = match word.strip_prefix('!') {
        Some(pattern) => (pattern, Meaning::Deny),
        None => (word, Meaning::Allow),
    };
    if pattern.starts_with('!') {
        return Err("write one ! or none".to_owned());
    }
    Ok(Rule { line, network: pattern::network(pattern, meaning)?, meaning })
}
