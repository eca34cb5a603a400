//! What matters to every message that passes by.
//!
//! Counts `Received:` fields, by which loops are found (RFC 5321 §6.3), and notes 8-bit octets,
//! which a next hop without SMTPUTF8 cannot take in a header section. Content is looked at in
//! place, in whatever pieces it comes, only up to the empty line, and nothing of it is kept.

use crate::bdat::Transparency;

const RECEIVED: &[u8] = b"received:";

/// What has been seen of a header section so far.
#[derive(Clone, Debug)]
pub struct HeaderScan {
    state: State,
    transparency: Transparency,
    received: u32,
    eight_bit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the line was seen yet.
    LineStart,
    /// This many octets of the line agree with [`RECEIVED`].
    Matching(usize),
    /// The line is some other field, or its rest does not matter.
    Skipping,
    /// CR at the start of a line.
    EmptyLine,
    /// The body has begun.
    Over,
}

impl Default for HeaderScan {
    fn default() -> Self {
        let transparency = Transparency::Stuffed;
        Self { state: State::LineStart, transparency, received: 0, eight_bit: false }
    }
}

impl HeaderScan {
    /// A scan at the first octet of content that goes on as DATA.
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on, content goes on in another way.
    pub const fn turn(&mut self, transparency: Transparency) {
        self.transparency = transparency;
    }

    /// How many `Received:` fields there are so far.
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Whether an octet over 127 stands in the header section so far.
    pub const fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Whether the empty line has been seen.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Looks at the next piece of content, which holds CR and LF only as CRLF.
    pub fn scan(&mut self, content: &[u8]) {
        if self.is_over() {
            return;
        }
        let mut at = 0;
        while at < content.len() && self.state != State::Over {
            at += self.step(&content[at..]);
        }
        self.eight_bit |= !content[..at].is_ascii();
    }

    /// Takes octets of `content`, and says how many: at least one, except at the start of a line.
    fn step(&mut self, content: &[u8]) -> usize {
        match self.state {
            State::LineStart => {
                self.state = State::Matching(0);
                // RFC 5321 §4.5.2: the receiver takes this dot off.
                let stuffed = self.transparency == Transparency::Stuffed;
                return usize::from(stuffed && content[0] == b'.');
            }
            State::Matching(0) if content[0] == b'\r' => self.state = State::EmptyLine,
            State::Matching(matched) if content[0].eq_ignore_ascii_case(&RECEIVED[matched]) => {
                self.state = if matched + 1 == RECEIVED.len() {
                    self.received += 1;
                    State::Skipping
                } else {
                    State::Matching(matched + 1)
                };
            }
            State::Matching(_) | State::Skipping => {
                let feed = memchr::memchr(b'\n', content);
                self.state = if feed.is_some() { State::LineStart } else { State::Skipping };
                return feed.map_or(content.len(), |feed| feed + 1);
            }
            State::EmptyLine | State::Over => self.state = State::Over,
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"Received: a\r\nrECEIVED:b\r\n\tReceived: folded\r\nX-Received: c\r\nReceive: d\r\n\r\nReceived: body\r\n";

    #[test]
    fn received_fields_of_the_header_section_are_counted() {
        for size in 1..MESSAGE.len() {
            let mut scan = HeaderScan::new();
            for piece in MESSAGE.chunks(size) {
                scan.scan(piece);
            }
            assert_eq!(
                (scan.received(), scan.is_over(), scan.eight_bit()),
                (2, true, false),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_stuffed_field_counts_as_what_the_receiver_sees() {
        let message = b".Received: a\r\n..Received: b\r\nX: .Received:\r\n.received: c\r\n\
            .\tReceived: d\r\n\r\n.Received: body\r\n";
        for size in 1..=message.len() {
            let mut scan = HeaderScan::new();
            for piece in message.chunks(size) {
                scan.scan(piece);
            }
            assert_eq!((scan.received(), scan.is_over()), (2, true), "pieces of {size}");
        }
    }

    #[test]
    fn in_chunks_no_dot_is_stuffed() {
        let message = b"A: b\r\n.\r\n.Received: a\r\nReceived: b\r\n\r\nReceived: body\r\n";
        for size in 1..=message.len() {
            let mut scan = HeaderScan::new();
            scan.turn(Transparency::Plain);
            for piece in message.chunks(size) {
                scan.scan(piece);
            }
            assert_eq!((scan.received(), scan.is_over()), (1, true), "pieces of {size}");
        }
    }

    #[test]
    fn eight_bit_octets_count_in_the_header_section_only() {
        let mut scan = HeaderScan::new();
        scan.scan(b"Subject: x\r\n\r\n\xc3\xa9\r\n");
        assert!(!scan.eight_bit());
        let mut scan = HeaderScan::new();
        scan.scan(b"Subject: \xc3\xa9\r\n");
        assert!(scan.eight_bit());
        let mut empty = HeaderScan::new();
        empty.scan(b"\r\nReceived: body\r\n");
        assert_eq!((empty.received(), empty.is_over()), (0, true));
    }
}
