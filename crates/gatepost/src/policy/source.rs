//! Where a policy is: in a file, or in a store.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use gatepost_policy::{document::DocumentError, report::PolicyErrors, ruleset::Compiled};
use gatepost_registry::store::{Registry, Store};

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
            Self::Store(_) => {
                let Some(store) = self.stored()? else {
                    return Ok(Text { text: String::new(), revision: Some(0) });
                };
                let stored = store.text().map_err(LoadError::Store)?;
                Ok(Text { text: stored.text, revision: Some(stored.revision) })
            }
        }
    }

    /// What its errors begin with.
    pub fn origin(&self) -> String {
        self.to_string()
    }

    /// The store, if this is one and anything was ever written to it.
    pub fn stored(&self) -> Result<Option<Store>, LoadError> {
        match self {
            Self::File(_) => Ok(None),
            Self::Store(path) => Store::open_to_read(path).map_err(LoadError::Store),
        }
    }

    /// What came of compiling a policy from here. The lines of a store's text are nobody's lines.
    pub fn told(&self, compiled: Result<Compiled, PolicyErrors>) -> Result<Compiled, LoadError> {
        match self {
            Self::File(_) => compiled.map_err(LoadError::Policy),
            Self::Store(_) => {
                let compiled = compiled.map_err(|it| LoadError::Policy(it.without_places()))?;
                let warnings = compiled.warnings.iter().map(DocumentError::without_place).collect();
                Ok(Compiled { warnings, ..compiled })
            }
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
