//! The end of service: every session is told, each finishes what it has begun.
//!
//! A session looks at one atomic flag when it waits for its client, and its task is woken once
//! when the flag is set. So draining costs a session nothing until it happens: no channel, no
//! second future to poll.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::Notify;

/// Whether service is ending, and who must hear of it.
#[derive(Debug, Default)]
pub struct Drain {
    draining: AtomicBool,
    started: Notify,
    emptied: Notify,
    /// One waker a session: that of its task, which stays the same for the life of the task.
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

/// A session's place in the list; dropped with the session.
#[derive(Debug)]
pub(crate) struct Place {
    drain: Arc<Drain>,
    number: u64,
}

impl Drain {
    /// Ends service: sessions that wait for a command are told at once, others after their
    /// transaction.
    pub fn begin(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.started.notify_waiters();
        let wakers: Vec<Waker> = self.sessions().wakers.values().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether service is ending.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Waits until service begins to end.
    pub async fn begun(&self) {
        let started = self.started.notified();
        if !self.is_draining() {
            started.await;
        }
    }

    /// Waits until no session is left.
    pub async fn finished(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.sessions().wakers.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many sessions there are.
    pub fn sessions_open(&self) -> usize {
        self.sessions().wakers.len()
    }

    /// Enters the current task into the list.
    pub(crate) async fn enter(self: &Arc<Self>) -> Place {
        poll_fn(|cx| {
            let mut sessions = self.sessions();
            let number = sessions.next;
            sessions.next += 1;
            sessions.wakers.insert(number, cx.waker().clone());
            Poll::Ready(Place { drain: self.clone(), number })
        })
        .await
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // A panic cannot leave the map half-changed: each use is one insert, remove or copy.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.drain.sessions();
        sessions.wakers.remove(&self.number);
        if sessions.wakers.is_empty() {
            drop(sessions);
            self.drain.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_waiting_session_is_woken_once() {
        let drain = Arc::new(Drain::default());
        let session = tokio::spawn({
            let drain = drain.clone();
            async move {
                let place = drain.enter().await;
                poll_fn(|_| if place.is_draining() { Poll::Ready(()) } else { Poll::Pending })
                    .await;
            }
        });
        while drain.sessions_open() == 0 {
            tokio::task::yield_now().await;
        }
        drain.begin();
        drain.begun().await;
        tokio::time::timeout(Duration::from_secs(5), drain.finished()).await.expect("drained");
        session.await.expect("no panic");
    }
}
