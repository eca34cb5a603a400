//! Where a header section ends (RFC 5322 §2.1, §2.2).
//!
//! A section ends behind its empty line. Real messages also end it with a line that can be no
//! header field; then readers part: some take that line for the body, others skip it and read on.
//! Both are told apart here, and nothing but the shape of a line is judged. A line is judged once,
//! when it is complete, so what was held back may grow by any pieces.

use std::ops::RangeInclusive;

/// What is known of a header section that is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// This many octets are the header section, its empty line included.
    Ended(usize),
    /// This many octets are fields; the line behind them is neither a field, nor a continuation,
    /// nor empty.
    Malformed(usize),
    /// Everything so far belongs to it.
    #[default]
    More,
}

/// Finds the end of a header section that is held back.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Where the first line begins that was not judged.
    line: usize,
    /// No LF is between `line` and here.
    searched: usize,
    /// There was a field, which the next line may continue.
    has_field: bool,
    progress: Progress,
}

impl Section {
    /// A section of which nothing is held yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it ended with a line that can stand in no header section.
    pub const fn is_malformed(&self) -> bool {
        matches!(self.progress, Progress::Malformed(_))
    }

    /// Looks at what is new in `held`, which is everything from the first octet of the content on.
    ///
    /// Once the section is over, the answer stays the same.
    pub fn advance(&mut self, held: &[u8]) -> Progress {
        while self.progress == Progress::More {
            let new = held.get(self.searched..).unwrap_or_default();
            let Some(feed) = memchr::memchr(b'\n', new) else {
                self.searched += new.len();
                break;
            };
            let end = self.searched + feed + 1;
            self.progress = self.judge(&held[self.line..end]);
            (self.line, self.searched) = (end, end);
        }
        self.progress
    }

    /// What the section comes to with the line that begins at `self.line`.
    fn judge(&mut self, line: &[u8]) -> Progress {
        match Line::read(line) {
            Line::Continuation if self.has_field => Progress::More,
            Line::Continuation | Line::Malformed => Progress::Malformed(self.line),
            Line::Empty => Progress::Ended(self.line + line.len()),
            Line::Field { .. } => {
                self.has_field = true;
                Progress::More
            }
        }
    }
}

/// What a line of a header section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// It begins with white space. Whether there is a field to continue, the reader must know.
    Continuation,
    /// The end of the section.
    Empty,
    /// The start of a field, perhaps all of it.
    Field {
        /// Without the white space that may follow it.
        name: &'a [u8],
        /// Where in the line the octet behind the colon is.
        value: usize,
    },
    /// Anything else, and a line that does not end with its only CR and LF.
    Malformed,
}

impl<'a> Line<'a> {
    /// Reads all of `line`, which is one line as it was sent, up to its LF.
    ///
    /// ```abnf
    /// field      = field-name *WSP ":" unstructured CRLF   ; the WSP: RFC 5322 §4.5
    /// field-name = 1*ftext
    /// ```
    pub(super) fn read(line: &'a [u8]) -> Self {
        let Some(sent) = line.strip_suffix(b"\r\n") else { return Self::Malformed };
        if memchr::memchr(b'\r', sent).is_some() {
            return Self::Malformed;
        }
        // RFC 5321 §4.5.2: the receiver takes this dot off.
        let text = sent.strip_prefix(b".").unwrap_or(sent);
        match text {
            [] => Self::Empty,
            [b' ' | b'\t', ..] => Self::Continuation,
            _ => Self::read_field(text, sent.len() - text.len()),
        }
    }

    fn read_field(text: &'a [u8], stuffing: usize) -> Self {
        let octets = text.iter().take_while(|octet| is_ftext(**octet)).count();
        let (name, rest) = text.split_at(octets);
        let spaces = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
        if name.is_empty() || rest.get(spaces) != Some(&b':') {
            return Self::Malformed;
        }
        Self::Field { name, value: stuffing + octets + spaces + 1 }
    }
}

/// `ftext` of RFC 5322 §3.6.8: printable US-ASCII without the colon.
pub(super) fn is_ftext(octet: u8) -> bool {
    const PRINTABLE: RangeInclusive<u8> = b'!'..=b'~';
    PRINTABLE.contains(&octet) && octet != b':'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::fields;

    fn section(held: &[u8]) -> Progress {
        Section::new().advance(held)
    }

    #[test]
    fn a_section_ends_behind_its_empty_line() {
        assert_eq!(section(b"A: b\r\n c\r\n\r\nbody\r\n"), Progress::Ended(12));
        assert_eq!(section(b"\r\nA: b\r\n"), Progress::Ended(2));
        assert_eq!(section(b".A: b\r\n.\tc\r\nD\t :\r\n\r\n"), Progress::Ended(20));
        for more in [&b""[..], b"A", b"\r", b"A: b\r\n", b"A: b\r\n\r", b"no field yet"] {
            assert_eq!(section(more), Progress::More, "{}", more.escape_ascii());
        }
    }

    #[test]
    fn a_section_ends_before_a_line_that_is_none_of_its_own() {
        for line in [
            &b"no colon\r\n"[..],
            b"no colon in front: of it\r\n",
            b": no name\r\n",
            b" : no name\r\n",
            b"N\xc3\xa9: 8-bit\r\n",
            b"N\0: control\r\n",
            b"..\tnot stuffed\r\n",
            b">From x\r\n",
            b"bare: CR\r \r\n",
            b"bare: LF\n",
        ] {
            assert_eq!(section(line), Progress::Malformed(0), "{}", line.escape_ascii());
            let held = [b"A: b\r\n\tc\r\n", line, b"D: e\r\n\r\n"].concat();
            // Behind a field, a line that begins with white space continues it.
            let expected =
                if line[0] == b' ' { Progress::Ended(30) } else { Progress::Malformed(10) };
            assert_eq!(section(&held), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_answer_stays() {
        let mut section = Section::new();
        assert_eq!(section.advance(b"A: b\r\nc\r\n"), Progress::Malformed(6));
        assert!(section.is_malformed());
        assert_eq!(section.advance(b"A: b\r\nc\r\n\r\n"), Progress::Malformed(6));
        assert_eq!(section.advance(b""), Progress::Malformed(6));
    }

    proptest! {
        /// However what is held has grown, the answer is that of a reader who has it all at once,
        /// and the fields up to there are those of [`fields`].
        #[test]
        fn pieces_do_not_matter(
            words in proptest::collection::vec(proptest::sample::select(
                vec!["\r\n", "\r\n", "A:", "A :", ".", " ", "\t", "\r", "\n", "x"]
            ), 0..40),
            pieces in proptest::collection::vec(1_usize..5, 0..80),
        ) {
            let held = words.concat().into_bytes();
            let whole = section(&held);
            let (mut section, mut end) = (Section::new(), 0);
            for piece in pieces.into_iter().chain([held.len()]) {
                end = (end + piece).min(held.len());
                if section.advance(&held[..end]) != Progress::More {
                    break;
                }
            }
            prop_assert_eq!(section.advance(&held), whole);
            match whole {
                Progress::Ended(octets) => {
                    prop_assert!(fields(&held).all(|field| field.is_ok()));
                    prop_assert_eq!(fields(&held).count(), fields(&held[..octets]).count());
                }
                Progress::Malformed(octets) => {
                    prop_assert!(fields(&held).any(|field| field.is_err()));
                    prop_assert!(fields(&held[..octets]).all(|field| field.is_ok()));
                }
                Progress::More => {
                    let last_line = held.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
                    prop_assert!(fields(&held[..last_line]).all(|field| field.is_ok()));
                }
            }
        }
    }
}
