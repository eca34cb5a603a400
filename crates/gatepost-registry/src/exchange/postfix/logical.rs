//! Logical lines, as Postfix reads all its files: a line that begins with white space continues the
//! one before; empty lines and lines whose first character is # are as if they were not there.
//!
//! White space is what `ISSPACE` of Postfix says, which is more than a space and a tab. To take less
//! for it would make rules of what is none there.

/// A line with its continuations.
pub(super) struct Logical<'t> {
    /// The lines it is written on, each with its number and never empty; at least one.
    pub(super) parts: Vec<(usize, &'t str)>,
    /// Whether it begins where a continuation would, with nothing before it to continue.
    pub(super) is_astray: bool,
}

impl<'t> Logical<'t> {
    /// Where it begins.
    pub(super) fn line(&self) -> usize {
        self.parts.first().map_or(1, |(line, _)| *line)
    }

    /// The words with the lines they are on.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &'t str)> {
        let of_part = |&(line, part): &(usize, &'t str)| {
            part.split(is_space).filter(|word| !word.is_empty()).map(move |word| (line, word))
        };
        self.parts.iter().flat_map(of_part)
    }
}

/// The logical lines of a text.
pub(super) fn lines(text: &str) -> Vec<Logical<'_>> {
    let mut logical: Vec<Logical<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let is_continuation = line.starts_with(is_space);
        let part = line.trim_matches(is_space);
        if part.is_empty() || part.starts_with('#') {
            continue;
        }
        match logical.last_mut() {
            Some(last) if is_continuation => last.parts.push((number, part)),
            _ => logical.push(Logical { parts: vec![(number, part)], is_astray: is_continuation }),
        }
    }
    logical
}

/// SP, TAB, VT, FF and CR; LF ends lines. The library's ASCII white space lacks VT.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_white_space_continues_a_line() {
        for space in [' ', '\t', '\u{b}', '\u{c}', '\r'] {
            let text = format!(
                "a{space}REJECT\n# comment\n{space}\n{space}# another\n{space}b{space}OK\nc\n"
            );
            let lines = lines(&text);
            let words: Vec<Vec<_>> = lines.iter().map(|line| line.words().collect()).collect();
            let first = vec![(1, "a"), (1, "REJECT"), (5, "b"), (5, "OK")];
            assert_eq!(words, [first, vec![(6, "c")]], "{space:?}");
            assert!(super::lines(&format!("{space}a\n"))[0].is_astray, "{space:?}");
        }
        // Not to Postfix, which knows ASCII.
        assert_eq!(lines("a\n\u{a0}b\n\u{85}c\n").len(), 3);
    }
}
