//! The deliveries under way: counted, awaited, and dropped together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::{Notify, watch};

/// Deliveries of messages that were read from the spool, at once. Each holds at most one chunk of a body
/// and its recipients.
pub(super) const TAKEN_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Tasks {
    counts: Arc<Counts>,
    cut: watch::Sender<bool>,
}

#[derive(Debug)]
struct Counts {
    /// All of them.
    all: AtomicUsize,
    /// Those that were read from the spool.
    taken: AtomicUsize,
    /// None is left.
    gone: Notify,
    /// There is room for another one.
    wake: Arc<Notify>,
}

/// One of them. Dropping it says that it has ended.
#[derive(Debug)]
struct Counted {
    counts: Arc<Counts>,
    kind: Kind,
}

/// Where the message of a delivery comes from: each kind has a bound of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fresh,
    Taken,
}

impl Tasks {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let counts = Counts { all: 0.into(), taken: 0.into(), gone: Notify::new(), wake };
        Self { counts: Arc::new(counts), cut: watch::Sender::new(false) }
    }

    /// How many more may be read from the spool.
    pub(super) fn free(&self) -> usize {
        TAKEN_MAX.saturating_sub(self.counts.taken.load(Acquire))
    }

    /// Begins a delivery. It is dropped wherever it is once all of them are [cut](Self::cut).
    pub(super) fn spawn(&self, kind: Kind, delivery: impl Future<Output = ()> + Send + 'static) {
        let counted = Counted::new(&self.counts, kind);
        let mut cut = self.cut.subscribe();
        tokio::spawn(async move {
            let _counted = counted;
            tokio::select! {
                biased;
                () = delivery => {}
                // An error is a sender that is gone, and everything with it.
                _ = cut.wait_for(|is_cut| *is_cut) => {}
            }
        });
    }

    /// Waits until none is left.
    pub(super) async fn ended(&self) {
        loop {
            let gone = self.counts.gone.notified();
            if self.counts.all.load(Acquire) == 0 {
                return;
            }
            gone.await;
        }
    }

    /// Drops all of them.
    pub(super) fn cut(&self) {
        self.cut.send_replace(true);
    }
}

impl Counted {
    fn new(counts: &Arc<Counts>, kind: Kind) -> Self {
        counts.all.fetch_add(1, AcqRel);
        if kind == Kind::Taken {
            counts.taken.fetch_add(1, AcqRel);
        }
        Self { counts: counts.clone(), kind }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.kind == Kind::Taken {
            self.counts.taken.fetch_sub(1, AcqRel);
            self.counts.wake.notify_one();
        }
        if self.counts.all.fetch_sub(1, AcqRel) == 1 {
            self.counts.gone.notify_waiters();
        }
    }
}
