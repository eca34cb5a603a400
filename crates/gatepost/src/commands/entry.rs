//! `gatepost entry list` and `entry show`: the allow-list as it holds.

use gatepost_admin::control::EntryView;
use gatepost_policy::ruleset::Ruleset;
use gatepost_registry::{
    item::{self, Item, Kind},
    store::Registry,
};
use toml::{Table as Fields, Value};

use super::{
    print, running,
    table::{Table, shortened},
};
use crate::{
    cli::{ListArguments, OutputForm, ShowArguments},
    config::Config,
    errors::{Failure, tell_note},
    exit::Exit,
    load::LoadError,
    policy,
};

/// Networks and senders of an entry that a line of the list shows.
const SHOWN_MAX: usize = 2;
/// Entries that are formatted at once.
const PAGE: usize = 1000;

/// Lists the enabled entries. Page by page, because there may be a million.
pub fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let listed = running::block_on(list_enabled(arguments, &config))?;
    if arguments.output == OutputForm::Table {
        tell_disabled(&config)?;
    }
    Ok(listed)
}

async fn list_enabled(arguments: &ListArguments, config: &Config) -> anyhow::Result<Exit> {
    let Some(client) = running::find(&config.state_dir).await? else {
        let ruleset = policy::load_unproven(&config.policy, &config.site)?.ruleset;
        let mut list = List::new(arguments.output, &ruleset.generation().to_string());
        for page in ruleset.entries().chunks(PAGE) {
            let view = |entry| EntryView::new(entry, &config.site);
            list.print(&page.iter().map(|entry| view(entry)).collect::<Vec<_>>())?;
        }
        return list.finish();
    };
    let mut pages = client.entries();
    let mut list = None;
    while let Some(page) = pages.next_page().await.map_err(running::failure)? {
        let begin = || List::new(arguments.output, &page.generation);
        list.get_or_insert_with(begin).print(&page.items)?;
    }
    let status = client.status().await.map_err(running::failure)?;
    list.unwrap_or_else(|| List::new(arguments.output, &status.generation)).finish()
}

/// What the list leaves out: a store may keep entries that do not hold.
fn tell_disabled(config: &Config) -> Result<(), LoadError> {
    let Some(store) = config.policy.stored()? else { return Ok(()) };
    let items = store.policy().map_err(LoadError::Store)?.items;
    let disabled = items.iter().filter(|item| item.is_disabled());
    let ids: Vec<_> = disabled.map(|item| item.id().to_owned()).collect();
    if !ids.is_empty() {
        tell_note(&format!("disabled, and not in the list: {}", shortened(&ids, SHOWN_MAX)));
    }
    Ok(())
}

/// Shows all of one entry.
pub fn show(ShowArguments { id, list }: &ShowArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&list.config.config)?;
    let entry = running::block_on(async {
        Ok(match running::find(&config.state_dir).await? {
            Some(client) => client.entry(id).await.map_err(running::failure)?,
            None => from_file(&config, id)?,
        })
    })?;
    let stored = if entry.is_none() { disabled(&config, id)? } else { None };
    if let Some(item) = stored {
        tell_note(&format!("entry {id} is disabled: it does not hold"));
        let text = match list.output {
            OutputForm::Json => serde_json::to_string_pretty(&dates_as_text(&item))? + "\n",
            OutputForm::Table => item::policy_text([&item]),
        };
        print(&text)?;
        return Ok(Exit::Ok);
    }
    let Some(entry) = entry else {
        let message = format_args!(
            "there is no enabled entry {id:?}; `gatepost entry list` shows those that are"
        );
        return Err(Failure::new(Exit::Failure, message).into());
    };
    match list.output {
        OutputForm::Json => print(&(serde_json::to_string_pretty(&entry)? + "\n"))?,
        OutputForm::Table => print(&policy_text(entry)?)?,
    }
    Ok(Exit::Ok)
}

/// An entry that the store keeps, and that does not hold.
fn disabled(config: &Config, id: &str) -> Result<Option<Item>, LoadError> {
    let Some(store) = config.policy.stored()? else { return Ok(None) };
    store.item(Kind::Entry, id).map_err(LoadError::Store)
}

/// JSON has no dates, and those of TOML would come out as tables.
fn dates_as_text(item: &Item) -> Fields {
    let text = |value| match value {
        Value::Datetime(date) => Value::String(date.to_string()),
        other => other,
    };
    item.table().into_iter().map(|(key, value)| (key, text(value))).collect()
}

fn from_file(config: &Config, id: &str) -> anyhow::Result<Option<EntryView>> {
    let ruleset: Ruleset = policy::load_unproven(&config.policy, &config.site)?.ruleset;
    Ok(ruleset.entry(id).map(|entry| EntryView::new(entry, &config.site)))
}

/// The entry as it could stand in a policy, and what is counted in it as a comment.
fn policy_text(entry: EntryView) -> anyhow::Result<String> {
    let (counted, not_before, expires) =
        (entry.live, entry.not_before.clone(), entry.expires.clone());
    let plain = EntryView { live: None, not_before: None, expires: None, ..entry };
    let mut text = format!("[[entry]]\n{}", toml::to_string(&plain)?);
    // A view has dates as text, and a policy as dates.
    for (key, date) in [("not_before", not_before), ("expires", expires)] {
        if let Some(date) = date {
            text.extend([format!("{key} = {date}\n")]);
        }
    }
    if let Some(live) = counted {
        text.extend([format!("# connections open: {}\n", live.connections)]);
    }
    Ok(text)
}

/// A list that is printed as it comes.
enum List {
    /// Whether an entry was printed.
    Json(bool),
    Table(Table<6>),
}

impl List {
    fn new(form: OutputForm, generation: &str) -> Self {
        match form {
            OutputForm::Json => {
                // If nobody reads it, the next print tells.
                let _ = print(&format!("{{\"generation\": \"{generation}\", \"entries\": [\n"));
                Self::Json(false)
            }
            OutputForm::Table => {
                let names = ["ENTRY", "ACTION", "CONNECTIONS", "NETWORKS", "SENDERS", "OWNER"];
                Self::Table(Table::new(names))
            }
        }
    }

    fn print(&mut self, entries: &[EntryView]) -> anyhow::Result<()> {
        match self {
            Self::Json(begun) => {
                let mut text = String::new();
                for entry in entries {
                    let comma = if *begun { ",\n" } else { "" };
                    text.extend([comma, &serde_json::to_string(entry)?]);
                    *begun = true;
                }
                print(&text)?;
            }
            Self::Table(table) => {
                print(&table.lines(&entries.iter().map(row).collect::<Vec<_>>()))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<Exit> {
        match self {
            Self::Json(begun) => print(if begun { "\n]}\n" } else { "]}\n" })?,
            // An empty table still has its names.
            Self::Table(mut table) => print(&table.lines(&[]))?,
        }
        Ok(Exit::Ok)
    }
}

fn row(entry: &EntryView) -> [String; 6] {
    let connections = match (entry.live, entry.max_connections) {
        (None, None) => "-".to_owned(),
        (None, Some(most)) => format!("max {most}"),
        (Some(live), None) => live.connections.to_string(),
        (Some(live), Some(most)) => format!("{} of {most}", live.connections),
    };
    [
        entry.id.clone(),
        entry.action.clone(),
        connections,
        shortened(&entry.networks, SHOWN_MAX),
        shortened(entry.senders.as_deref().unwrap_or_default(), SHOWN_MAX),
        entry.owner.clone().unwrap_or_default(),
    ]
}
