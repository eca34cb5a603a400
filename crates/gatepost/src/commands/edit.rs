//! Edits of a policy in a store: `entry add`, `edit`, `remove`, `enable`, `disable`, and `revert`.
//!
//! A running gateway makes the edit itself, so that it holds at once. If none runs, the command does
//! what the gateway would have done, under the lock of the `state_dir`.

use std::{env, os::unix::fs::MetadataExt};

use gatepost_admin::control::{Client, ControlError, EditRequest, EditView};
use gatepost_registry::{
    item::Kind,
    store::{Edit, Operation, Store},
};
use toml::{Table, Value};

use super::{print, running};
use crate::{
    cli::{
        AddArguments, ChangeArguments, EditArguments, NamedArguments, OutputForm, RevertArguments,
    },
    config::Config,
    errors::{Failure, tell_note, tell_warning},
    exit::Exit,
    load::LoadError,
    policy::{self, Source},
    state_dir::StateDir,
};

/// Adds an entry.
pub fn add(AddArguments { id, fields, edit }: &AddArguments) -> anyhow::Result<Exit> {
    let mut table = fields.table();
    table.insert("id".to_owned(), Value::String(id.clone()));
    apply(edit, vec![Operation::Add { kind: Kind::Entry, body: table.to_string() }])
}

/// Changes fields of an entry.
pub fn change(arguments: &ChangeArguments) -> anyhow::Result<Exit> {
    let ChangeArguments { id, fields, unset, edit } = arguments;
    let table = fields.table();
    if table.is_empty() && unset.is_empty() {
        let message = "nothing is to be changed; name a field, like --owner TEXT, or --unset FIELD";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    set(edit, id, &table, unset.clone())
}

/// Removes an entry.
pub fn remove(NamedArguments { id, edit }: &NamedArguments) -> anyhow::Result<Exit> {
    apply(edit, vec![Operation::Remove { kind: Kind::Entry, id: id.clone() }])
}

/// Lets an entry hold again.
pub fn enable(NamedArguments { id, edit }: &NamedArguments) -> anyhow::Result<Exit> {
    let enabled = Table::from_iter([("enabled".to_owned(), Value::Boolean(true))]);
    set(edit, id, &enabled, Vec::new())
}

/// Keeps an entry, and lets it hold no more.
pub fn disable(NamedArguments { id, edit }: &NamedArguments) -> anyhow::Result<Exit> {
    let disabled = Table::from_iter([("enabled".to_owned(), Value::Boolean(false))]);
    set(edit, id, &disabled, Vec::new())
}

/// Makes the policy what it was.
pub fn revert(RevertArguments { revision, edit }: &RevertArguments) -> anyhow::Result<Exit> {
    apply(edit, vec![Operation::Revert { revision: *revision }])
}

fn set(edit: &EditArguments, id: &str, fields: &Table, unset: Vec<String>) -> anyhow::Result<Exit> {
    let (id, body) = (id.to_owned(), fields.to_string());
    apply(edit, vec![Operation::Set { kind: Kind::Entry, id, body, unset }])
}

fn apply(arguments: &EditArguments, operations: Vec<Operation>) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let request = EditRequest { edit: edit(arguments, operations), dry_run: false };
    let view = perform(&config, &request)?;
    tell(&view, arguments.output, request.dry_run)?;
    Ok(Exit::Ok)
}

/// An edit by whoever runs the command.
pub(super) fn edit(arguments: &EditArguments, operations: Vec<Operation>) -> Edit {
    Edit {
        operations,
        author: author(),
        reason: arguments.reason.clone(),
        if_revision: arguments.if_revision,
    }
}

/// Has the edit made by the gateway that runs, or makes it.
pub(super) fn perform(config: &Config, request: &EditRequest) -> anyhow::Result<EditView> {
    if let Source::File(_) = config.policy {
        let refusal = policy::in_a_file(&config.policy);
        return Err(Failure::new(running::edit_exit(&refusal), refusal).into());
    }
    running::block_on(async {
        match Client::connect(&config.state_dir).await {
            Ok(client) => Ok(client.edit(request).await.map_err(running::failure)?),
            Err(ControlError::NotRunning(_)) => offline(config, request),
            Err(error) => Err(running::failure(error).into()),
        }
    })
}

fn offline(config: &Config, request: &EditRequest) -> anyhow::Result<EditView> {
    let Source::Store(path) = &config.policy else {
        unreachable!("an edit of a file was refused before")
    };
    // Whoever has the lock is the only one who edits.
    let _state_dir = StateDir::take(&config.state_dir)?;
    let mut store = Store::open(path).map_err(LoadError::Store)?;
    let judge = |text: &str| policy::compile(text, &config.policy, &config.site);
    let edited = policy::edit(&mut store, request, judge)
        .map_err(|refusal| Failure::new(running::edit_exit(&refusal), refusal))?;
    if edited.compiled.is_some_and(|compiled| compiled.ruleset.allows_nobody()) {
        tell_warning("no enabled entry allows anything: nobody may send");
    }
    Ok(edited.view)
}

/// Says what has come of an edit.
pub(super) fn tell(view: &EditView, form: OutputForm, dry_run: bool) -> anyhow::Result<()> {
    for warning in &view.warnings {
        tell_warning(warning);
    }
    if view.generation.is_none() && !view.is_nothing() && !dry_run {
        tell_note("the gateway is not running; it will start with this policy");
    }
    let text = match form {
        OutputForm::Json => serde_json::to_string_pretty(view)? + "\n",
        OutputForm::Table => summary(view, dry_run),
    };
    Ok(print(&text)?)
}

fn summary(view: &EditView, dry_run: bool) -> String {
    let EditView { revision, added, changed, removed, .. } = view;
    if view.is_nothing() {
        return format!("revision {revision}: nothing has changed\n");
    }
    let counts = [(added, "added"), (changed, "changed"), (removed, "removed")];
    let counts = counts.into_iter().filter(|(count, _)| **count > 0);
    let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    let would = if dry_run { " would be made" } else { "" };
    format!("revision {revision}{would}: {}\n", counts.join(", "))
}

/// The name of whoever runs this: behind sudo, the one who called it.
fn author() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    named.unwrap_or_else(|| {
        // The owner of this process, without a system call of our own.
        let user = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
        format!("user {user}")
    })
}
