//! How large messages are, and how many recipients they have: distributions in a few words.
//!
//! `4096`, `1k-64k` (uniform), `lognormal:MEDIAN:P99`, or a weighted list `4k*90,64k*9,1m*1`; k and m
//! are powers of 1024. A distribution becomes a few sizes with weights ([`SizeDistribution::bands`]),
//! so that bodies are built once and not for each message; the bands are narrower in the tail, where
//! sizes differ most.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

/// Sizes of a list: each is a body in memory.
const LISTED_MAX: usize = 32;

/// Cuts a distribution into bands: the probability of each, its middle as a quantile, and that
/// quantile of the standard normal distribution (from a table).
const BANDS: [(f64, f64, f64); 15] = [
    (0.10, 0.05, -1.644_854),
    (0.10, 0.15, -1.036_433),
    (0.10, 0.25, -0.674_490),
    (0.10, 0.35, -0.385_320),
    (0.10, 0.45, -0.125_661),
    (0.10, 0.55, 0.125_661),
    (0.10, 0.65, 0.385_320),
    (0.10, 0.75, 0.674_490),
    (0.10, 0.85, 1.036_433),
    (0.04, 0.92, 1.405_072),
    (0.03, 0.955, 1.695_398),
    (0.01, 0.975, 1.959_964),
    (0.01, 0.985, 2.170_090),
    (0.009, 0.9945, 2.542_699),
    (0.001, 0.9995, 3.290_527),
];

/// The 0.99 quantile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_348;

/// How large messages are, header included, before dot-stuffing.
#[derive(Clone, Debug, PartialEq)]
pub enum SizeDistribution {
    /// Most are small and a few are very large, as mail is: a log-normal distribution.
    LogNormal {
        /// Half of the messages are smaller.
        median: usize,
        /// One of a hundred is larger.
        p99: usize,
    },
    /// Each as large as the others.
    Same(usize),
    /// Every size of a range is as likely as the others.
    Uniform(RangeInclusive<usize>),
    /// Some sizes, each with its weight.
    Weighted(Vec<(usize, u32)>),
}

impl SizeDistribution {
    /// Sizes and their probabilities, which add up to 1. `smallest` is what a message has at least:
    /// what a log-normal distribution has below it is raised to it, and any other is refused.
    pub(super) fn bands(&self, smallest: usize) -> anyhow::Result<Vec<(usize, f64)>> {
        let bands: Vec<(usize, f64)> = match self {
            Self::Same(size) => vec![(*size, 1.0)],
            Self::Uniform(range) => {
                let span = float(range.end() - range.start());
                let size = |quantile| range.start() + whole(span * quantile);
                BANDS.map(|(weight, quantile, _)| (size(quantile), weight)).to_vec()
            }
            Self::LogNormal { median, p99 } => {
                let sigma = (float(*p99) / float(*median)).ln() / NORMAL_P99;
                let size = |normal: f64| whole(float(*median) * (sigma * normal).exp());
                BANDS.map(|(weight, _, normal)| (size(normal).max(smallest), weight)).to_vec()
            }
            Self::Weighted(sizes) => {
                let all: f64 = sizes.iter().map(|&(_, weight)| f64::from(weight)).sum();
                sizes.iter().map(|&(size, weight)| (size, f64::from(weight) / all)).collect()
            }
        };
        let too_small = bands.iter().any(|&(size, _)| size < smallest);
        ensure!(!too_small, "with this header a message has at least {smallest} octets");
        Ok(bands)
    }
}

impl From<usize> for SizeDistribution {
    fn from(size: usize) -> Self {
        Self::Same(size)
    }
}

impl FromStr for SizeDistribution {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(parameters) = text.strip_prefix("lognormal:") {
            let (median, p99) = parameters.split_once(':').context("lognormal:MEDIAN:P99")?;
            let (median, p99) = (octets(median)?, octets(p99)?);
            ensure!(0 < median && median <= p99, "the median is more than the 99th percentile");
            return Ok(Self::LogNormal { median, p99 });
        }
        if text.contains(['*', ',']) {
            let sizes = text.split(',').map(weighted).collect::<anyhow::Result<Vec<_>>>()?;
            ensure!(sizes.len() <= LISTED_MAX, "more than {LISTED_MAX} sizes");
            ensure!(sizes.iter().any(|&(_, weight)| weight > 0), "all weights are 0");
            return Ok(Self::Weighted(sizes));
        }
        let Some((from, to)) = text.split_once('-') else { return octets(text).map(Self::Same) };
        let (from, to) = (octets(from)?, octets(to)?);
        ensure!(from <= to, "the range ends before it begins");
        Ok(Self::Uniform(from..=to))
    }
}

