//! Whether the gateway should be given connections.
//!
//! Ready means: bound, with a policy, able to keep a message, and not draining. The state of an
//! upstream is no part of it, because a gateway that says 451, or keeps what cannot be delivered now,
//! is better than none.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What readiness depends on. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<State>);

#[derive(Debug)]
struct State {
    bound: AtomicBool,
    policy_loaded: AtomicBool,
    draining: AtomicBool,
    spool: Probe,
}

/// Asked at the time of the question; the error says why not.
struct Probe(Box<dyn Fn() -> Result<(), String> + Send + Sync>);

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

/// One condition of readiness, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at.
    pub name: &'static str,
    /// Why it fails, if it does.
    pub failure: Option<Cow<'static, str>>,
}

impl Readiness {
    /// Nothing is ready yet. `spool` says whether a message could be kept now, and why not; it is asked
    /// each time, and must not take long.
    pub fn new(spool: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(State {
            bound: AtomicBool::new(false),
            policy_loaded: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            spool: Probe(Box::new(spool)),
        }))
    }

    /// Every listener is bound.
    pub fn set_bound(&self) {
        self.0.bound.store(true, Ordering::Release);
    }

    /// There is a policy.
    pub fn set_policy_loaded(&self) {
        self.0.policy_loaded.store(true, Ordering::Release);
    }

    /// The gateway is about to end. There is no way back.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether every check passes.
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.failure.is_none())
    }

    /// Every condition, as it is now.
    pub fn checks(&self) -> [Check; 4] {
        let State { bound, policy_loaded, draining, spool } = &*self.0;
        let check = |name, passes: bool, failure: &'static str| Check {
            name,
            failure: (!passes).then_some(failure.into()),
        };
        [
            check("bound", bound.load(Ordering::Acquire), "not all listeners are bound yet"),
            check("policy", policy_loaded.load(Ordering::Acquire), "no policy is loaded yet"),
            Check { name: "spool", failure: (spool.0)().err().map(Cow::from) },
            check("draining", !draining.load(Ordering::Acquire), "the gateway is about to end"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(readiness: &Readiness) -> Vec<String> {
        let failing = readiness.checks().into_iter();
        failing.filter_map(|it| Some(format!("{}: {}", it.name, it.failure?))).collect()
    }

    #[test]
    fn the_spool_is_asked_each_time() {
        let is_full = Arc::new(AtomicBool::new(false));
        let asked = is_full.clone();
        let readiness = Readiness::new(move || {
            if asked.load(Ordering::Acquire) { Err("no room".to_owned()) } else { Ok(()) }
        });
        readiness.set_bound();
        readiness.set_policy_loaded();
        assert!(readiness.is_ready());
        is_full.store(true, Ordering::Release);
        assert_eq!(
            (readiness.is_ready(), failing(&readiness)),
            (false, vec!["spool: no room".into()])
        );
        is_full.store(false, Ordering::Release);
        assert!(readiness.is_ready(), "it can be mended while the gateway runs");
    }

    #[test]
    fn ready_is_bound_with_a_policy_and_not_draining() {
        let readiness = Readiness::new(|| Ok(()));
        assert!(!readiness.is_ready());
        readiness.set_bound();
        assert!(!readiness.is_ready());
        readiness.clone().set_policy_loaded();
        assert!(readiness.is_ready());
        readiness.set_draining();
        assert_eq!(failing(&readiness), ["draining: the gateway is about to end"]);
    }
}
