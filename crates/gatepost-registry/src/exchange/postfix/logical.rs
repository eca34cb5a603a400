//! Logical lines, as Postfix reads all its files: a line that begins with a space continues the one
//! before; empty lines and lines whose first character is # are as if they were not there.

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
            part.split_ascii_whitespace().map(move |word| (line, word))
        };
        self.parts.iter().flat_map(of_part)
    }
}

/// The logical lines of a text.
pub(super) fn lines(text: &str) -> Vec<Logical<'_>> {
    let mut logical: Vec<Logical<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let is_continuation = line.starts_with([' ', '\t']);
        let part = line.trim_ascii();
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
