//! How an input is cut into pieces.
//!
//! Octets come from a socket in whatever pieces the network makes, so no answer may depend on
//! them. The first two octets of an input say how long its pieces are, in turns; a digit means what
//! it looks like, so that seeds can be written by hand.

/// An input, and the pieces it is to be cut into.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    /// All of it, without the octets that say how it is cut.
    pub whole: &'a [u8],
    lengths: [u8; 2],
}

impl<'a> Pieces<'a> {
    /// `None`: the input is too short to say how it is cut.
    pub const fn of(input: &'a [u8]) -> Option<Self> {
        match input {
            [one, other, whole @ ..] => Some(Self { whole, lengths: [*one, *other] }),
            _ => None,
        }
    }

    /// Something else that is cut in the same way.
    pub const fn cut_alike(self, whole: &[u8]) -> Pieces<'_> {
        Pieces { whole, lengths: self.lengths }
    }

    /// Where each piece ends, the last at the end of the whole.
    pub fn ends(self) -> impl Iterator<Item = usize> {
        let lengths = self.lengths.map(|octet| usize::from(octet.wrapping_sub(b'0').max(1)));
        let mut end = 0;
        lengths
            .into_iter()
            .cycle()
            .map(move |length| {
                end += length;
                end
            })
            .take_while(move |end| *end < self.whole.len())
            .chain([self.whole.len()])
    }
}
