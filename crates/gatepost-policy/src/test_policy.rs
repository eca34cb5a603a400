//! Policies for the tests of this crate.

use crate::{
    listener::ListenerId,
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
};

pub(crate) const LISTENERS: [&str; 3] = ["smtp", "submission", "submissions"];

pub(crate) fn compile(text: &str) -> Result<Compiled, PolicyErrors> {
    Ruleset::compile(text, "policy.toml", &LISTENERS)
}

/// An entry of five lines; `more` is the fifth.
pub(crate) fn entry(id: &str, networks: &str, more: &str) -> String {
    format!("[[entry]]\nid = {id:?}\nnetworks = {networks}\nsenders = [\"example.com\"]\n{more}\n")
}

/// What a policy is refused for.
pub(crate) fn errors(text: &str) -> Vec<String> {
    let errors = compile(text).expect_err(text);
    errors.errors().iter().map(ToString::to_string).collect()
}

/// The id of the entry that serves a client.
pub(crate) fn found(ruleset: &Ruleset, listener: usize, client: &str) -> Option<String> {
    let client = client.parse().expect("an address");
    ruleset.lookup(ListenerId::new(listener), client).map(|entry| entry.id().to_string())
}
