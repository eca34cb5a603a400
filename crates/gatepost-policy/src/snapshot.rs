//! The published ruleset.
//!
//! Readers never wait: a load is a few atomic operations, whatever a publisher does (arc-swap
//! defers its work to the writer). A reader keeps the ruleset it has loaded as long as it likes. So
//! hold a guard for a decision, keep an `Arc<Entry>` for a session, and never keep a ruleset in
//! something that idles.
//!
//! Nor do readers free: taking a million entries apart takes more than half a second, and whoever
//! drops the last handle does it. [`Snapshot::publish`] gives the retired ruleset back, and the
//! publisher keeps it until it [is the last](is_unused) to hold it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::ruleset::Ruleset;

/// Where the current ruleset is found.
#[derive(Debug)]
pub struct Snapshot {
    ruleset: ArcSwap<Ruleset>,
}

impl Snapshot {
    /// Begins with a ruleset.
    pub fn new(ruleset: Ruleset) -> Self {
        Self { ruleset: ArcSwap::from_pointee(ruleset) }
    }

    /// The current ruleset, for one decision. Do not hold the guard across a wait; clone the
    /// [`Arc`] in it for that.
    pub fn load(&self) -> Guard<Arc<Ruleset>> {
        self.ruleset.load()
    }

    /// Replaces the ruleset: whole, at once, for all readers. Revisions should only grow, see
    /// [`Ruleset::with_revision`].
    ///
    /// Returns the retired ruleset, to be kept until [`is_unused`] says that nobody reads it.
    #[must_use = "a reader that drops the last handle of a large ruleset stalls for as long as that takes"]
    pub fn publish(&self, ruleset: Ruleset) -> Arc<Ruleset> {
        self.ruleset.swap(Arc::new(ruleset))
    }
}

/// Whether this is the last handle of a retired ruleset: a swap has counted every guard that was
/// out, and no new one can come.
pub fn is_unused(retired: &Arc<Ruleset>) -> bool {
    Arc::strong_count(retired) == 1
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use super::*;
    use crate::listener::ListenerId;

    fn ruleset(revision: u64) -> Ruleset {
        let text = format!(
            "[[entry]]\nid = \"r{revision}\"\nnetworks = [\"10.0.0.0/8\"]\nsenders = [\"*\"]\n"
        );
        crate::test_policy::compile(&text).expect("a good policy").ruleset.with_revision(revision)
    }

    #[test]
    fn a_reader_keeps_what_it_has_loaded() {
        let snapshot = Snapshot::new(ruleset(1));
        let before = snapshot.load();
        let number = before.generation().number();
        let retired = snapshot.publish(ruleset(2));
        assert_eq!(retired.generation(), before.generation());
        assert!(!is_unused(&retired), "the reader still has it");
        assert_eq!(before.entries()[0].id().as_ref(), "r1");
        assert_eq!(snapshot.load().entries()[0].id().as_ref(), "r2");
        assert_ne!(snapshot.load().generation().number(), number);
        drop(before);
        assert!(is_unused(&retired), "the reader did not free it, and we can");
    }

    #[test]
    fn readers_on_other_threads_always_see_a_whole_ruleset() {
        let snapshot = Snapshot::new(ruleset(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let ruleset = snapshot.load();
                        let client = Ipv4Addr::new(10, 1, 2, 3).into();
                        let entry = ruleset.lookup(ListenerId::new(0), client).expect("allowed");
                        let revision = format!("r{}", ruleset.generation().revision());
                        assert_eq!(**entry.id(), *revision);
                    }
                });
            }
            for revision in 1..100 {
                drop(snapshot.publish(ruleset(revision)));
            }
        });
    }
}
