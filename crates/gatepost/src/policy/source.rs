//! Where a policy is: in a file, or in a store.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use gatepost_policy::report::PolicyErrors;
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
