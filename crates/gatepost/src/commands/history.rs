//! `gatepost history` and `diff`: who changed what, when, and why.
//!
//! The store is read where it is, whether a gateway runs or not: a reader disturbs no writer.

use std::fmt::Write as _;

use gatepost_policy::printable::Printable;
use gatepost_registry::{
    item::Kind,
    store::{Difference, HistoryWanted, Registry, RevisionRecord, Store},
};

use super::{print, table::Table};
use crate::{
    cli::{DiffArguments, HistoryArguments, OutputForm},
    config::Config,
    errors::Failure,
    exit::Exit,
    host::date,
    load::LoadError,
    policy::Source,
};

/// Changes that a line of the history shows.
const SHOWN_MAX: usize = 3;

/// Lists revisions, the newest first.
pub fn history(arguments: &HistoryArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let wanted = HistoryWanted {
        limit: arguments.limit,
        before: arguments.before,
        item: arguments.entry.clone().map(|id| (Kind::Entry, id)),
    };
    let revisions = match store(&config)? {
        Some(store) => store.history(&wanted).map_err(LoadError::Store)?,
        None => Vec::new(),
    };
    match arguments.output {
        OutputForm::Json => {
            let object = serde_json::json!({ "revisions": revisions });
            print(&(serde_json::to_string_pretty(&object)? + "\n"))?;
        }
        OutputForm::Table => {
            let mut table = Table::new(["REVISION", "TIME", "AUTHOR", "CHANGES", "REASON"]);
            print(&table.lines(&revisions.iter().map(row).collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Ok)
}

/// Shows what has changed between two revisions.
pub fn diff(arguments: &DiffArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let differences = match store(&config)? {
        None => Vec::new(),
        Some(store) => {
            let last = store.revision().map_err(LoadError::Store)?;
            let to = arguments.to.unwrap_or(last);
            let from = arguments.from.unwrap_or_else(|| last.saturating_sub(1));
            let differences = store.difference(from, to).map_err(LoadError::Store)?;
            differences.into_iter().map(Difference::masked).collect()
        }
    };
    match arguments.output {
        OutputForm::Json => {
            let object = serde_json::json!({ "differences": differences });
            print(&(serde_json::to_string_pretty(&object)? + "\n"))?;
        }
        OutputForm::Table => {
            let mut text = String::new();
            for difference in &differences {
                show(&mut text, difference);
            }
            print(&text)?;
        }
    }
    Ok(Exit::Ok)
}

/// The store, if anything was ever written to it.
fn store(config: &Config) -> anyhow::Result<Option<Store>> {
    match &config.policy {
        Source::Store(path) => Ok(Store::open_to_read(path).map_err(LoadError::Store)?),
        Source::File(path) => {
            let message = format_args!(
                "the policy is in {}, and a file has no revisions here; its history is where the file is kept",
                path.display()
            );
            Err(Failure::new(Exit::Permission, message).into())
        }
    }
}

fn row(revision: &RevisionRecord) -> [String; 5] {
    let changes: Vec<_> = revision
        .changes
        .iter()
        .map(|change| format!("{} {} {}", change.what, change.kind, change.id))
        .collect();
    let more = changes.len().saturating_sub(SHOWN_MAX) as u64 + revision.more;
    let shown = changes.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let changes = if more > 0 { format!("{shown} and {more} more") } else { shown };
    [
        revision.number.to_string(),
        date(revision.at.as_second()),
        revision.author.clone(),
        changes,
        revision.reason.clone().unwrap_or_default(),
    ]
}

/// The lines that went and the lines that came.
fn show(text: &mut String, difference: &Difference) {
    let Difference { kind, id, before, after } = difference;
    let (before, after) = (before.as_deref(), after.as_deref());
    // A string takes any text.
    let _ = writeln!(text, "{kind} {id} {}", difference.what());
    let lines = |side: Option<&str>| -> Vec<String> {
        side.unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let (before, after) = (lines(before), lines(after));
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(text, "- {}", Printable(line));
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        let _ = writeln!(text, "+ {}", Printable(line));
    }
}
