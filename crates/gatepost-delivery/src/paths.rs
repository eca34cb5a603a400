//! Forward-paths of a transaction, side by side in one buffer.

/// A list of paths as they stand between their brackets, each with the parameters that go with it.
/// Naming one allocates nothing of its own.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    octets: Vec<u8>,
    ends: Vec<End>,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    path: usize,
    /// Of the parameters, which stand behind the path.
    parameters: usize,
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

    /// Adds one at the end, with its parameters: each has a space in front.
    pub fn push(&mut self, path: &[u8], parameters: &[u8]) {
        self.octets.extend_from_slice(path);
        let path = self.octets.len();
        self.octets.extend_from_slice(parameters);
        self.ends.push(End { path, parameters: self.octets.len() });
    }

    /// Adds all of another list at the end.
    pub fn extend(&mut self, others: &Self) {
        others.with_parameters().for_each(|(path, parameters)| self.push(path, parameters));
    }

    /// Drops all from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.octets.truncate(self.ends.last().map_or(0, |end| end.parameters));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.with_parameters().map(|(path, _)| path)
    }

    /// All of them with their parameters, in order.
    pub fn with_parameters(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end.parameters));
        starts.zip(&self.ends).map(|(start, end)| {
            (&self.octets[start..end.path], &self.octets[end.path..end.parameters])
        })
    }
}

impl<'a> FromIterator<&'a [u8]> for Paths {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(paths: I) -> Self {
        paths.into_iter().map(|path| (path, &b""[..])).collect()
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Paths {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(paths: I) -> Self {
        let mut list = Self::default();
        paths.into_iter().for_each(|(path, parameters)| list.push(path, parameters));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_order_and_bounds() {
        let mut paths = Paths::default();
        for (path, parameters) in
            [(&b"a@b"[..], &b" NOTIFY=NEVER"[..]), (b"", b""), (b"cc@dd", b"")]
        {
            paths.push(path, parameters);
        }
        assert_eq!(paths.iter().collect::<Vec<_>>(), [&b"a@b"[..], b"", b"cc@dd"]);
        paths.truncate(1);
        paths.push(b"e@f", b" NOTIFY=DELAY");
        let all: Vec<_> = paths.with_parameters().collect();
        assert_eq!(all, [(&b"a@b"[..], &b" NOTIFY=NEVER"[..]), (b"e@f", b" NOTIFY=DELAY")]);
    }
}
