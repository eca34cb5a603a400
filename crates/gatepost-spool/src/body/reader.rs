//! The body of a message on its way out: a row, or a file that is read piece by piece. Whoever gets its
//! end has got what was committed: length and checksum are compared before the end is told.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::damaged;
use crate::checksum::Checksum;
use crate::error::SpoolError;
use crate::id::QueueId;
use crate::shared::Shared;

/// Octets that are read from a file at once.
const READ_OCTETS: usize = 128 * 1024;

/// The body of a message in the spool, from its beginning to its end.
pub struct BodyReader {
    shared: Arc<Shared>,
    id: QueueId,
    octets: u64,
    expected: u32,
    source: Source,
}

/// What is left of it.
enum Source {
    Inline(Bytes),
    File {
        file: File,
        at: u64,
        checksum: Checksum,
    },
    End,
    /// A read has failed, or its caller did not wait for it.
    Torn,
}

/// What the database says of a body.
pub(crate) struct BodyRow {
    pub(crate) octets: u64,
    pub(crate) checksum: u32,
    /// None if it is a file.
    pub(crate) inline: Option<Vec<u8>>,
}

impl BodyReader {
    /// Opens it. A short one is checked here, a file when its end is reached.
    pub(crate) async fn open(
        shared: Arc<Shared>,
        id: QueueId,
        row: BodyRow,
    ) -> Result<Self, SpoolError> {
        let source = if let Some(octets) = row.inline {
            let mut checksum = Checksum::new();
            checksum.update(&octets);
            if octets.len() as u64 != row.octets || checksum.finish() != row.checksum {
                return Err(damaged(id, "its checksum is wrong"));
            }
            Source::Inline(octets.into())
        } else {
            let path = shared.paths.body(id);
            let opened = shared.files.run(move |()| File::open(path)).await?;
            let file = opened.map_err(|error| damaged(id, &error.to_string()))?;
            Source::File { file, at: 0, checksum: Checksum::new() }
        };
        Ok(Self { shared, id, octets: row.octets, expected: row.checksum, source })
    }

    /// Octets in all.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// The next octets; none at the end. If this fails, what was read before must not be used: a
    /// transaction that has got it must not be ended. After a call that was not awaited to its end,
    /// every other fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SpoolError> {
        match mem::replace(&mut self.source, Source::Torn) {
            Source::Inline(octets) => {
                self.source = Source::End;
                Ok(Some(octets).filter(|octets| !octets.is_empty()))
            }
            Source::End => {
                self.source = Source::End;
                Ok(None)
            }
            Source::Torn => Err(damaged(self.id, "a part of it was not read")),
            Source::File { file, at, mut checksum } if at == self.octets => {
                // One octet more would be one too many.
                let (_, longer) = self.read(file, at, 1).await?;
                checksum.update(&longer);
                if !longer.is_empty() || checksum.finish() != self.expected {
                    return Err(damaged(self.id, "its checksum is wrong"));
                }
                self.source = Source::End;
                Ok(None)
            }
            Source::File { file, at, mut checksum } => {
                let most =
                    READ_OCTETS.min(usize::try_from(self.octets - at).unwrap_or(READ_OCTETS));
                let (file, octets) = self.read(file, at, most).await?;
                if octets.is_empty() {
                    return Err(damaged(self.id, "its file is too short"));
                }
                checksum.update(&octets);
                self.source = Source::File { file, at: at + octets.len() as u64, checksum };
                Ok(Some(octets))
            }
        }
    }

    async fn read(&self, file: File, at: u64, most: usize) -> Result<(File, Bytes), SpoolError> {
        let read = move |(): &mut ()| {
            let mut octets = BytesMut::zeroed(most);
            let length = loop {
                match file.read_at(&mut octets, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            octets.truncate(length);
            Ok::<_, io::Error>((file, octets.freeze()))
        };
        let read = self.shared.files.run(read).await?;
        read.map_err(|error| damaged(self.id, &error.to_string()))
    }
}
