//! Where a policy is: in a file, or in a store.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use gatepost_policy::{report::PolicyErrors, ruleset::Compiled};
use gatepost_registry::store::{Registry, Store, StoreError};

use crate::load::{self, LoadError};

/// Octets of a file: a million entries are 107 MB, and there is room for longer ones.
const FILE_OCTETS_MAX: u64 = 512 * 1024 * 1024;

/// The one place that a policy is kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, which is edited as files are.
    File(PathBuf),
    /// A store, which is edited by commands.
    Store(PathBuf),
}

/// A policy as its place has it.
pub struct Text {
    /// The TOML text.
    pub text: String,
    /// Its revision, if it comes from a store.
    pub revision: Option<u64>,
}

/// Where the store of a gateway is.
pub fn store_path(state_dir: &Path) -> PathBuf {
    state_dir.join("policy.db")
}

impl Source {
    /// Reads the policy. A store that was never written to has an empty one.
    pub fn read(&self) -> Result<Text, LoadError> {
        match self {
            Self::File(path) => {
                Ok(Text { text: load::text(path, FILE_OCTETS_MAX)?, revision: None })
            }
            Self::Store(path) => {
                let read = || -> Result<Text, StoreError> {
                    let Some(store) = Store::open_to_read(path)? else {
                        return Ok(Text { text: String::new(), revision: Some(0) });
                    };
                    let stored = store.text()?;
                    Ok(Text { text: stored.text, revision: Some(stored.revision) })
                };
                read().map_err(LoadError::Store)
            }
        }
    }

    /// What its errors begin with.
    pub fn origin(&self) -> String {
        self.to_string()
    }

    /// What came of compiling a policy from here, in the words that fit.
    pub(super) fn told(
        &self,
        compiled: Result<Compiled, PolicyErrors>,
    ) -> Result<Compiled, LoadError> {
        let compiled = compiled.map_err(|errors| self.refused(errors))?;
        let warnings = match self {
            Self::File(_) => compiled.warnings,
            Self::Store(_) => compiled.warnings.iter().map(|told| self.placeless(told)).collect(),
        };
        Ok(Compiled { warnings, ..compiled })
    }

    /// A warning without its line and column.
    fn placeless(&self, warning: &str) -> String {
        let origin = self.origin();
        let message = warning.strip_prefix(&origin).and_then(|rest| {
            let is_number =
                |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            let mut parts = rest.strip_prefix(':')?.splitn(3, ':');
            let is_place = is_number(parts.next()?) && is_number(parts.next()?);
            parts.next().filter(|_| is_place)
        });
        message.map_or_else(|| warning.to_owned(), |message| format!("{origin}:{message}"))
    }

    /// Why a policy from here was refused. The lines of a store's text are nobody's lines.
    pub fn refused(&self, errors: PolicyErrors) -> LoadError {
        match self {
            Self::File(_) => LoadError::Policy(errors),
            Self::Store(_) => LoadError::Stored(errors),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Store(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_about_a_store_names_no_line() {
        let store = Source::Store("state/policy.db".into());
        for (warning, told) in [
            ("state/policy.db:12:1: entry a: x: y", "state/policy.db: entry a: x: y"),
            ("state/policy.db: and 3 more warnings", "state/policy.db: and 3 more warnings"),
            ("state/policy.db:entry:1: x", "state/policy.db:entry:1: x"),
            ("something else", "something else"),
        ] {
            assert_eq!(store.placeless(warning), told);
        }
    }
}
