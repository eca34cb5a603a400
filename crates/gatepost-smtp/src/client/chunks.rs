//! A message that goes out in chunks (RFC 3030 §2).

use bytes::{BufMut, BytesMut};

use crate::ascii;
use crate::bdat::Chunk;
use crate::client::{Desync, Ready, Resetting};
use crate::extension::Capabilities;
use crate::reply::{Reply, Severity};

/// Recipients stand, and the message is sent chunk by chunk; nothing is owed.
#[derive(Debug)]
pub struct Chunks {
    ready: Ready,
    standing: u32,
}

/// BDAT was sent; its octets have to follow, and then a reply comes.
#[derive(Debug)]
pub struct SentChunk {
    chunks: Chunks,
    last: bool,
}

/// What a reply to a chunk has led to.
#[derive(Debug)]
pub enum Chunked {
    /// The message was accepted.
    Ready(Ready),
    /// There may be another chunk; if the chunk was refused, only [`Chunks::reset`] makes sense.
    More(Chunks),
}

impl Chunks {
    pub(super) const fn new(ready: Ready, standing: u32) -> Self {
        Self { ready, standing }
    }

    /// What the upstream offers.
    pub const fn capabilities(&self) -> &Capabilities {
        self.ready.capabilities()
    }

    /// How many recipients the upstream has accepted.
    pub const fn standing(&self) -> u32 {
        self.standing
    }

    /// Appends BDAT. The caller sends as many octets behind it as it says.
    pub fn chunk(self, Chunk { octets, last }: Chunk, out: &mut BytesMut) -> SentChunk {
        out.put_slice(b"BDAT ");
        out.put_slice(ascii::decimal(octets).as_bytes());
        out.put_slice(if last { b" LAST\r\n" } else { b"\r\n" });
        SentChunk { chunks: self, last }
    }

    /// Gives the message up. A server may keep an envelope whose last chunk it has refused, so that
    /// is given up too.
    pub fn reset(self, out: &mut BytesMut) -> Resetting {
        out.put_slice(b"RSET\r\n");
        Resetting::new(self.ready)
    }
}

impl SentChunk {
    /// What the upstream offers.
    pub const fn capabilities(&self) -> &Capabilities {
        self.chunks.capabilities()
    }

    /// How many recipients the upstream has accepted.
    pub const fn standing(&self) -> u32 {
        self.chunks.standing()
    }

    /// Takes the reply to the chunk. A 3yz decides nothing and is a [`Desync`].
    pub fn handle(self, reply: &Reply) -> Result<Chunked, Desync> {
        match reply.severity() {
            Severity::Intermediate => Err(Desync),
            Severity::Positive if self.last => Ok(Chunked::Ready(self.chunks.ready)),
            _ => Ok(Chunked::More(self.chunks)),
        }
    }
}
