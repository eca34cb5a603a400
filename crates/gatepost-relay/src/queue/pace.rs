//! How many messages are leased ahead of a free connection: as many as an upstream has just taken in
//! the time that a lease takes, so that a fast one never waits for the disk, and a slow one has few
//! messages that an operator cannot hold.

use std::time::Duration;

use tokio::time::Instant;

/// How long it is counted. Some commits on a slow disk.
const SPAN: Duration = Duration::from_millis(100);
/// Messages that are ahead of even the slowest upstream.
const LEAST: usize = 4;
/// Messages that are ahead at most. Each may have an inline body in memory.
const MOST: usize = 128;

#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    now: usize,
    before: usize,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { began: now, now: 0, before: 0 }
    }

    /// One more was done.
    pub(super) fn done(&mut self, now: Instant) {
        self.turn(now);
        self.now += 1;
    }

    /// How many are leased ahead.
    pub(super) fn ahead(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.now.max(self.before).clamp(LEAST, MOST)
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= SPAN {
            self.before = if passed < SPAN * 2 { self.now } else { 0 };
            self.now = 0;
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_done_last() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.ahead(start), LEAST);
        (0..50).for_each(|_| pace.done(start));
        assert_eq!(pace.ahead(start), 50, "it is fast from the beginning");
        assert_eq!(pace.ahead(start + SPAN), 50, "and that is remembered");
        assert_eq!(pace.ahead(start + SPAN * 2), LEAST, "for a while");
        (0..5000).for_each(|_| pace.done(start + SPAN * 2));
        assert_eq!(pace.ahead(start + SPAN * 2), MOST);
        assert_eq!(pace.ahead(start + SPAN * 5), LEAST);
    }
}
