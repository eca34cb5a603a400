//! What is asked of the disk, apart from what SQLite asks it.
//!
//! Everything that can fail goes through a [`Disk`], so that tests can let it fail. The real one is
//! what the trait does by itself; a faulty one replaces single calls.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::Transaction;

/// Mail is its owner's alone.
pub(crate) const FILE_MODE: u32 = 0o600;

/// The disk under a spool.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Makes a file that is not there yet.
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
    }

    /// Writes some octets at the end of what was written; how many, as the system does.
    fn write(&self, mut file: &File, octets: &[u8]) -> io::Result<usize> {
        file.write(octets)
    }

    /// Flushes what is in a file, and how long it is.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Flushes the names in a directory.
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Octets that we could still write.
    fn free_octets(&self, path: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Commits a transaction: when this is done, it is flushed.
    fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        transaction.commit()
    }
}

/// The disk of this machine.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {}

/// Writes all of some octets.
pub(crate) fn write_all(disk: &dyn Disk, file: &File, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match disk.write(file, octets) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => octets = &octets[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
