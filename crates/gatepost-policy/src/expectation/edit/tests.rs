use std::{fmt::Write as _, sync::Arc};

use crate::{
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
    site::Site,
    test_policy::{compile, entry, moment, site},
};

const YEAR: i64 = 365 * 86_400;

/// A year later, the first expectation is broken and the second is not.
const RUSTY: &str = r#"
[[expect]]
ip = "10.1.0.1"
from = "a@example.com"
result = "accept"

[[expect]]
ip = "10.2.0.1"
from = "a@example.com"
result = "accept"
"#;

fn entries() -> String {
    entry("old", "[\"10.1.0.0/16\"]", "expires = 2026-12-01T00:00:00Z")
        + &entry("new", "[\"10.2.0.0/16\"]", "")
        + &entry("stolen", "[\"10.3.0.0/16\"]", "")
}

fn disabled(id: &str) -> String {
    let id = format!("id = {id:?}\n");
    entries().replace(&id, &format!("{id}enabled = false\n"))
}

/// The ruleset that comes after another, a year later.
fn after(previous: &str, next: &str) -> Result<Compiled, PolicyErrors> {
    let previous = compile(previous).expect("a good policy").ruleset;
    let next = previous.recompile(next, "store").expect("as good");
    next.proven_after(&previous, moment(YEAR))
}

fn refused(previous: &str, next: &str) -> String {
    after(previous, next).expect_err(next).to_string()
}

/// The warnings but for those of the compiler.
fn tolerated(previous: &str, next: &str) -> Vec<String> {
    let compiled = after(previous, next).unwrap_or_else(|errors| panic!("{errors}"));
    crate::test_policy::warnings(&compiled)
        .into_iter()
        .filter(|warning| !warning.contains("give it at"))
        .collect()
}

#[test]
fn what_time_has_broken_does_not_refuse_an_edit() {
    let previous = entries() + RUSTY;
    let next = disabled("stolen") + RUSTY;
    let strict = compile(&next).expect("a good policy").proven(moment(YEAR));
    assert_eq!(strict.expect_err("strict").count(), 1);
    assert_eq!(
        tolerated(&previous, &next),
        [
            "store:18:1: expect: 10.1.0.1 from <a@example.com>: accept was expected, but: reject: 554 5.7.1 \
          relay.example.com: entry old has expired at 2026-12-01T00:00:00Z; the edit is not refused, \
          because this was so before it"
        ]
    );
    // Where it stands does not matter.
    let (first, second) = RUSTY[1..].split_once("\n\n").expect("two");
    let moved = format!("{second}\n{first}\n{}", disabled("stolen"));
    assert_eq!(tolerated(&previous, &moved).len(), 1);
}

#[test]
fn what_the_edit_has_broken_refuses_it() {
    let previous = entries() + RUSTY;
    let told = refused(&previous, &(disabled("new") + RUSTY));
    assert!(told.starts_with("store:23:1: expect: 10.2.0.1 from <a@example.com>: "), "{told}");
    assert!(!told.contains("10.1.0.1"), "{told}");
    assert!(told.contains("\n    verdict "), "it is explained: {told}");
}

#[test]
fn an_expectation_that_is_new_or_changed_is_held_to() {
    let previous = entries() + RUSTY;
    for changed in [
        RUSTY.replace("10.1.0.1", "10.1.0.2"),
        RUSTY.replacen("a@example.com", "b@example.com", 1),
        RUSTY.replacen("result", "rcpt = \"a@example.net\"\nresult", 1),
        RUSTY.replacen("result", "helo = \"a\"\nresult", 1),
        RUSTY.replacen("result", "tls = true\nresult", 1),
        RUSTY.replacen("result", "service = \"smtp\"\nresult", 1),
        RUSTY.replacen("result", "at = 2027-06-01T00:00:00Z\nresult", 1),
        RUSTY.replacen("result", "entry = \"old\"\nresult", 1),
        RUSTY.replacen("result", "upstream = \"google\"\nresult", 1),
        RUSTY.replacen("accept", "defer", 1),
    ] {
        assert_ne!(changed, RUSTY);
        let told = refused(&previous, &(entries() + &changed));
        assert_eq!(told.matches(": expect: ").count(), 1, "{told}");
    }
    let told = refused(&entries(), &previous);
    assert!(told.contains("expect: 10.1.0.1 from"), "nothing was expected before: {told}");
}

#[test]
fn rulesets_of_two_sites_have_nothing_in_common() {
    let text = entries() + RUSTY;
    let mut other = Site::clone(&site());
    other.listeners.reverse();
    let previous = Ruleset::compile(&text, "store", &Arc::new(other)).expect("good").ruleset;
    let next = || compile(&text).expect("good");
    assert!(next().proven_after(&previous, moment(YEAR)).is_err());
    assert!(next().proven_after(&compile(&text).expect("good").ruleset, moment(YEAR)).is_ok());
}

#[test]
fn many_warnings_are_counted() {
    let mut text = entries();
    for host in 0..150 {
        let _ = write!(text, "[[expect]]\nip = \"10.1.1.{host}\"\nresult = \"accept\"\n");
    }
    let warnings = tolerated(&text, &(text.clone() + "# an edit\n"));
    let (last, told) = warnings.split_last().expect("there are some");
    let told = told.iter().filter(|warning| warning.ends_with("this was so before it")).count();
    assert_eq!((told, &**last), (100, "store: and 50 more warnings"));
}
