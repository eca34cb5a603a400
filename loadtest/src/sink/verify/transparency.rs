//! Takes transparency out of mail data (RFC 5321 §4.5.2), together with the final dot.
//!
//! A line starts behind CRLF and nothing else, as for the end of data. Pieces may be cut anywhere:
//! what is remembered is where in a line the data has got to, and nothing is held but a single CR.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A dot that starts a line.
static DOT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n."));

/// Where the data has got to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transparency {
    /// Behind a CR that was given on.
    Cr,
    /// Behind a dot at the start of a line, which was not given on.
    Dot,
    /// Behind such a dot and a CR, of which neither was given on.
    DotCr,
    /// At the start of a line, as at the start of the data.
    #[default]
    LineStart,
    /// Behind the final dot.
    Over,
    /// Elsewhere in a line.
    Within,
}

impl Transparency {
    /// Takes the next piece, and gives on what the sender of the message wrote.
    pub(super) fn remove(&mut self, piece: &[u8], mut give_on: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let [octet, behind @ ..] = rest {
            match (*self, octet) {
                (Self::Over, _) => return,
                (Self::LineStart, b'.') => (*self, rest) = (Self::Dot, behind),
                (Self::Dot, b'\r') => (*self, rest) = (Self::DotCr, behind),
                (Self::DotCr, b'\n') => (*self, rest) = (Self::Over, behind),
                // No final dot after all: the CR belongs to a line whose first dot was doubled.
                (Self::DotCr, _) => {
                    give_on(b"\r");
                    *self = Self::Cr;
                }
                (Self::Cr, b'\n') => {
                    give_on(b"\n");
                    (*self, rest) = (Self::LineStart, behind);
                }
                (Self::Cr | Self::Dot | Self::LineStart | Self::Within, _) => {
                    let (plain, place) = match DOT.find(rest) {
                        Some(at) => (at + b"\r\n".len(), Self::LineStart),
                        None => (rest.len(), Self::after(rest)),
                    };
                    give_on(&rest[..plain]);
                    (*self, rest) = (place, &rest[plain..]);
                }
            }
        }
    }

    /// Where data has got to that ends like this.
    fn after(data: &[u8]) -> Self {
        match data {
            [.., b'\r', b'\n'] => Self::LineStart,
            [.., b'\r'] => Self::Cr,
            _ => Self::Within,
        }
    }
}
