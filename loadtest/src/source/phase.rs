//! The phases of a message and of the connection under it, and the stop-watch that tells them apart.
//!
//! The clock is read once at the end of each phase and never in between: the end of one is the
//! beginning of the next. A phase that did not happen has no lap.

use std::time::{Duration, Instant};

/// A part of a message's time, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Open loop: from the moment the message was due until a session began it.
    Waiting,
    /// The TCP handshake.
    Connect,
    /// The TLS handshake, with the STARTTLS command before it.
    Tls,
    /// Until the greeting.
    Greeting,
    /// EHLO or HELO; with STARTTLS both of them.
    Hello,
    /// MAIL; of a pipelined group, from the first octet to the reply to MAIL.
    Mail,
    /// All RCPT of the message.
    Rcpt,
    /// DATA, to the 354.
    Data,
    /// From the first octet of content to the reply after its end.
    Content,
    /// All of it: what a client waits for.
    Message,
}

impl Phase {
    /// All phases, in order.
    pub(super) const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Connect,
        Self::Tls,
        Self::Greeting,
        Self::Hello,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Content,
        Self::Message,
    ];

    /// Its name in tables and in the JSON form.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Content => "content",
            Self::Message => "message",
        }
    }
}

/// The times of one message.
#[derive(Clone, Debug)]
pub(super) struct Laps {
    since: Instant,
    last: Instant,
    times: [Option<Duration>; Phase::ALL.len()],
}

impl Laps {
    /// Starts the watch; `since` may be past, for a message that has waited.
    pub(super) fn since(since: Instant) -> Self {
        Self { since, last: since, times: Default::default() }
    }

    /// Ends a phase now.
    pub(super) fn mark(&mut self, phase: Phase) {
        self.mark_at(phase, Instant::now());
    }

    /// Ends a phase at a moment that somebody has read from the clock already. A phase that happens
    /// twice is as long as both together.
    pub(super) fn mark_at(&mut self, phase: Phase, now: Instant) {
        let lap = self.times[phase as usize].get_or_insert_default();
        *lap += now.saturating_duration_since(self.last);
        self.last = now;
    }

    /// Ends the whole, at the end of the last phase.
    pub(super) fn finish(&mut self) {
        let whole = self.last.saturating_duration_since(self.since);
        self.times[Phase::Message as usize] = Some(whole);
    }

    /// The end of the last phase.
    pub(super) fn last(&self) -> Instant {
        self.last
    }

    /// How long a phase took, if it happened.
    pub(super) fn of(&self, phase: Phase) -> Option<Duration> {
        self.times[phase as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_add_up() {
        let since = Instant::now();
        let at = |milliseconds| since + Duration::from_millis(milliseconds);
        let mut laps = Laps::since(since);
        laps.mark_at(Phase::Waiting, at(10));
        laps.mark_at(Phase::Hello, at(11));
        laps.mark_at(Phase::Tls, at(14));
        laps.mark_at(Phase::Hello, at(19));
        laps.finish();
        let milliseconds = |phase| laps.of(phase).map(|lap| lap.as_millis());
        assert_eq!(milliseconds(Phase::Waiting), Some(10));
        assert_eq!(milliseconds(Phase::Hello), Some(1 + 5));
        assert_eq!(milliseconds(Phase::Tls), Some(3));
        assert_eq!(milliseconds(Phase::Message), Some(19));
        assert_eq!(milliseconds(Phase::Mail), None);
    }

    #[test]
    fn every_phase_has_a_place_of_its_own() {
        assert!(Phase::ALL.iter().enumerate().all(|(place, &phase)| phase as usize == place));
    }
}
