//! What all sessions of one source look at: what to send, when, and where to note what became of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::Snapshot;
use super::message::{Messages, Recipients};
use super::options::{Pace, SourceOptions};
use super::phase::{Laps, Phase};
use super::schedule::{Backlog, Queue, Schedule};
use super::series::{Series, Window};
use super::tally::Board;

/// What all sessions of one source look at.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) options: SourceOptions,
    pub(super) messages: Messages,
    pub(super) recipients: Recipients,
    /// Connections tried by sessions, which also picks their source address.
    pub(super) tried: AtomicU64,
    /// Connections that came as far as a TCP handshake.
    pub(super) connected: AtomicU64,
    /// TLS handshakes, and those of them that resumed a session.
    pub(super) handshakes: AtomicU64,
    pub(super) resumed: AtomicU64,
    /// Idle connections that were opened.
    pub(super) idle_opened: AtomicU32,
    pub(super) board: Board,
    /// Messages that a session has begun.
    begun: AtomicU64,
    /// When the first message could be sent.
    start: OnceLock<Instant>,
    series: Mutex<Series>,
    /// Of an open loop.
    queue: Option<Queue>,
}

/// A message that a session shall send now.
#[derive(Debug)]
pub(super) struct Ticket {
    /// From 0, in the order in which messages are begun.
    pub(super) number: u64,
    /// Runs since the message was due.
    pub(super) laps: Laps,
}

impl Plan {
    pub(super) fn new(options: SourceOptions) -> anyhow::Result<Self> {
        options.check()?;
        let messages = Messages::build(&options)?;
        let recipients = Recipients::new(&options);
        let queue = match options.pace {
            Pace::Answers => None,
            Pace::Clock { backlog, .. } => Some(Queue::new(backlog)),
        };
        let (tried, connected, handshakes, resumed, begun) = Default::default();
        let (idle_opened, start) = Default::default();
        let (board, series) = (Board::new(), Mutex::new(Series::new()));
        Ok(Self {
            options,
            messages,
            recipients,
            tried,
            connected,
            handshakes,
            resumed,
            idle_opened,
            board,
            begun,
            start,
            series,
            queue,
        })
    }

    /// No more sessions than messages.
    pub(super) fn sessions(&self) -> u32 {
        let sessions = self.options.sessions;
        self.options.messages.map_or(sessions, |messages| messages.min(sessions.into()) as u32)
    }

    /// The clock of an open loop, if this is one and there is something to send.
    pub(super) fn schedule(&self) -> Option<Schedule> {
        let Pace::Clock { rate, arrivals, .. } = self.options.pace else { return None };
        let (messages, duration) = (self.options.messages, self.options.duration);
        let sessions = self.sessions();
        (sessions > 0).then_some(Schedule { rate, arrivals, messages, duration, sessions })
    }

    pub(super) fn run_clock(&self, schedule: &Schedule, start: Instant, stop: &Receiver<()>) {
        if let Some(queue) = &self.queue {
            schedule.run(queue, start, stop);
        }
    }

    /// From here on messages are sent.
    pub(super) fn begin(&self, start: Instant) {
        // It is set once, here.
        let _ = self.start.set(start);
        // What was counted up to now are idle connections.
        self.connected.store(0, Ordering::Relaxed);
    }

    /// Waits until the next message may be sent; `None` if there is none any more.
    pub(super) async fn next(&self) -> Option<Ticket> {
        match &self.queue {
            None => {
                let now = Instant::now();
                if self.is_over(now) {
                    return None;
                }
                let messages = self.options.messages.unwrap_or(u64::MAX);
                let more = |begun| (begun < messages).then_some(begun + 1);
                let number = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
                number.ok().map(|number| Ticket { number, laps: Laps::since(now) })
            }
            Some(queue) => {
                let (due, now) = queue.next().await?;
                let number = self.begun.fetch_add(1, Ordering::Relaxed);
                let mut laps = Laps::since(due);
                laps.mark_at(Phase::Waiting, now);
                Some(Ticket { number, laps })
            }
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let (Some(duration), Some(&start)) = (self.options.duration, self.start.get()) else {
            return false;
        };
        now.saturating_duration_since(start) >= duration
    }

    /// Messages that should have been sent: what was asked for, or where the clock is the end, what
    /// came to be due or was begun.
    pub(super) fn asked(&self) -> u64 {
        match (self.options.messages, self.options.duration, self.backlog()) {
            (Some(messages), None, _) => messages,
            (_, _, Some(backlog)) => backlog.scheduled,
            (_, _, None) => self.begun.load(Ordering::Relaxed),
        }
    }

    /// Of an open loop.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        self.queue.as_ref().map(Queue::backlog)
    }

    /// A second is over.
    pub(super) fn tick(&self, now: Duration) {
        let window = self.board.window();
        self.series().tick(window, now);
    }

    /// The last part of a second is over.
    pub(super) fn finish(&self, window: Window, now: Duration) -> MutexGuard<'_, Series> {
        let mut series = self.series();
        series.finish(window, now);
        series
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let [accepted, refused, failed] = self.board.counts();
        Snapshot {
            messages: self.options.messages,
            duration: self.options.duration,
            elapsed: self.start.get().map(Instant::elapsed),
            accepted,
            refused,
            failed,
            last: self.series().last(),
            backlog: self.backlog().map(|backlog| backlog.waiting),
            idle: (self.idle_opened.load(Ordering::Relaxed), self.options.idle),
        }
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        // A poisoned lock means a panic, which `Source::run` passes on.
        self.series.lock().unwrap()
    }
}
