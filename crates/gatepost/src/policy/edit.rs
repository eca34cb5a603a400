//! An edit of a policy in its store: judged as a whole and then written, or not at all.
//!
//! It is the same whether a gateway runs or not. Who compiles differs: a gateway compiles the policy
//! that comes after the one in use.

use gatepost_admin::control::{EditCause, EditRefusal, EditRequest, EditView};
use gatepost_policy::ruleset::Compiled;
use gatepost_registry::store::{Difference, EditError, Outcome, Registry, Store, StoreError, What};
use jiff::Timestamp;

use super::source::Source;

/// Items that are told one by one; of more the rest is counted.
const ITEMS_MAX: usize = 100;

/// What has come of an edit.
pub struct Edited {
    /// What its author is told.
    pub view: EditView,
    /// The policy that holds now, if another did before.
    pub compiled: Option<Compiled>,
}

/// Edits a policy, if `judge` accepts the text that it would have.
pub fn edit<E: ToString>(
    store: &mut Store,
    request: &EditRequest,
    judge: impl FnOnce(&str) -> Result<Compiled, E>,
) -> Result<Edited, EditRefusal> {
    let outcome = if request.dry_run {
        store.propose(&request.edit, |proposed| judge(proposed.text))
    } else {
        store.edit(&request.edit, Timestamp::now(), |proposed| judge(proposed.text))
    };
    Ok(match outcome.map_err(refusal)? {
        Outcome::Unchanged { revision } => {
            Edited { view: EditView { revision, ..EditView::default() }, compiled: None }
        }
        Outcome::Changed { revision, judged, differences } => {
            let warnings = judged.warnings.iter().map(ToString::to_string).collect();
            let view = EditView { revision, warnings, ..counted(&differences) };
            Edited { view, compiled: (!request.dry_run).then_some(judged) }
        }
    })
}

/// Why a policy in a file is not edited.
pub fn in_a_file(source: &Source) -> EditRefusal {
    let error =
        format!("the policy is in {source}: edit that file, and a running gateway takes it over");
    EditRefusal { cause: EditCause::File, error }
}

/// Why a store cannot be edited.
pub fn store_refusal(error: &StoreError) -> EditRefusal {
    let cause = match error {
        StoreError::Busy(_) => EditCause::Busy,
        StoreError::ReadOnly(_) | StoreError::NotOpened { .. } => EditCause::Permission,
        _ => EditCause::Store,
    };
    EditRefusal { cause, error: error.to_string() }
}

fn counted(differences: &[Difference]) -> EditView {
    let count = |what| differences.iter().filter(|difference| difference.what() == what).count();
    EditView {
        added: count(What::Added),
        changed: count(What::Changed) + count(What::Moved),
        removed: count(What::Removed),
        items: differences
            .iter()
            .take(ITEMS_MAX)
            .map(|difference| {
                let Difference { kind, id, .. } = difference;
                format!("{} {kind} {id}", difference.what())
            })
            .collect(),
        ..EditView::default()
    }
}

fn refusal<E: ToString>(error: EditError<E>) -> EditRefusal {
    let (cause, error) = match error {
        EditError::Invalid(error) => (EditCause::Wrong, error.to_string()),
        EditError::Refused(error) => (EditCause::Policy, error.to_string()),
        EditError::Stale(error) => (EditCause::Stale, error.to_string()),
        EditError::Store(error) => return store_refusal(&error),
    };
    EditRefusal { cause, error }
}
