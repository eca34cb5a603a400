//! Text that others wrote, made safe to show.
//!
//! Keys, descriptions and paths are quoted in errors and explanations, which end on terminals and
//! in logs: no character in them may move a cursor, begin a line, turn the direction of what stands
//! around it, or be there unseen. Replies need no such help, they are made printable where they are
//! encoded.

use std::fmt::{self, Write as _};

/// Shows a text with those characters escaped that are not seen where they stand, and all else as it
/// is.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl Printable<'_> {
    /// Whether a character is escaped: control characters, and format characters that move or hide
    /// text.
    pub fn escapes(c: char) -> bool {
        c.is_control()
            || matches!(
                c,
                // The mark of Arabic letters, which turns the direction like those below.
                '\u{61c}'
                // Zero-width space, non-joiner and joiner; marks of direction.
                | '\u{200b}'..='\u{200f}'
                // Separators of lines and paragraphs; embeddings and overrides of direction.
                | '\u{2028}'..='\u{202e}'
                // Invisible joiners and operators, isolates, and what was deprecated beside them.
                | '\u{2060}'..='\u{206f}'
                // The zero-width no-break space, which is also the byte order mark.
                | '\u{feff}'
                // Interlinear annotations.
                | '\u{fff9}'..='\u{fffb}'
                // Tags: ASCII that nobody sees.
                | '\u{e0000}'..='\u{e007f}'
            )
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if Self::escapes(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let shown = Printable("Bob's \"größe\" \\ \u{1b}[31m\r\n\u{9b}").to_string();
        assert_eq!(shown, "Bob's \"größe\" \\ \\u{1b}[31m\\r\\n\\u{9b}");
    }

    /// CVE-2021-42574: what is read is not what is written.
    #[test]
    fn what_moves_or_hides_text_is_escaped() {
        let shown = Printable("a\u{202e}moc.elpmaxe\u{200b}\u{e0041}").to_string();
        assert_eq!(shown, "a\\u{202e}moc.elpmaxe\\u{200b}\\u{e0041}");
        let ranges = [
            (0x61c, 0x61c),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x2064),
            (0x2066, 0x2069),
            (0xfeff, 0xfeff),
            (0xfff9, 0xfffb),
            (0xe_0000, 0xe_007f),
        ];
        for c in ranges.into_iter().flat_map(|(first, last)| first..=last) {
            let c = char::from_u32(c).expect("a character");
            assert_eq!(
                Printable(c.encode_utf8(&mut [0; 4])).to_string(),
                c.escape_unicode().to_string()
            );
        }
        let others = "\u{61b}\u{61d}\u{200a}\u{2010}\u{2027}\u{202f}\u{205f}\u{2070}\u{fefe}\u{fff8}\u{fffc}\u{e0080}é日🙂";
        assert_eq!(Printable(others).to_string(), others);
    }
}
