//! What the copies of a message have in common.
//!
//! A program that sends a message again and again makes most of its header section anew: dates, ids,
//! trace fields. The gist of a message is what is left then: its Subject field and its body, without
//! the lines that begin with `--`: those part the pieces of a multipart body (RFC 2046 §5.1.1), by
//! words that are made anew as well. It is the same whether a message came with DATA or in chunks.
//!
//! Content is looked at in place, in whatever pieces it comes, and handed to a hasher: nothing of it
//! is kept. A line that can stand in no header section begins the body, as it does for
//! [`Section`](super::Section).

use std::hash::Hasher;

use super::section::is_ftext;
use crate::bdat::Transparency;

const SUBJECT: &[u8] = b"subject";

/// Hands the gist of a message to a hasher.
///
/// A hasher may tell two writes of an octet from one of two octets, and pieces must not matter: it is
/// for the hasher to see one stream.
#[derive(Clone, Debug)]
pub struct Gist<H> {
    kept: H,
    /// What `kept` is if the line that has begun is a part of the gist.
    with_line: H,
    part: Part,
    line: Line,
    /// Whether the field that is continued, if it is, is a part of the gist.
    keeps_field: bool,
    transparency: Transparency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing of the line was seen yet.
    Start,
    /// Nothing but the dot that the receiver takes off.
    Begun,
    /// A name of so many octets, which agree with [`SUBJECT`] or do not.
    Name { octets: usize, agrees: bool },
    /// White space behind the name, before the colon (RFC 5322 §4.5).
    BehindName { is_subject: bool },
    /// CR at the start of a line of the header section.
    Empty,
    /// A hyphen begins a line of the body.
    Hyphen,
    /// The rest of the line is a part of the gist.
    Kept,
    /// It is not.
    LeftOut,
}

impl<H: Hasher + Clone> Gist<H> {
    /// At the first octet of content whose dots are stuffed. What the hasher has been given before
    /// counts too.
    pub fn new(hasher: H) -> Self {
        Self {
            with_line: hasher.clone(),
            kept: hasher,
            part: Part::Header,
            line: Line::Start,
            keeps_field: false,
            transparency: Transparency::Stuffed,
        }
    }

    /// From here on, content comes in another way.
    pub const fn turn(&mut self, transparency: Transparency) {
        self.transparency = transparency;
    }

    /// Looks at the next piece of content, which holds CR and LF only as CRLF.
    pub fn scan(&mut self, content: &[u8]) {
        let mut rest = content;
        while let Some(&first) = rest.first() {
            let octets = self.step(first, rest);
            rest = &rest[octets..];
        }
    }

    /// The content has ended. A last line without its end counts as if it had one.
    pub fn end(mut self) -> H {
        match self.line {
            Line::Start | Line::Begun | Line::Empty | Line::LeftOut => return self.kept,
            Line::Name { .. } | Line::BehindName { .. } => self.kept = self.with_line,
            Line::Hyphen => self.kept.write(b"-"),
            Line::Kept => {}
        }
        self.kept.write(b"\r\n");
        self.kept
    }

    /// Takes octets of `content`, and says how many. None is taken where only the state changes, which
    /// it does once in a line.
    fn step(&mut self, first: u8, content: &[u8]) -> usize {
        match self.line {
            Line::Start => {
                self.line = Line::Begun;
                // RFC 5321 §4.5.2: the receiver takes this dot off.
                usize::from(self.transparency == Transparency::Stuffed && first == b'.')
            }
            Line::Begun if self.part == Part::Header => self.begin_in_header(first),
            Line::Begun => self.begin_in_body(first),
            Line::Name { octets, agrees } => self.name(octets, agrees, content),
            Line::BehindName { is_subject } => self.behind_name(is_subject, first),
            Line::Empty => {
                (self.part, self.line) = (Part::Body, Line::Start);
                1
            }
            Line::Hyphen => {
                self.line = if first == b'-' { Line::LeftOut } else { Line::Kept };
                if first != b'-' {
                    self.kept.write(b"-");
                }
                0
            }
            Line::Kept | Line::LeftOut => self.rest_of_line(content),
        }
    }

    fn begin_in_header(&mut self, first: u8) -> usize {
        self.line = match first {
            b'\r' => Line::Empty,
            b' ' | b'\t' if self.keeps_field => Line::Kept,
            b' ' | b'\t' => Line::LeftOut,
            _ => {
                self.with_line = self.kept.clone();
                Line::Name { octets: 0, agrees: true }
            }
        };
        usize::from(self.line == Line::Empty)
    }

    fn begin_in_body(&mut self, first: u8) -> usize {
        self.line = if first == b'-' { Line::Hyphen } else { Line::Kept };
        usize::from(self.line == Line::Hyphen)
    }

    fn name(&mut self, before: usize, agrees: bool, content: &[u8]) -> usize {
        let octets = content.iter().take_while(|&&octet| is_ftext(octet)).count();
        let (name, rest) = content.split_at(octets);
        self.with_line.write(name);
        let all = before + octets;
        let agrees = agrees
            && SUBJECT.get(before..all).is_some_and(|meant| meant.eq_ignore_ascii_case(name));
        self.line = match rest.first() {
            None => Line::Name { octets: all, agrees },
            Some(_) if all == 0 => self.begin_body(),
            Some(_) => Line::BehindName { is_subject: agrees && all == SUBJECT.len() },
        };
        octets
    }

