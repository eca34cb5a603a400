//! Ids of sessions and messages.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Crockford's base 32: no letter is taken for a digit when an id is read out.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Digits that hold any id until the year 4199.
const LENGTH: u32 = 11;

/// An id that is unique on this machine, across restarts: microseconds since 1970 at the start of
/// the process, and one more for each id since. (A process makes fewer than a million a second.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u64);

/// Makes ids.
#[derive(Debug)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn new() -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Self(AtomicU64::new(micros as u64))
    }

    pub(crate) fn next(&self) -> Id {
        Id(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; LENGTH as usize];
        for (place, digit) in (0..LENGTH).rev().zip(&mut digits) {
            *digit = DIGITS[(self.0 >> (5 * place) & 31) as usize];
        }
        f.pad(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_age() {
        let ids = Ids::new();
        let (first, second) = (ids.next().to_string(), ids.next().to_string());
        assert!(first < second && first.len() == 11);
        assert_eq!(Id(0).to_string(), "00000000000");
        assert_eq!(Id(32 * 31 + 1).to_string(), "000000000z1");
    }
}
