//! Sizes and durations as the contract writes them: a whole number, at most one space, a unit.
//!
//! Both are shown in the largest unit that divides them, so what is shown can be written into the
//! file.

use std::{fmt, str::FromStr, time::Duration};

/// Longest duration: ten years. Far from where adding it to a clock overflows.
const SPAN_SECONDS_MAX: u64 = 3650 * 86_400;

/// Largest first, with their octets.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1024 * 1024 * 1024), ("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];
/// Largest first, with their seconds.
const SPAN_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A number of octets, like `25 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// A duration in whole seconds, like `20s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Why text is not a [`ByteSize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size, like \"25 MiB\": a whole number and B, KiB, MiB or GiB")]
pub struct ByteSizeError;

/// Why text is not a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration, like \"20s\": a whole number and s, m, h or d, at most 3650d")]
pub struct SpanError;

impl ByteSize {
    /// A size in octets.
    pub const fn new(octets: u64) -> Self {
        Self(octets)
    }

    /// The size in octets.
    pub const fn octets(self) -> u64 {
        self.0
    }
}

impl Span {
    /// A duration; parts of a second are cut off.
    pub const fn new(duration: Duration) -> Self {
        Self(Duration::from_secs(duration.as_secs()))
    }

    /// The duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        quantity(text, &SIZE_UNITS).map(Self).ok_or(ByteSizeError)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let seconds = quantity(text, &SPAN_UNITS).filter(|&seconds| seconds <= SPAN_SECONDS_MAX);
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or(SpanError)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = shown(self.0, &SIZE_UNITS);
        write!(f, "{number} {unit}")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = shown(self.0.as_secs(), &SPAN_UNITS);
        write!(f, "{number}{unit}")
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The number in the largest unit that divides it.
fn shown<'u>(number: u64, units: &[(&'u str, u64)]) -> (u64, &'u str) {
    let divides = |factor: u64| number >= factor && number.is_multiple_of(factor);
    let unit = units.iter().find(|(_, factor)| divides(*factor));
    unit.or(units.last()).map_or((number, ""), |(name, factor)| (number / factor, name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_of_the_contract_are_understood() {
        for (text, octets) in
            [("25 MiB", 25 << 20), ("1 GiB", 1 << 30), ("7KiB", 7 << 10), ("1000 B", 1000)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(octets)));
        }
        for (text, seconds) in [("20s", 20), ("5m", 300), ("1h", 3600), ("5 d", 432_000)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "25",
            "MiB",
            "25 MB",
            "25 mib",
            "25  MiB",
            " 25 MiB",
            "25 MiB ",
            "-1 B",
            "1.5 GiB",
            "+1 B",
            "٣ B",
            "18446744073709551616 B",
            "17179869184 GiB",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError), "{text:?}");
        }
        for text in ["", "20", "s", "20S", "20ms", "1h30m", "3651d", "99999999999999999999s"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text:?}");
        }
    }

    #[test]
    fn the_largest_unit_that_divides_is_shown() {
        for text in ["0 B", "1 GiB", "1025 KiB", "50 MiB", "1023 B"] {
            assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
        }
        for (text, shown) in [("0s", "0s"), ("90m", "90m"), ("48h", "2d"), ("3601s", "3601s")] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(octets: u64, seconds in 0..=SPAN_SECONDS_MAX) {
            prop_assert_eq!(ByteSize(octets).to_string().parse(), Ok(ByteSize(octets)));
            let span = Span(Duration::from_secs(seconds));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn a_number_is_multiplied_by_its_unit(
            number in 0..1_u64 << 30,
            unit in 0..SIZE_UNITS.len(),
            space in "[ ]?",
        ) {
            let (name, factor) = SIZE_UNITS[unit];
            let parsed = format!("{number}{space}{name}").parse();
            prop_assert_eq!(parsed, Ok(ByteSize(number * factor)));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (text.parse::<ByteSize>(), text.parse::<Span>());
        }
    }
}
