//! Numbers as people read them: on an axis, in a read-out, and as coordinates.
//!
//! An axis has no more digits than its steps need; thousands are set apart with commas, and from a
//! million on they are told by the letters of the SI.

/// Letters of the SI, the largest first.
const UNITS: [(f64, &str); 3] = [(1e12, "\u{a0}T"), (1e9, "\u{a0}G"), (1e6, "\u{a0}M")];
/// Digits that a read-out has; the JSON file has all of them.
const READ_OUT_DIGITS: i32 = 4;
/// Places behind the point; what needs more is written with a power of ten.
const PLACES_MAX: i32 = 6;

/// A value on an axis: with the places of the step between its neighbours, and in the unit that the
/// largest value of the axis deserves.
pub(super) fn tick(value: f64, step: f64, largest: f64) -> String {
    let (unit, letter) = unit(largest);
    let places = -magnitude(step / unit);
    if value == 0.0 {
        "0".to_owned()
    } else if places > PLACES_MAX {
        format!("{value:.1e}")
    } else {
        grouped(value / unit, places) + letter
    }
}

/// A value that somebody points at: its first four digits.
pub(super) fn read_out(value: f64) -> String {
    let places = READ_OUT_DIGITS - 1 - magnitude(value);
    if value == 0.0 {
        return "0".to_owned();
    } else if places > PLACES_MAX {
        return format!("{value:.3e}");
    }
    let text = grouped(value, places);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A coordinate: a tenth of a dot is more than anybody sees.
pub(super) fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

fn unit(largest: f64) -> (f64, &'static str) {
    UNITS.into_iter().find(|(unit, _)| largest.abs() >= *unit).unwrap_or((1.0, ""))
}

/// The power of ten at or below a value.
fn magnitude(value: f64) -> i32 {
    /// Larger than what `log10` gets wrong, smaller than any difference between steps.
    const SLACK: f64 = 1e-9;
    if value == 0.0 { 0 } else { (value.abs().log10() + SLACK).floor() as i32 }
}

/// With so many places behind the point, and a comma before each three digits.
fn grouped(value: f64, places: i32) -> String {
    let text = format!("{value:.*}", usize::try_from(places).unwrap_or_default());
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("\u{2212}", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    let mut grouped = String::from(sign);
    for (place, digit) in (1..=whole.len()).rev().zip(whole.chars()) {
        grouped.push(digit);
        if place > 1 && place % 3 == 1 {
            grouped.push(',');
        }
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::{coordinate, read_out, tick};

    #[test]
    fn ticks_have_the_places_of_their_step() {
        assert_eq!(tick(0.1 + 0.2, 0.1, 1.0), "0.3");
        assert_eq!(tick(0.0, 0.1, 1.0), "0");
        assert_eq!(tick(1.0, 0.25, 2.0), "1.0");
        assert_eq!(tick(12_000.0, 2000.0, 12_000.0), "12,000");
        assert_eq!(tick(-1500.0, 500.0, 2000.0), "\u{2212}1,500");
        assert_eq!(tick(1_500_000.0, 500_000.0, 2_000_000.0), "1.5\u{a0}M");
        assert_eq!(tick(0.0002, 0.0001, 0.0005), "0.0002");
        assert_eq!(tick(2e-9, 1e-9, 5e-9), "2.0e-9");
    }

    #[test]
    fn read_outs_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (31.249, "31.25"),
            (0.98, "0.98"),
            (100.0, "100"),
            (4980.4, "4,980"),
            (123_456.7, "123,457"),
            (0.000_123_4, "1.234e-4"),
            (1.5e-9, "1.500e-9"),
            (-2.5, "\u{2212}2.5"),
        ] {
            assert_eq!(read_out(value), text);
        }
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(coordinate(12.04), "12");
        assert_eq!(coordinate(-0.04), "0");
        assert_eq!(coordinate(7.25), "7.2");
    }
}
