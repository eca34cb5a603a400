//! Text where nobody measures it: how wide it may become, and where its lines end.
//!
//! Which font will be there is not known when a plot is drawn, so room is estimated and is rather too
//! large. What XML cannot hold is replaced here and nowhere else.

use std::borrow::Cow;

/// Width of an average character in terms of the size of the font: that of a wide sans-serif.
const CHARACTER_WIDTH: f64 = 0.56;
/// What stands for the rest of a text that was cut.
const ELLIPSIS: char = '…';

/// How wide a text may become.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * CHARACTER_WIDTH * size
}

/// Lines of words that fit a width, and no more than so many: the last one may be cut.
pub(super) fn lines(text: &str, size: f64, width: f64, most: usize) -> Vec<String> {
    let fits = ((width / (CHARACTER_WIDTH * size)) as usize).max(2);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= fits => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push(ELLIPSIS);
        }
    }
    for line in &mut lines {
        if line.chars().count() > fits {
            *line = line.chars().take(fits - 1).chain([ELLIPSIS]).collect();
        }
    }
    lines
}

/// The same without the characters that no XML file may have (XML 1.0 §2.2), escaped or not.
pub(super) fn only_xml(text: &str) -> Cow<'_, str> {
    let forbidden = |character: char| {
        matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}')
            || matches!(character, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
    };
    if text.contains(forbidden) {
        Cow::Owned(text.replace(forbidden, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{lines, only_xml};

    #[test]
    fn words_are_kept_whole_while_they_fit() {
        assert_eq!(lines("HAProxy in TCP mode", 10.0, 57.0, 3), ["HAProxy in", "TCP mode"]);
        assert_eq!(lines("OpenSMTPD", 10.0, 33.6, 3), ["OpenS…"]);
        assert_eq!(lines("one two three four", 10.0, 30.0, 2), ["one", "two…"]);
        assert_eq!(lines("", 10.0, 30.0, 2), [""; 0]);
        assert_eq!(lines("ab", 10.0, 0.0, 1), ["ab"]);
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(only_xml("a\0b\u{1b}c\u{ffff}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(only_xml("a\tb\nc 😀"), "a\tb\nc 😀");
    }
}
