//! Rates as the contract writes them: `600/min`.
//!
//! A rate allows a burst of its whole number at once, and then one more each interval. What has
//! been used of it is kept elsewhere ([`crate::gcra`]): a rate never changes.

use std::{fmt, str::FromStr, time::Duration};

/// Largest number of a rate. An interval is a whole number of nanoseconds, rounded up: with more
/// than this in a second the rounding would show.
const COUNT_MAX: u32 = 1_000_000;

/// Periods and their seconds, as they are written.
const PERIODS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3600), ("d", 86_400)];

/// So many in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    /// An index into [`PERIODS`].
    period: u8,
}

/// Why a text is not a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate, like \"600/min\": a number from 1 to {COUNT_MAX}, /, and s, min, h or d")]
pub struct RateError;

impl Rate {
    /// How many may come at once after a long silence.
    pub const fn burst(self) -> u32 {
        self.count
    }

    /// After how long one more may come.
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(self.interval_nanos())
    }

    /// What the number is a number in.
    pub const fn period(self) -> Duration {
        let (_, seconds) = PERIODS[self.period as usize];
        Duration::from_secs(seconds)
    }

    /// The same number for the same rate, and never zero.
    pub(crate) const fn number(self) -> u64 {
        (self.count as u64) << 8 | self.period as u64
    }

    /// Rounded up: never more than the number in a period.
    pub(crate) const fn interval_nanos(self) -> u64 {
        (self.period().as_secs() * 1_000_000_000).div_ceil(self.count as u64)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError)?;
        let count = count.strip_suffix(' ').unwrap_or(count);
        let period = period.strip_prefix(' ').unwrap_or(period);
        // `u32::from_str` takes a plus sign, so the digits are looked at first.
        if !count.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(RateError);
        }
        let count = count.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
        let period = PERIODS.iter().position(|(name, _)| *name == period);
        match (count, period) {
            (Some(count), Some(period)) => Ok(Self { count, period: period as u8 }),
            _ => Err(RateError),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (period, _) = PERIODS[usize::from(self.period)];
        write!(f, "{}/{period}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_contract_are_understood() {
        for (text, burst, interval) in [
            ("600/min", 600, Duration::from_millis(100)),
            ("5000/h", 5000, Duration::from_millis(720)),
            ("1/d", 1, Duration::from_hours(24)),
            ("3/s", 3, Duration::from_nanos(333_333_334)),
            ("1000000/s", 1_000_000, Duration::from_micros(1)),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.burst(), rate.interval()), (burst, interval), "{text}");
            assert_eq!(rate.to_string(), text);
        }
        let periods = ["1/s", "1/min", "1/h", "1/d"].map(|text| text.parse().map(Rate::period));
        assert_eq!(periods, [1, 60, 3600, 86_400].map(|seconds| Ok(Duration::from_secs(seconds))));
        let spaced: Rate = "14 / s".parse().expect("spaces");
        assert_eq!(spaced.to_string(), "14/s");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "/",
            "600",
            "600/",
            "/min",
            "0/s",
            "+1/s",
            "-1/s",
            "1.5/s",
            "600/m",
            "600/minute",
            "600/ min /",
            "600  /min",
            "1000001/s",
            "99999999999/s",
            "٣/s",
            "600/MIN",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text:?}");
        }
    }
}
