//! Chunks of mail data: where a line of theirs begins, and what must not be in them (RFC 3030).
//!
//! A chunk ends where its BDAT said, so nothing in it can end the message and no dot is special. But
//! what comes in chunks may go on as DATA, and one server's chunk is another's lines: content keeps
//! to the rules of [`crate::data`]. A bare CR, a bare LF or a NUL is a fault, in one chunk or across
//! two, and white space must not begin a message. An octet is looked at once; what was found at the
//! end of one chunk is remembered for the next.

use crate::data::{DataFault, NEWLINE, STUFFING};

/// One BDAT command (RFC 3030 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command line.
    pub octets: u64,
    /// Whether the message ends with them.
    pub last: bool,
}

/// What comes behind the octets that are scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// More of the same chunk.
    Octets,
    /// Another chunk.
    Chunk,
    /// Nothing: the message ends here.
    Nothing,
}

/// What the start of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkScan {
    /// This many octets are content; at the next one the message is spoilt.
    Fault(usize, DataFault),
    /// This many octets are content. What is left, one CR at the most, must be scanned again
    /// together with what follows.
    More(usize),
    /// `octets` octets are content, then `replaced` octets of the input are to be replaced by
    /// `with`; what is behind them is to be scanned next.
    Replace {
        /// Octets of content.
        octets: usize,
        /// Octets of input behind the content. None, if something is to be put in.
        replaced: usize,
        /// What goes on instead of them.
        with: &'static [u8],
    },
}

/// How content goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transparency {
    /// In chunks: as it came.
    Plain,
    /// As DATA: a dot is put in front of one that begins a line (RFC 5321 §4.5.2).
    Stuffed,
}

/// Looks at content that comes in chunks.
#[derive(Clone, Debug)]
pub struct ChunkScanner {
    transparency: Transparency,
    normalizing: bool,
    position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Nothing was scanned yet.
    Start,
    /// After CRLF.
    LineStart,
    /// Anywhere else.
    InLine,
    /// After a CR that ended a chunk.
    AfterCr,
}

impl ChunkScanner {
    /// A scanner at the first octet of a message.
    pub const fn new(transparency: Transparency) -> Self {
        Self { transparency, normalizing: false, position: Position::Start }
    }

    /// The same, but a bare LF is no fault: [`ChunkScan::Replace`] makes it CRLF.
    pub const fn normalizing(transparency: Transparency) -> Self {
        Self { normalizing: true, ..Self::new(transparency) }
    }

    /// From here on, content goes on in another way.
    pub const fn turn(&mut self, transparency: Transparency) {
        self.transparency = transparency;
    }

    /// Whether a line has begun that has no end yet: behind it DATA needs a CRLF.
    pub fn is_in_line(&self) -> bool {
        self.position == Position::InLine
    }

    /// Scans `input`, which begins where the last call's octets ended and does not reach beyond its
    /// chunk. `behind` says what follows it.
    pub fn scan(&mut self, input: &[u8], behind: Behind) -> ChunkScan {
        let mut at = match self.scan_start(input, behind) {
            Ok(at) => at,
            Err(scan) => return scan,
        };
        loop {
            if self.position != Position::InLine
                && let Some(scan) = self.scan_line_start(input, at)
            {
                return scan;
            }
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, &input[at..]) else {
                return ChunkScan::More(input.len());
            };
            at += found;
            match (&input[at..], behind) {
                ([b'\r', b'\n', ..], _) => {
                    at += 2;
                    self.position = Position::LineStart;
                }
                ([b'\r'], Behind::Octets) => return ChunkScan::More(at),
                ([b'\r'], Behind::Chunk) => {
                    self.position = Position::AfterCr;
                    return ChunkScan::More(at + 1);
                }
                ([b'\r', ..], _) => return ChunkScan::Fault(at, DataFault::BareCr),
                ([b'\n', ..], _) if self.normalizing => return self.replace(at),
                ([b'\n', ..], _) => return ChunkScan::Fault(at, DataFault::BareLf),
                _ => return ChunkScan::Fault(at, DataFault::Nul),
            }
        }
    }

    /// What the end of the last chunk has left to be looked at: how many octets it takes, or what
    /// it comes to.
    fn scan_start(&mut self, input: &[u8], behind: Behind) -> Result<usize, ChunkScan> {
        match (self.position, input) {
            (Position::AfterCr, [b'\n', ..]) => {
                self.position = Position::LineStart;
                Ok(1)
            }
            (Position::AfterCr, []) if behind != Behind::Nothing => Err(ChunkScan::More(0)),
            (Position::AfterCr, _) => Err(ChunkScan::Fault(0, DataFault::BareCr)),
            _ => Ok(0),
        }
    }

    /// Looks at what begins a line; `None` if the line is like any other.
    #[inline]
    fn scan_line_start(&mut self, input: &[u8], at: usize) -> Option<ChunkScan> {
        let first = input.get(at)?;
        if self.position == Position::Start && matches!(first, b' ' | b'\t') {
            return Some(ChunkScan::Fault(at, DataFault::LeadingSpace));
        }
        self.position = Position::InLine;
        let stuffed = *first == b'.' && self.transparency == Transparency::Stuffed;
        stuffed.then_some(ChunkScan::Replace { octets: at, replaced: 0, with: STUFFING })
    }

    const fn replace(&mut self, octets: usize) -> ChunkScan {
        self.position = Position::LineStart;
        ChunkScan::Replace { octets, replaced: 1, with: NEWLINE }
    }
}

/// Takes the dots off again that [`Transparency::Stuffed`] has put in.
pub fn unstuff(stuffed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(stuffed.len());
    Unstuffer::default().append(stuffed, &mut plain);
    plain
}

/// Puts the dots in again that [`unstuff`] has taken off: lines that go on as DATA.
pub fn stuff(plain: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(plain.len() + plain.len() / 64);
    for line in plain.split_inclusive(|&octet| octet == b'\n') {
        if line.starts_with(STUFFING) {
            stuffed.extend_from_slice(STUFFING);
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

/// Does what [`unstuff`] does, to content that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Unstuffer {
    is_in_line: bool,
}

impl Unstuffer {
    /// Appends the next piece without its dots.
    pub fn append(&mut self, stuffed: &[u8], plain: &mut Vec<u8>) {
        for line in stuffed.split_inclusive(|&octet| octet == b'\n') {
            let stuffing = if self.is_in_line { b"" } else { STUFFING };
            plain.extend_from_slice(line.strip_prefix(stuffing).unwrap_or(line));
            self.is_in_line = !line.ends_with(b"\n");
        }
    }
}

#[cfg(test)]
mod tests;
