use proptest::prelude::*;

use super::{Ends, Span, Wish, Zero};
use crate::figures::Scale;

const STEPS_MAX: usize = 6;
/// Ticks of the most decades that values can have, each with nine: more are never drawn.
const TICKS_MAX: usize = 60;

fn wish(scale: Scale, zero: Zero, ends: Ends) -> Wish {
    Wish { scale, zero, ends, steps_max: STEPS_MAX }
}

fn labels(values: &[f64], wish: Wish) -> Vec<String> {
    let ticks = Span::fit(values.iter().copied(), wish).ticks();
    ticks.into_iter().filter_map(|tick| tick.label).collect()
}

#[test]
fn steps_are_one_two_or_five() {
    let linear = wish(Scale::Linear, Zero::Near, Ends::Ticks);
    assert_eq!(labels(&[3.0, 4980.0], linear), ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]);
    assert_eq!(labels(&[0.1, 0.93], linear), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(zero));
    assert_eq!(labels(&[-3.0, 5.0], linear), ["\u{2212}4", "\u{2212}2", "0", "2", "4", "6"]);
    assert_eq!(labels(&[0.0, 0.0], linear), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(zero));
    assert_eq!(labels(&[], linear), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"].map(zero));
}

/// Zero needs no places.
fn zero(label: &str) -> &str {
    if label == "0.0" { "0" } else { label }
}

#[test]
fn zero_is_shown_where_it_is_near_or_bars_stand_on_it() {
    let near = wish(Scale::Linear, Zero::Near, Ends::Ticks);
    let always = wish(Scale::Linear, Zero::Always, Ends::Ticks);
    assert_eq!(labels(&[20.1, 20.9], near).first().unwrap(), "20.0");
    assert_eq!(labels(&[20.1, 20.9], always).first().unwrap(), "0");
    assert_eq!(labels(&[20.0, 30.0], near).first().unwrap(), "0");
    assert_eq!(labels(&[7.0, 7.0], near), ["0", "5", "10", "15"], "one value is in the middle");
}

#[test]
fn decades_have_minor_ticks() {
    let span =
        Span::fit([1.0, 1000.0].into_iter(), wish(Scale::Logarithmic, Zero::Near, Ends::Ticks));
    let ticks = span.ticks();
    let major: Vec<_> = ticks.iter().filter_map(|tick| tick.label.as_deref()).collect();
    assert_eq!(major, ["1", "10", "100", "1,000"]);
    assert_eq!(ticks.len(), 3 * 9 + 1);
    assert!((span.position(10.0) - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn a_part_of_a_decade_is_still_labelled() {
    let logarithmic = wish(Scale::Logarithmic, Zero::Near, Ends::Ticks);
    assert_eq!(labels(&[30.0, 450.0], logarithmic), ["20", "50", "100", "200", "500"]);
    assert_eq!(labels(&[0.2, 1.5], logarithmic), ["0.2", "0.5", "1", "2"]);
    let narrow = wish(Scale::Logarithmic, Zero::Near, Ends::Values);
    assert_eq!(labels(&[3.1, 3.9], narrow), ["3.2", "3.4", "3.6", "3.8"]);
}

#[test]
fn many_decades_are_thinned_out() {
    let logarithmic = wish(Scale::Logarithmic, Zero::Near, Ends::Ticks);
    let labels = labels(&[1e-6, 1e12], logarithmic);
    assert!(labels.len() <= STEPS_MAX + 1, "{labels:?}");
    assert!(labels.contains(&"100\u{a0}M".to_owned()), "{labels:?}");
}

fn scales() -> impl Strategy<Value = (Scale, Vec<f64>)> {
    let exponent = -15.0..15.0_f64;
    let positive = exponent.clone().prop_map(|exponent| 10_f64.powf(exponent).clamp(1e-15, 1e15));
    let any =
        (positive.clone(), any::<bool>()).prop_map(|(value, up)| if up { value } else { -value });
    // Values that nearly are one value are the ones that steps get lost between.
    let close = (any.clone(), prop::collection::vec(-4..4_i32, 1..5)).prop_map(|(value, ulps)| {
        ulps.iter().map(|ulps| value * (1.0 + f64::from(*ulps) * f64::EPSILON)).collect()
    });
    let linear = prop_oneof![prop::collection::vec(any, 1..5), close];
    prop_oneof![
        linear.prop_map(|values: Vec<f64>| (Scale::Linear, values)),
        prop::collection::vec(positive, 1..5).prop_map(|values| (Scale::Logarithmic, values)),
    ]
}

proptest! {
    #[test]
    fn ticks_rise_are_inside_and_are_few(
        (scale, values) in scales(),
        zero in prop_oneof![Just(Zero::Always), Just(Zero::Near)],
        ends in prop_oneof![Just(Ends::Ticks), Just(Ends::Values)],
        steps_max in 1..12_usize,
    ) {
        let span = Span::fit(values.iter().copied(), Wish { scale, zero, ends, steps_max });
        let ticks = span.ticks();
        prop_assert!(ticks.len() <= TICKS_MAX, "{} ticks", ticks.len());
        let labelled = ticks.iter().filter(|tick| tick.label.is_some()).count();
        prop_assert!(labelled <= steps_max.max(6) + 3, "{labelled} labels of {steps_max}");
        for pair in ticks.windows(2) {
            prop_assert!(pair[0].value < pair[1].value, "{ticks:?}");
        }
        for value in ticks.iter().map(|tick| tick.value).chain(values) {
            prop_assert!(span.low <= value && value <= span.high, "{value} of {span:?}");
            prop_assert!((0.0..=1.0).contains(&span.position(value)));
        }
        prop_assert!(span.position(span.low) < span.position(span.high));
    }
}
