//! When messages are due: the clock of an open loop, and the queue between it and the sessions.
//!
//! A thread of its own waits for each moment, because timers of the runtime are exact to a
//! millisecond only, and puts the message into the queue; whichever session is free takes the oldest.
//! Latency counts from the moment a message was due, so its waiting counts, and no stall of the server
//! can hide the messages behind it (no coordinated omission). The queue is bounded: what finds it full
//! is counted and not sent. The thread never waits for a session.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::sync::Semaphore;

/// Far above what one machine can send; a period of a nanosecond or more.
const RATE_MAX: f64 = 1e9;

/// Where the random numbers of a run begin: the same for all runs, so that they can be repeated.
const SEED: u64 = 0x6761_7465_706f_7374;

/// How long the messages that are due when the duration ends may still wait for a session. What is left
/// then is not sent: a server that is too slow must not make a run of ten seconds one of hours.
const WORK_OFF_MAX: Duration = Duration::from_secs(10);

/// Messages per second, all sessions together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// More than none; the fraction counts.
    pub fn per_second(messages: f64) -> anyhow::Result<Self> {
        ensure!(
            messages > 0.0 && messages <= RATE_MAX,
            "a rate is more than 0 and up to {RATE_MAX}"
        );
        Ok(Self(messages))
    }

    /// As a number.
    pub(super) fn messages_per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let messages = text.parse().ok().with_context(|| format!("{text:?} is no number"))?;
        Self::per_second(messages)
    }
}

/// The rhythm in which messages become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// One period after the other.
    Even,
    /// At random, as from many clients that know nothing of each other.
    Poisson,
}

impl Arrivals {
    /// Its name in a summary.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        }
    }
}

/// The moments at which messages are due, from the start on; it has no end.
#[derive(Debug)]
struct Moments {
    rate: f64,
    arrivals: Arrivals,
    number: f64,
    /// Seconds; of Poisson arrivals the sum of the pauses so far.
    at: f64,
    random: fastrand::Rng,
}

impl Moments {
    fn new(rate: Rate, arrivals: Arrivals) -> Self {
        let random = fastrand::Rng::with_seed(SEED);
        Self { rate: rate.0, arrivals, number: 0.0, at: 0.0, random }
    }

    /// The next moment, counted from the start.
    fn next(&mut self) -> Duration {
        match self.arrivals {
            // A multiple and no sum: rounding must not pile up.
            Arrivals::Even => self.at = self.number / self.rate,
            // An exponential pause; the logarithm's argument is more than 0.
            Arrivals::Poisson => self.at -= (1.0 - self.random.f64()).ln() / self.rate,
        }
        self.number += 1.0;
        Duration::try_from_secs_f64(self.at).unwrap_or(Duration::MAX)
    }
}

/// Messages that are due.
#[derive(Debug)]
pub(super) struct Queue {
    /// At least as many permits as there are messages in the queue. A permit without a message is the
    /// end for the session that gets it.
    permits: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    due: VecDeque<Instant>,
    most: usize,
    stand: Backlog,
}

/// What an open loop tells about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Messages that became due, sent or not.
    pub(super) scheduled: u64,
    /// Those of them that were not sent: the queue was full, or the run was over.
    pub(super) not_sent: u64,
    /// In the queue now.
    pub(super) waiting: u64,
    /// The longest that the queue has been.
    pub(super) waiting_max: u64,
    /// How late the last message that was begun was begun.
    pub(super) behind: Duration,
}

impl Queue {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        let waiting = Waiting { due: VecDeque::new(), most: most.get(), stand: Backlog::default() };
        Self { permits: Semaphore::new(0), waiting: Mutex::new(waiting) }
    }

    /// A message is due.
    fn push(&self, due: Instant) {
        let mut waiting = self.waiting();
        waiting.stand.scheduled += 1;
        if waiting.due.len() >= waiting.most {
            waiting.stand.not_sent += 1;
            return;
        }
        waiting.due.push_back(due);
        waiting.stand.waiting_max = waiting.stand.waiting_max.max(waiting.due.len() as u64);
        drop(waiting);
        self.permits.add_permits(1);
    }

    /// Waits for the next message: when it was due, and what time it is. `None` is the end.
    pub(super) async fn next(&self) -> Option<(Instant, Instant)> {
        // The semaphore is never closed.
        self.permits.acquire().await.ok()?.forget();
        let mut waiting = self.waiting();
        let due = waiting.due.pop_front()?;
        let now = Instant::now();
        waiting.stand.behind = now.saturating_duration_since(due);
        Some((due, now))
    }

    /// No more messages: each session finds the end behind those that are still waiting.
    fn finish(&self, sessions: u32) {
        self.permits.add_permits(sessions as usize);
    }

    /// What is still waiting is not sent.
    fn abandon(&self) {
        let mut waiting = self.waiting();
        waiting.stand.not_sent += waiting.due.len() as u64;
        waiting.due.clear();
    }

    /// How things stand.
    pub(super) fn backlog(&self) -> Backlog {
        let waiting = self.waiting();
        Backlog { waiting: waiting.due.len() as u64, ..waiting.stand }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A poisoned lock means a panic, which `Source::run` passes on.
        self.waiting.lock().unwrap()
    }
}