    fn behind_name(&mut self, is_subject: bool, first: u8) -> usize {
        match first {
            b' ' | b'\t' => {
                self.with_line.write(&[first]);
                return 1;
            }
            b':' => {
                self.keeps_field = is_subject;
                self.line = if is_subject { self.keep_line() } else { Line::LeftOut };
            }
            _ => self.line = self.begin_body(),
        }
        0
    }

    /// The line that has begun is no field: it is the first one of the body.
    fn begin_body(&mut self) -> Line {
        self.part = Part::Body;
        self.keep_line()
    }

    fn keep_line(&mut self) -> Line {
        self.kept = self.with_line.clone();
        Line::Kept
    }

    fn rest_of_line(&mut self, content: &[u8]) -> usize {
        let feed = memchr::memchr(b'\n', content);
        let octets = feed.map_or(content.len(), |feed| feed + 1);
        if self.line == Line::Kept {
            self.kept.write(&content[..octets]);
        }
        if feed.is_some() {
            self.line = Line::Start;
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bdat::unstuff;

    /// Keeps what it is given.
    #[derive(Clone, Debug, Default)]
    struct Keeper(Vec<u8>);

    impl Hasher for Keeper {
        fn write(&mut self, octets: &[u8]) {
            self.0.extend_from_slice(octets);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    fn gist(content: &[u8], transparency: Transparency, piece_octets: usize) -> String {
        let mut gist = Gist::new(Keeper::default());
        gist.turn(transparency);
        content.chunks(piece_octets).for_each(|piece| gist.scan(piece));
        gist.end().0.escape_ascii().to_string()
    }

    fn sent(content: &[u8]) -> String {
        gist(content, Transparency::Stuffed, usize::MAX)
    }

    #[test]
    fn the_subject_and_the_body_are_left() {
        for (content, left) in [
            (
                &b"Date: x\r\nSubject: y\r\n z\r\nTo: u\r\n v\r\n\r\nb\r\n\r\n"[..],
                r"Subject: y\r\n z\r\nb\r\n\r\n",
            ),
            (
                b"Subject\t : a\r\nSubjects: b\r\nSub: c\r\nX-Subject: d\r\n\r\n",
                r"Subject\t : a\r\n",
            ),
            (b"\r\nSubject: in the body\r\n", r"Subject: in the body\r\n"),
            (b"A: b\r\n\r\n-- \r\n--x\r\n-x\r\n-\r\na--\r\n", r"-x\r\n-\r\na--\r\n"),
            (b"", ""),
            (b"\r\n", ""),
        ] {
            assert_eq!(sent(content), left, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        for (content, left) in [
            (&b"disk full\r\nDate: x\r\n"[..], r"disk full\r\nDate: x\r\n"),
            (b"A: b\r\ndisk\r\nDate: x\r\n\r\n", r"disk\r\nDate: x\r\n\r\n"),
            (b"A: b\r\nSubject\r\nx\r\n", r"Subject\r\nx\r\n"),
            (b"A: b\r\n: no name\r\n", r": no name\r\n"),
            (b"A: b\r\nN\xc3\xa9: 8-bit\r\n", r"N\xc3\xa9: 8-bit\r\n"),
        ] {
            assert_eq!(sent(content), left, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn a_dot_counts_as_what_the_receiver_sees() {
        let stuffed = b".Date: x\r\n.Subject: y\r\n.\tz\r\n..A: b\r\n..\r\n.--x\r\n.b\r\n..-\r\n";
        assert_eq!(sent(stuffed), r"Subject: y\r\n\tz\r\n.\r\nb\r\n.-\r\n");
        let plain = b"Date: x\r\n\r\n.\r\n..a\r\n";
        assert_eq!(gist(plain, Transparency::Plain, usize::MAX), r".\r\n..a\r\n");
    }

    #[test]
    fn a_last_line_needs_no_end() {
        for content in [
            &b"Date: x\r\nSubject: y"[..],
            b"Date: x\r\n\r\nb",
            b"Date: x\r\n\r\n-",
            b"Date: x\r\n\r\n--",
            b"Date: x",
            b"Subject",
            b"Subject ",
        ] {
            let ended = [content, b"\r\n"].concat();
            assert_eq!(sent(content), sent(&ended), "{}", content.escape_ascii());
        }
    }

    proptest! {
        /// Neither the pieces matter nor the way in which a message comes, and what is left out is
        /// left out line by line.
        #[test]
        fn pieces_do_not_matter(
            words in proptest::collection::vec(proptest::sample::select(
                vec!["\r\n", "\r\n", "Subject", "subject:", "A:", " ", ":", ".", "-", "--", "\t", "x", "é"]
            ), 0..40),
            piece_octets in 1_usize..9,
        ) {
            let stuffed = words.concat().into_bytes();
            let whole = sent(&stuffed);
            prop_assert_eq!(&gist(&stuffed, Transparency::Stuffed, piece_octets), &whole);
            // All that is stuffed can be plain: a dot that begins a line is followed by another.
            let lines = stuffed.split_inclusive(|&octet| octet == b'\n');
            let again: Vec<u8> = lines.flat_map(|line| [&b"."[..line.starts_with(b".").into()], line].concat()).collect();
            let plain = unstuff(&again);
            prop_assert_eq!(&plain, &stuffed);
            prop_assert_eq!(
                gist(&again, Transparency::Stuffed, piece_octets),
                gist(&plain, Transparency::Plain, 1)
            );
        }
    }
}
