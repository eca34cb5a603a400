//! The two sides of a gateway that meet at the published ruleset: sessions that ask, and a thread
//! that publishes. Both do what the gateway's own do, without its sockets.

use std::{
    hint::black_box,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use gatepost_policy::{entry::Entry, generation::Generation, ruleset::Ruleset, snapshot::Snapshot};

use crate::policy::{LISTENER, Policy};

/// What a session takes from policy, as `gatepost_inbound::admission` does.
pub fn admit(snapshot: &Snapshot, client: IpAddr) -> Option<(Arc<Entry>, Generation)> {
    let ruleset = snapshot.load();
    let entry = ruleset.lookup(LISTENER, black_box(client))?;
    Some((Arc::clone(entry), ruleset.generation()))
}

/// Where the rulesets come from that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// Each is compiled anew, as the next of the one before.
    Compiled,
    /// Two that were compiled before take turns: nothing is done but swapping.
    Prepared,
}

/// A thread that publishes without a pause.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    began: Instant,
}

struct Shared {
    stop: AtomicBool,
    published: AtomicU32,
}

impl Publisher {
    /// Starts it. The snapshot holds a ruleset of this policy already.
    pub fn start(snapshot: &Arc<Snapshot>, policy: &Arc<Policy>, supply: Supply) -> Self {
        let shared = Arc::new(Shared { stop: false.into(), published: 0.into() });
        let (told, snapshot, policy) =
            (Arc::clone(&shared), Arc::clone(snapshot), Arc::clone(policy));
        let prepared = (supply == Supply::Prepared).then(|| policy.compile());
        let thread = thread::spawn(move || told.publish(&snapshot, &policy, prepared));
        Self { shared, thread, began: Instant::now() }
    }

    /// How many rulesets it has published so far.
    pub fn published(&self) -> u32 {
        self.shared.published.load(Ordering::Relaxed)
    }

    /// Stops it, and says how many rulesets it has published in a second.
    pub fn finish(self) -> f64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a generated policy always compiles");
        let published = self.shared.published.load(Ordering::Relaxed);
        f64::from(published) / self.began.elapsed().as_secs_f64()
    }
}

impl Shared {
    fn publish(&self, snapshot: &Snapshot, policy: &Policy, mut prepared: Option<Ruleset>) {
        let supply = if prepared.is_some() { Supply::Prepared } else { Supply::Compiled };
        while !self.stop.load(Ordering::Relaxed) {
            let next = prepared.take().unwrap_or_else(|| policy.recompile(&snapshot.load()));
            let revision = self.published.load(Ordering::Relaxed) + 1;
            let retired = snapshot.publish(next.with_revision(revision.into()));
            self.published.store(revision, Ordering::Relaxed);
            let retired = unused(retired);
            prepared = (supply == Supply::Prepared).then_some(retired);
        }
    }
}

/// Waits for the readers of a retired ruleset, as the gateway does: none of them must be the one
/// who frees it.
fn unused(mut retired: Arc<Ruleset>) -> Ruleset {
    loop {
        match Arc::try_unwrap(retired) {
            Ok(ruleset) => return ruleset,
            Err(held) => retired = held,
        }
        thread::yield_now();
    }
}
