//! What was said on a connection, for the eyes of whoever reads a failed test.
//!
//! The notation is that of the dialogue files: `C: text` is a line, `C| text` is text whose end is
//! not CRLF. Long things are cut, so that a transcript may accompany a message of any size.

use std::collections::VecDeque;
use std::fmt::{self, Display, Write as _};

/// Only the end of a long conversation explains a failure.
const LINES_MAX: usize = 200;
/// Of one write or read, this many lines are shown.
const LINES_PER_NOTE_MAX: usize = 12;
/// Of one line, this many octets are shown.
const LINE_OCTETS_MAX: usize = 160;

/// The two sides of a conversation, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    lines: VecDeque<String>,
    forgotten: usize,
}

impl Transcript {
    /// Notes that a side (`C` or `S`) sent these octets.
    pub(crate) fn said(&mut self, side: char, octets: &[u8]) {
        let mut unseen = octets.len();
        for line in octets.split_inclusive(|&octet| octet == b'\n').take(LINES_PER_NOTE_MAX) {
            unseen -= line.len();
            self.push(in_notation(side, line));
        }
        if unseen > 0 {
            self.push(format!("{side}… {unseen} octets more"));
        }
    }

    /// Notes an event that is not octets.
    pub(crate) fn happened(&mut self, side: char, what: &str) {
        self.push(format!("{side}! {what}"));
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(line);
    }
}

impl Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "    … {} lines before", self.forgotten)?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

fn in_notation(side: char, line: &[u8]) -> String {
    let (mark, text) = match line.strip_suffix(b"\r\n") {
        Some(text) => (':', text),
        None => ('|', line),
    };
    let shown = escape(&text[..text.len().min(LINE_OCTETS_MAX)]);
    match text.len().saturating_sub(LINE_OCTETS_MAX) {
        0 => format!("{side}{mark} {shown}"),
        unseen => format!("{side}{mark} {shown}… {unseen} octets more"),
    }
}

/// Octets as printable ASCII; [`unescape`] is the way back.
pub(crate) fn escape(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\0' => text.push_str("\\0"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => write!(text, "\\x{octet:02x}").expect("a String takes every write"),
        }
    }
    text
}

/// The octets that a text with `\r \n \t \0 \\ \xNN` stands for.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        octets.extend_from_slice(plain.as_bytes());
        let (octet, length) = match escaped.chars().next() {
            Some('r') => (b'\r', 1),
            Some('n') => (b'\n', 1),
            Some('t') => (b'\t', 1),
            Some('0') => (b'\0', 1),
            Some('\\') => (b'\\', 1),
            Some('x') => (hexadecimal(escaped)?, 3),
            other => return Err(format!("unknown escape \\{}", other.unwrap_or(' '))),
        };
        octets.push(octet);
        rest = &escaped[length..];
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

fn hexadecimal(escaped: &str) -> Result<u8, String> {
    escaped
        .get(1..3)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .ok_or_else(|| "\\x wants two hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_survives_escaping() {
        let octets: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&octets)), Ok(octets));
    }

    #[test]
    fn wrong_escapes_are_refused() {
        for text in ["\\q", "\\", "\\x4", "\\x+1", "\\xé"] {
            assert!(unescape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_transcript_shows_line_ends_and_cuts_long_things() {
        let mut transcript = Transcript::default();
        transcript.said('C', b"MAIL FROM:<a@b>\r\nbare\n");
        transcript.said('C', &[b'x'; 1000]);
        transcript.happened('S', "closed");
        let text = transcript.to_string();
        assert!(text.starts_with("    C: MAIL FROM:<a@b>\n    C| bare\\n\n"), "{text}");
        assert!(text.contains("… 840 octets more\n    S! closed\n"), "{text}");
    }
}
