//! Whether messages go to an upstream, as far as the queue has found out: a state machine with time as
//! a parameter.
//!
//! ```text
//! over ── a message does not reach it ──► resting ── its time is over ──► probing
//!   ▲                                        ▲ └──────── answered ───────┐   │ │
//!   │                                        └── does not reach it either ┼───┘ │
//!   └────────────────────────────────────────────────────────────────────┴─────┘ answered
//! ```
//!
//! A message that does not reach its upstream has done nothing wrong, and is not counted as tried: the
//! upstream rests, and everything for it. While it is probing one message is on its way. As soon as the
//! upstream has answered any message, everything goes.

use std::time::Duration;

use tokio::time::Instant;

/// The first rest. A restart of a server takes as long.
const FIRST: Duration = Duration::from_secs(1);

/// Whether and how an upstream rests.
#[derive(Debug, Default)]
pub(super) struct Rest {
    state: State,
    /// Counts rests that are over, and probes: who set out before cannot begin a rest afterwards.
    turn: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Over,
    Probing {
        rests: u32,
    },
    Resting {
        rests: u32,
        until: Instant,
    },
}

/// How many may set out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admits {
    All,
    /// One, to find out.
    One,
    /// Nobody, until then; if it is not known until when, something else will say so.
    Nobody(Option<Instant>),
}

/// What one sets out with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    turn: u64,
    is_probe: bool,
}

impl Rest {
    pub(super) fn admits(&self, now: Instant) -> Admits {
        match self.state {
            State::Over => Admits::All,
            State::Probing { .. } => Admits::Nobody(None),
            State::Resting { until, .. } if until > now => Admits::Nobody(Some(until)),
            State::Resting { .. } => Admits::One,
        }
    }

    /// One sets out, if it may.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Pass> {
        match (self.admits(now), self.state) {
            (Admits::All, _) => Some(Pass { turn: self.turn, is_probe: false }),
            (Admits::One, State::Resting { rests, .. }) => {
                self.turn += 1;
                self.state = State::Probing { rests };
                Some(Pass { turn: self.turn, is_probe: true })
            }
            _ => None,
        }
    }

    /// Whether one that has waited meanwhile may still go on, and with which pass.
    pub(super) const fn renew(&self, pass: Pass) -> Option<Pass> {
        match self.state {
            State::Over => Some(Pass { turn: self.turn, is_probe: false }),
            State::Probing { .. } if pass.is_probe && pass.turn == self.turn => Some(pass),
            State::Probing { .. } | State::Resting { .. } => None,
        }
    }

    /// One has not reached the upstream. Answers how often in a row that makes, if it begins a rest.
    pub(super) const fn unreached(&mut self, pass: Pass) -> Option<u32> {
        match self.state {
            State::Over if pass.turn == self.turn => Some(1),
            State::Probing { rests } if pass.is_probe && pass.turn == self.turn => {
                Some(rests.saturating_add(1))
            }
            // Others set out before this rest began, or before the last one was over.
            State::Over | State::Probing { .. } | State::Resting { .. } => None,
        }
    }

    /// Rests until then, for the so-manieth time in a row.
    pub(super) const fn rest(&mut self, rests: u32, until: Instant) {
        self.state = State::Resting { rests, until };
    }

    /// A rest that goes on, because something else says that nobody is let through.
    pub(super) const fn prolong(&mut self, until: Instant) {
        let rests = match self.state {
            State::Resting { rests, .. } | State::Probing { rests } => rests,
            State::Over => 1,
        };
        self.rest(rests, until);
    }

    /// The upstream has answered one, whenever it set out. Answers how long the row of rests was.
    pub(super) const fn answered(&mut self) -> u32 {
        match self.state {
            State::Over => 0,
            State::Probing { rests } | State::Resting { rests, .. } => {
                self.forget();
                rests
            }
        }
    }

    /// One has ended without finding anything out.
    pub(super) fn ended(&mut self, pass: Pass, now: Instant) {
        if let State::Probing { rests } = self.state
            && pass.is_probe
            && pass.turn == self.turn
        {
            self.rest(rests, now + FIRST);
        }
    }

    pub(super) const fn forget(&mut self) {
        self.turn += 1;
        self.state = State::Over;
    }
}

/// How long the so-manieth rest in a row is: it doubles, up to the first wait of a message.
pub(super) fn pause(rests: u32, retry: &[Duration]) -> Duration {
    let most = retry.first().copied().unwrap_or(FIRST);
    FIRST.saturating_mul(2_u32.saturating_pow(rests.saturating_sub(1))).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rest_is_short_at_first_and_never_longer_than_a_message_waits() {
        let retry = [SECOND * 60, SECOND * 120];
        let pauses: Vec<u64> = (1..9).map(|rests| pause(rests, &retry).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(1, &[SECOND / 2]), SECOND / 2);
        assert_eq!(pause(u32::MAX, &retry), SECOND * 60);
    }

    #[test]
    fn one_finds_out_and_then_all_go() {
        let now = Instant::now();
        let mut rest = Rest::default();
        let (first, second) = (rest.begin(now).expect("goes"), rest.begin(now).expect("goes"));
        assert_eq!(rest.unreached(first), Some(1));
        rest.rest(1, now + SECOND);
        assert_eq!(rest.unreached(second), None, "it set out before");
        assert_eq!(rest.begin(now), None);
        assert_eq!(rest.admits(now), Admits::Nobody(Some(now + SECOND)));
        let probe = rest.begin(now + SECOND).expect("its time is over");
        assert_eq!(rest.begin(now + SECOND), None, "one is on its way");
        assert_eq!(rest.renew(probe), Some(probe));
        assert_eq!(rest.renew(second), None);
        assert_eq!(rest.unreached(second), None);
        assert_eq!(rest.unreached(probe), Some(2));
        rest.rest(2, now + SECOND * 3);
        let again = rest.begin(now + SECOND * 3).expect("its time is over");
        assert_eq!(rest.unreached(probe), None, "that one is history");
        assert_eq!(rest.answered(), 2);
        assert_eq!(rest.admits(now), Admits::All);
        assert_eq!(rest.unreached(again), None, "it set out before the upstream answered");
        let later = rest.begin(now).expect("goes");
        assert_eq!(rest.unreached(later), Some(1), "a row begins anew");
    }

    #[test]
    fn a_probe_that_vanishes_lets_another_try() {
        let now = Instant::now();
        let mut rest = Rest::default();
        rest.rest(3, now);
        let probe = rest.begin(now).expect("its time is over");
        rest.ended(probe, now);
        assert_eq!(rest.admits(now), Admits::Nobody(Some(now + FIRST)));
        let next = rest.begin(now + FIRST).expect("its time is over");
        rest.ended(probe, now);
        assert_eq!(rest.admits(now), Admits::Nobody(None), "another one is on its way");
        assert_eq!(rest.unreached(next), Some(4), "the row goes on");
    }
}
