//! ASCII that is worded for every message: numbers, addresses, and whether a text has to be looked at twice.
//!
//! `core::fmt` is made for everything that can be shown: it takes some hundred instructions for what is
//! three digits here. Nothing in this module allocates, and nothing in it can fail.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;

/// Octets of the longest address: one of IPv6 that ends in one of IPv4 (INET6_ADDRSTRLEN, without its NUL).
pub const ADDRESS_OCTETS_MAX: usize = 45;

/// Octets that are looked at together.
const WORD_OCTETS: usize = 8;

/// Text of at most `N` octets of ASCII. What does not fit is left out: whoever makes one knows how long its
/// parts can be.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { octets: [0; N], len: 0 }
    }

    /// Adds ASCII.
    #[inline]
    pub fn push(&mut self, text: &str) {
        if let Some(place) = self.octets.get_mut(self.len..self.len + text.len()) {
            place.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
    }

    /// Adds one octet of ASCII.
    #[inline]
    pub fn push_octet(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(self.len) {
            *place = octet;
            self.len += 1;
        }
    }

    /// Adds a number in decimal digits.
    #[inline]
    pub fn push_decimal(&mut self, number: u64) {
        let len = number.checked_ilog10().map_or(1, |power| power as usize + 1);
        let Some(place) = self.octets.get_mut(self.len..self.len + len) else { return };
        let mut rest = number;
        for digit in place.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.len += len;
    }

    /// Adds two hexadecimal digits.
    #[inline]
    pub fn push_hexadecimal(&mut self, octet: u8) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.push_octet(DIGITS[usize::from(octet >> 4)]);
        self.push_octet(DIGITS[usize::from(octet & 15)]);
    }

    /// What was added.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// What was added; nothing, if that was not ASCII.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// The text of the number that was asked for last: what many ask for in a row is worded once. Made to be
/// one for each thread.
pub struct Latest<const N: usize>(Cell<(i64, Text<N>)>);

impl<const N: usize> Latest<N> {
    /// One that knows an empty text, of a number that nobody asks for.
    pub const fn new() -> Self {
        Self(Cell::new((i64::MIN, Text::new())))
    }

    /// The text of this number, for which `word` is asked if it is another than before.
    #[inline]
    pub fn of(&self, number: i64, word: impl FnOnce(&mut Text<N>)) -> Text<N> {
        let (known, text) = self.0.get();
        if known == number {
            return text;
        }
        let mut text = Text::new();
        word(&mut text);
        self.0.set((number, text));
        text
    }
}

impl<const N: usize> Default for Latest<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The decimal digits of a number.
#[inline]
pub fn decimal(number: u64) -> Text<20> {
    let mut digits = Text::new();
    digits.push_decimal(number);
    digits
}

/// An address as it is shown everywhere: RFC 5952 for IPv6.
pub fn address(address: IpAddr) -> Text<ADDRESS_OCTETS_MAX> {
    let mut text = Text::new();
    match address {
        IpAddr::V4(address) => {
            let [first, others @ ..] = address.octets();
            text.push_decimal(first.into());
            for octet in others {
                text.push_octet(b'.');
                text.push_decimal(octet.into());
            }
        }
        IpAddr::V6(address) => {
            // It takes everything.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{address}"));
        }
    }
    text
}

/// Whether all octets are printable ASCII, and none is one of `others`, which are ASCII.
#[inline]
pub fn is_printable<const N: usize>(octets: &[u8], others: [u8; N]) -> bool {
    let Some(last) = octets.last_chunk::<WORD_OCTETS>() else {
        let is_one = |octet| matches!(octet, b' '..=b'~') && !others.contains(&octet);
        return octets.iter().all(|&octet| is_one(octet));
    };
    // The last word is looked at whole, whatever of it was seen before.
    let (words, _) = octets.as_chunks();
    let seen = |found, word: &[u8; WORD_OCTETS]| found | unwanted(*word, others);
    let found = words.iter().fold(unwanted(*last, others), seen);
    found & each(0x80) == 0
}

/// The highest bit of an octet is set for one that is 128 or more, and comes to be set by what is done here
/// for any other that is not wanted. A carry or a borrow comes from none but those.
#[inline]
fn unwanted<const N: usize>(word: [u8; WORD_OCTETS], others: [u8; N]) -> u64 {
    let word = u64::from_ne_bytes(word);
    let (controls, del) = (word.wrapping_sub(each(b' ')), word.wrapping_add(each(1)));
    others.into_iter().fold(word | controls | del, |found, other| {
        found | (word ^ each(other)).wrapping_sub(each(1))
    })
}

const fn each(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; WORD_OCTETS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut text = Text::<3>::new();
        text.push("ab");
        text.push("cd");
        text.push_decimal(12);
        text.push_hexadecimal(0x0f);
        text.push_octet(b'x');
        assert_eq!(text.as_str(), "ab0");
    }

    #[test]
    fn a_text_is_worded_when_its_number_is_another() {
        let (latest, mut worded) = (Latest::<1>::new(), Vec::new());
        for number in [0, 0, 7, 7, 0] {
            let text = latest.of(number, |text| {
                text.push_decimal(number.unsigned_abs());
                worded.push(number);
            });
            assert_eq!(text.as_str(), number.to_string());
        }
        assert_eq!(worded, [0, 7, 0]);
    }

    #[test]
    fn each_octet_is_printable_or_not_wherever_it_stands() {
        for octet in 0..=u8::MAX {
            for (len, place) in [(1, 0), (7, 3), (8, 0), (8, 7), (9, 8), (20, 9), (24, 23)] {
                let mut octets = vec![b'~'; len];
                octets[place] = octet;
                let expected = octet == b' ' || octet.is_ascii_graphic();
                assert_eq!(is_printable(&octets, []), expected, "{octets:?}");
                let expected = expected && octet != b'"';
                assert_eq!(is_printable(&octets, [b'"']), expected, "{octets:?}");
            }
        }
        assert!(is_printable(b"", [b'"']));
    }

    proptest! {
        #[test]
        fn texts_are_what_they_are_formatted_to(
            (number, small, octet) in any::<(u64, u16, u8)>(),
            client in any::<IpAddr>(),
        ) {
            let (decimals, address) = ([decimal(number), decimal(small.into())], address(client));
            prop_assert_eq!(decimals[0].as_str(), number.to_string());
            prop_assert_eq!(decimals[1].as_str(), small.to_string());
            prop_assert_eq!(address.as_str(), client.to_string());
            let mut hexadecimal = Text::<2>::new();
            hexadecimal.push_hexadecimal(octet);
            prop_assert_eq!(hexadecimal.as_str(), format!("{octet:02x}"));
        }

        #[test]
        fn words_are_looked_at_as_octets_are(octets in prop::collection::vec(0x1e_u8..0x82, 0..40)) {
            let is_one = |octet: &u8| matches!(octet, b' '..=b'~') && !b"\"\\".contains(octet);
            prop_assert_eq!(is_printable(&octets, *b"\"\\"), octets.iter().all(is_one));
        }
    }

    #[test]
    fn ends_of_their_ranges_fit() {
        assert_eq!(decimal(0).as_str(), "0");
        assert_eq!(decimal(u64::MAX).as_str(), "18446744073709551615");
        for shown in ["255.255.255.255", "::ffff:255.255.255.255", "2001:db8::1", "::"] {
            assert_eq!(address(shown.parse().expect("an address")).as_str(), shown);
        }
        let longest = [u16::MAX; 8].into();
        assert_eq!(address(IpAddr::V6(longest)).as_str(), longest.to_string());
    }
}
