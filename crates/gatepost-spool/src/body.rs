//! Bodies on their way in and out.
//!
//! A [`BodyWriter`] holds shared slices of what passes, so that in the usual case of `hybrid` it is
//! dropped without anything having been copied or written. Only where there are many slices, and small
//! ones, they are put together: a client that sends octet by octet must not make us hold a slice, and
//! the buffer that it is a part of, for each. Past its share of memory a body goes on in a file, which
//! the threads for files write and flush. A small body becomes a row, any other a file.

mod reader;

use std::fs::File;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;

pub use self::reader::BodyReader;
pub(crate) use self::reader::BodyRow;
use crate::checksum::Checksum;
use crate::disk::write_all;
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::shared::Shared;

/// Octets of a body that is a row: with more of them it is cheaper to flush a file than to write
/// everything twice, into the log and into the database.
pub(crate) const INLINE_OCTETS_MAX: u64 = 64 * 1024;
/// Slices that are held as they are, however small: what a message in a few segments has, with lines
/// that begin with a dot in it.
pub(crate) const CHUNKS_KEPT: usize = 64;
/// With more slices, octets that they have to have on the average: a slice can keep a read buffer of
/// 8 KiB alive, and what is counted has to be near to what is held.
const CHUNK_OCTETS_MEAN: u64 = 2048;
/// Octets of a slice that is not put together with the next ones any more, so that no octet is copied
/// often.
const CHUNK_OCTETS_WHOLE: usize = 8 * 1024;
/// Octets that are gathered before they are written to a file that was begun.
const WRITE_OCTETS: u64 = 256 * 1024;

/// Octets that all bodies hold in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    most: u64,
    taken: AtomicU64,
}

