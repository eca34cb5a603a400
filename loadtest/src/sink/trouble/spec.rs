//! The written form of troubles: `PHASE=DURATION[-DURATION][@PERCENT]` and `PHASE=KIND@PERCENT`.
//!
//! Whatever is wrong is told with the part that is wrong and with what would be right.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};

use super::{Delay, Fault, FaultKind, RefusalCode, SHARE_WHOLE, Share, SinkPhase};

/// Longer than any client waits (RFC 5321 §4.5.3.2 asks for ten minutes at most).
const DELAY_MAX: Duration = Duration::from_hours(1);

/// Decimals of a percentage.
const DECIMALS_MAX: usize = 3;

impl FromStr for SinkPhase {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name).with_context(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no phase {name:?}: write one of {known}")
        })
    }
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
        let number = text.strip_suffix('%').with_context(|| {
            format!("share {text:?} is no percentage: write it as 5% or 0.125%")
        })?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        ensure!(
            !whole.is_empty() && digits(whole) && digits(decimals),
            "share {text:?} is no percentage: write it as 5% or 0.125%"
        );
        ensure!(
            decimals.len() <= DECIMALS_MAX,
            "share {text:?} has too many decimals: write at most {DECIMALS_MAX}, as in 0.125%"
        );
        // Too many digits are too much, too.
        let thousandths = format!("{whole}{decimals:0<DECIMALS_MAX$}").parse().unwrap_or(u32::MAX);
        ensure!(
            (1..=SHARE_WHOLE).contains(&thousandths),
            "share {text:?} is out of range: write more than 0% and at most 100%"
        );
        Ok(Self(thousandths))
    }
}

impl FromStr for Delay {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (phase, rest) = text
            .split_once('=')
            .context("has no '=': write PHASE=DURATION, such as rcpt=10ms-50ms@5%")?;
        let phase = phase.parse()?;
        let (times, share) = match rest.split_once('@') {
            None => (rest, Share::ALWAYS),
            Some((times, share)) => (times, share.parse()?),
        };
        let (least, most) = times.split_once('-').unwrap_or((times, times));
        let (least, most) = (duration(least)?, duration(most)?);
        ensure!(least <= most, "the spread {times:?} is the wrong way round: write the less first");
        Ok(Self { phase, least, most, share })
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (phase, rest) = text
            .split_once('=')
            .context("has no '=': write PHASE=KIND@PERCENT, such as rcpt=451@5%")?;
        let phase: SinkPhase = phase.parse()?;
        let (kind, share) = rest
            .split_once('@')
            .with_context(|| format!("has no share: write how often, such as {phase}={rest}@5%"))?;
        Ok(Self { phase, kind: kind.parse()?, share: share.parse()? })
    }
}

impl FromStr for FaultKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "close" => Ok(Self::Close),
            "garbage" => Ok(Self::Garbage),
            "reset" => Ok(Self::Reset),
            "silence" => Ok(Self::Silence),
            code if code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit()) => {
                let code = code.parse()?;
                ensure!(
                    (400..600).contains(&code),
                    "reply code {code} refuses nothing: write one from 400 to 599"
                );
                Ok(Self::Refusal(RefusalCode(code)))
            }
            _ => Err(anyhow!(
                "there is no fault {text:?}: write close, garbage, reset, silence, or a reply code \
                 such as 451"
            )),
        }
    }
}

/// A whole number with its unit.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    ensure!(
        milliseconds > 0 && !number.is_empty(),
        "duration {text:?} is no whole number with a unit: write it as 10ms, 2s or 1m"
    );
    // A number that does not fit is too long, too.
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    ensure!(duration <= DELAY_MAX, "duration {text:?} is too long: write at most 60m");
    Ok(duration)
}
