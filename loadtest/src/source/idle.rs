//! Connections that are opened first and then stand, silent, while mail flows beside them.
//!
//! Each has been greeted, has said hello, and is encrypted where the sessions are. It has no task and no
//! buffer: whether it still stands is looked at twice, when the mail begins and when it is over.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{self, JoinSet};

use super::connection::Connection;
use super::phase::Laps;
use super::plan::Plan;
use super::session::FAILURES_IN_A_ROW_MAX;
use super::tally::Trouble;

/// Connections that are being opened, or closed, at the same time: enough to keep a server busy, and no
/// more than any listen queue takes.
const AT_ONCE_MAX: u32 = 64;

/// The connections, and what is known of them.
#[derive(Debug)]
pub(super) struct IdleConnections {
    connections: Vec<Connection>,
    pub(super) outcome: IdleOutcome,
}

/// What became of idle connections.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleOutcome {
    pub(super) asked: u32,
    pub(super) opened: u32,
    /// How long opening took.
    pub(super) opening: Duration,
    /// Still standing when the mail began, and when it was over.
    pub(super) at_beginning: u32,
    pub(super) at_end: u32,
    /// Why one of those that are missing could not be opened.
    pub(super) trouble: Option<Trouble>,
}

impl IdleConnections {
    /// Opens as many as were asked for, or can be had.
    pub(super) async fn open(plan: &Arc<Plan>) -> Self {
        let began = Instant::now();
        let next = Arc::new(AtomicU32::new(0));
        let mut openers = JoinSet::new();
        for _ in 0..plan.options.idle.min(AT_ONCE_MAX) {
            openers.spawn(open_some(Arc::clone(plan), Arc::clone(&next)));
        }
        let mut idle = Self::none(plan);
        for (connections, trouble) in openers.join_all().await {
            idle.connections.extend(connections);
            idle.outcome.trouble = idle.outcome.trouble.or(trouble);
        }
        idle.outcome.opened = count(&idle.connections);
        idle.outcome.opening = began.elapsed();
        idle
    }

    /// Before the first one.
    pub(super) fn none(plan: &Plan) -> Self {
        let outcome = IdleOutcome { asked: plan.options.idle, ..IdleOutcome::default() };
        Self { connections: Vec::new(), outcome }
    }

    /// Lets go of those that have fallen meanwhile.
    pub(super) async fn count_at_beginning(&mut self) {
        self.drop_fallen().await;
        self.outcome.at_beginning = count(&self.connections);
    }

    /// Looks at them for the last time, and takes leave of those that stand.
    pub(super) async fn close(mut self) -> IdleOutcome {
        self.drop_fallen().await;
        self.outcome.at_end = count(&self.connections);
        let mut closers = JoinSet::new();
        let each = self.connections.len().div_ceil(AT_ONCE_MAX as usize);
        while !self.connections.is_empty() {
            let rest = self.connections.len().saturating_sub(each);
            let some = self.connections.split_off(rest);
            closers.spawn(async {
                for connection in some {
                    connection.quit().await;
                }
            });
        }
        closers.join_all().await;
        self.outcome
    }

    async fn drop_fallen(&mut self) {
        for mut connection in mem::take(&mut self.connections) {
            // Without a budget: a task that has used it up finds every socket silent.
            if task::unconstrained(connection.stands()).await {
                self.connections.push(connection);
            }
        }
    }
}

/// Opens one after the other until there are enough, or no more to be had.
async fn open_some(plan: Arc<Plan>, next: Arc<AtomicU32>) -> (Vec<Connection>, Option<Trouble>) {
    let (mut connections, mut trouble) = (Vec::new(), None);
    let mut failures_in_a_row = 0;
    while failures_in_a_row < FAILURES_IN_A_ROW_MAX {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= plan.options.idle {
            break;
        }
        let mut laps = Laps::since(Instant::now());
        match Connection::open(&plan, plan.options.idle_address(index), &mut laps).await {
            Ok(mut connection) => {
                connection.rest();
                connections.push(connection);
                plan.idle_opened.fetch_add(1, Ordering::Relaxed);
                failures_in_a_row = 0;
            }
            Err(cause) => {
                trouble.get_or_insert(cause);
                failures_in_a_row += 1;
            }
        }
    }
    (connections, trouble)
}

fn count(connections: &[Connection]) -> u32 {
    // There were as many as a u32 says.
    connections.len() as u32
}
