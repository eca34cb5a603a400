//! How values are spread over the length of an axis, and where its ticks are.
//!
//! Linear axes have steps of 1, 2 or 5 times a power of ten; logarithmic ones powers of ten, with the
//! values between them as minor ticks. Whatever the values are, the number of ticks is bounded, they
//! rise, and none lies outside of the axis: `check` has seen to it that values are finite, and positive
//! where the axis is logarithmic.

use crate::figures::Scale;
use crate::report::number;

/// Zero is near if the way to it is at most this many times the way from the smallest to the largest
/// value: further off it would flatten what is to be seen.
const ZERO_NEAR: f64 = 2.0;
/// Values that differ by less than this part of themselves are one value: a step between them could
/// not be told from zero.
const FLAT: f64 = 1e-9;
/// Part of a step that rounding may have added.
const SLACK: f64 = 1e-6;
/// Decades up to which the ticks between powers of ten are drawn; on more they are a grey area.
const MINOR_DECADES_MAX: usize = 5;

/// What the axis needs of its scale, whatever the values are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) scale: Scale,
    pub(super) zero: Zero,
    pub(super) ends: Ends,
    /// Steps that there is room for; there may be one tick more, and one more at each end.
    pub(super) steps_max: usize,
}

/// Whether a linear axis shows zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// Bars stand on it.
    Always,
    /// Where it is not far off.
    Near,
}

/// Where the axis ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// With the first and the last value: a line goes from edge to edge.
    Values,
    /// At a tick at or beyond them: a line has air.
    Ticks,
}

/// A piece of the number line, as long as an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    steps_max: usize,
}

/// A place on the axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    /// None of a minor tick.
    pub(super) label: Option<String>,
}

impl Span {
    /// The span that shows all of the values; without values, from zero to one.
    pub(super) fn fit(values: impl Iterator<Item = f64>, wish: Wish) -> Self {
        let ends = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), ends);
        let (low, high) = match wish.scale {
            _ if low > high => (0.0, 1.0),
            Scale::Linear => linear_ends(low, high, wish),
            Scale::Logarithmic => logarithmic_ends(low, high, wish.ends),
        };
        Self { scale: wish.scale, low, high, steps_max: wish.steps_max.max(1) }
    }

    /// Where on the axis a value is: 0 at its beginning, 1 at its end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let position = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        position.clamp(0.0, 1.0)
    }

    /// Where a bar begins.
    pub(super) fn base(&self) -> f64 {
        match self.scale {
            Scale::Linear => 0.0_f64.clamp(self.low, self.high),
            Scale::Logarithmic => self.low,
        }
    }

    /// Rising, and each within the span.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => self.even_ticks(),
            Scale::Logarithmic => self.decade_ticks(),
        }
    }

    fn even_ticks(&self) -> Vec<Tick> {
        let step = step(self.low, self.high, self.steps_max);
        let largest = self.low.abs().max(self.high.abs());
        let (first, last) = (self.low / step - SLACK, self.high / step + SLACK);
        (first.ceil() as i64..=last.floor() as i64)
            .map(|count| {
                let value = count as f64 * step;
                let label = Some(number::tick(value, step, largest));
                Tick { value: value.clamp(self.low, self.high), label }
            })
            .collect()
    }

    fn decade_ticks(&self) -> Vec<Tick> {
        let exponents =
            (self.low.log10() - SLACK).floor() as i32..=(self.high.log10() + SLACK).ceil() as i32;
        let within =
            |value: &f64| *value >= self.low * (1.0 - SLACK) && *value <= self.high * (1.0 + SLACK);
        let decades = exponents.clone().map(power_of_ten).filter(within).count();
        // With one or two powers of ten in sight, 2 and 5 help to read them.
        let labelled = |factor: i32| factor == 1 || (decades < 3 && matches!(factor, 2 | 5));
        let factors = if decades > MINOR_DECADES_MAX { 1..=1 } else { 1..=9 };
        let stride = i32::try_from(decades.div_ceil(self.steps_max).max(1)).unwrap_or(1);
        let mut ticks = Vec::new();
        for exponent in exponents {
            for factor in factors.clone() {
                let value = f64::from(factor) * power_of_ten(exponent);
                if within(&value) {
                    let has_label = labelled(factor) && exponent % stride == 0;
                    let label = has_label.then(|| number::tick(value, value, value));
                    ticks.push(Tick { value: value.clamp(self.low, self.high), label });
                }
            }
        }
        if ticks.iter().filter(|tick| tick.label.is_some()).count() < 2 {
            return self.even_ticks();
        }
        ticks
    }
}

fn linear_ends(mut low: f64, mut high: f64, wish: Wish) -> (f64, f64) {
    let near = (high - low) * ZERO_NEAR;
    if wish.zero == Zero::Always || low.abs() <= near || high.abs() <= near {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if high - low <= low.abs().max(high.abs()) * FLAT {
        (low, high) = (2.0 * low.min(0.0), 2.0 * high.max(0.0));
    }
    if low >= high {
        high = low + 1.0;
    }
    if wish.ends == Ends::Ticks {
        let step = step(low, high, wish.steps_max.max(1));
        low = low.min((low / step + SLACK).floor() * step);
        high = high.max((high / step - SLACK).ceil() * step);
    }
    (low, high)
}

fn logarithmic_ends(mut low: f64, mut high: f64, ends: Ends) -> (f64, f64) {
    if high / low <= 1.0 + FLAT {
        (low, high) = (low / 2.0, high * 2.0);
    }
    if ends == Ends::Ticks {
        let below = power_of_ten((low.log10() + SLACK).floor() as i32);
        let above = power_of_ten((high.log10() - SLACK).floor() as i32);
        let steps = [1.0, 2.0, 5.0, 10.0];
        let lower = steps.into_iter().map(|step| step * below).filter(|value| *value <= low);
        let upper = steps.into_iter().map(|step| step * above).filter(|value| *value >= high);
        low = lower.fold(below, f64::max).min(low);
        high = upper.fold(10.0 * above, f64::min).max(high);
    }
    (low, high)
}

/// The smallest step of 1, 2 or 5 times a power of ten that goes from one end to the other in so many.
fn step(low: f64, high: f64, steps_max: usize) -> f64 {
    let least = (high - low) / steps_max as f64;
    let power = power_of_ten(least.log10().floor() as i32);
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - SLACK)).unwrap_or(10.0 * power)
}

fn power_of_ten(exponent: i32) -> f64 {
    10_f64.powi(exponent)
}

#[cfg(test)]
mod tests;
