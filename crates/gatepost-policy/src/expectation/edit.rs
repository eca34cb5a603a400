//! Expectations after an edit: only what the edit has broken refuses it.
//!
//! An expectation can be broken by time alone, when an entry has expired. Whoever then has to disable
//! another entry at once must not have to mend that first.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
};

use gatepost_smtp::path::ReversePathBuf;

use super::{Expectation, distinct};
use crate::{
    date::Moment,
    document::DocumentError,
    listener::ListenerId,
    report::{PolicyErrors, Warnings},
    ruleset::Ruleset,
};

/// Warnings of the expectations that neither ruleset meets, if `next` meets all others.
pub(crate) fn prove_after(
    next: &Ruleset,
    previous: &Ruleset,
    now: Moment,
) -> Result<Vec<DocumentError>, PolicyErrors> {
    let (mut before, mut warnings) = (None, Warnings::default());
    let refused = next.expectations.unmet(next, now).filter_map(|unmet| {
        // Most often all are met, and nobody need know what there was before.
        let before = before.get_or_insert_with(|| Before::new(previous, next));
        if !before.breaks(unmet.expectation, now) {
            return Some(unmet.error());
        }
        warnings.push(unmet.finding("; the edit is not refused, because this was so before it"));
        None
    });
    PolicyErrors::none_of(refused)?;
    Ok(warnings.finish(&next.expectations.origin))
}

/// What was expected before an edit.
struct Before<'r> {
    ruleset: &'r Ruleset,
    listeners: Vec<ListenerId>,
    expectations: HashSet<&'r Expectation>,
}

impl<'r> Before<'r> {
    fn new(ruleset: &'r Ruleset, next: &Ruleset) -> Self {
        let (site, next) = (ruleset.site(), next.site());
        // Listeners and upstreams are numbers, which mean the same only among the same names.
        let is_alike = site.listeners == next.listeners && site.upstreams == next.upstreams;
        let placed = if is_alike { &*ruleset.expectations.placed } else { &[] };
        Self {
            ruleset,
            listeners: distinct(ruleset.views()),
            expectations: placed.iter().map(|(_, expectation)| expectation).collect(),
        }
    }

    /// Whether the same was expected, and not met.
    fn breaks(&self, expectation: &Expectation, now: Moment) -> bool {
        self.expectations.contains(expectation)
            && expectation.broken(self.ruleset, &self.listeners, now).is_some()
    }
}

/// By what most of them differ in; the sender has no hash of its own.
impl Hash for Expectation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.client.hash(state);
        self.sender.as_ref().map(ReversePathBuf::octets).hash(state);
        self.recipients.hash(state);
        self.at.hash(state);
    }
}

#[cfg(test)]
mod tests;
