//! What comes back of a message: all of it, or its header section (RFC 6522 §4, RFC 6533 §5).
//!
//! It is taken from what is stored: our line first, dots stuffed. What cannot stand in a notification
//! is cut; what was no UTF-8 where it would have to be becomes `?`.

use gatepost_smtp::bdat;
use gatepost_smtp::header::{Progress, Section, fields};

/// Octets of a header section that comes back.
pub(super) const HEADERS_OCTETS_MAX: usize = 64 * 1024;
/// Octets of a message that comes back as a whole: of a larger one, its header section does. It is
/// held in memory, and whoever is told has the message.
pub(super) const WHOLE_OCTETS_MAX: u64 = 256 * 1024;
/// Octets of a line without its end (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;
/// Octets of a Message-ID that is named.
const MESSAGE_ID_OCTETS_MAX: usize = 250;

/// A part of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Original {
    pub(super) extent: Extent,
    /// The media type of the part.
    pub(super) media_type: &'static str,
    pub(super) octets: Vec<u8>,
    /// The Message-ID, angle brackets included.
    pub(super) message_id: Option<String>,
}

/// How much it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Headers,
    /// Its body is not there any more.
    Nothing,
    Whole,
}

impl Original {
    /// Of a message whose body is gone.
    pub(super) const fn gone() -> Self {
        let media_type = "text/rfc822-headers";
        Self { extent: Extent::Nothing, media_type, octets: Vec::new(), message_id: None }
    }

    /// The header section of what begins with `held`.
    pub(super) fn headers(held: &[u8]) -> Self {
        let section = section(held);
        let plain = bdat::unstuff(section);
        let text = match String::from_utf8(plain) {
            Ok(text) => text,
            Err(error) => super::fields::ascii(error.as_bytes()),
        };
        let mut lines = String::with_capacity(text.len() + 2);
        for line in text.split_terminator("\r\n") {
            let cut = &line[..line.floor_char_boundary(LINE_OCTETS_MAX)];
            lines.extend(cut.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }));
            lines.push_str("\r\n");
        }
        let media_type =
            if lines.is_ascii() { "text/rfc822-headers" } else { "message/global-headers" };
        let message_id = message_id(section);
        Self { extent: Extent::Headers, media_type, octets: lines.into_bytes(), message_id }
    }

    /// All of the message that `held` is; its header section, if it has lines that a part of a message
    /// cannot have. (They cannot be encoded: RFC 2046 §5.2.1.)
    pub(super) fn whole(held: &[u8]) -> Self {
        let mut octets = bdat::unstuff(held);
        if !octets.ends_with(b"\r\n") {
            octets.extend_from_slice(b"\r\n");
        }
        if !octets.split_inclusive(|&octet| octet == b'\n').all(is_line) {
            return Self::headers(held);
        }
        let section = section(held);
        let is_global = !section.is_ascii() && std::str::from_utf8(section).is_ok();
        let media_type = if is_global { "message/global" } else { "message/rfc822" };
        Self { extent: Extent::Whole, media_type, octets, message_id: message_id(section) }
    }
}

/// The fields at the start, without the empty line behind them; of a section that is longer than what
/// is held, the lines that are whole.
fn section(held: &[u8]) -> &[u8] {
    let octets = match Section::new().advance(held) {
        Progress::Ended(octets) => octets - b"\r\n".len(),
        Progress::Malformed(octets) => octets,
        Progress::More => held.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1),
    };
    &held[..octets]
}

/// Whether it is short enough, has its only CR and LF at its end, and has no NUL.
fn is_line(line: &[u8]) -> bool {
    let Some(text) = line.strip_suffix(b"\r\n") else { return false };
    text.len() <= LINE_OCTETS_MAX && !text.iter().any(|octet| matches!(octet, b'\r' | 0))
}

/// What the message calls itself, if that is one plain word in brackets.
fn message_id(section: &[u8]) -> Option<String> {
    let field = fields(section).flatten().find(|field| field.is(b"Message-ID"))?;
    let value = field.value.trim_ascii();
    let is_plain = value.len() <= MESSAGE_ID_OCTETS_MAX
        && value.starts_with(b"<")
        && value.ends_with(b">")
        && value.iter().all(u8::is_ascii_graphic);
    is_plain.then(|| super::fields::ascii(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_taken_off() {
        let headers = Original::headers(b"A: b\r\n.B: c\r\n\r\n..body\r\n");
        assert_eq!((headers.extent, headers.media_type), (Extent::Headers, "text/rfc822-headers"));
        assert_eq!(headers.octets, b"A: b\r\nB: c\r\n");
        let whole = Original::whole(b"A: b\r\nMessage-ID: <1@b>\r\n\r\n..body");
        assert_eq!((whole.extent, whole.media_type), (Extent::Whole, "message/rfc822"));
        assert_eq!(whole.octets, b"A: b\r\nMessage-ID: <1@b>\r\n\r\n.body\r\n");
        assert_eq!(whole.message_id.as_deref(), Some("<1@b>"));
    }

    #[test]
    fn what_is_no_header_section_is_not_taken_for_one() {
        let broken = Original::headers(b"A: b\r\nC: d\r\nnot a field\r\nE: f\r\n\r\n");
        assert_eq!(broken.octets, b"A: b\r\nC: d\r\n");
        let cut = Original::headers(b"A: b\r\nSubject: what is held ends he");
        assert_eq!(cut.octets, b"A: b\r\n");
        assert_eq!(Original::headers(b"").octets, b"");
        for odd in ["<a b>", "<a\x07>", "1@b", &format!("<{}>", "x".repeat(300))] {
            let section = format!("Message-ID: {odd}\r\n\r\n");
            assert_eq!(Original::headers(section.as_bytes()).message_id, None, "{odd}");
        }
    }

    #[test]
    fn octets_that_are_not_ascii_have_a_type_of_their_own() {
        let global = Original::headers("Subject: \u{e9}\r\n\r\n".as_bytes());
        assert_eq!((global.media_type, global.octets.len()), ("message/global-headers", 13));
        let latin = Original::headers(b"Subject: \xe9\x1b\r\n\r\n");
        assert_eq!(latin.media_type, "text/rfc822-headers");
        assert_eq!(latin.octets, b"Subject: ??\r\n");
        assert_eq!(Original::whole("A: \u{e9}\r\n\r\nx".as_bytes()).media_type, "message/global");
        assert_eq!(Original::whole(b"A: \xe9\r\n\r\nx").media_type, "message/rfc822");
        assert_eq!(Original::whole(b"A: b\r\n\r\n\xe9").media_type, "message/rfc822");
    }

    #[test]
    fn lines_that_are_too_long_do_not_come_back() {
        let long = format!("Subject: {}\r\n\r\n", "\u{e9}".repeat(700));
        let headers = Original::headers(long.as_bytes());
        assert!(headers.octets.len() <= LINE_OCTETS_MAX + 2 && headers.octets.len() > 990);
        assert!(std::str::from_utf8(&headers.octets).is_ok());
        let body = [b"A: b\r\n\r\n", &[b'x'; 999][..]].concat();
        assert_eq!(Original::whole(&body).extent, Extent::Headers);
        for odd in
            [&b"A: b\r\n\r\na\rb\r\n"[..], b"A: b\r\n\r\na\nb\r\n", b"\n", b"A: b\r\n\r\n\0\r\n"]
        {
            assert_eq!(Original::whole(odd).extent, Extent::Headers, "{}", odd.escape_ascii());
        }
    }
}
