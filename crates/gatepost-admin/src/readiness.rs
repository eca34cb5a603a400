//! Whether the gateway should be given connections.
//!
//! Ready means: bound, with a policy, and not draining. The state of an upstream is no part of it,
//! because a gateway that says 451 is better than none.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What readiness depends on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Debug, Default)]
struct State {
    bound: AtomicBool,
    policy_loaded: AtomicBool,
    draining: AtomicBool,
}

/// One condition of readiness, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at.
    pub name: &'static str,
    /// Why it fails, if it does.
    pub failure: Option<&'static str>,
}

impl Readiness {
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
    pub fn checks(&self) -> [Check; 3] {
        let State { bound, policy_loaded, draining } = &*self.0;
        let check =
            |name, passes: bool, failure| Check { name, failure: (!passes).then_some(failure) };
        [
            check("bound", bound.load(Ordering::Acquire), "not all listeners are bound yet"),
            check("policy", policy_loaded.load(Ordering::Acquire), "no policy is loaded yet"),
            check("draining", !draining.load(Ordering::Acquire), "the gateway is about to end"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_bound_with_a_policy_and_not_draining() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.set_bound();
        assert!(!readiness.is_ready());
        readiness.clone().set_policy_loaded();
        assert!(readiness.is_ready());
        readiness.set_draining();
        let failing: Vec<_> =
            readiness.checks().into_iter().filter(|check| check.failure.is_some()).collect();
        assert_eq!(failing.len(), 1);
        assert_eq!(failing[0].name, "draining");
    }
}
