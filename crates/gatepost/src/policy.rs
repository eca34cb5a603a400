//! The policy file: read and compiled the same way by `check`, `explain`, `run` and a reload.

use std::path::Path;

use gatepost_policy::ruleset::{Compiled, Ruleset};

use crate::load::{self, LoadError};

/// Octets of the file: a million entries are 107 MB, and there is room for longer ones.
const FILE_OCTETS_MAX: u64 = 512 * 1024 * 1024;

/// Reads and compiles a policy for the named listeners. May take a second: not for a task of the
/// runtime.
pub fn load(path: &Path, listeners: &[&str]) -> Result<Compiled, LoadError> {
    let text = load::text(path, FILE_OCTETS_MAX)?;
    let origin = path.display().to_string();
    Ruleset::compile(&text, &origin, listeners).map_err(LoadError::Policy)
}
