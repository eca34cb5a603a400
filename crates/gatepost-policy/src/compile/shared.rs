//! What many entries of a fleet have in common, stored once.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use toml::Spanned;

/// Lists that are written the same in many entries, parsed and stored once.
pub(super) struct Lists<T>(HashMap<Vec<Spanned<Box<str>>>, Arc<[T]>>);

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Lists<T> {
    pub(super) fn find(&self, written: &Vec<Spanned<Box<str>>>) -> Option<Arc<[T]>> {
        self.0.get(written).cloned()
    }

    pub(super) fn keep(&mut self, written: Vec<Spanned<Box<str>>>, parsed: Vec<T>) -> Arc<[T]> {
        Arc::clone(self.0.entry(written).or_insert(parsed.into()))
    }
}

/// Values that are equal in many entries, stored once.
pub(super) struct Values<T>(HashSet<Arc<T>>);

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Values<T> {
    pub(super) fn keep(&mut self, value: T) -> Arc<T> {
        if let Some(kept) = self.0.get(&value) {
            return Arc::clone(kept);
        }
        let value = Arc::new(value);
        self.0.insert(Arc::clone(&value));
        value
    }
}
