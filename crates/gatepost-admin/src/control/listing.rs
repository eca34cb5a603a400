//! A page of entries: which, how many, and where the next one begins.
//!
//! A page is bounded in entries and in octets, because entries of a fleet may share one long list of
//! senders, and each shows all of it. The cursor is the generation and the number of entries that
//! were shown: to find a place takes no search, and a listing never mixes two policies.

use gatepost_policy::{generation::Generation, ruleset::Ruleset};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::views::{EntryView, Page};

/// Entries of a page.
const ENTRIES_MAX: usize = 1000;
/// Octets after which a page ends, with the entry that reaches them. Ordinary entries have 500.
const PAGE_OCTETS: usize = 4 * 1024 * 1024;

/// The query: what is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Where the page before has ended, as that page told.
    after: Option<String>,
    /// Entries of the page.
    limit: Option<usize>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListingError {
    /// The page before was of another policy.
    #[error(
        "the policy has changed since the page before: it was {before} and is {now}; begin again"
    )]
    Changed { before: String, now: Generation },
    /// Not a cursor of ours.
    #[error("after {0:?} is not what a page has named as its next")]
    Cursor(String),
    /// A page of nothing, or of too much.
    #[error("limit {0} is not a number from 1 to {ENTRIES_MAX}")]
    Limit(usize),
    /// Cannot happen to data as plain as this.
    #[error("an entry cannot be shown")]
    Shown(#[from] serde_json::Error),
}

/// Takes as long as the page is: not for the threads that serve sessions.
pub(super) fn page(
    ruleset: &Ruleset,
    wanted: &Wanted,
) -> Result<Page<Box<RawValue>>, ListingError> {
    let limit = wanted.limit.unwrap_or(ENTRIES_MAX);
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(ListingError::Limit(limit));
    }
    let generation = ruleset.generation();
    let begin = wanted.after.as_deref().map_or(Ok(0), |after| place(after, generation))?;
    let entries = ruleset.entries();
    let rest = entries.get(begin..).unwrap_or_default();
    let mut items = Vec::new();
    let mut octets = 0;
    for entry in rest.iter().take(limit) {
        let item = to_raw_value(&EntryView::new(entry, ruleset.site()).with_live(entry))?;
        octets += item.get().len();
        items.push(item);
        if octets >= PAGE_OCTETS {
            break;
        }
    }
    let end = begin + items.len();
    let next = (items.len() < rest.len()).then(|| format!("{generation}.{end}"));
    Ok(Page { generation: generation.to_string(), items, next })
}

/// How many entries of this generation were shown before.
fn place(after: &str, now: Generation) -> Result<usize, ListingError> {
    let parsed =
        after.rsplit_once('.').and_then(|(before, shown)| Some((before, shown.parse().ok()?)));
    let (before, shown) = parsed.ok_or_else(|| ListingError::Cursor(after.to_owned()))?;
    if before == now.to_string() {
        Ok(shown)
    } else {
        Err(ListingError::Changed { before: before.to_owned(), now })
    }
}
