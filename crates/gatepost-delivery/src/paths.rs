//! Forward-paths of a transaction, side by side in one buffer.

/// A list of paths as they stand between their brackets, each with the parameters that go with it.
/// Naming one allocates nothing of its own.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    len: usize,
    /// For each of them, where it ends, a path, and its parameters: one buffer for all, because most
    /// messages have one recipient.
    octets: Vec<u8>,
}

/// Octets in front of a path: the length of the path, and that of its parameters.
const LENGTHS_OCTETS: usize = 8;

impl Paths {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one at the end, with its parameters: each has a space in front.
    pub fn push(&mut self, path: &[u8], parameters: &[u8]) {
        self.octets.reserve(LENGTHS_OCTETS + path.len() + parameters.len());
        // A line of SMTP has room for no more than some hundred octets.
        self.octets.extend_from_slice(&(path.len() as u32).to_ne_bytes());
        self.octets.extend_from_slice(&(parameters.len() as u32).to_ne_bytes());
        self.octets.extend_from_slice(path);
        self.octets.extend_from_slice(parameters);
        self.len += 1;
    }

    /// Adds all of another list at the end.
    pub fn extend(&mut self, others: &Self) {
        self.octets.extend_from_slice(&others.octets);
        self.len += others.len;
    }

    /// Drops all from `len` on.
    pub fn truncate(&mut self, len: usize) {
        let kept = self.with_parameters().take(len);
        let octets = kept.map(|(path, it)| LENGTHS_OCTETS + path.len() + it.len()).sum();
        self.octets.truncate(octets);
        self.len = self.len.min(len);
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.with_parameters().map(|(path, _)| path)
    }

    /// All of them with their parameters, in order.
    pub fn with_parameters(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.octets[..];
        std::iter::from_fn(move || {
            let (path_octets, behind) = rest.split_first_chunk()?;
            let (parameters_octets, behind) = behind.split_first_chunk()?;
            let (path, behind) = behind.split_at(u32::from_ne_bytes(*path_octets) as usize);
            let (parameters, behind) =
                behind.split_at(u32::from_ne_bytes(*parameters_octets) as usize);
            rest = behind;
            Some((path, parameters))
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

    #[test]
    fn one_list_goes_behind_another() {
        let mut paths: Paths = [&b"a@b"[..], b"c@d"].into_iter().collect();
        let others: Paths = [(&b"e@f"[..], &b" NOTIFY=DELAY"[..])].into_iter().collect();
        paths.extend(&others);
        assert_eq!((paths.len(), paths.iter().last()), (3, Some(&b"e@f"[..])));
        paths.truncate(5);
        assert_eq!((paths.len(), paths.iter().count()), (3, 3));
        paths.truncate(2);
        paths.extend(&others);
        assert_eq!(paths.with_parameters().last(), others.with_parameters().next());
        paths.truncate(0);
        assert!(paths.is_empty() && paths.iter().next().is_none());
    }
}