impl fmt::Display for SizeDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(size) => write!(f, "{size}"),
            Self::Uniform(range) => write!(f, "{}-{}", range.start(), range.end()),
            Self::LogNormal { median, p99 } => write!(f, "lognormal:{median}:{p99}"),
            Self::Weighted(sizes) => {
                for (place, (size, weight)) in sizes.iter().enumerate() {
                    write!(f, "{}{size}*{weight}", if place > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

/// `4096`, `4k` or `1m`.
pub(super) fn octets(text: &str) -> anyhow::Result<usize> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((end, 'k' | 'K')) => (&text[..end], 1024),
        Some((end, 'm' | 'M')) => (&text[..end], 1024 * 1024),
        _ => (text, 1),
    };
    let number = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    number.with_context(|| format!("{text:?} is no number of octets, such as 4096, 4k or 1m"))
}

fn weighted(text: &str) -> anyhow::Result<(usize, u32)> {
    let Some((size, weight)) = text.split_once('*') else { return Ok((octets(text)?, 1)) };
    let weight = weight.parse().ok().with_context(|| format!("{weight:?} is no weight"))?;
    Ok((octets(size)?, weight))
}

/// How many recipients messages have: a number, or every number of a range as likely as the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientCount(RangeInclusive<u32>);

impl RecipientCount {
    pub(super) fn least(&self) -> u32 {
        *self.0.start()
    }

    pub(super) fn most(&self) -> u32 {
        *self.0.end()
    }

    /// By a number from 0 up to, but not including, 1.
    pub(super) fn pick(&self, chance: f64) -> u32 {
        let span = f64::from(self.most() - self.least() + 1);
        // Less than the span, which is a u32.
        self.least() + whole(span * chance) as u32
    }
}

impl From<u32> for RecipientCount {
    fn from(count: u32) -> Self {
        Self(count..=count)
    }
}

impl FromStr for RecipientCount {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (Ok(from), Ok(to)) = (from.parse(), to.parse()) else {
            bail!("{text:?} is neither a number nor a range such as 1-10")
        };
        ensure!(from <= to, "the range ends before it begins");
        Ok(Self(from..=to))
    }
}

impl fmt::Display for RecipientCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least(), self.most()) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, most) => write!(f, "{least}-{most}"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size is far below 2^52")]
fn float(size: usize) -> f64 {
    size as f64
}

/// Rounds down; what is negative or no number is 0.
#[expect(clippy::cast_sign_loss, reason = "what is negative becomes 0")]
fn whole(size: f64) -> usize {
    size as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SizeDistribution {
        text.parse().unwrap()
    }

    #[test]
    fn distributions_are_read_and_written() {
        for (text, written) in [
            ("4096", "4096"),
            ("4k", "4096"),
            ("1k-64K", "1024-65536"),
            ("lognormal:8k:1m", "lognormal:8192:1048576"),
            ("4k*90,64k*9,1M*1", "4096*90,65536*9,1048576*1"),
            ("1k,2k", "1024*1,2048*1"),
        ] {
            let distribution = parse(text);
            assert_eq!(distribution.to_string(), written);
            assert_eq!(parse(written), distribution);
        }
        let bad = [
            "",
            "k",
            "-",
            "4g",
            "64k-1k",
            "lognormal:4k",
            "lognormal:4k:1k",
            "lognormal:0:1k",
            "4k*",
            "4k*-1",
            "4k*0",
            "4k*1,",
            "1-2-3",
            "99999999999999999999",
            "18446744073709551615k",
        ];
        for bad in bad {
            bad.parse::<SizeDistribution>().unwrap_err();
        }
        "1k,".repeat(LISTED_MAX).parse::<SizeDistribution>().unwrap_err();
    }

    #[test]
    fn probabilities_add_up_to_one() {
        for text in ["4096", "1k-64k", "lognormal:8k:1m", "4k*90,64k*9,1m*1"] {
            let bands = parse(text).bands(300).unwrap();
            let sum: f64 = bands.iter().map(|&(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{text}: {sum}");
            assert!(bands.iter().is_sorted_by_key(|&(size, _)| size), "{text}: {bands:?}");
        }
    }

    #[test]
    fn bands_have_the_shape_that_was_asked_for() {
        let share = |text: &str, below: usize| -> f64 {
            let bands = parse(text).bands(300).unwrap();
            bands.iter().filter(|&&(size, _)| size < below).map(|&(_, weight)| weight).sum()
        };
        assert!((share("lognormal:8k:1m", 8 * 1024) - 0.5).abs() < 1e-9);
        assert!((share("lognormal:8k:1m", 1024 * 1024) - 0.99).abs() < 1e-9);
        assert!((share("1000-11000", 6000) - 0.5).abs() < 1e-9);
        assert!((share("4k*90,64k*9,1m*1", 64 * 1024) - 0.9).abs() < 1e-9);
        let mean = |text: &str| -> f64 {
            parse(text).bands(300).unwrap().iter().map(|&(size, p)| float(size) * p).sum()
        };
        assert!((mean("1000-11000") - 6000.0).abs() < 10.0, "{}", mean("1000-11000"));
    }

    #[test]
    fn what_is_too_small_is_refused_or_raised() {
        for small in ["100", "100-4k", "100*1,4k*9"] {
            let error = parse(small).bands(300).unwrap_err();
            assert!(error.to_string().contains("at least 300 octets"), "{error}");
        }
        let raised = parse("lognormal:1k:64k").bands(300).unwrap();
        assert!(raised.iter().all(|&(size, _)| size >= 300), "{raised:?}");
    }

    #[test]
    fn recipients_cover_their_range_evenly() {
        let count: RecipientCount = "3-6".parse().unwrap();
        let picked = [0.0, 0.24, 0.26, 0.5, 0.75, 0.999_999].map(|chance| count.pick(chance));
        assert_eq!(picked, [3, 3, 4, 5, 6, 6]);
        assert_eq!(RecipientCount::from(7).pick(0.999_999), 7);
        for bad in ["", "-", "3-", "6-3", "x"] {
            bad.parse::<RecipientCount>().unwrap_err();
        }
    }
}
