//! Events as lines of JSON (RFC 8259).
//!
//! Written by hand, because two events of every message were a fifth of what a message cost outside
//! the kernel when a serialiser looked at each name and value: names are known here to need no escape,
//! and most values are only copied. Everything that comes from outside goes through [`Lines::text`] and its
//! like, which let no control character, quote or backslash through: an event is one line whatever a client
//! has sent.

use std::ops::Range;

use gatepost_smtp::ascii::{self, Latest, Text};
use gatepost_smtp::reply::Reply;
use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::DateTimePrinter;

/// Octets of a string that have a meaning in it (RFC 8259 §7).
const MEANT: [u8; 2] = *b"\"\\";

/// Lines, each of which is an object: [`Lines::begin`], members, and [`Lines::end`].
pub(super) struct Lines(Vec<u8>);

impl Lines {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Begins a line with its first member.
    pub(super) fn begin(&mut self, r#type: &'static str) {
        self.0.extend_from_slice(b"{\"type\":\"");
        self.0.extend_from_slice(r#type.as_bytes());
        self.0.push(b'"');
    }

    pub(super) fn end(&mut self) {
        self.0.extend_from_slice(b"}\n");
    }

    /// Members that were written before, once more.
    pub(super) fn repeat(&mut self, members: Range<usize>) {
        self.0.extend_from_within(members);
    }

    /// A string, whatever is in it.
    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.octets(name, value.as_bytes());
    }

    /// A string of octets as a client has sent them; what is not UTF-8 is shown as U+FFFD.
    pub(super) fn octets(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.string(value);
    }

