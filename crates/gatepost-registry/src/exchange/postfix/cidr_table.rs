//! CIDR tables: a pattern and a result on each line.

use super::{
    logical::Logical,
    mynetworks,
    order::{Meaning, Rule},
    pattern,
};
use crate::exchange::findings::{Findings, quoted};

/// Whether a text is a table rather than a list: something that is no pattern follows a pattern.
pub(super) fn is_one(lines: &[Logical<'_>]) -> bool {
    let is_pattern = |word: &str| word.contains(['.', ':', '/', '[', ',', '!', '$', '#']);
    let has_result = |line: &Logical<'_>| {
        let mut words = line.words().map(|(_, word)| word);
        match (words.next(), words.next()) {
            (Some(first), _) if is_condition(first) => true,
            (Some(first), Some(second)) => !first.ends_with(',') && !is_pattern(second),
            _ => false,
        }
    };
    !mynetworks::is_main_cf(lines) && lines.iter().any(has_result)
}

/// The rules of a table, in its order.
pub(super) fn rules(lines: &[Logical<'_>], findings: &mut Findings<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for line in lines {
        match rule(line) {
            Ok(rule) => rules.push(rule),
            Err(error) => findings.error(line.line(), error),
        }
    }
    rules
}

fn rule(logical: &Logical<'_>) -> Result<Rule, String> {
    if logical.is_astray {
        return Err(
            "a line that begins with white space continues the one before, and there is none; \
                    take the white space out"
                .to_owned(),
        );
    }
    let mut words = logical.words().map(|(_, word)| word);
    let pattern = words.next().unwrap_or_default();
    if is_condition(pattern) {
        return Err(
            "if and endif are not taken over; write each network with its result".to_owned()
        );
    }
    if pattern.starts_with('!') {
        return Err(format!(
            "{}: all but a network is not taken over; write the networks that are meant",
            quoted(pattern)
        ));
    }
    let Some(result) = words.next() else {
        return Err(format!(
            "{} has no result; write OK, REJECT or DUNNO behind it",
            quoted(pattern)
        ));
    };
    let Some(meaning) = meaning(result) else {
        return Err(format!(
            "the result {} has no counterpart; write OK, REJECT or DUNNO, or take the line out",
            quoted(result)
        ));
    };
    let network = pattern::network(pattern, meaning)
        .map_err(|error| format!("{}: {error}", quoted(pattern)))?;
    Ok(Rule { line: logical.line(), network, meaning })
}

fn is_condition(word: &str) -> bool {
    word.eq_ignore_ascii_case("if") || word.eq_ignore_ascii_case("endif")
}

/// What a result says about relaying (access(5)). To claim success and discard is to refuse.
fn meaning(result: &str) -> Option<Meaning> {
    match result.to_ascii_uppercase().as_str() {
        "OK" | "PERMIT" | "RELAY" => Some(Meaning::Allow),
        "DEFER" | "DEFER_IF_PERMIT" | "DISCARD" | "REJECT" => Some(Meaning::Deny),
        "DUNNO" => Some(Meaning::Pass),
        // A reply code. Other numbers mean OK, which nobody would guess.
        code if code.len() == 3
            && code.starts_with(['4', '5'])
            && code.bytes().all(|octet| octet.is_ascii_digit()) =>
        {
            Some(Meaning::Deny)
        }
        _ => None,
    }
}
