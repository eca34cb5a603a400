//! Numbers of lines, for those who read a text from front to back.

/// Tells the lines of offsets, without counting from the start each time.
pub(super) struct Lines<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
}

impl<'t> Lines<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    /// The line of an octet, from 1. Offsets that grow are told cheaply.
    pub(super) fn at(&mut self, offset: usize) -> usize {
        let offset = self.text.floor_char_boundary(offset);
        if offset < self.offset {
            (self.offset, self.line) = (0, 1);
        }
        self.line += self.text[self.offset..offset].matches('\n').count();
        self.offset = offset;
        self.line
    }

    /// The line where a part of the text begins, and its offset.
    pub(super) fn of(&mut self, part: &str) -> (usize, usize) {
        // Addresses are compared, nothing is read through them. What is no part counts as the end.
        let offset = part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        let offset = offset.min(self.text.len());
        (self.at(offset), offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_forward_and_back() {
        let text = "a\nbc\r\n\nd";
        let mut lines = Lines::new(text);
        let told: Vec<_> = [0, 1, 2, 4, 6, 7, 99, 3].map(|offset| lines.at(offset)).into();
        assert_eq!(told, [1, 1, 2, 2, 3, 4, 4, 2]);
        assert_eq!(lines.of(&text[7..]), (4, 7));
        assert_eq!(lines.of("elsewhere").1, text.len());
    }
}
