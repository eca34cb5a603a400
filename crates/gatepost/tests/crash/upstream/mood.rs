//! How the upstream feels: for a while it is well, for another it is slow, or puts off, or hangs up.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::chance::{millis, permille, rng};

/// How long a mood lasts.
const LASTS: Duration = Duration::from_millis(1500);
/// How long the reply to the end of data takes when it is slow, in milliseconds: longer than the
/// `answer_within` of the run.
const SLOW: std::ops::Range<u64> = 1200..3000;
/// The same, at the most: whoever looks for a cause of something needs not look further away.
pub(crate) const SLOW_MAX: Duration = Duration::from_millis(SLOW.end);

/// The moods of one incarnation.
pub(crate) struct Moods {
    seed: u64,
    healthy: bool,
    since: Instant,
}

/// In how many of a thousand cases something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    /// 4yz, at each command and at the end of data.
    put_off: u32,
    /// 421 as the greeting.
    busy: u32,
    /// The reply to the end of data comes late.
    slow: u32,
    /// Connections end in front of the end of data: at a command, and in the middle of the content.
    hang_up: u32,
    /// Connections end with a message that was recorded, without a word about it.
    hang_up_behind: u32,
}

/// What happens at the end of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Accept(Duration),
    /// The message is recorded, and nothing is said.
    AcceptAndHangUp,
    HangUp,
    PutOff,
}

impl Moods {
    pub(crate) fn new(seed: u64, healthy: bool) -> Self {
        Self { seed, healthy, since: Instant::now() }
    }

    /// How it feels now.
    pub(crate) fn now(&self) -> Mood {
        if self.healthy {
            return Mood::default();
        }
        let turn = self.since.elapsed().as_millis() / LASTS.as_millis();
        match rng(self.seed, "mood", turn as u64).u32(0..10) {
            0 | 1 => Mood { slow: 400, ..Mood::default() },
            2 => Mood { put_off: 80, ..Mood::default() },
            3 => Mood { hang_up: 40, hang_up_behind: 60, ..Mood::default() },
            4 => Mood { put_off: 40, slow: 80, hang_up: 20, hang_up_behind: 30, busy: 20 },
            _ => Mood::default(),
        }
    }
}

impl Mood {
    pub(crate) fn is_busy(self, rng: &mut Rng) -> bool {
        permille(rng, self.busy)
    }

    pub(crate) fn puts_off(self, rng: &mut Rng) -> bool {
        permille(rng, self.put_off)
    }

    pub(crate) fn hangs_up(self, rng: &mut Rng) -> bool {
        permille(rng, self.hang_up)
    }

    pub(crate) fn end(self, rng: &mut Rng) -> End {
        if permille(rng, self.hang_up) {
            End::HangUp
        } else if permille(rng, self.put_off) {
            End::PutOff
        } else if permille(rng, self.hang_up_behind) {
            End::AcceptAndHangUp
        } else if permille(rng, self.slow) {
            End::Accept(millis(rng, SLOW))
        } else {
            End::Accept(Duration::ZERO)
        }
    }
}
