//! `gatepost entry import` and `entry export`: lists of other programs, and of our own.

use std::{collections::HashSet, time::Duration};

use gatepost_admin::control::EditRequest;
use gatepost_registry::{
    exchange::{self, Defaults, Format},
    item::{self, Item},
    store::{Operation, Registry},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{edit, print};
use crate::{
    cli::{ExportArguments, ImportArguments},
    config::Config,
    errors::{Failure, tell_note, tell_warning},
    exit::Exit,
    load::{self, LoadError},
    policy::Source,
};

/// Octets of a list: as many as a policy file may have.
const LIST_OCTETS_MAX: u64 = 512 * 1024 * 1024;
/// Conversions that are told one by one by an import; of a long list the rest is counted.
const NOTES_MAX: usize = 100;
/// How often a bar that shows no number moves.
const TICK: Duration = Duration::from_millis(100);

/// Takes a list over.
pub fn import(arguments: &ImportArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.edit.config.config)?;
    refuse_what_means_nothing(arguments)?;
    let items = new_items(&config, read(arguments)?, arguments.replace)?;
    let count = items.len();
    let request = EditRequest {
        edit: edit::edit(&arguments.edit, operations(arguments, &items)),
        dry_run: arguments.dry_run,
    };
    let bar = ProgressBar::new_spinner().with_message(format!("judging {count} items"));
    bar.enable_steady_tick(TICK);
    let view = edit::perform(&config, &request);
    bar.finish_and_clear();
    edit::tell(&view?, arguments.edit.output, arguments.dry_run)?;
    Ok(Exit::Ok)
}

/// Writes the policy to standard output: of a store all of it, of a file what is written there.
pub fn export(arguments: &ExportArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let exported = exchange::export(arguments.format.into(), &items(&config)?)
        .map_err(|error| Failure::new(Exit::Failure, error))?;
    if exported.left_out > 0 {
        let count = exported.left_out;
        tell_warning(&format!("{count} routes, credentials and expectations are not in a CSV"));
    }
    print(&exported.text)?;
    Ok(Exit::Ok)
}

/// All items of the policy.
pub(super) fn items(config: &Config) -> anyhow::Result<Vec<Item>> {
    if let Some(store) = config.policy.stored()? {
        return Ok(store.policy().map_err(LoadError::Store)?.items);
    }
    let text = config.policy.read()?.text;
    item::items(&text, &config.policy.origin())
        .map_err(|error| Failure::new(Exit::Config, error).into())
}

/// The items of a list, with what was made of it told.
fn read(arguments: &ImportArguments) -> anyhow::Result<Vec<Item>> {
    let text = load::text(&arguments.file, LIST_OCTETS_MAX)
        .map_err(|error| Failure::new(Exit::Failure, error))?;
    let defaults = Defaults {
        senders: arguments.sender.clone(),
        services: arguments.service.clone(),
        owner: arguments.owner.clone(),
        acknowledge: arguments.acknowledge.clone(),
        id_prefix: arguments.id_prefix.clone(),
        description: arguments.description.clone(),
    };
    let bar = ProgressBar::new(text.len() as u64).with_message("reading");
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}%") {
        bar.set_style(style.progress_chars("=> "));
    }
    let origin = arguments.file.display().to_string();
    let imported =
        exchange::import(arguments.format.into(), &text, &origin, &defaults, &mut |done, _| {
            bar.set_position(done as u64);
        });
    bar.finish_and_clear();
    let imported = imported.map_err(|errors| Failure::new(Exit::Config, errors))?;
    let told_max = if arguments.dry_run { usize::MAX } else { NOTES_MAX };
    for note in imported.notes.iter().take(told_max) {
        tell_note(&note.to_string());
    }
    if let more @ 1.. = imported.notes.len().saturating_sub(told_max) {
        tell_note(&format!("and {more} more conversions, which --dry-run shows"));
    }
    Ok(imported.items)
}

/// The items without those that are here already, word for word: a list may be imported twice.
fn new_items(config: &Config, list: Vec<Item>, replace: bool) -> anyhow::Result<Vec<Item>> {
    if replace || matches!(config.policy, Source::File(_)) {
        return Ok(list);
    }
    let known: HashSet<_> = items(config)?.into_iter().collect();
    Ok(list.into_iter().filter(|item| !known.contains(item)).collect())
}

/// Flags that would be ignored are mistakes.
fn refuse_what_means_nothing(arguments: &ImportArguments) -> Result<(), Failure> {
    let format = Format::from(arguments.format);
    let usage = |message: String| Err(Failure::new(Exit::Usage, message));
    if arguments.replace && !matches!(format, Format::Toml | Format::Json) {
        return usage(format!(
            "--replace makes the policy what the file says, and a {format} list cannot say all of one: \
             routes and expectations would go; use toml or json"
        ));
    }
    let ImportArguments { sender, service, owner, description, acknowledge, id_prefix, .. } =
        arguments;
    let texts = [owner, description, acknowledge, id_prefix];
    let is_said = !sender.is_empty() || !service.is_empty() || texts.iter().any(|it| it.is_some());
    if is_said && format.is_own() {
        return usage(format!(
            "--sender, --service, --owner, --description, --acknowledge and --id-prefix are for lists \
             that know only addresses; a {format} list says all of an entry"
        ));
    }
    Ok(())
}

/// A list of ours means the entries that it names. One of another program does not know them: whatever
/// has the same id here was made by somebody, for a reason.
fn operations(arguments: &ImportArguments, items: &[Item]) -> Vec<Operation> {
    let body = |item: &Item| (item.kind(), item.body().to_owned());
    if arguments.replace {
        return vec![Operation::Replace { bodies: items.iter().map(body).collect() }];
    }
    let is_meant = arguments.overwrite || Format::from(arguments.format).is_own();
    let operation = |item| {
        let (kind, body) = body(item);
        if is_meant { Operation::Put { kind, body } } else { Operation::Add { kind, body } }
    };
    items.iter().map(operation).collect()
}
