//! Chance that can be had again, and the clock that all processes of a run share.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// A generator for somebody: the same for the same seed and name, and another one for each name.
pub(crate) fn rng(seed: u64, who: &str, number: u64) -> Rng {
    let mut mixed = Rng::with_seed(seed);
    for octet in who.bytes() {
        mixed = Rng::with_seed(mixed.u64(..) ^ u64::from(octet));
    }
    Rng::with_seed(mixed.u64(..) ^ number)
}

/// Whether something happens that happens in so many of a thousand cases.
pub(crate) fn permille(rng: &mut Rng, cases: u32) -> bool {
    rng.u32(0..1000) < cases
}

/// Some duration of these, in milliseconds.
pub(crate) fn millis(rng: &mut Rng, of: Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(of))
}

/// Microseconds since 1970. Upstream and harness are on one machine: one clock tells which of two
/// moments was first.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970 is over");
    // Half a million years fit.
    since.as_micros() as u64
}
