//! The directory that a running gateway owns.
//!
//! It is created 0700 and locked exclusively: two gateways on one directory would each believe
//! that what is in it is theirs. The lock is the kernel's and ends with the process, so there is no
//! stale lock; a stale control socket is removed by whoever holds the lock.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A state directory that is ours until this is dropped.
#[derive(Debug)]
pub struct StateDir {
    _lock: File,
}

/// Why a state directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It cannot be made or opened.
    #[error("state_dir {}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Another process has it.
    #[error("state_dir {} is in use by another gateway, or by a command that edits its policy; a gateway needs a directory of its own", .0.display())]
    Locked(PathBuf),
}

impl StateDir {
    /// Creates the directory if need be, and takes it.
    pub fn take(path: &Path) -> Result<Self, StateDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateDirError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateDirError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        let socket = path.join("control.sock");
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&socket)(error)),
            _ => Ok(Self { _lock: lock }),
        }
    }
}

/// Puts a text in the place of a file, so that there is the old one or the new one and nothing else,
/// whatever happens.
pub(crate) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("state");
        let owner = StateDir::take(&path).expect("free");
        let mode = fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(matches!(StateDir::take(&path), Err(StateDirError::Locked(_))));
        drop(owner);
        fs::write(path.join("control.sock"), "").expect("writes");
        let _owner = StateDir::take(&path).expect("free again");
        assert!(!path.join("control.sock").exists());
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(matches!(StateDir::take(file.path()), Err(StateDirError::Io { .. })));
    }
}
