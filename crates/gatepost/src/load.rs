//! Files that the program is told by, and why one was not taken.
//!
//! Whoever starts, checks or reloads a gateway gets the same error for the same file.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use gatepost_delivery::{RootsError, Secret, SecretError};
use gatepost_inbound::IdentityError;
use gatepost_policy::{document::DocumentError, report::PolicyErrors};
use gatepost_registry::store::StoreError;
use zeroize::Zeroizing;

use crate::exit::Exit;

/// Why a configuration or a policy was refused.
#[derive(Debug)]
pub enum LoadError {
    /// A certificate, its key or a CA cannot be used.
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: IdentityError,
    },
    /// The configuration has errors; all of them, at least one.
    Config(Vec<DocumentError>),
    /// The policy has errors.
    Policy(PolicyErrors),
    /// There is nobody to believe: a file of roots cannot be used, or this machine has none.
    Roots {
        /// The file; none for the roots of this machine.
        path: Option<PathBuf>,
        /// What is wrong with it.
        error: RootsError,
    },
    /// A file with a secret cannot be used.
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: SecretError,
    },
    /// The policy in the store cannot be read.
    Store(StoreError),
    /// The file could not be read at all.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl LoadError {
    /// The exit code of a command that cannot go on without the file.
    pub fn exit(&self) -> Exit {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Unreadable { error, .. } if denied(error) => Exit::Permission,
            Self::Store(StoreError::Io { error, .. }) if denied(error) => Exit::Permission,
            Self::Store(StoreError::NotOpened { .. } | StoreError::ReadOnly(_)) => Exit::Permission,
            Self::Store(StoreError::Busy(_)) => Exit::TryLater,
            // A revision that was asked for is no fault of the store.
            Self::Store(StoreError::UnknownRevision { .. }) => Exit::Failure,
            _ => Exit::Config,
        }
    }
}

/// One line an error.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Config(errors) => errors.iter().enumerate().try_for_each(|(index, error)| {
                let separator = if index == 0 { "" } else { "\n" };
                write!(f, "{separator}{error}")
            }),
            Self::Policy(errors) => errors.fmt(f),
            Self::Roots { path: None, error } => error.fmt(f),
            Self::Roots { path: Some(path), error } => write!(f, "{}: {error}", path.display()),
            Self::Secret { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Store(error) => error.fmt(f),
            Self::Unreadable { path, error } => {
                write!(f, "{}: cannot be read: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// The text of a file that has at most so many octets.
pub(crate) fn text(path: &Path, octets_max: u64) -> Result<String, LoadError> {
    let read = || {
        let mut octets = Vec::new();
        File::open(path)?.take(octets_max + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > octets_max {
            let message = format!("it has more than {octets_max} octets");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        String::from_utf8(octets).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            io::Error::new(io::ErrorKind::InvalidData, format!("octet {at} is not UTF-8"))
        })
    };
    read().map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })
}

/// The secret in a file; no copy of it is left behind.
pub(crate) fn secret(path: &Path) -> Result<Secret, LoadError> {
    /// More than any mechanism can say: what is longer is told so.
    const OCTETS_MAX: usize = 16 * 1024;
    // A buffer that grows would leave copies.
    let mut octets = Zeroizing::new(Vec::with_capacity(OCTETS_MAX + 1));
    let read =
        File::open(path).and_then(|file| file.take(OCTETS_MAX as u64).read_to_end(&mut octets));
    read.map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })?;
    Secret::of_file(octets).map_err(|error| LoadError::Secret { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_utf8() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file.toml");
        let read = |octets: &[u8], octets_max| {
            std::fs::write(&path, octets).expect("writes");
            text(&path, octets_max).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"abc", 3), Ok("abc".to_owned()));
        let error = read(b"abcd", 3).expect_err("is too long");
        assert!(error.ends_with("file.toml: cannot be read: it has more than 3 octets"), "{error}");
        let error = read(b"ab\xff", 3).expect_err("is not UTF-8");
        assert!(error.ends_with("cannot be read: octet 2 is not UTF-8"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_and_a_matter_of_the_configuration() {
        let error = text(Path::new("/nowhere/gatepost.toml"), 1).expect_err("is not there");
        assert!(error.to_string().starts_with("/nowhere/gatepost.toml: cannot be read: No such"));
        assert_eq!(error.exit(), Exit::Config);
    }

    #[test]
    fn a_store_that_is_anothers_is_a_permission_that_is_missing() {
        let path = || PathBuf::from("policy.db");
        let io = |kind: io::ErrorKind| StoreError::Io { path: path(), error: kind.into() };
        for (error, exit) in [
            (io(io::ErrorKind::PermissionDenied), Exit::Permission),
            (StoreError::NotOpened { path: path(), reason: String::new() }, Exit::Permission),
            (StoreError::ReadOnly(path()), Exit::Permission),
            (StoreError::Busy(path()), Exit::TryLater),
            (StoreError::UnknownRevision { wanted: 9, last: 3 }, Exit::Failure),
            (io(io::ErrorKind::InvalidData), Exit::Config),
            (StoreError::NotStore { path: path() }, Exit::Config),
        ] {
            assert_eq!(LoadError::Store(error).exit(), exit);
        }
    }
}
