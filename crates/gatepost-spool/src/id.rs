//! The id of a message, in the queue as in the mail log and in its `Received:` line.

use std::fmt;
use std::str::FromStr;

use gatepost_smtp::ascii::Text;

/// Crockford's base 32: no letter is taken for a digit when an id is read out.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits of every id.
const LENGTH: usize = 11;
/// Bits that one digit stands for.
const DIGIT_BITS: u32 = 5;
/// The largest id, which fits into a signed integer of SQLite.
const MAX: u64 = (1 << (DIGIT_BITS * LENGTH as u32)) - 1;

/// The id of a message: eleven digits of base 32. Later messages have greater ids, so that rows are
/// added at the end of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

/// Text that is not the id of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is {LENGTH} digits and lower-case letters without i, l, o and u")]
pub struct InvalidQueueId;

impl QueueId {
    /// Octets of the text of every id.
    pub const TEXT_OCTETS: usize = LENGTH;

    /// The id of that number, if it has no more than eleven digits.
    pub const fn new(number: u64) -> Option<Self> {
        if number <= MAX { Some(Self(number)) } else { None }
    }

    /// The id of that number, less what eleven digits cannot hold: nothing before the year 4199.
    pub const fn wrapping(number: u64) -> Self {
        Self(number & MAX)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Its digits.
    #[inline]
    pub fn text(self) -> Text<{ Self::TEXT_OCTETS }> {
        let mut digits = Text::new();
        for place in (0..LENGTH as u32).rev() {
            digits.push_octet(DIGITS[(self.0 >> (DIGIT_BITS * place) & 31) as usize]);
        }
        digits
    }

    pub(crate) const fn to_sql(self) -> i64 {
        self.0.cast_signed()
    }

    /// What [`Self::to_sql`] made; anything else is damage.
    pub(crate) fn from_sql(number: i64) -> Option<Self> {
        u64::try_from(number).ok().and_then(Self::new)
    }
}

impl FromStr for QueueId {
    type Err = InvalidQueueId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != LENGTH {
            return Err(InvalidQueueId);
        }
        let digit = |octet| DIGITS.iter().position(|&digit| digit == octet);
        text.bytes()
            .try_fold(0, |number, octet| Some(number << DIGIT_BITS | digit(octet)? as u64))
            .map(Self)
            .ok_or(InvalidQueueId)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text().as_str())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for number in [0, 1, 31, 32, 32 * 31 + 1, 1_790_000_000_000_000, MAX] {
            let id = QueueId::new(number).expect("is small enough");
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(QueueId::from_sql(id.to_sql()), Some(id));
        }
        assert_eq!(QueueId::new(32 * 31 + 1).expect("is small").to_string(), "000000000z1");
        assert_eq!(QueueId::new(MAX + 1), None);
        assert_eq!(QueueId::from_sql(-1), None);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "0000000000",
            "000000000000",
            "0000000000i",
            "0000000000A",
            "../00000000",
            "000000000\u{e9}",
        ] {
            assert_eq!(text.parse::<QueueId>(), Err(InvalidQueueId), "{text}");
        }
    }
}
