//! Replies: what a server says to a command (RFC 5321 §4.2, RFC 3463).
//!
//! A [`Reply`] is the same type whether Gatepost says it to a client or hears it from an upstream,
//! because in `sync` mode the second becomes the first. Its text is therefore never trusted: it is
//! made printable and cut to the line limit when it is encoded, whoever wrote it.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ascii::{self, Text};

/// Octets of one reply line, code and CRLF included (RFC 5321 §4.5.3.1.5).
pub const LINE_OCTETS_MAX: usize = 512;

/// Octets of a reply line in front of its text: code and status.
const HEAD_OCTETS_MAX: usize = "250 2.100.100 ".len();

/// Octets of a reply line beside its text.
const AROUND_OCTETS: usize = HEAD_OCTETS_MAX + "\r\n".len();

/// What the first digit of a reply code says (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// 2yz: done.
    Positive,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now.
    Transient,
    /// 5yz: not ever.
    Permanent,
}

/// A reply code, 200 to 599 (RFC 5321 §4.2: three digits, the first 2 to 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// A code that is known when the program is compiled; any other must be parsed.
    pub const fn new(code: u16) -> Self {
        assert!(code >= 200 && code < 600, "a reply code is 200 to 599");
        Self(code)
    }

    /// Reads three digits.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let &[first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = digits else {
            return None;
        };
        let value = |digit: u8| u16::from(digit - b'0');
        Some(Self(value(first) * 100 + value(second) * 10 + value(third)))
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// The meaning of the first digit.
    pub const fn severity(self) -> Severity {
        match self.0 / 100 {
            2 => Severity::Positive,
            3 => Severity::Intermediate,
            4 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }

    fn digits(self) -> [u8; 3] {
        let digit = |n: u16| b'0' + n as u8;
        [digit(self.0 / 100), digit(self.0 / 10 % 10), digit(self.0 % 10)]
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An enhanced status code, `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// A status that is known when the program is compiled.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        assert!(matches!(class, 2 | 4 | 5), "the class is 2, 4 or 5");
        assert!(subject < 1000 && detail < 1000, "subject and detail have three digits at most");
        Self { class, subject, detail }
    }

    /// The status that stands in for one a server did not give: `x.0.0` (RFC 3463 §3.1).
    pub const fn undefined(severity: Severity) -> Self {
        let class = match severity {
            Severity::Positive | Severity::Intermediate => 2,
            Severity::Transient => 4,
            Severity::Permanent => 5,
        };
        Self::new(class, 0, 0)
    }

    /// Reads the status that begins a reply text, if its class agrees with the code
    /// (RFC 2034 §4), and says where the text goes on.
    fn split_from(text: &[u8], code: ReplyCode) -> Option<(Self, usize)> {
        let &[class @ (b'2' | b'4' | b'5'), b'.', ..] = text else { return None };
        if class != code.digits()[0] {
            return None;
        }
        let (subject, end) = number(text, "2.".len())?;
        if text.get(end) != Some(&b'.') {
            return None;
        }
        let (detail, end) = number(text, end + 1)?;
        let goes_on = match text.get(end) {
            None => end,
            Some(b' ') => end + 1,
            Some(_) => return None,
        };
        Some((Self { class: class - b'0', subject, detail }, goes_on))
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply: code, enhanced status code, and text of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: ReplyCode,
    enhanced: Option<EnhancedStatus>,
    /// Lines are separated by LF. Static, built, or what the upstream sent.
    text: Bytes,
}

impl Reply {
    /// A reply whose words are known when the program is compiled.
    pub const fn fixed(code: u16, enhanced: (u8, u16, u16), text: &'static str) -> Self {
        let (class, subject, detail) = enhanced;
        Self {
            code: ReplyCode::new(code),
            enhanced: Some(EnhancedStatus::new(class, subject, detail)),
            text: Bytes::from_static(text.as_bytes()),
        }
    }

    /// The same without an enhanced status code, for 354.
    pub const fn fixed_plain(code: u16, text: &'static str) -> Self {
        let text = Bytes::from_static(text.as_bytes());
        Self { code: ReplyCode::new(code), enhanced: None, text }
    }

    /// A reply with words of the moment. LF in `text` separates lines.
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Self {
        let (class, subject, detail) = enhanced;
        Self {
            code: ReplyCode::new(code),
            enhanced: Some(EnhancedStatus::new(class, subject, detail)),
            text: Bytes::from(text.into()),
        }
    }

    /// A reply that carries no enhanced status code: the 220 greeting, the answer to EHLO, 354.
    pub fn plain(code: u16, text: impl Into<Bytes>) -> Self {
        Self { code: ReplyCode::new(code), enhanced: None, text: text.into() }
    }

    /// A reply as it was heard: an enhanced status code that begins the text is taken from it.
    pub fn heard(code: ReplyCode, mut text: Bytes) -> Self {
        let Some((enhanced, at)) = EnhancedStatus::split_from(&text, code) else {
            return Self { code, enhanced: None, text };
        };
        if memchr::memchr(b'\n', &text).is_some() {
            // RFC 2034 §4: the status stands on every line; here it is kept once.
            let without =
                |line| EnhancedStatus::split_from(line, code).map_or(line, |(_, at)| &line[at..]);
            let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').map(without).collect();
            text = Bytes::from(lines.join(&b'\n'));
        } else {
            // A slice would be a second handle, and a first one costs an allocation.
            text.advance(at);
        }
        Self { code, enhanced: Some(enhanced), text }
    }

    /// The same of a single line, out of a buffer. Copied: a slice would keep the whole buffer alive for
    /// the sake of a few octets.
    pub(crate) fn heard_line(code: ReplyCode, line: &[u8]) -> Self {
        let status = EnhancedStatus::split_from(line, code);
        let text = status.map_or(line, |(_, at)| &line[at..]);
        let enhanced = status.map(|(enhanced, _)| enhanced);
        Self { code, enhanced, text: Bytes::copy_from_slice(text) }
    }

    /// The same reply with an enhanced status code: its own, or the undefined one of its class.
    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.add_status();
        self
    }

    /// Gives it an enhanced status code if it has none: the undefined one of its class.
    pub fn add_status(&mut self) {
        self.enhanced.get_or_insert(EnhancedStatus::undefined(self.code.severity()));
    }

    /// The reply code.
    pub const fn code(&self) -> ReplyCode {
        self.code
    }

    /// The enhanced status code, if there is one.
    pub const fn enhanced(&self) -> Option<EnhancedStatus> {
        self.enhanced
    }

    /// The meaning of the code's first digit.
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// Whether the code is 2yz.
    pub const fn is_positive(&self) -> bool {
        matches!(self.severity(), Severity::Positive)
    }

    /// Whether it is 4yz: not now.
    pub const fn is_transient(&self) -> bool {
        matches!(self.severity(), Severity::Transient)
    }

    /// The text without code and status; lines are separated by LF. Not made printable.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Appends the reply in wire form, and returns how many octets that is.
    ///
    /// Octets that are not printable ASCII become `?`, and a line is cut at
    /// [`LINE_OCTETS_MAX`]: no text, wherever it comes from, can end a line or start another.
    /// The status stands on every line (RFC 2034 §4).
    pub fn encode(&self, out: &mut BytesMut) -> usize {
        let before = out.len();
        // A buffer that is empty grows once, and not with each of the parts.
        out.reserve(self.text.len() + AROUND_OCTETS);
        let mut rest = &self.text[..];
        while let Some(feed) = memchr::memchr(b'\n', rest) {
            self.encode_line(b'-', &rest[..feed], out);
            rest = &rest[feed + 1..];
        }
        self.encode_line(b' ', rest, out);
        out.len() - before
    }

    fn encode_line(&self, mark: u8, line: &[u8], out: &mut BytesMut) {
        let head = self.head(mark);
        let head = head.as_bytes();
        out.put_slice(head);
        let line = &line[..line.len().min(LINE_OCTETS_MAX - 2 - head.len())];
        let start = out.len();
        out.put_slice(line);
        if !ascii::is_printable(line, []) {
            out[start..].iter_mut().for_each(|octet| *octet = printable(*octet));
        }
        out.put_slice(b"\r\n");
    }

    /// What stands in front of the text of a line: code, mark and status.
    fn head(&self, mark: u8) -> Text<HEAD_OCTETS_MAX> {
        let mut head = Text::new();
        self.code.digits().into_iter().for_each(|digit| head.push_octet(digit));
        head.push_octet(mark);
        if let Some(EnhancedStatus { class, subject, detail }) = self.enhanced {
            head.push_octet(b'0' + class);
            for part in [subject, detail] {
                head.push_octet(b'.');
                head.push_decimal(part.into());
            }
            head.push_octet(b' ');
        }
        head
    }

    /// Appends one line for logs and for `explain`: code, status and text, made printable, lines joined by
    /// `/`. What is appended is ASCII.
    pub fn show(&self, out: &mut Vec<u8>) {
        let text = &self.text[..self.text.len().min(LINE_OCTETS_MAX)];
        let head = self.head(b' ');
        let head = head.as_bytes();
        out.reserve(head.len() + text.len());
        if text.is_empty() {
            return out.extend_from_slice(head.trim_ascii_end());
        }
        out.extend_from_slice(head);
        let start = out.len();
        out.extend_from_slice(text);
        if !ascii::is_printable(text, []) {
            let shown = |octet| if octet == b'\n' { b'/' } else { printable(octet) };
            out[start..].iter_mut().for_each(|octet| *octet = shown(*octet));
        }
    }
}

/// The line of [`Reply::show`].
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.show(&mut line);
        // What is printable ASCII is UTF-8.
        f.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

const fn printable(octet: u8) -> u8 {
    if matches!(octet, b' '..=b'~') { octet } else { b'?' }
}

/// One to three digits from `start` on, as subject and detail are written (RFC 3463 §2): the number, and
/// where they end.
fn number(text: &[u8], start: usize) -> Option<(u16, usize)> {
    let mut number = 0;
    let mut end = start;
    while let Some(&digit @ b'0'..=b'9') = text.get(end) {
        // A fourth, or one behind a zero in front.
        if end == start + 3 || (end > start && number == 0) {
            return None;
        }
        number = number * 10 + u16::from(digit - b'0');
        end += 1;
    }
    (end > start).then_some((number, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        String::from_utf8(out.to_vec()).expect("encode writes ASCII")
    }

    #[test]
    fn lines_carry_code_and_status() {
        let reply = Reply::new(550, (5, 7, 1), "first\nsecond");
        assert_eq!(wire(&reply), "550-5.7.1 first\r\n550 5.7.1 second\r\n");
        assert_eq!(wire(&Reply::plain(354, "go")), "354 go\r\n");
        assert_eq!(wire(&Reply::fixed(250, (2, 100, 999), "x")), "250 2.100.999 x\r\n");
    }

    #[test]
    fn no_text_can_start_a_line() {
        let reply = Reply::new(451, (4, 4, 1), "a\r\0\u{1b}[31mb\u{e9}");
        assert_eq!(wire(&reply), "451 4.4.1 a???[31mb??\r\n");
    }

    #[test]
    fn a_long_text_is_cut_to_the_line_limit() {
        let reply = Reply::new(550, (5, 0, 0), "x".repeat(2000));
        assert_eq!(wire(&reply).len(), LINE_OCTETS_MAX);
    }

    #[test]
    fn a_heard_status_must_agree_with_the_code() {
        let heard = |code, text| Reply::heard(ReplyCode::new(code), Bytes::from_static(text));
        let agreed = heard(550, b"5.1.1 unknown");
        assert_eq!(agreed.enhanced(), Some(EnhancedStatus::new(5, 1, 1)));
        assert_eq!(agreed.text(), b"unknown");
        assert_eq!(heard(250, b"5.1.1 odd").enhanced(), None);
        assert_eq!(heard(250, b"2.1 odd").enhanced(), None);
        for odd in [
            &b"2.01.1 odd"[..],
            b"2.1.01 odd",
            b"2.1. odd",
            b"2..1 odd",
            b".1.1 odd",
            b"2.1.1x odd",
            b"2.1.1.1 odd",
            b"2.1000.1 odd",
            b"2.1.1000 odd",
            b"22.1.1 odd",
            b"2.1",
            b"2.",
            b"2",
            b"",
            b"2,1.1 odd",
            b"2.-1.1 odd",
        ] {
            assert_eq!(heard(250, odd).enhanced(), None, "{}", odd.escape_ascii());
            assert_eq!(heard(250, odd).text(), odd);
        }
        let longest = heard(250, b"2.100.999  x");
        assert_eq!(longest.enhanced(), Some(EnhancedStatus::new(2, 100, 999)));
        assert_eq!(longest.text(), b" x");
        assert_eq!(heard(250, b"2.0.10").enhanced(), Some(EnhancedStatus::new(2, 0, 10)));
        assert_eq!(heard(354, b"3.0.0 go").enhanced(), None);
        assert_eq!(heard(250, b"2.0.0").text(), b"");
        assert_eq!(heard(550, b"5.1.1 a\n5.1.1 b").text(), b"a\nb");
        assert_eq!(wire(&heard(450, b"busy").with_status()), "450 4.0.0 busy\r\n");
    }

    #[test]
    fn codes_are_three_digits_from_200_to_599() {
        assert_eq!(ReplyCode::parse(b"250").map(ReplyCode::as_u16), Some(250));
        for wrong in [&b"199"[..], b"600", b"25", b"2500", b"2 0", b""] {
            assert_eq!(ReplyCode::parse(wrong), None);
        }
    }
}
