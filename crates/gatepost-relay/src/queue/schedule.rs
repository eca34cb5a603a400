//! When something is tried again. Pure: chance is an argument.

use std::time::Duration;

/// By which part a wait is shorter or longer than it says: messages that failed together come back
/// one by one, and gateways that were started together do not knock together.
const JITTER: f64 = 0.1;
/// No wait is longer, so that there is a date for each.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Where no wait is configured, which configuration does not let through.
const FALLBACK: Duration = Duration::from_mins(1);

/// How long a message waits after so many attempts. `luck` is from 0 to 1.
pub(crate) fn schedule(attempts: u32, retry: &[Duration], luck: f64) -> Duration {
    let last = retry.len().saturating_sub(1);
    let step = (attempts.saturating_sub(1) as usize).min(last);
    jitter(retry.get(step).copied().unwrap_or(FALLBACK), luck)
}

/// A wait that is somewhat shorter or longer.
pub(super) fn jitter(wait: Duration, luck: f64) -> Duration {
    let factor = 1.0 + JITTER * (2.0 * luck.clamp(0.0, 1.0) - 1.0);
    wait.min(LONGEST).mul_f64(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits() -> impl Strategy<Value = Vec<Duration>> {
        prop::collection::vec((0_u64..=86_400_000).prop_map(Duration::from_millis), 1..9)
    }

    proptest! {
        /// The n-th attempt is followed by the n-th wait, a tenth more or less, and the last repeats.
        #[test]
        fn each_attempt_has_its_wait(attempts in 1_u32..40, retry in waits(), luck in 0.0..=1.0) {
            let wait = retry[(attempts as usize - 1).min(retry.len() - 1)];
            let found = schedule(attempts, &retry, luck).as_secs_f64();
            let (least, most) = (wait.as_secs_f64() * 0.9, wait.as_secs_f64() * 1.1);
            prop_assert!(found >= least - 1e-6 && found <= most + 1e-6, "{found} of {wait:?}");
        }

        /// Chance decides: more luck is a longer wait.
        #[test]
        fn luck_spreads_them(retry in waits(), luck in 0.0..0.99) {
            let wait = |luck| schedule(1, &retry, luck);
            prop_assert!(wait(luck) <= wait(luck + 0.01));
            prop_assert!(retry[0].is_zero() || wait(0.0) < wait(1.0));
        }
    }

    #[test]
    fn nothing_is_too_much() {
        assert_eq!(schedule(u32::MAX, &[Duration::MAX], 1.0), LONGEST);
        assert!(schedule(0, &[], 0.0) > Duration::ZERO);
    }
}
