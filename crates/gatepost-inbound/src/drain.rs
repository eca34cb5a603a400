//! The end of service: every session is told, each finishes what it has begun.
//!
//! A session looks at one atomic flag when it waits for its client, and its task is woken once
//! when the flag is set. So draining costs a session nothing until it happens: no channel, no
//! second future to poll. Sessions that do not end in time are cut off.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Whether service is ending, and who must hear of it.
#[derive(Debug, Default)]
pub struct Drain {
    draining: AtomicBool,
    started: Notify,
    emptied: Notify,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    open: HashMap<u64, Handles>,
}

/// How a session is reached. Both are known a moment after it is entered.
#[derive(Debug, Default)]
struct Handles {
    /// That of its task, which stays the same for the life of the task.
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
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
        let sessions = self.sessions();
        let wakers: Vec<Waker> =
            sessions.open.values().filter_map(|session| session.waker.clone()).collect();
        drop(sessions);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Cuts off every session that is left, and says how many there were.
    pub fn cut_off(&self) -> usize {
        let sessions = self.sessions();
        let aborts: Vec<AbortHandle> =
            sessions.open.values().filter_map(|session| session.abort.clone()).collect();
        drop(sessions);
        aborts.iter().for_each(AbortHandle::abort);
        aborts.len()
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
            if self.sessions().open.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    #[cfg(test)]
    fn sessions_open(&self) -> usize {
        self.sessions().open.len()
    }

    /// Starts a session as a task of its own. It counts from this moment on.
    pub(crate) fn spawn<F>(self: &Arc<Self>, session: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut sessions = self.sessions();
        let number = sessions.next;
        sessions.next += 1;
        sessions.open.insert(number, Handles::default());
        drop(sessions);
        let task = tokio::spawn(session(Place { drain: self.clone(), number }));
        if let Some(handles) = self.sessions().open.get_mut(&number) {
            handles.abort = Some(task.abort_handle());
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // A panic cannot leave the map half-changed: each use is one insert, remove or copy.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Makes the current task the one that is woken.
    pub(crate) async fn settle(&self) {
        poll_fn(|cx| {
            if let Some(handles) = self.drain.sessions().open.get_mut(&self.number) {
                handles.waker = Some(cx.waker().clone());
            }
            Poll::Ready(())
        })
        .await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.drain.sessions();
        sessions.open.remove(&self.number);
        if sessions.open.is_empty() {
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
        drain.spawn(|place| async move {
            place.settle().await;
            poll_fn(|_| if place.is_draining() { Poll::Ready(()) } else { Poll::Pending }).await;
        });
        assert_eq!(drain.sessions_open(), 1, "counted from the start");
        tokio::task::yield_now().await;
        drain.begin();
        drain.begun().await;
        tokio::time::timeout(Duration::from_secs(5), drain.finished()).await.expect("drained");
    }

    #[tokio::test]
    async fn a_session_that_does_not_end_is_cut_off() {
        let drain = Arc::new(Drain::default());
        drain.spawn(|place| async move {
            place.settle().await;
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        drain.begin();
        assert_eq!(drain.cut_off(), 1);
        tokio::time::timeout(Duration::from_secs(5), drain.finished()).await.expect("gone");
    }
}
