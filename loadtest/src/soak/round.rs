//! One round of the mix: a load, and what goes on beside it.

use std::fmt;

use anyhow::ensure;

use super::SoakOptions;
use super::target::Target;
use crate::rig::client::{Client, Door};
use crate::rig::fleet::{Fleet, address};
use crate::rig::load::{Load, Manner};
use crate::rig::source::Report;

/// Octets of a message.
const SIZE: u64 = 4096;

/// Octets of a large one.
const LARGE_SIZE: u64 = 1024 * 1024;

/// A round of large messages has so many times fewer.
const LARGE_FEWER: u64 = 20;

/// At a fixed rate a round ends after this, so that every kind comes often enough to be judged.
const ROUND_SECONDS: u64 = 5;

/// Sessions that stand idle beside a load.
const IDLE_SESSIONS: usize = 200;

/// Clients that hang up, at each place.
const HANG_UPS_EACH: usize = 20;

/// Where clients hang up: behind the last of these commands. Never behind the final dot: whether that
/// message has arrived nobody could say.
const SCRIPT: [&str; 4] =
    ["EHLO gone.example.com", "MAIL FROM:<app@example.com>", "RCPT TO:<user@example.net>", "DATA"];

/// Half of a message that never ends.
const HALF_A_MESSAGE: &[u8] = b"From: app@example.com\r\nSubject: cut off\r\n\r\nhalf of it\r\n";

/// The kinds of rounds, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reused,
    PerSession,
    Pipelining,
    Large,
    Idle,
    HangUps,
    Tls,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(super) struct RoundOutcome {
    pub(super) asked: u64,
    pub(super) accepted: u64,
    /// Messages a second.
    pub(super) rate: f64,
    /// Milliseconds.
    pub(super) p99: f64,
    pub(super) troubles: Vec<String>,
}

impl Kind {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    const ALL: [Self; Self::COUNT] = [
        Self::Reused,
        Self::PerSession,
        Self::Pipelining,
        Self::Large,
        Self::Idle,
        Self::HangUps,
        Self::Tls,
    ];

    /// Those that a gateway can be given.
    pub(super) fn all(with_tls: bool) -> &'static [Self] {
        if with_tls { &Self::ALL } else { &Self::ALL[..Self::COUNT - 1] }
    }

    fn load(self, target: &Target, options: &SoakOptions) -> Load {
        let messages = options.rate.map_or(options.messages, |rate| {
            options.messages.min(u64::from(rate) * ROUND_SECONDS).max(1)
        });
        let (size, messages) = match self {
            Self::Large => (LARGE_SIZE, (messages / LARGE_FEWER).max(1)),
            _ => (SIZE, messages),
        };
        let (address, manner) = match (self, target.tls()) {
            (Self::Tls, Some(address)) => (address, Manner::Tls),
            (Self::PerSession, _) => (target.plain(), Manner::PerSession),
            (Self::Pipelining, _) => (target.plain(), Manner::Pipelining),
            _ => (target.plain(), Manner::Reused),
        };
        let (sessions, rate) = (options.sessions, options.rate);
        Load { target: address, sessions, messages, size, manner, rate }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reused => "sessions kept",
            Self::PerSession => "a connection per message",
            Self::Pipelining => "pipelining",
            Self::Large => "large messages",
            Self::Idle => "beside idle sessions",
            Self::HangUps => "beside clients that hang up",
            Self::Tls => "TLS",
        })
    }
}

/// Runs one round. An error if it could not be run at all.
pub(super) async fn run(
    kind: Kind,
    target: &Target,
    options: &SoakOptions,
) -> anyhow::Result<RoundOutcome> {
    let load = kind.load(target, options);
    let (report, beside) = match kind {
        Kind::Idle => beside_idle(&load, target).await?,
        Kind::HangUps => {
            let (report, beside) = tokio::join!(load.run(), hang_ups(target));
            (report?, beside.err().map(|error| format!("{error:#}")))
        }
        _ => (load.run().await?, None),
    };
    let troubles = report.trouble().into_iter().chain(beside).collect();
    Ok(RoundOutcome {
        asked: report.messages.asked,
        accepted: report.messages.accepted,
        rate: report.messages_per_second,
        p99: report.latency().p99,
        troubles,
    })
}

/// A load while sessions stand, which then all still stand.
async fn beside_idle(load: &Load, target: &Target) -> anyhow::Result<(Report, Option<String>)> {
    let doors = [Some(target.door()), target.tls_door()];
    let mut fleets: Vec<_> = doors.into_iter().flatten().map(Fleet::new).collect();
    for fleet in &mut fleets {
        fleet.grow_to(IDLE_SESSIONS).await?;
    }
    let report = load.run().await?;
    let mut fallen = 0;
    for mut fleet in fleets {
        fallen += IDLE_SESSIONS - fleet.still_standing().await?;
        fleet.leave().await;
    }
    let trouble = (fallen > 0).then(|| format!("{fallen} idle sessions did not last"));
    Ok((report, trouble))
}

/// Clients that go away in the middle, at each place of a transaction.
async fn hang_ups(target: &Target) -> anyhow::Result<()> {
    let doors = [Some(target.door()), target.tls_door()];
    for door in doors.into_iter().flatten() {
        for number in 0..HANG_UPS_EACH {
            for commands in 0..=SCRIPT.len() {
                hang_up_after(&door, number, commands).await?;
            }
        }
    }
    Ok(())
}

async fn hang_up_after(door: &Door, number: usize, commands: usize) -> anyhow::Result<()> {
    let mut client = Client::connect(door, address(number)).await?;
    for command in &SCRIPT[..commands] {
        let code = client.say(command).await?;
        ensure!(code < 400, "{command} was answered with {code}");
    }
    if commands == SCRIPT.len() {
        client.send(HALF_A_MESSAGE).await?;
    }
    Ok(())
}
