//! Policy files: the form in which items are kept anyway.

use std::collections::BTreeMap;

use toml::{Spanned, Table};

use super::{Exported, findings::Findings, lines::Lines};
use crate::item::{self, Item, ItemError, Kind};

pub(super) fn import(text: &str, findings: &mut Findings<'_>) -> Vec<Item> {
    match item::items(text, findings.origin()) {
        Ok(items) => findings.unique(items, || lines(text)),
        Err(error) => {
            tell(text, &error, findings);
            Vec::new()
        }
    }
}

pub(super) fn export(items: &[Item]) -> Exported {
    Exported { text: item::policy_text(items), left_out: 0 }
}

/// Tells what is wrong, table by table where the text is TOML at all.
fn tell(text: &str, error: &ItemError, findings: &mut Findings<'_>) {
    if let ItemError::Document(error) = error {
        let place = error.position().map(|position| position.line);
        return findings.error(place, error.message());
    }
    let unnamed = |kind: Kind, table: &Spanned<Table>| Item::new(kind, table.get_ref()).err();
    let mut wrong: Vec<_> = tables(text)
        .iter()
        .filter_map(|(kind, table)| Some((table.span().start, unnamed(*kind, table)?)))
        .collect();
    wrong.sort_by_key(|(offset, _)| *offset);
    let mut lines = Lines::new(text);
    for (offset, error) in &wrong {
        findings.error(lines.at(*offset), error);
    }
    if wrong.is_empty() {
        // A table that is of no kind, or is no list.
        findings.error(None, error);
    }
}

/// Where the items of a text stand, in the order of [`item::items`].
fn lines(text: &str) -> Vec<usize> {
    let mut lines = Lines::new(text);
    tables(text).iter().map(|(_, table)| lines.at(table.span().start)).collect()
}

/// The tables of all kinds with their places; none if one of them is no list.
fn tables(text: &str) -> Vec<(Kind, Spanned<Table>)> {
    let mut document: BTreeMap<String, Vec<Spanned<Table>>> =
        toml::from_str(text).unwrap_or_default();
    let of_kind = |kind: Kind| document.remove(kind.name()).unwrap_or_default();
    Kind::ALL
        .map(of_kind)
        .into_iter()
        .zip(Kind::ALL)
        .flat_map(|(tables, kind)| tables.into_iter().map(move |table| (kind, table)))
        .collect()
}
