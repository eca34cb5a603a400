//! BDAT was said; the message comes in chunks (RFC 3030 §2).

use crate::bdat::Chunk;
use crate::command::Command;
use crate::server::{Hello, Ready, Step, parse, replies};

/// A session in the middle of a message that comes in chunks, between two of them.
///
/// It stays in this state until the last chunk, even if one was refused: the client may have sent
/// the others already. Nothing else of the transaction can be said any more.
#[derive(Debug)]
pub struct Chunking {
    ready: Ready,
}

/// What a session between two chunks asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkingEvent {
    /// Here is the next chunk.
    Chunk(Chunk),
    /// Who the client is, said again: the transaction ends (RFC 5321 §4.1.4).
    Hello(Hello),
    /// The transaction ends (RFC 5321 §4.1.1.5).
    Reset,
}

impl Chunking {
    pub(super) const fn new(ready: Ready) -> Self {
        Self { ready }
    }

    /// Who the client says it is.
    pub const fn hello(&self) -> &Hello {
        self.ready.hello()
    }

    /// Takes one line.
    pub fn handle(&self, line: &[u8]) -> Step<ChunkingEvent> {
        match parse(line, self.ready.hello().greeting) {
            Ok(Command::Bdat(chunk)) => Step::Take(ChunkingEvent::Chunk(chunk)),
            Ok(Command::Rset) => Step::Take(ChunkingEvent::Reset),
            Ok(Command::Hello(greeting, name)) => {
                Step::Take(ChunkingEvent::Hello(Hello { greeting, name: name.into() }))
            }
            Ok(_) => Step::Fault(replies::CHUNKS_AWAITED),
            Err(step) => step,
        }
    }

    /// The last chunk was answered, whatever the answer, or the transaction was given up.
    pub fn end(self) -> Ready {
        self.ready
    }
}
