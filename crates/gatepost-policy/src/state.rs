//! What an entry's clients have used up, as far as it is limited, and how much they use it at all.
//!
//! It is counted in the entry itself: the hot path looks nothing up, and takes no lock but that of the
//! duplicate damper, where an entry has one. The state is shared by all
//! rulesets that have an entry of the same id, so that a reload neither forgives nor forgets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{duplicate::Duplicates, gcra::Gcra, usage::Usage};

/// Counters and limiters of one entry id.
#[derive(Debug, Default)]
pub struct EntryState {
    connections: AtomicU32,
    pub(crate) messages: Gcra,
    pub(crate) recipients: Gcra,
    pub(crate) duplicates: Duplicates,
    /// The last hour, counted from 1, in which its expiry was told to the log.
    told_hour: AtomicU64,
    usage: Usage,
}

/// One of an entry's connections, counted until it is dropped.
#[derive(Debug)]
pub struct Connection(Arc<EntryState>);

impl EntryState {
    /// How many connections its clients have open.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How it is used.
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether there is anything in it that must not be forgotten: usage only until it is taken.
    pub(crate) fn is_used(&self) -> bool {
        self.connections() > 0
            || self.messages.is_used()
            || self.recipients.is_used()
            || self.duplicates.is_used()
            || self.usage.is_used()
    }

    /// Counts a connection, unless `most` are open already.
    pub(crate) fn connect(self: &Arc<Self>, most: Option<u32>) -> Option<Connection> {
        let most = most.unwrap_or(u32::MAX);
        let one_more = |open: u32| (open < most).then_some(open + 1);
        self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Connection(Arc::clone(self)))
    }

    /// Whether something that is true of the entry for long should be told now: once an hour.
    /// `uptime` counts from a moment that is always the same.
    pub fn is_time_to_tell(&self, uptime: Duration) -> bool {
        let hour = uptime.as_secs() / 3600 + 1;
        self.told_hour.fetch_max(hour, Ordering::Relaxed) < hour
    }
}

impl Connection {
    /// Whether it counts for this state.
    pub(crate) fn is_of(&self, state: &Arc<EntryState>) -> bool {
        Arc::ptr_eq(&self.0, state)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_back() {
        let state = Arc::new(EntryState::default());
        let (first, second) = (state.connect(Some(2)), state.connect(Some(2)));
        assert!(first.is_some() && second.is_some() && state.connect(Some(2)).is_none());
        assert!(state.connect(None).is_some(), "without a limit they are counted only");
        drop(first);
        assert_eq!(state.connections(), 1);
        assert!(state.connect(Some(2)).is_some_and(|connection| connection.is_of(&state)));
    }

    #[test]
    fn what_lasts_is_told_once_an_hour() {
        let state = EntryState::default();
        let told = [0, 1, 3599, 3600, 3601, 9000, 7000]
            .map(|s| state.is_time_to_tell(Duration::from_secs(s)));
        assert_eq!(told, [true, false, false, true, false, true, false]);
    }
}
