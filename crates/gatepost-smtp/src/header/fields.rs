//! The fields of a header section that is held (RFC 5322 §2.2).
//!
//! Slices only: a value is as it was sent, with its folds. Stops at the empty line, and at the
//! first line that can be no part of a header section: behind it, readers no longer agree.

use crate::header::section::Line;

/// A header field, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Without the dot that may be stuffed before it, and without white space behind it.
    pub name: &'a [u8],
    /// What is behind the colon, without the last CRLF. CRLF stands in it only where it is folded:
    /// before white space, or before a stuffed dot and white space.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether this is its name (RFC 5322 §1.2.2: names know no case).
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A line is neither a header field nor the continuation of one, or has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the header section is not a header field")]
pub struct Malformed;

/// The fields of `section`, up to its empty line or its end.
///
/// What is behind the empty line does not matter, so `section` may be everything that is held.
pub fn fields(section: &[u8]) -> Fields<'_> {
    Fields { rest: section }
}

/// Whether a field of this name stands in `section`.
pub fn has_field(section: &[u8], name: &[u8]) -> bool {
    fields(section).flatten().any(|field| field.is(name))
}

/// See [`fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// Begins with a line. Empty when all is said.
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let here = std::mem::take(&mut self.rest);
        let first = first_line(here)?;
        match Line::read(first) {
            Line::Continuation | Line::Malformed => Some(Err(Malformed)),
            Line::Empty => None,
            Line::Field { name, value } => {
                let end = first.len() + continuation_octets(&here[first.len()..]);
                self.rest = &here[end..];
                Some(Ok(Field { name, value: &here[value..end - b"\r\n".len()] }))
            }
        }
    }
}

/// How many octets at the start are lines that continue a field.
fn continuation_octets(lines: &[u8]) -> usize {
    let mut octets = 0;
    while let Some(line) = first_line(&lines[octets..])
        && Line::read(line) == Line::Continuation
    {
        octets += line.len();
    }
    octets
}

/// The first line with its LF, or the piece of a line that is left.
fn first_line(lines: &[u8]) -> Option<&[u8]> {
    let octets = memchr::memchr(b'\n', lines).map_or(lines.len(), |feed| feed + 1);
    (octets > 0).then(|| &lines[..octets])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each field as `name|value`, folds escaped.
    fn read(section: &[u8]) -> Vec<String> {
        let show = |field: Result<Field<'_>, Malformed>| match field {
            Ok(Field { name, value }) => {
                format!("{}|{}", name.escape_ascii(), value.escape_ascii())
            }
            Err(Malformed) => "malformed".to_owned(),
        };
        fields(section).map(show).collect()
    }

    #[test]
    fn fields_are_slices_of_what_was_sent() {
        let section = b"A: b\r\nC\t:d\r\n e\r\n\tf \r\n.G:\r\n.\th\r\n..I: :\r\n\r\nJ: k\r\n";
        assert_eq!(read(section), ["A| b", r"C|d\r\n e\r\n\tf ", r"G|\r\n.\th", ".I| :"]);
        assert_eq!(read(b"A: b\r\n"), ["A| b"], "a section may end with the content");
        assert!(read(b"\r\nA: b\r\n").is_empty());
        assert!(read(b"").is_empty());
    }

    #[test]
    fn nothing_is_read_behind_a_malformed_line() {
        for line in [&b"x\r\n"[..], b"X: \n", b"X: a\rb\r\n", b"\xc3\xa9: x\r\n", b" a\rb\r\n"] {
            let section = [b"A: b\r\n", line, b"C: d\r\n"].concat();
            assert_eq!(read(&section), ["A| b", "malformed"], "{}", line.escape_ascii());
        }
        for cut in [&b"x"[..], b"From: a@b", b"From: a@b\r", b" c", b"\r"] {
            let section = [b"A: b\r\n", cut].concat();
            assert_eq!(read(&section), ["A| b", "malformed"], "{}", cut.escape_ascii());
        }
        assert_eq!(read(b" x\r\nA: b\r\n"), ["malformed"]);
        assert_eq!(read(b".\tx\r\nA: b\r\n"), ["malformed"]);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        let section =
            b"Date: x\r\n.mESSAGE-id : y\r\nSubject: To:\r\n From: z\r\n\r\nFrom: body\r\n";
        for name in [&b"date"[..], b"Message-ID", b"SUBJECT"] {
            assert!(has_field(section, name), "{}", name.escape_ascii());
        }
        for name in [&b"From"[..], b"To", b"Dat", b"Date:", b""] {
            assert!(!has_field(section, name), "{}", name.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_octets_can_be_asked(section in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = has_field(&section, b"From");
            prop_assert!(fields(&section).count() <= section.len());
        }
    }
}
