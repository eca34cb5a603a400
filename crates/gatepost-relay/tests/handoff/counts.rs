//! What is counted, read back: a recorder that belongs to one relay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Counters by name and labels.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Mutex<HashMap<Key, Arc<AtomicU64>>>>);

impl Counts {
    /// Makes something whose handles count here.
    pub(crate) fn of<T>(&self, make: impl FnOnce() -> T) -> T {
        with_local_recorder(self, make)
    }

    /// A counter that has these labels among its own; all of them together.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |key: &Key| {
            let has = |&(name, value): &(&str, &str)| {
                key.labels().any(|label| label.key() == name && label.value() == value)
            };
            key.name() == name && labels.iter().all(has)
        };
        let found = all.iter().filter(|(key, _)| fits(key));
        found.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    /// Messages of which nobody knows whether their upstream has them.
    pub(crate) fn ambiguous(&self) -> u64 {
        self.get("gatepost_deliveries_total", &[("result", "ambiguous")])
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(all.entry(key.clone()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
