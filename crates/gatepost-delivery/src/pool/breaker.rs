//! Whether an upstream is asked at all: a circuit breaker, with time as a parameter.
//!
//! ```text
//! closed ── FAILURES in a row, or misconfigured ──► open ── back-off over ──► half open
//!    ▲ ▲──────── a message is accepted after all ────┘ ▲                       │ │ │
//!    │                                                  └─ the probe has failed ┘ │ │
//!    │                                                  └─ … has no verdict (due) ┘ │
//!    └──────────────────── the probe has succeeded ────────────────────────────────┘
//! ```
//!
//! While it is open nobody is let through; half open, one transaction is: the probe. Each time the
//! probe fails, the back-off doubles. What counts as success depends on what was wrong: an upstream
//! that could not be reached has answered; one that does not accept how it is used has accepted a
//! message. `now` is the time since some moment in the past, `luck` a number from 0 to 1 that keeps
//! gateways from knocking in step.

use std::time::Duration;

/// Failures in a row after which the upstream is taken to be down. Each has cost a client its time;
/// fewer would be one bad minute of one machine among many.
pub(crate) const FAILURES: u32 = 5;

/// Failures that lie further apart have nothing to do with each other. Longer than an opening that
/// runs into every timeout there is.
pub(crate) const FAILURES_APART_MAX: Duration = Duration::from_mins(1);

/// A probe that has brought no verdict for so long does not keep the others out any more: its client
/// may dribble a message for an hour.
const PROBE_MAX: Duration = Duration::from_secs(30);

/// What is wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It does not accept how it is used.
    Misconfigured,
    /// It cannot be reached.
    Unreachable,
}

/// What becomes of a transaction that asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Pass,
    /// It is the one that finds out. Without a verdict it has to say so: [`Breaker::probe_ended`].
    Probe(ProbeId),
    /// Not now; the next probe may begin after this time. Zero: one is under way.
    Rest(Duration),
}

/// Tells a probe from those before it, which may end late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeId(u64);

#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    state: State,
    /// How often in a row it has opened; says how long the back-off is.
    openings: u32,
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed {
        failures: u32,
        last: Duration,
    },
    Open {
        cause: Cause,
        until: Duration,
    },
    /// Another probe may begin at `until`.
    HalfOpen {
        cause: Cause,
        probe: ProbeId,
        until: Duration,
    },
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self { state: State::CLOSED, openings: 0, probes: 0 }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Whether nothing at all is held against the upstream.
    pub(crate) const fn is_calm(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0, .. })
    }

    /// A transaction asks for a connection.
    pub(crate) fn admit(&mut self, now: Duration) -> Admission {
        if let Some(rest) = self.rest(now) {
            return Admission::Rest(rest);
        }
        match self.state {
            State::Closed { .. } => Admission::Pass,
            State::HalfOpen { cause, .. } | State::Open { cause, .. } => {
                self.probes += 1;
                let probe = ProbeId(self.probes);
                self.state = State::HalfOpen { cause, probe, until: now + PROBE_MAX };
                Admission::Probe(probe)
            }
        }
    }

    /// How long nobody is let through; zero while a probe is under way. None: somebody is.
    pub(crate) fn rest(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } if until > now => Some(until.saturating_sub(now)),
            State::HalfOpen { until, .. } if until > now => Some(Duration::ZERO),
            State::Closed { .. } | State::HalfOpen { .. } | State::Open { .. } => None,
        }
    }

    /// No connection could be opened, or it died. True if the breaker opens because of it.
    pub(crate) fn unreachable(&mut self, now: Duration, luck: f64) -> bool {
        match &mut self.state {
            State::Closed { failures, last } => {
                let goes_on = now.saturating_sub(*last) <= FAILURES_APART_MAX;
                *failures = if goes_on { *failures + 1 } else { 1 };
                *last = now;
                if *failures < FAILURES {
                    return false;
                }
                self.open(Cause::Unreachable, now, luck);
                true
            }
            // Others were under way when it opened; they say nothing new.
            State::Open { .. } => false,
            State::HalfOpen { cause, .. } => {
                let cause = *cause;
                self.open(cause, now, luck);
                true
            }
        }
    }

    /// The upstream does not accept how it is used. True if the breaker opens because of it.
    pub(crate) fn misconfigured(&mut self, now: Duration, luck: f64) -> bool {
        match self.state {
            State::Open { cause: Cause::Misconfigured, .. } => return false,
            // A back-off of its own, from its own beginning.
            State::Open { cause: Cause::Unreachable, .. }
            | State::HalfOpen { cause: Cause::Unreachable, .. } => self.openings = 0,
            State::Closed { .. } | State::HalfOpen { cause: Cause::Misconfigured, .. } => {}
        }
        self.open(Cause::Misconfigured, now, luck);
        true
    }

    /// A message was accepted. True if the breaker closes because of it.
    pub(crate) const fn accepted(&mut self) -> bool {
        // One that was under way when a fault of the set-up was found is no sign that it is mended.
        if matches!(self.state, State::Open { cause: Cause::Misconfigured, .. }) {
            return false;
        }
        self.close()
    }

    /// The probe has got a positive answer, or has come to its end in order. True if the breaker
    /// closes because of it.
    pub(crate) const fn answered(&mut self) -> bool {
        if !matches!(self.state, State::HalfOpen { cause: Cause::Unreachable, .. }) {
            return false;
        }
        self.close()
    }

    /// A probe has ended. If it has brought no verdict, another may find out.
    pub(crate) fn probe_ended(&mut self, ended: ProbeId, now: Duration) {
        if let State::HalfOpen { cause, probe, .. } = self.state
            && probe == ended
        {
            self.state = State::Open { cause, until: now };
        }
    }

    /// Forgets everything. A probe that is under way is a transaction like others.
    pub(crate) const fn reset(&mut self) {
        self.close();
    }

    const fn close(&mut self) -> bool {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.state = State::CLOSED;
        self.openings = 0;
        !was_closed
    }

    fn open(&mut self, cause: Cause, now: Duration, luck: f64) {
        let back_off = cause.back_off(self.openings);
        self.openings = self.openings.saturating_add(1);
        // Between a half and the whole of it.
        let until = now + back_off.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0);
        self.state = State::Open { cause, until };
    }
}

impl Cause {
    /// How long to rest when the breaker has opened so often in a row before.
    fn back_off(self, openings: u32) -> Duration {
        let (first, most) = match self {
            // Somebody has to mend something; providers lock out who keeps knocking.
            Self::Misconfigured => (Duration::from_secs(30), Duration::from_mins(10)),
            // A restart takes a second; after an hour a minute more does not matter.
            Self::Unreachable => (Duration::from_secs(1), Duration::from_mins(1)),
        };
        first.saturating_mul(2_u32.saturating_pow(openings)).min(most)
    }
}

impl State {
    const CLOSED: Self = Self::Closed { failures: 0, last: Duration::ZERO };
}
