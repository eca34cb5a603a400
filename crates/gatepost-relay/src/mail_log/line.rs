//! One event as a line of JSON (RFC 8259).
//!
//! Written by hand, because two events of every message were a fifth of what a message cost outside
//! the kernel when a serialiser looked at each name and value: names are known here to need no escape,
//! and most values are only copied. Everything that comes from outside goes through [`Line::text`],
//! which lets no control character, quote or backslash through: an event is one line whatever a client
//! has sent.

use std::fmt::Display;
use std::io::Write as _;

/// The members of an object, each with a comma in front: the first one of a line is not among them.
pub(super) struct Line(Vec<u8>);

impl Line {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// A string, whatever is in it.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.string(value.as_bytes());
    }

    /// A string of octets as a client has sent them; what is not UTF-8 is shown as U+FFFD.
    pub(super) fn octets(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.string_of(value);
    }

    /// An array of such strings.
    pub(super) fn list<'a>(&mut self, name: &'static str, values: impl Iterator<Item = &'a [u8]>) {
        self.name(name);
        self.0.push(b'[');
        for (nth, value) in values.enumerate() {
            if nth > 0 {
                self.0.push(b',');
            }
            self.string_of(value);
        }
        self.0.push(b']');
    }

    /// A string of something that is shown in printable ASCII without quotes and backslashes: an id, an
    /// address, a time.
    pub(super) fn plain(&mut self, name: &'static str, value: impl Display) {
        self.name(name);
        self.0.push(b'"');
        self.show(value);
        self.0.push(b'"');
    }

    /// A string, or null.
    pub(super) fn text_or_null(&mut self, name: &'static str, value: Option<&str>) {
        let Some(value) = value else {
            self.name(name);
            return self.0.extend_from_slice(b"null");
        };
        self.text(name, value);
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.show(value);
    }

    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn show(&mut self, value: impl Display) {
        // A Vec takes everything.
        let _ = write!(self.0, "{value}");
    }

    fn string_of(&mut self, octets: &[u8]) {
        match str::from_utf8(octets) {
            Ok(text) => self.string(text.as_bytes()),
            Err(_) => self.string(String::from_utf8_lossy(octets).as_bytes()),
        }
    }

    /// UTF-8 in quotes. What has to be escaped is ASCII, and no octet of a longer character is.
    fn string(&mut self, mut text: &[u8]) {
        self.0.push(b'"');
        while let Some(at) = text.iter().position(|&octet| must_be_escaped(octet)) {
            self.0.extend_from_slice(&text[..at]);
            match text[at] {
                octet @ (b'"' | b'\\') => self.0.extend_from_slice(&[b'\\', octet]),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                octet => self.show(format_args!("\\u{octet:04x}")),
            }
            text = &text[at + 1..];
        }
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }
}

/// What RFC 8259 §7 asks for, and DEL, which some terminals obey.
const fn must_be_escaped(octet: u8) -> bool {
    matches!(octet, 0..=0x1f | b'"' | b'\\' | 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(line: &Line) -> serde_json::Value {
        let text = [b"{\"type\":\"x\"", line.as_slice(), b"}"].concat();
        assert!(!text.iter().any(u8::is_ascii_control), "control characters are escaped");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn values_are_what_they_were() {
        let mut line = Line::with_capacity(0);
        line.text("helo", "a\"b\\c\r\n\t\u{0}\u{1b}\u{7f}ä\u{2028}");
        line.octets("sender", b"a\xffb");
        line.list("recipients", [&b"x"[..], b"y\""].into_iter());
        line.list("nobody", std::iter::empty());
        line.plain("time", "12:00");
        line.text_or_null("tls", None);
        line.number("size", u64::MAX);
        let expected = serde_json::json!({
            "type": "x", "helo": "a\"b\\c\r\n\t\u{0}\u{1b}\u{7f}ä\u{2028}", "sender": "a\u{fffd}b",
            "recipients": ["x", "y\""], "nobody": [], "time": "12:00", "tls": null, "size": u64::MAX,
        });
        assert_eq!(object(&line), expected);
    }

    proptest! {
        #[test]
        fn any_octets_are_one_string(octets: Vec<u8>) {
            let mut line = Line::with_capacity(0);
            line.octets("sender", &octets);
            let value = object(&line);
            prop_assert_eq!(value["sender"].as_str(), Some(&*String::from_utf8_lossy(&octets)));
        }
    }
}
