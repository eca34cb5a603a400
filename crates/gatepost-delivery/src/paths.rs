//! Forward-paths of a transaction, side by side in one buffer.

/// A list of paths as they stand between their brackets. Naming one allocates nothing of its own.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    octets: Vec<u8>,
    ends: Vec<usize>,
}

impl Paths {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, path: &[u8]) {
        self.octets.extend_from_slice(path);
        self.ends.push(self.octets.len());
    }

    /// Drops all from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.octets.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn path(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.octets[start..self.ends[index]]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.path(index))
    }
}

impl<'a> FromIterator<&'a [u8]> for Paths {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(paths: I) -> Self {
        let mut list = Self::default();
        paths.into_iter().for_each(|path| list.push(path));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_order_and_bounds() {
        let mut paths = Paths::default();
        for path in [&b"a@b"[..], b"", b"cc@dd"] {
            paths.push(path);
        }
        assert_eq!(paths.iter().collect::<Vec<_>>(), [&b"a@b"[..], b"", b"cc@dd"]);
        paths.truncate(1);
        paths.push(b"e@f");
        assert_eq!(paths.iter().collect::<Vec<_>>(), [&b"a@b"[..], b"e@f"]);
    }
}
