//! Mail data as a client sends it: header section, content in lines of some shape, terminator.

use gatepost_smtp::data::{DataScanner, Scan};

use crate::noise::noise;

/// A full read of `gatepost_stream`.
pub const READ_OCTETS: usize = 64 * 1024;

/// The shape of the lines: what a scan for line ends works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// An attachment: 76 octets each (RFC 2045 §6.8).
    Base64,
    /// Words, and every line begins with a dot that was doubled (RFC 5321 §4.5.2).
    Dotted,
    /// Nothing but line ends, the worst there is.
    Empty,
    /// One line without an end in sight. Longer than RFC 5321 §4.5.3.1.6 allows; relayed all the same.
    One,
    /// 20 octets each, like the rows of a report.
    Short,
    /// Words, wrapped before column 78 (RFC 5322 §2.1.1): no two lines need be of one length.
    Text,
}

const HEADER: &[u8] = b"From: Billing <noreply@billing.example.com>\r\n\
    To: someone@example.net\r\n\
    Subject: Invoice 2026-0815\r\n\
    Date: Fri, 21 Nov 2025 23:00:00 +0000\r\n\
    Message-ID: <2026-0815@billing.example.com>\r\n\
    MIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\r\n";
const TERMINATOR: &[u8] = b".\r\n";

/// Mail data of `octets` or a line more, with its terminator.
pub fn message(lines: Lines, octets: usize) -> Vec<u8> {
    let mut message = HEADER.to_vec();
    let mut words = noise();
    while message.len() + TERMINATOR.len() < octets {
        let columns = match lines {
            Lines::Base64 => 76,
            Lines::Empty => 0,
            Lines::One => octets.saturating_sub(message.len() + TERMINATOR.len() + 2),
            Lines::Short => 20,
            // A word of up to 15 octets did not fit any more.
            Lines::Dotted | Lines::Text => 78 - words.next().map_or(0, |bits| bits as usize % 16),
        };
        let dots = if lines == Lines::Dotted { 2 } else { 0 };
        message.extend(std::iter::repeat_n(b'.', dots));
        message.extend(std::iter::repeat_n(b'x', columns - dots));
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(TERMINATOR);
    message
}

/// Looks through mail data for their end, read by read, and says how much is content.
pub fn content_octets(message: &[u8]) -> usize {
    let mut scanner = DataScanner::new();
    let (mut taken, mut read) = (0, 0);
    loop {
        read = (read + READ_OCTETS).min(message.len());
        match scanner.scan(&message[taken..read]) {
            Scan::More(octets) => taken += octets,
            Scan::End(octets) => return taken + octets,
            Scan::Fault(_, fault) => panic!("a generated message is right: {fault}"),
            Scan::Replace { .. } => unreachable!("a strict scanner replaces nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_ends_where_it_should() {
        for lines in
            [Lines::Base64, Lines::Dotted, Lines::Empty, Lines::One, Lines::Short, Lines::Text]
        {
            let message = message(lines, 4096);
            assert!((4096..4096 + 80).contains(&message.len()), "{lines:?}: {}", message.len());
            let content_octets = message.len() - TERMINATOR.len();
            assert_eq!(super::content_octets(&message), content_octets, "{lines:?}");
        }
    }
}
