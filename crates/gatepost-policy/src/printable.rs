//! Text that others wrote, made safe to show.
//!
//! Keys, descriptions and paths are quoted in errors and explanations, which end on terminals and
//! in logs: no character in them may move a cursor or begin a line. Replies need no such help, they
//! are made printable where they are encoded.

use std::fmt::{self, Write as _};

/// Shows a text with its control characters escaped, and all else as it is.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        let shown = Printable("Bob's \"größe\" \\ \u{1b}[31m\r\n\u{9b}").to_string();
        assert_eq!(shown, "Bob's \"größe\" \\ \\u{1b}[31m\\r\\n\\u{9b}");
    }
}