    /// An array of such strings.
    pub(super) fn list<'a>(&mut self, name: &'static str, values: impl Iterator<Item = &'a [u8]>) {
        self.name(name);
        self.0.push(b'[');
        for (nth, value) in values.enumerate() {
            if nth > 0 {
                self.0.push(b',');
            }
            self.string(value);
        }
        self.0.push(b']');
    }

    /// A string that is known to be printable ASCII without quotes and backslashes: an id, an address.
    pub(super) fn plain(&mut self, name: &'static str, value: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value);
        self.0.push(b'"');
    }

    /// A moment as RFC 3339 has it. Its second is worded once for all events in it.
    pub(super) fn time(&mut self, name: &'static str, value: jiff::Timestamp) {
        static PRINTER: DateTimePrinter = DateTimePrinter::new();
        thread_local! {
            static SECOND: Latest<{ "2026-11-21T22:05:09Z".len() }> = const { Latest::new() };
        }
        self.name(name);
        self.0.push(b'"');
        let (second, nanosecond) = (value.as_second(), value.subsec_nanosecond());
        if second > 0 && nanosecond > 0 {
            let text = SECOND.with(|latest| {
                latest.of(second, |text| {
                    let whole = value - jiff::SignedDuration::from_nanos(nanosecond.into());
                    // A Text takes everything.
                    let _ = PRINTER.print_timestamp(&whole, StdFmtWrite(text));
                })
            });
            let text = text.as_bytes();
            self.0.extend_from_slice(text.strip_suffix(b"Z").unwrap_or(text));
            self.fraction(nanosecond.unsigned_abs());
        } else {
            // Before 1970 fractions count backwards: only a clock that is wrong is there. A Vec takes everything.
            let _ = PRINTER.print_timestamp(&value, &mut self.0);
        }
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
        self.0.extend_from_slice(ascii::decimal(value).as_bytes());
    }

    /// A reply as it is shown in a line; an empty string, if there is none.
    pub(super) fn reply(&mut self, name: &'static str, value: Option<&Reply>) {
        self.name(name);
        self.0.push(b'"');
        if let Some(reply) = value {
            let start = self.0.len();
            reply.show(&mut self.0);
            if !ascii::is_printable(&self.0[start..], MEANT) {
                let shown = self.0.split_off(start);
                self.escape(&shown);
            }
        }
        self.0.push(b'"');
    }

    /// The fraction of a second without zeros at its end, and the zone.
    fn fraction(&mut self, nanosecond: u32) {
        // All nine digits are there behind another one, which becomes the point.
        let digits = ascii::decimal(1_000_000_000 + u64::from(nanosecond));
        let mut digits = digits.as_bytes();
        while let [others @ .., b'0'] = digits {
            digits = others;
        }
        let start = self.0.len();
        self.0.extend_from_slice(digits);
        self.0[start] = b'.';
        self.0.push(b'Z');
    }

    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// A string in its quotes. Nearly all of them are what they are: looked through once, and copied.
    fn string(&mut self, octets: &[u8]) {
        self.0.push(b'"');
        if ascii::is_printable(octets, MEANT) {
            self.0.extend_from_slice(octets);
        } else {
            self.escape(String::from_utf8_lossy(octets).as_bytes());
        }
        self.0.push(b'"');
    }

    /// UTF-8 inside quotes. What has to be escaped is ASCII, and no octet of a longer character is.
    #[cold]
    fn escape(&mut self, mut text: &[u8]) {
        while let Some(at) = text.iter().position(|&octet| must_be_escaped(octet)) {
            self.0.extend_from_slice(&text[..at]);
            match text[at] {
                octet @ (b'"' | b'\\') => self.0.extend_from_slice(&[b'\\', octet]),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                octet => {
                    let mut escape = Text::<{ r"\u0000".len() }>::new();
                    escape.push(r"\u00");
                    escape.push_hexadecimal(octet);
                    self.0.extend_from_slice(escape.as_bytes());
                }
            }
            text = &text[at + 1..];
        }
        self.0.extend_from_slice(text);
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

    /// The object of a line that was begun.
    fn object(mut line: Lines) -> serde_json::Value {
        line.end();
        let octets = line.into_octets();
        let (feed, text) = octets.split_last().expect("a line");
        assert_eq!(*feed, b'\n');
        assert!(!text.iter().any(u8::is_ascii_control), "control characters are escaped");
        serde_json::from_slice(text).expect("JSON")
    }

    fn line() -> Lines {
        let mut line = Lines::with_capacity(0);
        line.begin("x");
        line
    }

    /// What [`Lines`] does with a string, as a serialiser would: it leaves DEL as it is, and has names of its
    /// own for two controls.
    fn serialised(octets: &[u8]) -> String {
        let text = serde_json::to_string(&String::from_utf8_lossy(octets)).expect("a string");
        let text = text.replace('\u{7f}', "\\u007f");
        // Two backslashes are one that was there, and no beginning.
        let whole = text.replace(r"\\", "\0").replace(r"\b", r"\u0008").replace(r"\f", r"\u000c");
        whole.replace('\0', r"\\")
    }

    #[test]
    fn values_are_what_they_were() {
        let mut line = line();
        line.text("helo", "a\"b\\c\r\n\t\u{0}\u{1b}\u{7f}ä\u{2028}");
        line.octets("sender", b"a\xffb");
        line.list("recipients", [&b"x"[..], b"y\""].into_iter());
        line.list("nobody", std::iter::empty());
        line.plain("client", b"192.0.2.1");
        line.time("time", "2026-11-01T02:03:04.50Z".parse().expect("a time"));
        line.reply("nothing", None);
        line.reply("reply", Some(&Reply::new(550, (5, 7, 1), "no \"such\"\nuser\\\u{1b}")));
        line.text_or_null("tls", None);
        line.number("size", u64::MAX);
        let expected = serde_json::json!({
            "type": "x", "helo": "a\"b\\c\r\n\t\u{0}\u{1b}\u{7f}ä\u{2028}", "sender": "a\u{fffd}b",
            "recipients": ["x", "y\""], "nobody": [], "client": "192.0.2.1", "time": "2026-11-01T02:03:04.5Z",
            "nothing": "", "reply": "550 5.7.1 no \"such\"/user\\?", "tls": null, "size": u64::MAX,
        });
        assert_eq!(object(line), expected);
    }

    proptest! {
        #[test]
        fn any_octets_are_one_string(octets: Vec<u8>) {
            let mut line = line();
            line.octets("sender", &octets);
            let value = object(line);
            prop_assert_eq!(value["sender"].as_str(), Some(&*String::from_utf8_lossy(&octets)));
        }

        #[test]
        fn strings_are_what_a_serialiser_makes_of_them(
            text in r#"([ -~]{0,20}|["\\\x00-\x1f\x7f]{0,3}|\PC{0,5}){0,6}"#,
            reply in prop::collection::vec(0x09_u8..0x82, 0..80),
        ) {
            let mut line = Lines::with_capacity(0);
            line.text("text", &text);
            let expected = format!(",\"text\":{}", serialised(text.as_bytes()));
            prop_assert_eq!(String::from_utf8(line.into_octets()), Ok(expected));
            let reply = Reply::plain(250, reply);
            let mut line = Lines::with_capacity(0);
            line.reply("reply", Some(&reply));
            let expected = format!(",\"reply\":{}", serialised(reply.to_string().as_bytes()));
            prop_assert_eq!(String::from_utf8(line.into_octets()), Ok(expected));
        }

        #[test]
        fn numbers_and_times_are_as_they_are_shown(
            number: u64,
            second in -5_000_000_000_i64..200_000_000_000,
            nanoseconds in prop::collection::vec(0..1_000_000_000_i32, 1..4),
            zeros in 0..10_u32,
        ) {
            let mut line = Lines::with_capacity(0);
            line.number("number", number);
            let mut expected = vec![format!(",\"number\":{number}")];
            // More than one of a second.
            for nanosecond in nanoseconds {
                let place = 10_i32.pow(zeros.min(9));
                let time = jiff::Timestamp::new(second, nanosecond / place * place);
                let time = time.expect("a moment");
                line.time("time", time);
                expected.push(format!(",\"time\":\"{time}\""));
            }
            prop_assert_eq!(String::from_utf8(line.into_octets()), Ok(expected.concat()));
        }
    }
}
