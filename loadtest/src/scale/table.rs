//! What the answers to all questions look like.

use crate::figures::{Series, Style};

/// Dots with a line through them: few points, each of them measured.
pub(super) fn dots(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series::new(name, Style::LineWithDots, points)
}

/// Octets as MiB, one digit.
pub(super) fn mib(octets: f64) -> String {
    format!("{:.1}", octets / (1024.0 * 1024.0))
}
