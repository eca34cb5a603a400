//! The ruleset: the whole policy, compiled and immutable.
//!
//! Compiling is slow, complete and loud: it reports all it finds and yields nothing unless all is
//! well. Looking up is fast and silent: one longest-prefix match, no allocation, no lock. A ruleset
//! is never changed; a new policy is a new ruleset.

use std::{net::IpAddr, sync::Arc};

use crate::{
    compile,
    entry::Entry,
    exposure,
    generation::Generation,
    listener::{self, ListenerId, View},
    network::{Network, client_address},
    report::{PolicyErrors, Report},
};

/// A compiled policy.
#[derive(Debug)]
pub struct Ruleset {
    generation: Generation,
    /// The tables hold indexes into it.
    entries: Box<[Arc<Entry>]>,
    views: Box<[View]>,
}

/// A ruleset, and what its author should know.
#[derive(Debug)]
pub struct Compiled {
    /// The ruleset, with revision 0.
    pub ruleset: Ruleset,
    /// One line each, with its place.
    pub warnings: Vec<String>,
}

impl Ruleset {
    /// Compiles a policy for the named listeners. `origin` is the file's name in messages.
    pub fn compile(text: &str, origin: &str, listeners: &[&str]) -> Result<Compiled, PolicyErrors> {
        let mut report = Report::new(text, origin);
        let placed = compile::entries(text, listeners, &mut report);
        exposure::refuse_everybody(&placed, &mut report);
        let views = listener::views(&placed, listeners, &mut report);
        let warnings = report.finish()?;
        let entries = placed.into_iter().map(|placed| placed.entry).collect();
        let ruleset = Self { generation: Generation::new(0, text), entries, views };
        Ok(Compiled { ruleset, warnings })
    }

    /// The same ruleset under the revision that its publisher gives it.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.generation = self.generation.with_revision(revision);
        self
    }

    /// Which policy this is.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The entry that a client is served by: the one with the narrowest network around it, among
    /// those that the listener sees. `None`: the client is not allowed.
    pub fn lookup(&self, listener: ListenerId, client: IpAddr) -> Option<&Arc<Entry>> {
        let view = self.views.get(listener.index())?;
        let index = view.table.longest_match(client_address(client))?;
        self.entries.get(index as usize)
    }

    /// Every network around a client that the listener sees, the narrowest first: that one decides,
    /// it hides the others. Allocates; for explanations.
    pub fn networks_around(
        &self,
        listener: ListenerId,
        client: IpAddr,
    ) -> Vec<(Network, &Arc<Entry>)> {
        let Some(view) = self.views.get(listener.index()) else { return Vec::new() };
        let matches = view.table.all_matches(client_address(client));
        matches.into_iter().map(|(network, i)| (network, &self.entries[i as usize])).collect()
    }

    /// The listener with a name.
    pub fn listener(&self, name: &str) -> Option<ListenerId> {
        self.views.iter().position(|view| *view.name == *name).map(ListenerId::new)
    }

    /// The name of a listener.
    pub fn listener_name(&self, listener: ListenerId) -> Option<&str> {
        self.views.get(listener.index()).map(|view| &*view.name)
    }

    /// The enabled entries, in the order of the file.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Whether there is no enabled entry, so that nobody is allowed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
