//! The name of a ruleset: which policy decided.
//!
//! The revision says when, the hash says what: two gateways that show the same six digits decide
//! alike. The revision is given by whoever publishes; this crate counts nothing by itself.

use std::fmt;

use gatepost_smtp::ascii::Text;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// SHA-256 of a policy text: two texts with the same one are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a policy text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// Revision and content hash of a ruleset. Shown as `41-a1b2c3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    revision: u64,
    /// The first octets of the SHA-256 of the policy text: enough to tell texts apart by eye.
    hash: [u8; 3],
}

impl Generation {
    /// Octets of the longest text: the digits of a revision, a hyphen, and six of the hash.
    pub const TEXT_OCTETS_MAX: usize = 27;

    /// The generation of a policy with this content.
    pub const fn new(revision: u64, content: ContentHash) -> Self {
        let ContentHash([first, second, third, ..]) = content;
        Self { revision, hash: [first, second, third] }
    }

    /// The same content under another revision.
    #[must_use]
    pub const fn with_revision(self, revision: u64) -> Self {
        Self { revision, ..self }
    }

    /// The revision.
    pub const fn revision(self) -> u64 {
        self.revision
    }

    /// Revision and hash as one number, to compare cheaply.
    ///
    /// The hash is part of it, so that a publisher that repeats a revision by mistake does not
    /// leave sessions on the old policy.
    pub const fn number(self) -> u64 {
        let [first, second, third] = self.hash;
        self.revision << 24 | u32::from_be_bytes([0, first, second, third]) as u64
    }

    /// Revision and hash, as they are shown.
    pub fn text(self) -> Text<{ Self::TEXT_OCTETS_MAX }> {
        let mut text = Text::new();
        text.push_decimal(self.revision);
        text.push_octet(b'-');
        self.hash.into_iter().for_each(|octet| text.push_hexadecimal(octet));
        text
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl Serialize for Generation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(revision: u64, text: &str) -> Generation {
        Generation::new(revision, ContentHash::of(text))
    }

    #[test]
    fn it_is_shown_with_six_digits_of_the_hash() {
        // FIPS 180-4: SHA-256("abc") = ba7816bf…
        assert_eq!(generation(41, "abc").to_string(), "41-ba7816");
        assert_eq!(generation(0, "abc").with_revision(7).to_string(), "7-ba7816");
        let longest = generation(u64::MAX, "abc").to_string();
        assert_eq!(
            (&*longest, longest.len()),
            ("18446744073709551615-ba7816", Generation::TEXT_OCTETS_MAX)
        );
    }

    #[test]
    fn the_number_differs_with_revision_and_with_content() {
        let numbers =
            [generation(1, "a").number(), generation(1, "b").number(), generation(2, "a").number()];
        assert!(numbers[0] != numbers[1] && numbers[0] != numbers[2] && numbers[1] != numbers[2]);
    }
}
