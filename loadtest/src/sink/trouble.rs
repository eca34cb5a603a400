//! What a sink does wrong on purpose: delays and faults, each at a phase of the dialogue.
//!
//! Here stands what was asked for, as values that are right once they exist; their written form is
//! read in [`spec`], and [`Dice`] says when it is their turn. Nothing here knows a socket.

mod dice;
mod spec;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use anyhow::ensure;

pub(super) use self::dice::{Dice, Drawn};

/// A thousandth of a percent is the smallest [`Share`].
const SHARE_WHOLE: u32 = 100_000;

/// Where in the dialogue something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SinkPhase {
    /// The greeting.
    Connect,
    /// The reply to EHLO or HELO.
    Ehlo,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Rcpt,
    /// The reply to DATA; BDAT has no such phase.
    Data,
    /// The reply to the content: after the final dot, or after the last chunk.
    Dot,
}

impl SinkPhase {
    /// All of them, as they follow one another.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Ehlo, Self::Mail, Self::Rcpt, Self::Data, Self::Dot];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Ehlo => "ehlo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Dot => "dot",
        }
    }
}

impl fmt::Display for SinkPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Of how many replies something becomes of: `5%`, `0.125%`. More than none, at most all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Every time.
    pub const ALWAYS: Self = Self(SHARE_WHOLE);

    /// In percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The shortest form that says the same; three decimals are exact in an f64 of this size.
        write!(f, "{}%", self.percent())
    }
}

/// Replies of one phase come late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    phase: SinkPhase,
    least: Duration,
    most: Duration,
    share: Share,
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.phase, self.least)?;
        if self.most > self.least {
            write!(f, "-{:?}", self.most)?;
        }
        write!(f, "@{}", self.share)
    }
}

/// Replies of one phase are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    phase: SinkPhase,
    kind: FaultKind,
    share: Share,
}

impl Fault {
    /// Where.
    pub fn phase(&self) -> SinkPhase {
        self.phase
    }

    /// What.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// How often.
    pub fn share(&self) -> Share {
        self.share
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}@{}", self.phase, self.kind, self.share)
    }
}

/// What comes in place of the reply that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing, and the end of the connection (FIN).
    Close,
    /// A line that is no reply.
    Garbage,
    /// A refusal. `421` ends the connection (RFC 5321 §3.8), and so does any at the greeting.
    Refusal(RefusalCode),
    /// Nothing, and a connection that is reset (RST).
    Reset,
    /// Nothing, until the client has gone or its time is up.
    Silence,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close => f.write_str("close"),
            Self::Garbage => f.write_str("garbage"),
            Self::Refusal(RefusalCode(code)) => write!(f, "{code}"),
            Self::Reset => f.write_str("reset"),
            Self::Silence => f.write_str("silence"),
        }
    }
}

/// A reply code that refuses: 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCode(u16);

impl RefusalCode {
    /// Whether the connection ends with it.
    pub(super) fn closes(self) -> bool {
        self.0 == 421
    }

    /// The reply, with an enhanced code of the same class (RFC 3463).
    pub(super) fn reply(self) -> String {
        format!("{} {}.3.0 Refused on purpose, by chance\r\n", self.0, self.0 / 100)
    }
}

/// All that a sink does wrong, and the seed of its chance. There is none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    delays: Vec<Delay>,
    faults: Vec<Fault>,
    seed: u64,
}

impl Troubles {
    /// Puts them together. The delays of a phase exclude one another, and so do its faults: their
    /// shares add up to no more than everything.
    pub fn new(delays: Vec<Delay>, faults: Vec<Fault>, seed: u64) -> anyhow::Result<Self> {
        for phase in SinkPhase::ALL {
            let delays = delays.iter().filter(|delay| delay.phase == phase);
            ensure_whole("--delay", phase, delays.map(|delay| delay.share))?;
            let faults = faults.iter().filter(|fault| fault.phase == phase);
            ensure_whole("--fault", phase, faults.map(|fault| fault.share))?;
        }
        Ok(Self { delays, faults, seed })
    }

    fn is_empty(&self) -> bool {
        self.delays.is_empty() && self.faults.is_empty()
    }
}

fn ensure_whole(
    option: &str,
    phase: SinkPhase,
    shares: impl Iterator<Item = Share>,
) -> anyhow::Result<()> {
    let sum: u64 = shares.map(|share| u64::from(share.0)).sum();
    ensure!(
        sum <= u64::from(SHARE_WHOLE),
        "all {option} {phase}=... together are {}% of its replies: lower their shares to at most \
         100% (no share means 100%)",
        // Thousandths, as in `Share`: whatever they add up to is far below what an f64 holds.
        f64::from(u32::try_from(sum).unwrap_or(u32::MAX)) / 1000.0
    );
    Ok(())
}
