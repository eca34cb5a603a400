//! The policy: read and compiled the same way by every command, by `run` and by a reload.

mod candidate;
mod edit;
mod live;
mod shadow;
mod source;
mod usage;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gatepost_policy::{
    date::Moment,
    ruleset::{Compiled, Ruleset},
    site::Site,
};
use gatepost_registry::store::Store;

pub use self::{
    edit::{Edited, edit, in_a_file, store_refusal},
    live::Live,
    shadow::Shadow,
    source::{Source, store_path},
    usage::{UsageKeeper, usage_path},
};
use crate::load::LoadError;

/// Makes a store ready, which may be new or of an older version. The `state_dir` must be ours.
pub fn prepare(source: &Source) -> Result<(), LoadError> {
    match source {
        Source::File(_) => Ok(()),
        Source::Store(path) => Store::open(path).map(drop).map_err(LoadError::Store),
    }
}

/// Reads and compiles a policy, and proves what it expects. May take seconds: not for a task of the
/// runtime.
pub fn load(source: &Source, site: &Arc<Site>) -> Result<Compiled, LoadError> {
    source.told(load_unproven(source, site)?.proven(now()))
}

/// The same, whatever it expects of itself: for whoever wants to know why that does not hold.
pub fn load_unproven(source: &Source, site: &Arc<Site>) -> Result<Compiled, LoadError> {
    let read = source.read()?;
    let compiled = source.told(Ruleset::compile(&read.text, &source.origin(), site))?;
    let revision = read.revision.unwrap_or_default();
    Ok(Compiled { ruleset: compiled.ruleset.with_revision(revision), ..compiled })
}

/// Compiles a text as a policy of this place, and proves what it expects.
pub fn compile(text: &str, source: &Source, site: &Arc<Site>) -> Result<Compiled, LoadError> {
    let compiled = Ruleset::compile(text, &source.origin(), site);
    source.told(compiled.and_then(|compiled| compiled.proven(now())))
}

/// Compiles a text as the policy that an edit of another one has led to. What that one has expected in
/// vain already does not keep anybody from editing it.
pub fn compile_after(
    text: &str,
    source: &Source,
    previous: &Ruleset,
) -> Result<Compiled, LoadError> {
    let compiled = previous.recompile(text, &source.origin());
    source.told(compiled.and_then(|compiled| compiled.proven_after(previous, now())))
}

/// Compiles a text as the policy that comes after another.
fn recompile(text: &str, source: &Source, previous: &Ruleset) -> Result<Compiled, LoadError> {
    let compiled = previous.recompile(text, &source.origin());
    source.told(compiled.and_then(|compiled| compiled.proven(now())))
}

/// This moment, for a question that nobody has asked before: every rate is unused.
pub fn now() -> Moment {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { unix_seconds: since_1970.as_secs().cast_signed(), uptime: Duration::ZERO }
}
