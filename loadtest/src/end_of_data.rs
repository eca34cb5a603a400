//! Finds the end of mail data: CRLF.CRLF and nothing else (RFC 5321 §4.1.1.4).
//!
//! The data comes in pieces that may be cut at any octet, so what is remembered between two pieces
//! is how much of the terminator has been seen. Whole pieces are searched with SIMD; only a match
//! that hangs over their edge is followed octet by octet.

use std::sync::LazyLock;

use memchr::memmem::Finder;

const TERMINATOR: &[u8] = b"\r\n.\r\n";

/// Octets of the terminator that do not belong to the content: its first CRLF ends the last line.
pub(crate) const FINAL_DOT_OCTETS: usize = b".\r\n".len();

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(TERMINATOR));

/// A search for the end of one message's data.
#[derive(Debug)]
pub(crate) struct EndOfData {
    /// How many octets of the terminator the data seen so far ends with.
    matched: usize,
}

impl EndOfData {
    /// Starts right after the 354. The CRLF of the DATA command counts as the first one of the
    /// terminator, so that an empty message is a lone `.CRLF`.
    pub(crate) fn new() -> Self {
        Self { matched: b"\r\n".len() }
    }

    /// Looks at the next piece. `Some` counts its octets up to and with the terminator.
    pub(crate) fn scan(&mut self, piece: &[u8]) -> Option<usize> {
        let mut followed = 0;
        while self.matched > 0 {
            let octet = *piece.get(followed)?;
            followed += 1;
            if self.step(octet) {
                return Some(followed);
            }
        }
        let rest = &piece[followed..];
        if let Some(start) = FINDER.find(rest) {
            return Some(followed + start + TERMINATOR.len());
        }
        // No whole terminator: what may still become one is in the last octets.
        for &octet in &rest[rest.len().saturating_sub(TERMINATOR.len() - 1)..] {
            self.step(octet);
        }
        None
    }

    /// Takes one octet; true if it completes the terminator.
    fn step(&mut self, octet: u8) -> bool {
        self.matched = match octet {
            expected if expected == TERMINATOR[self.matched] => self.matched + 1,
            // The only way a broken match can leave another one behind.
            b'\r' => 1,
            _ => 0,
        };
        if self.matched == TERMINATOR.len() {
            self.matched = 0;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data (terminated or not), and where its end is if it has one.
    const CASES: &[(&[u8], Option<usize>)] = &[
        (b".\r\n", Some(3)),
        (b".\r\nQUIT\r\n", Some(3)),
        (b"hello\r\n.\r\n", Some(10)),
        (b"hello\r\n.\r\nMAIL FROM:<>\r\n", Some(10)),
        (b"..\r\n...\r\n.\r\n", Some(12)),
        (b".hidden\r\n\r\n.\r\n", Some(14)),
        (b"a\r\r\n.\r\n", Some(7)),
        (b"a\r\n.\r\r\n.\r\n", Some(10)),
        (b"a\r\n.\rb\r\n\r\n.\r\n", Some(13)),
        (b"a\n.\n b\r.\r c\n.\r\n d\r\n.\n e\r\n.\r", None),
        (b"a\r\n..\r\n", None),
        (b"a.\r\n", None),
        (b"\n.\r\n", None),
        (b"", None),
    ];

    #[test]
    fn finds_the_end_in_one_piece() {
        for &(data, end) in CASES {
            assert_eq!(EndOfData::new().scan(data), end, "{:?}", data.escape_ascii().to_string());
        }
    }

    #[test]
    fn finds_the_end_wherever_the_data_is_cut() {
        for &(data, end) in CASES {
            for first in 0..=data.len() {
                for second in first..=data.len() {
                    let pieces = [&data[..first], &data[first..second], &data[second..]];
                    let text = pieces.map(|piece| piece.escape_ascii().to_string());
                    assert_eq!(scan_pieces(&pieces), end, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn finds_the_end_octet_by_octet() {
        for &(data, end) in CASES {
            let pieces: Vec<_> = data.chunks(1).collect();
            assert_eq!(scan_pieces(&pieces), end, "{:?}", data.escape_ascii().to_string());
        }
    }

    fn scan_pieces(pieces: &[&[u8]]) -> Option<usize> {
        let mut scanner = EndOfData::new();
        let mut before = 0;
        for piece in pieces {
            if let Some(octets) = scanner.scan(piece) {
                return Some(before + octets);
            }
            before += piece.len();
        }
        None
    }
}
