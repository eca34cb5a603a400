//! What a series of measurements says: its median, and its trend after Theil and Sen.
//!
//! Both look at ranks, so a single wild value changes nothing. No randomness: the same series says
//! the same thing twice.

/// Standard deviations of the two-sided interval that holds the trend 99 times of 100.
const INTERVAL: f64 = 2.576;

/// Fewer points than this have no interval worth its name.
const POINTS_MIN: usize = 4;

/// The middle value; of an even number of values the mean of both. Zero for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// How a quantity changes with x, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// The median of the slopes between all pairs of points.
    pub(crate) slope: f64,
    /// The lower end of its interval.
    pub(crate) low: f64,
    /// The upper end.
    pub(crate) high: f64,
    /// The line's value at x = 0.
    pub(crate) intercept: f64,
}

impl Trend {
    /// Of points with x in rising order; `None` if they are too few.
    ///
    /// The interval is Sen's (1968): the number of rising pairs among all of them varies with a
    /// known variance if there is no trend, which says how far from the middle slope the true one
    /// may lie.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < POINTS_MIN {
            return None;
        }
        let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
        for (index, &(x, y)) in points.iter().enumerate() {
            let later = points[index + 1..].iter().filter(|later| later.0 > x);
            slopes.extend(later.map(|later| (later.1 - y) / (later.0 - x)));
        }
        if slopes.is_empty() {
            return None;
        }
        slopes.sort_by(f64::total_cmp);
        let slope = median(&slopes);
        let beside = half_width(points.len(), slopes.len());
        let last = slopes.len() - 1;
        let low = slopes[(last / 2).saturating_sub(beside)];
        let high = slopes[(last.div_ceil(2) + beside).min(last)];
        let rests: Vec<f64> = points.iter().map(|&(x, y)| y - slope * x).collect();
        Some(Self { slope, low, high, intercept: median(&rests) })
    }

    /// The line at x.
    pub(crate) fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// How many ranks from the middle slope an end of the interval lies.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the counts of some hundred points, and a root"
)]
fn half_width(points: usize, slopes: usize) -> usize {
    let n = points as f64;
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    ((INTERVAL * deviation / 2.0).ceil() as usize).min(slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        (0..).map(f64::from).zip(values).collect()
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[]).to_bits(), 0.0_f64.to_bits());
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
        assert!((median(&[9.0, 1.0, 5.0, 6.0]) - 5.5).abs() < 1e-9);
    }

    #[test]
    fn a_line_is_found_in_spite_of_wild_values() {
        let mut points = series((0..40).map(|x| 100.0 + 2.5 * f64::from(x)));
        for index in [3, 17, 31] {
            points[index].1 = 1e6;
        }
        let trend = Trend::of(&points).unwrap();
        assert!((trend.slope - 2.5).abs() < 1e-9, "{trend:?}");
        assert!((trend.intercept - 100.0).abs() < 1e-9 && (trend.at(4.0) - 110.0).abs() < 1e-9);
        assert!(trend.low <= trend.slope && trend.slope <= trend.high, "{trend:?}");
    }

    #[test]
    fn five_points_by_hand() {
        // Their ten slopes in order: -0.15, -0.13, -0.08, -0.07, -0.0575, -0.055, -0.045, -0.0333,
        // 0.01, 0.04. So few have an interval that is all of them.
        let trend = Trend::of(&series([1.26, 1.27, 1.12, 1.16, 1.03])).unwrap();
        assert!((trend.slope + 0.05625).abs() < 1e-9, "{trend:?}");
        assert!((trend.low + 0.15).abs() < 1e-9 && (trend.high - 0.04).abs() < 1e-9, "{trend:?}");
    }

    #[test]
    fn noise_alone_has_an_interval_around_zero() {
        let noise = (0..60_u32).map(|x| f64::from(x.wrapping_mul(2_654_435_761) >> 20));
        let trend = Trend::of(&series(noise)).unwrap();
        assert!(trend.low < 0.0 && trend.high > 0.0, "{trend:?}");
    }

    #[test]
    fn too_few_points_say_nothing() {
        assert_eq!(Trend::of(&series([1.0, 2.0, 3.0])), None);
        assert_eq!(Trend::of(&[(1.0, 1.0); 9]), None, "all at the same time");
    }
}
