//! Edits of a policy in a store: `entry add`, `edit`, `remove`, `enable`, `disable`, and `revert`.
//!
//! A running gateway makes the edit itself, so that it holds at once. If none runs, the command does
//! what the gateway would have done, under the lock of the `state_dir`.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use gatepost_admin::control::{Client, ControlError, EditRefusal, EditRequest, EditView};
use gatepost_policy::printable::Printable;
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
    state_dir::{StateDir, StateDirError},
};

/// Items of an edit that are told one by one when it is made.
const ITEMS_TOLD_MAX: usize = 10;
/// How long a command waits for another one that edits, or for a gateway that is starting.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(100);

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
    let Source::Store(path) = &config.policy else {
        return Err(refused(policy::in_a_file(&config.policy)).into());
    };
    running::block_on(async {
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match Client::connect(&config.state_dir).await {
                Ok(client) => {
                    return client.edit(request).await.map_err(|error| not_told(error).into());
                }
                Err(ControlError::NotRunning(_)) => {}
                Err(error) => return Err(running::failure(error).into()),
            }
            // One that is just starting, or another command, has the directory for a moment.
            match offline(config, path, request) {
                Err(error) if is_locked(&error) => {
                    if Instant::now() >= patience {
                        let message = format_args!(
                            "state_dir {} is in use, and nobody answers there: by a gateway that \
                             starts or ends, or by another edit; try again",
                            config.state_dir.display()
                        );
                        return Err(Failure::new(Exit::TryLater, message).into());
                    }
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                ended => return ended,
            }
        }
    })
}

fn offline(config: &Config, path: &Path, request: &EditRequest) -> anyhow::Result<EditView> {
    let judge = |text: &str| match policy::load_unproven(&config.policy, &config.site) {
        Ok(before) => policy::compile_after(text, &config.policy, &before.ruleset),
        // It was not even a policy.
        Err(_) => policy::compile(text, &config.policy, &config.site),
    };
    if request.dry_run {
        // Nothing is changed, so nothing need be ours, nor even be there.
        let elsewhere = tempfile::tempdir()?;
        let mut store = match config.policy.stored()? {
            Some(store) => store,
            None => Store::open(&elsewhere.path().join("empty.db")).map_err(LoadError::Store)?,
        };
        return Ok(policy::edit(&mut store, request, judge).map_err(refused)?.view);
    }
    refuse_other_users(&config.state_dir)?;
    // Whoever has the lock is the only one who edits.
    let _state_dir = StateDir::take(&config.state_dir)?;
    let mut store = Store::open(path).map_err(|error| refused(policy::store_refusal(&error)))?;
    let edited = policy::edit(&mut store, request, judge).map_err(refused)?;
    if edited.compiled.is_some_and(|compiled| compiled.ruleset.allows_nobody()) {
        tell_warning("no enabled entry allows anything: nobody may send");
    }
    Ok(edited.view)
}

/// What root makes in the directory of the gateway's user, the gateway cannot open.
fn refuse_other_users(state_dir: &Path) -> Result<(), Failure> {
    let owner = |path: &Path| fs::metadata(path).map(|metadata| metadata.uid()).ok();
    match (owner(state_dir), owner(Path::new("/proc/self"))) {
        (Some(owner), Some(user)) if owner != user => {
            let message = format_args!(
                "state_dir {} belongs to user {owner}: run this as that user, like sudo -u '#{owner}' gatepost …",
                state_dir.display()
            );
            Err(Failure::new(Exit::Permission, message))
        }
        _ => Ok(()),
    }
}

fn refused(refusal: EditRefusal) -> Failure {
    Failure::new(running::edit_exit(&refusal), refusal)
}

/// An edit without an answer is not one that was not made.
fn not_told(error: ControlError) -> Failure {
    match error {
        ControlError::Timeout | ControlError::Exchange(_) | ControlError::Body(_) => {
            let message = format_args!(
                "{error}: the edit may be made, or not; `gatepost history` tells which"
            );
            Failure::new(Exit::Failure, message)
        }
        error => running::failure(error),
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StateDirError::Locked(_)))
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
    let mut text = format!("revision {revision}{would}: {}\n", counts.join(", "));
    let all = added + changed + removed;
    // Who has edited one item knows which, and who has imported a thousand has seen the dry run.
    if dry_run || (2..=ITEMS_TOLD_MAX).contains(&all) {
        for item in &view.items {
            text.extend(["  ", &Printable(item).to_string(), "\n"]);
        }
        if let more @ 1.. = all.saturating_sub(view.items.len()) {
            text.extend([format!("  and {more} more\n")]);
        }
    }
    text
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
