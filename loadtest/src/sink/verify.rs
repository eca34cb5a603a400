//! Whether a message is what its sender made: the digest of its body, while it passes.
//!
//! A source marks each message with three header fields, `X-Loadtest-Run`, `X-Loadtest-Number` and
//! `X-Loadtest-Digest`: the SHA-256 of everything behind the empty line that ends the header section
//! (RFC 5322 §2.1), without transparency. Relays may put fields of their own in front. Pieces may be
//! cut at any octet; of a message only its header section is held, and that is bounded.

mod ledger;
mod marks;
mod transparency;

#[cfg(test)]
mod tests;

use std::mem;

use memchr::memmem;
use sha2::{Digest as _, Sha256};

pub(super) use self::ledger::Ledger;
pub use self::ledger::{MessageNumber, RunTotals, VerificationTotals};

use self::marks::{Marked, Marks};
use self::transparency::Transparency;

/// Octets of a header section that are held to find the marks: ten times what mail has.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// The end of the last field, and the empty line.
const HEADER_END: &[u8] = b"\r\n\r\n";

/// What came of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It has marks, but not all of them, or not whole.
    Mangled,
    /// It has marks.
    Marked { run: u64, number: u64, body: Body },
    /// It has no marks: somebody else's, a notification for instance.
    Unmarked,
}

/// The body of a message beside its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Changed,
    Intact,
}

/// Looks at one message while it passes.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    transparency: Transparency,
    part: Part,
}

/// What the octets that come next belong to.
#[derive(Debug)]
enum Part {
    /// The header section, as far as it has come.
    Header(Vec<u8>),
    /// The body of a message with marks.
    Marked(Marks, Sha256),
    /// What is not looked at any more.
    Settled(Finding),
}

impl Default for Part {
    fn default() -> Self {
        // As if a line had ended before it: a message may begin with the empty line at once.
        Self::Header(b"\r\n".to_vec())
    }
}

impl Verifier {
    /// The next piece of what follows DATA, with its transparency and its final dot.
    pub(super) fn take_data(&mut self, piece: &[u8]) {
        let Self { transparency, part } = self;
        transparency.remove(piece, |plain| part.take(plain));
    }

    /// The next piece of a chunk (RFC 3030), which has neither.
    pub(super) fn take_chunk(&mut self, piece: &[u8]) {
        self.part.take(piece);
    }

    /// The message is whole.
    pub(super) fn finish(self) -> Finding {
        match self.part {
            // A header section without its end has no body that a digest could be of.
            Part::Header(_) => Finding::Unmarked,
            Part::Marked(Marks { run, number, digest }, hasher) => {
                let intact = hasher.finalize().as_slice() == digest;
                let body = if intact { Body::Intact } else { Body::Changed };
                Finding::Marked { run, number, body }
            }
            Part::Settled(finding) => finding,
        }
    }
}

impl Part {
    fn take(&mut self, plain: &[u8]) {
        match self {
            Self::Header(header) => {
                // What was looked at before, but for an end that hangs over the edge.
                let looked_at = header.len().saturating_sub(HEADER_END.len() - 1);
                let taken = plain.len().min(HEADER_OCTETS_MAX - header.len());
                header.extend_from_slice(&plain[..taken]);
                if let Some(at) = memmem::find(&header[looked_at..], HEADER_END) {
                    let header = mem::take(header);
                    let (header, body) = header.split_at(looked_at + at + HEADER_END.len());
                    *self = Self::behind(header);
                    self.take(body);
                    self.take(&plain[taken..]);
                } else if header.len() == HEADER_OCTETS_MAX {
                    *self = Self::Settled(Finding::Unmarked);
                }
            }
            Self::Marked(_, hasher) => hasher.update(plain),
            Self::Settled(_) => {}
        }
    }

    /// What follows a header section.
    fn behind(header: &[u8]) -> Self {
        match marks::find(header) {
            Marked::No => Self::Settled(Finding::Unmarked),
            Marked::Partly => Self::Settled(Finding::Mangled),
            Marked::Wholly(marks) => Self::Marked(marks, Sha256::new()),
        }
    }
}