/// Who puts messages into the queue, for how long.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) rate: Rate,
    pub(super) arrivals: Arrivals,
    pub(super) messages: Option<u64>,
    pub(super) duration: Option<Duration>,
    /// How many sessions must hear of the end.
    pub(super) sessions: u32,
}

impl Schedule {
    /// Blocks until all messages are due and taken, or until the other end of `stop` is gone.
    pub(super) fn run(&self, queue: &Queue, start: Instant, stop: &Receiver<()>) {
        let mut moments = Moments::new(self.rate, self.arrivals);
        let mut left = self.messages.unwrap_or(u64::MAX);
        while left > 0 {
            let offset = moments.next();
            let Some(due) = start.checked_add(offset) else { break };
            if self.duration.is_some_and(|duration| offset >= duration) {
                break;
            }
            let pause = due.saturating_duration_since(Instant::now());
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            queue.push(due);
            left -= 1;
        }
        queue.finish(self.sessions);
        if self.duration.is_some()
            && stop.recv_timeout(WORK_OFF_MAX) == Err(RecvTimeoutError::Timeout)
        {
            queue.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn rate(messages: f64) -> Rate {
        Rate::per_second(messages).unwrap()
    }

    fn queue(most: usize) -> Queue {
        Queue::new(NonZeroUsize::new(most).unwrap())
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut moments = Moments::new(rate(3.0), Arrivals::Even);
        let first: Vec<_> = (0..4).map(|_| moments.next().as_millis()).collect();
        assert_eq!(first, [0, 333, 666, 1000]);
        let last = (4..=3_000_000).map(|_| moments.next()).last().unwrap();
        assert_eq!(last, Duration::from_secs(1_000_000));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_their_kind() {
        const COUNT: u32 = 100_000;
        let mut moments = Moments::new(rate(1000.0), Arrivals::Poisson);
        let at: Vec<_> = (0..COUNT).map(|_| moments.next().as_secs_f64()).collect();
        assert!(at.is_sorted());
        let mean = at.last().unwrap() / f64::from(COUNT);
        assert!((mean - 0.001).abs() < 0.000_02, "{mean}");
        // Of exponential pauses, one in e is longer than the mean; of even ones none.
        let longer = at.windows(2).filter(|pair| pair[1] - pair[0] > 0.001).count();
        let share = f64::from(u32::try_from(longer).unwrap()) / f64::from(COUNT);
        assert!((share - (-1f64).exp()).abs() < 0.01, "{share}");
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for bad in ["0", "-1", "nan", "inf", "x", ""] {
            bad.parse::<Rate>().unwrap_err();
        }
        assert_eq!("0.5".parse::<Rate>().unwrap(), rate(0.5));
    }

    #[tokio::test]
    async fn waiting_counts_from_the_moment_that_was_due() {
        let queue = queue(10);
        let due = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        queue.push(due);
        queue.finish(1);
        let (was_due, now) = queue.next().await.unwrap();
        assert_eq!(was_due, due);
        assert!(now - due >= Duration::from_secs(3));
        assert!(queue.backlog().behind >= Duration::from_secs(3));
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn what_finds_the_queue_full_is_counted_and_not_sent() {
        let queue = queue(2);
        let now = Instant::now();
        for offset in 0..5 {
            queue.push(now + Duration::from_nanos(offset));
        }
        let stand =
            Backlog { scheduled: 5, not_sent: 3, waiting: 2, waiting_max: 2, ..Default::default() };
        assert_eq!(queue.backlog(), stand);
        assert_eq!(queue.next().await.unwrap().0, now);
        queue.abandon();
        queue.finish(1);
        // The permit of the abandoned message is as good an end.
        assert_eq!(queue.next().await, None);
        assert_eq!(queue.backlog().not_sent, 4);
    }

    #[test]
    fn a_schedule_ends_by_number_by_time_and_when_told() {
        let schedule = Schedule {
            rate: rate(1e6),
            arrivals: Arrivals::Even,
            messages: Some(50),
            duration: None,
            sessions: 3,
        };
        let run = |schedule: &Schedule| {
            let queue = queue(1000);
            let (stop, stopped) = mpsc::channel();
            // What is to be done is in the past, so that nothing waits; gone is who would say stop.
            let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
            let keep = schedule.duration.is_none().then_some(stop);
            schedule.run(&queue, start, &stopped);
            drop(keep);
            (queue.backlog().scheduled, queue.permits.available_permits())
        };
        assert_eq!(run(&schedule), (50, 53));
        let told = Schedule { messages: None, duration: Some(Duration::from_secs(5)), ..schedule };
        assert_eq!(run(&told), (0, 0), "told to stop before the first one");
    }

    #[test]
    fn a_schedule_ends_with_its_duration() {
        let schedule = Schedule {
            rate: rate(1000.0),
            arrivals: Arrivals::Even,
            messages: None,
            duration: Some(Duration::from_millis(20)),
            sessions: 1,
        };
        let queue = queue(1000);
        let (stop, stopped) = mpsc::channel();
        std::thread::scope(|scope| {
            let (queue, schedule) = (&queue, &schedule);
            scope.spawn(move || schedule.run(queue, Instant::now(), &stopped));
            while queue.permits.available_permits() < 21 {
                std::thread::yield_now();
            }
            drop(stop);
        });
        assert_eq!(queue.backlog().scheduled, 20);
    }
}
