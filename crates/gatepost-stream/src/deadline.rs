//! A deadline that is cheap to move and late by a tick at the most.
//!
//! The timer behind it is armed lazily: moving the deadline away only stores a number. When the
//! timer fires too early for what the deadline has become, it is armed again; so a session that
//! sends a thousand commands in a minute touches the timer wheel once or twice.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::{Clock, CoarseInstant};

/// A moment that a deadline can be moved to. Keeping one costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(CoarseInstant);

impl Mark {
    /// The mark `by` later, but no later than `most`.
    #[must_use]
    pub fn later(self, by: Duration, most: Self) -> Self {
        Self(self.0.plus(by)).min(most)
    }

    /// How long this mark is after an `earlier` one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.since(earlier.0)
    }
}

#[derive(Debug)]
pub(crate) struct Deadline {
    clock: Clock,
    due: CoarseInstant,
    /// The deadline is never moved past this.
    last: CoarseInstant,
    /// What the timer is set to, once there is one.
    armed: Option<(CoarseInstant, Pin<Box<Sleep>>)>,
}

impl Deadline {
    pub(crate) fn new(clock: Clock, limit: Duration) -> Self {
        Self { due: clock.after(limit), last: clock.after(Duration::MAX), armed: None, clock }
    }

    /// The clock that it goes by.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Moves the deadline to `limit` from now.
    pub(crate) fn move_to(&mut self, limit: Duration) {
        self.due = self.clock.after(limit).min(self.last);
    }

    /// Ends everything at `lifetime` from now, wherever the deadline is moved.
    pub(crate) fn end_after(&mut self, lifetime: Duration) {
        self.last = self.clock.after(lifetime);
        self.due = self.due.min(self.last);
    }

    /// Moves the deadline to a mark, but not past the end of the lifetime.
    pub(crate) fn move_to_mark(&mut self, mark: Mark) {
        self.due = mark.0.min(self.last);
    }

    /// A moment, `limit` from now.
    pub(crate) fn mark(&self, limit: Duration) -> Mark {
        Mark(self.clock.after(limit))
    }

    /// Whether the lifetime is over, wherever the deadline is.
    pub(crate) fn lifetime_is_over(&self) -> bool {
        self.clock.now() > self.last
    }

    /// Ready when the deadline has passed; otherwise the task is woken when it may have.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A timer is not looked at in a turn whose budget is used up, and a peer that sends records
        // without text uses up every one. The clock is never ahead.
        if self.clock.now() > self.due {
            return Poll::Ready(());
        }
        loop {
            let (armed_for, sleep) = match &mut self.armed {
                Some((armed_for, sleep)) if *armed_for <= self.due => (armed_for, sleep),
                armed => {
                    let sleep = Box::pin(tokio::time::sleep_until(self.clock.instant(self.due)));
                    let (armed_for, sleep) = armed.insert((self.due, sleep));
                    (armed_for, sleep)
                }
            };
            std::task::ready!(sleep.as_mut().poll(cx));
            if *armed_for >= self.due {
                return Poll::Ready(());
            }
            *armed_for = self.due;
            sleep.as_mut().reset(self.clock.instant(self.due));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::coop;

    use super::*;

    #[tokio::test]
    async fn a_deadline_passes_for_a_task_that_is_never_done() {
        let clock = Clock::start();
        let mut deadline = Deadline::new(clock.clone(), Duration::ZERO);
        while clock.now() <= deadline.due {
            tokio::time::sleep(Clock::TICK).await;
        }
        let passed = poll_fn(|cx| {
            while let Poll::Ready(budget) = coop::poll_proceed(cx) {
                budget.made_progress();
            }
            Poll::Ready(deadline.poll_passed(cx))
        });
        assert!(passed.await.is_ready());
    }
}
