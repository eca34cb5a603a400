//! The loads that relays are given: what the source is told.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use clap::ValueEnum;
use serde::Serialize;

/// Of all loads: what relays keep warm is the same for each.
pub(super) const SESSIONS: u32 = 20;

/// What RFC 5321 §4.5.3.1.8 asks servers for.
const RECIPIENTS: u32 = 100;

const OCTETS: u64 = 4096;
const OCTETS_LARGE: u64 = 1024 * 1024;

/// Of the load before the one that is measured: caches are warm, connections open, memory is had.
const WARM_UP_FRACTION: u64 = 10;

/// A named load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// 4 KiB, sessions kept
    Reused,
    /// 4 KiB, a session for each message
    PerSession,
    /// 1 MiB, sessions kept
    Large,
    /// 4 KiB to 100 recipients, sessions kept
    Recipients,
    /// 4 KiB, MAIL, RCPT and DATA in one group, sessions kept
    Pipelining,
    /// 4 KiB, TLS from the client and to the sink, sessions kept
    Tls,
    /// 4 KiB at a fixed rate, sessions kept: what a relay adds to the time of a message
    Latency,
}

/// How much a load is.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Messages of each closed loop, in place of the load's own number.
    pub messages: Option<u64>,
    /// Messages a second that are offered by `latency`.
    pub rate: u32,
    /// How long they are.
    pub duration: Duration,
}

impl Volume {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.messages != Some(0), "there must be messages");
        ensure!(self.rate > 0, "the rate must not be zero");
        ensure!(self.duration.as_secs() > 0, "the duration must be a second or more");
        Ok(())
    }
}

impl Load {
    /// Messages in all, which a relay that writes each of them to the disk manages within a minute.
    pub(super) fn messages(self, volume: &Volume) -> u64 {
        let own = match self {
            Self::Reused | Self::Pipelining | Self::Tls => 5000,
            Self::PerSession => 3000,
            Self::Large => 200,
            Self::Recipients => 1000,
            Self::Latency => return u64::from(volume.rate) * volume.duration.as_secs(),
        };
        volume.messages.unwrap_or(own)
    }

    pub(super) fn recipients(self) -> u32 {
        if self == Self::Recipients { RECIPIENTS } else { 1 }
    }

    fn octets(self) -> u64 {
        if self == Self::Large { OCTETS_LARGE } else { OCTETS }
    }

    /// What the source is told, but for TLS and its target.
    pub(super) fn arguments(self, volume: &Volume) -> Vec<String> {
        let mut words = self.shape();
        if self == Self::Latency {
            words.push(format!("--rate={}", volume.rate));
            words.push(format!("--duration={}", volume.duration.as_secs()));
        } else {
            words.push(format!("--messages={}", self.messages(volume)));
        }
        words
    }

    /// The same before it is measured, and less of it; never at a fixed rate.
    pub(super) fn warm_up_arguments(self, volume: &Volume) -> Vec<String> {
        let messages = (self.messages(volume) / WARM_UP_FRACTION).max(SESSIONS.into());
        let mut words = self.shape();
        words.push(format!("--messages={messages}"));
        words
    }

    fn shape(self) -> Vec<String> {
        let mut words = vec![
            format!("--sessions={SESSIONS}"),
            format!("--size={}", self.octets()),
            format!("--recipients={}", self.recipients()),
        ];
        match self {
            Self::PerSession => words.push("--per-session".to_owned()),
            Self::Pipelining => words.push("--pipelining".to_owned()),
            _ => {}
        }
        words
    }

    /// One line for people.
    pub(super) fn describe(self, volume: &Volume) -> String {
        let messages = self.messages(volume);
        let told = match self {
            Self::Reused => "sessions kept",
            Self::PerSession => "a session for each message",
            Self::Large => "1 MiB each, sessions kept",
            Self::Recipients => "100 recipients each, sessions kept",
            Self::Pipelining => "MAIL, RCPT and DATA in one group, sessions kept",
            Self::Tls => {
                "STARTTLS on both sides where nothing else is said, the sink not verified, sessions kept"
            }
            Self::Latency => {
                let rate = volume.rate;
                return format!("{messages} messages of 4 KiB, {rate} a second, open loop");
            }
        };
        let size = if self == Self::Large { "" } else { " of 4 KiB" };
        format!("{messages} messages{size}, {SESSIONS} sessions at a time, {told}")
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: Volume = Volume { messages: None, rate: 500, duration: Duration::from_secs(10) };

    #[test]
    fn each_load_is_told_to_the_source() {
        for (load, word) in [
            (Load::Reused, "--size=4096"),
            (Load::PerSession, "--per-session"),
            (Load::Large, "--size=1048576"),
            (Load::Recipients, "--recipients=100"),
            (Load::Pipelining, "--pipelining"),
            (Load::Tls, "--sessions=20"),
            (Load::Latency, "--rate=500"),
        ] {
            let words = load.arguments(&VOLUME);
            assert!(words.iter().any(|found| found == word), "{load}: {words:?}");
        }
        let words = Load::Latency.arguments(&VOLUME);
        assert!(!words.iter().any(|word| word.starts_with("--messages")), "{words:?}");
    }

    #[test]
    fn the_warm_up_is_a_tenth_and_has_no_rate() {
        let last = |load: Load| load.warm_up_arguments(&VOLUME).pop().unwrap();
        assert_eq!(last(Load::Reused), "--messages=500");
        assert_eq!(last(Load::Latency), "--messages=500");
        let few = Volume { messages: Some(30), ..VOLUME };
        assert_eq!(Load::Large.warm_up_arguments(&few).pop().unwrap(), "--messages=20");
    }

    #[test]
    fn a_number_of_messages_is_for_closed_loops() {
        let volume = Volume { messages: Some(70), ..VOLUME };
        assert_eq!(Load::Large.messages(&volume), 70);
        assert_eq!(Load::Latency.messages(&volume), 5000);
        Volume { messages: Some(0), ..VOLUME }.check().unwrap_err();
    }
}
