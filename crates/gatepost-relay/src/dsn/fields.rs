//! Lines of a notification: header fields, and paragraphs for people.
//!
//! What stands in them comes from clients and upstreams. Here, and nowhere else, it becomes a line:
//! nothing that could end one gets through, and none is longer than RFC 5322 §2.1.1 allows.

/// Octets after which a line is folded where it has a space.
const LINE_WANTED: usize = 76;
/// Octets after which it is broken wherever it is: some below the 998 of RFC 5322 §2.1.1.
const LINE_OCTETS_MAX: usize = 990;

/// Octets as text. Of what was to be UTF-8 and is not, nobody knows what it was.
pub(super) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The same, where only ASCII may stand.
pub(super) fn ascii(octets: &[u8]) -> String {
    octets.iter().map(|&octet| if octet.is_ascii() { octet as char } else { '?' }).collect()
}

/// Writes a header field, folded before spaces where it is long (RFC 5322 §2.2.3).
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    let mut line = Line { octets: name.len() + 2, has_word: false, indent: " " };
    for word in clean(value).split(' ') {
        if word.is_empty() {
            line.space(out);
        } else {
            line.word(out, word);
        }
    }
    out.push_str("\r\n");
}

/// Writes a paragraph: lines with an indent.
pub(super) fn paragraph(out: &mut String, indent: &'static str, text: &str) {
    out.push_str(indent);
    let mut line = Line { octets: indent.len(), has_word: false, indent };
    for word in clean(text).split(' ').filter(|word| !word.is_empty()) {
        line.word(out, word);
    }
    out.push_str("\r\n");
}

/// Without what could end a line, or show another one than there is: controls, line and paragraph
/// separators, and what turns the direction of writing.
fn clean(text: &str) -> String {
    let is_plain = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// A line that is being written.
struct Line {
    octets: usize,
    has_word: bool,
    /// What stands in front of the lines behind the first one.
    indent: &'static str,
}

impl Line {
    /// Adds a space that is one too many, as long as there are not many of them.
    fn space(&mut self, out: &mut String) {
        if self.octets < LINE_WANTED {
            out.push(' ');
            self.octets += 1;
        }
    }

    fn word(&mut self, out: &mut String, word: &str) {
        if self.has_word {
            if self.octets + 1 + word.len() > LINE_WANTED {
                self.fold(out);
            } else {
                out.push(' ');
                self.octets += 1;
            }
        }
        let mut rest = word;
        loop {
            // A word begins behind an indent, or where all of it has room: some of it always has.
            let at = rest.floor_char_boundary(LINE_OCTETS_MAX - self.octets);
            out.push_str(&rest[..at]);
            self.octets += at;
            rest = &rest[at..];
            if rest.is_empty() {
                break;
            }
            self.fold(out);
        }
        self.has_word = true;
    }

    fn fold(&mut self, out: &mut String) {
        out.push_str("\r\n");
        out.push_str(self.indent);
        self.octets = self.indent.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, value: &str) -> String {
        let mut out = String::new();
        field(&mut out, name, value);
        out
    }

    #[test]
    fn a_long_field_is_folded_where_it_has_spaces() {
        assert_eq!(written("To", "a@b.example"), "To: a@b.example\r\n");
        let long = written("Diagnostic-Code", &"word ".repeat(40));
        assert!(long.lines().count() > 2 && long.lines().all(|line| line.len() <= LINE_WANTED));
        assert_eq!(
            long.replace("\r\n ", " ").trim_end(),
            format!("Diagnostic-Code:{}", " word".repeat(40))
        );
        assert_eq!(written("X", "a  b"), "X: a  b\r\n");
    }

    #[test]
    fn nothing_ends_a_line_or_makes_it_too_long() {
        assert_eq!(written("X", "a\r\nBcc: v\0\u{85}\u{2028}b"), "X: a??Bcc: v???b\r\n");
        for value in ["x".repeat(5000), "\u{e9}".repeat(3000), " ".repeat(5000), " x".repeat(3000)]
        {
            for line in written("Name", &value).split("\r\n") {
                assert!(line.len() <= 998);
                assert!(line.is_empty() || !line.trim().is_empty(), "an empty line ends a header");
            }
        }
    }

    #[test]
    fn a_paragraph_keeps_its_indent() {
        let mut out = String::new();
        paragraph(&mut out, "    ", &"word ".repeat(40));
        assert!(out.lines().count() > 2);
        assert!(out.lines().all(|line| line.starts_with("    w") && line.len() <= LINE_WANTED));
        let mut flush = String::new();
        paragraph(&mut flush, "", "Two words.");
        assert_eq!(flush, "Two words.\r\n");
    }
}
