//! The checksum of a body: that what is delivered is what was committed.

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

/// CRC-32C, with tables: bodies are summed when they are stored and when they are read, no more.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A sum that is not finished.
#[derive(Clone)]
pub(crate) struct Checksum(Digest<'static, u32, Table<16>>);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(CRC.digest())
    }

    pub(crate) fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
    }
}
