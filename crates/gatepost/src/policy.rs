//! The policy file: read and compiled the same way by every command, by `run` and by a reload.

mod live;
mod watch;

use std::{path::Path, sync::Arc};

use gatepost_policy::{
    ruleset::{Compiled, Ruleset},
    site::Site,
};

pub use self::live::Live;
use crate::load::{self, LoadError};

/// Octets of the file: a million entries are 107 MB, and there is room for longer ones.
const FILE_OCTETS_MAX: u64 = 512 * 1024 * 1024;

/// Reads and compiles a policy. May take seconds: not for a task of the runtime.
pub fn load(path: &Path, site: &Arc<Site>) -> Result<Compiled, LoadError> {
    let text = text(path)?;
    Ruleset::compile(&text, &origin(path), site).map_err(LoadError::Policy)
}

fn text(path: &Path) -> Result<String, LoadError> {
    load::text(path, FILE_OCTETS_MAX)
}

/// The file's name in messages.
fn origin(path: &Path) -> String {
    path.display().to_string()
}