impl Budget {
    pub(crate) const fn new(most: u64) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    fn try_take(&self, octets: u64) -> bool {
        let add = |taken: u64| taken.checked_add(octets).filter(|&taken| taken <= self.most);
        self.taken.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    fn give_back(&self, octets: u64) {
        self.taken.fetch_sub(octets, Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

/// The body of a message that may be committed. Dropping it leaves nothing behind.
pub struct BodyWriter {
    shared: Arc<Shared>,
    id: QueueId,
    octets: u64,
    /// What is not in the file.
    pub(crate) chunks: Vec<Bytes>,
    /// Octets of `chunks`.
    gathered: u64,
    /// Of these, what the budget knows of.
    taken: u64,
    place: Place,
}

/// Where the octets are.
enum Place {
    Memory,
    File(BodyFile),
    /// Writing them has failed, or its caller did not wait for the end.
    Torn(SpoolError),
}

impl BodyWriter {
    pub(crate) const fn new(shared: Arc<Shared>, id: QueueId) -> Self {
        Self {
            shared,
            id,
            octets: 0,
            chunks: Vec::new(),
            gathered: 0,
            taken: 0,
            place: Place::Memory,
        }
    }

    /// The message that it is for.
    pub const fn id(&self) -> QueueId {
        self.id
    }

    /// Octets so far.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds octets at the end. Waits only for a file, and only once it has got much to write. After
    /// an error the body cannot be committed any more; every later call tells the same error.
    pub async fn append(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        let octets = chunk.len() as u64;
        if octets == 0 {
            return Ok(());
        }
        self.octets += octets;
        self.gathered += octets;
        self.chunks.push(chunk);
        self.join_small();
        match &self.place {
            Place::Memory => {
                if self.octets <= self.shared.options.body_memory_each
                    && self.shared.budget.try_take(octets)
                {
                    self.taken += octets;
                    return Ok(());
                }
            }
            // Where there is no memory left, nothing is gathered either.
            Place::File(_)
                if self.gathered < WRITE_OCTETS && self.shared.budget.try_take(octets) =>
            {
                self.taken += octets;
                return Ok(());
            }
            Place::File(_) => {}
            Place::Torn(error) => {
                // It will never be committed: nothing is gathered for it.
                self.chunks.clear();
                return Err(error.clone());
            }
        }
        self.write(Flush::Later).await
    }

    /// Makes a row or a flushed file of it.
    pub(crate) async fn finish(mut self) -> Result<StoredBody, SpoolError> {
        if matches!(self.place, Place::Memory) && self.octets <= INLINE_OCTETS_MAX {
            let mut checksum = Checksum::new();
            let octets = self.join(0);
            checksum.update(&octets);
            return Ok(StoredBody::Inline { checksum: checksum.finish(), octets });
        }
        self.write(Flush::Now).await?;
        match mem::replace(&mut self.place, Place::Torn(torn(self.id))) {
            Place::File(file) => Ok(StoredBody::File { file, octets: self.octets }),
            Place::Torn(error) => Err(error),
            // Writing ends in a file or in an error.
            Place::Memory => Err(torn(self.id)),
        }
    }

    /// Puts the small slices at the end together, if there are many of them.
    fn join_small(&mut self) {
        let slices = self.chunks.len();
        if slices > CHUNKS_KEPT && self.gathered < slices as u64 * CHUNK_OCTETS_MEAN {
            let is_whole = |chunk: &Bytes| chunk.len() >= CHUNK_OCTETS_WHOLE;
            let first = self.chunks.iter().rposition(is_whole).map_or(0, |last| last + 1);
            if first < slices {
                let joined = self.join(first);
                self.chunks.push(joined);
            }
        }
    }

    /// Takes the slices from one on, as one. Copies nothing if there is only one.
    fn join(&mut self, first: usize) -> Bytes {
        let mut slices = self.chunks.drain(first..);
        if slices.len() <= 1 {
            return slices.next().unwrap_or_default();
        }
        let octets = slices.as_slice().concat();
        self.shared.metrics.copied(octets.len());
        octets.into()
    }

    /// Has everything written that is gathered, to a file that is made if need be.
    async fn write(&mut self, flush: Flush) -> Result<(), SpoolError> {
        let (chunks, taken) = (mem::take(&mut self.chunks), mem::take(&mut self.taken));
        self.gathered = 0;
        // If the caller does not wait for the end, the file goes with what was to be done.
        let place = mem::replace(&mut self.place, Place::Torn(torn(self.id)));
        let (shared, id) = (self.shared.clone(), self.id);
        let written = self.shared.files.run(move |()| {
            let file = match place {
                Place::Memory => BodyFile::create(shared.clone(), id),
                Place::File(file) => Ok(file),
                Place::Torn(error) => Err(error),
            };
            let written = file.and_then(|file| file.write(&chunks, flush));
            drop(chunks);
            shared.budget.give_back(taken);
            written
        });
        match written.await.flatten() {
            Ok(file) => {
                self.place = Place::File(file);
                Ok(())
            }
            Err(error) => {
                self.place = Place::Torn(error.clone());
                Err(error)
            }
        }
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.shared.budget.give_back(self.taken);
    }
}

/// When a file is flushed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    Later,
    Now,
}

/// A file with the octets of a body. It is removed when this is dropped, unless it is to be kept.
pub(crate) struct BodyFile {
    shared: Arc<Shared>,
    id: QueueId,
    path: PathBuf,
    file: File,
    checksum: Checksum,
    is_kept: bool,
}

impl BodyFile {
    fn create(shared: Arc<Shared>, id: QueueId) -> Result<Self, SpoolError> {
        shared.status.check()?;
        shared.room()?;
        let path = shared.paths.body(id);
        let file =
            shared.disk.create(&path).map_err(|error| SpoolError::of_writing(&path, error))?;
        Ok(Self { shared, id, path, file, checksum: Checksum::new(), is_kept: false })
    }

    fn write(mut self, chunks: &[Bytes], flush: Flush) -> Result<Self, SpoolError> {
        for chunk in chunks {
            write_all(&*self.shared.disk, &self.file, chunk)
                .map_err(|error| SpoolError::of_writing(&self.path, error))?;
            self.checksum.update(chunk);
            self.shared.room.spend(chunk.len() as u64);
        }
        if flush == Flush::Now {
            let begin = Instant::now();
            // What a file holds whose flush has failed is not known, and neither is what else the
            // disk has lost.
            self.shared
                .disk
                .sync(&self.file)
                .map_err(|error| self.shared.stop(&format!("{}: {error}", self.path.display())))?;
            self.shared.metrics.body_flushed(begin.elapsed());
        }
        Ok(self)
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if !self.is_kept {
            self.shared.clone().remove_body(self.id);
        }
    }
}

/// A body that is ready to be committed.
pub(crate) enum StoredBody {
    Inline { octets: Bytes, checksum: u32 },
    File { file: BodyFile, octets: u64 },
}

impl StoredBody {
    pub(crate) const fn inline(&self) -> Option<&Bytes> {
        match self {
            Self::Inline { octets, .. } => Some(octets),
            Self::File { .. } => None,
        }
    }

    pub(crate) fn octets(&self) -> u64 {
        match self {
            Self::Inline { octets, .. } => octets.len() as u64,
            Self::File { octets, .. } => *octets,
        }
    }

    pub(crate) fn checksum(&self) -> u32 {
        match self {
            Self::Inline { checksum, .. } => *checksum,
            Self::File { file, .. } => file.checksum.clone().finish(),
        }
    }

    /// A row names it, or may do so.
    pub(crate) const fn keep(&mut self) {
        if let Self::File { file, .. } = self {
            file.is_kept = true;
        }
    }
}

/// What is heard of a body whose writer did not wait for the end of a call.
fn torn(id: QueueId) -> SpoolError {
    damaged(id, "a part of it was not written")
}

fn damaged(id: QueueId, reason: &str) -> SpoolError {
    SpoolError::BodyDamaged { id, reason: reason.into() }
}
