//! Entries by id, at some five octets each: the ids themselves stay in the entries.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// Indexes of entries, found by their ids.
#[derive(Debug)]
pub(crate) struct Ids {
    indexes: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Ids {
    /// None yet, and room for so many. To make room later is to read every id again, from all over
    /// the memory.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { indexes: HashTable::with_capacity(count), hasher: DefaultHashBuilder::default() }
    }

    /// Adds an id, unless it is there already. `id_at` tells the ids of those that are.
    pub(crate) fn insert<'e>(
        &mut self,
        index: u32,
        id: &str,
        id_at: impl Fn(u32) -> &'e str,
    ) -> bool {
        let hasher = &self.hasher;
        let is_known = |known: &u32| id_at(*known) == id;
        let rehash = |known: &u32| hasher.hash_one(id_at(*known));
        match self.indexes.entry(hasher.hash_one(id), is_known, rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(index);
                true
            }
        }
    }

    pub(crate) fn find<'e>(&self, id: &str, id_at: impl Fn(u32) -> &'e str) -> Option<u32> {
        self.indexes.find(self.hasher.hash_one(id), |index| id_at(*index) == id).copied()
    }
}
