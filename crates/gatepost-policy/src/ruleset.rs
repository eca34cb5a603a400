//! The ruleset: the whole policy, compiled and immutable.
//!
//! Compiling is slow, complete and loud: it reports all it finds and yields nothing unless all is
//! well. Looking up is fast and silent: one longest-prefix match, no allocation, no lock. A ruleset
//! is never changed; a new policy is a new ruleset.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    compile::{self, Tables},
    credential::{Credential, Credentials},
    date::Moment,
    document::DocumentError,
    entry::{Action, Entry},
    expectation::{self, Expectations},
    exposure,
    generation::{ContentHash, Generation},
    ids::Ids,
    listener::{self, ListenerId, View},
    network::{Network, client_address},
    proxies,
    report::{PolicyErrors, Report},
    route::Routes,
    site::Site,
    state::EntryState,
};

/// A compiled policy.
#[derive(Debug)]
pub struct Ruleset {
    generation: Generation,
    content: ContentHash,
    site: Arc<Site>,
    /// The tables hold indexes into it.
    entries: Box<[Arc<Entry>]>,
    ids: Ids,
    views: Box<[View]>,
    credentials: Credentials,
    /// Apart from the rest, because a transaction holds it: what is waited for may not pin entries.
    routes: Arc<Routes>,
    /// What it is held against before it is used.
    pub(crate) expectations: Expectations,
    /// What was used up under ids that are gone or disabled for now.
    dormant: HashMap<Arc<str>, Arc<EntryState>>,
}

/// States that are kept for ids which may come back. With more, an old one begins afresh.
const DORMANT_MAX: usize = 100_000;

/// Tables of fewer entries are filled in a few milliseconds, and need no thread of their own.
const ENTRIES_TO_SHARE: usize = 10_000;

/// A ruleset, and what its author should know.
#[derive(Debug)]
pub struct Compiled {
    /// The ruleset, with revision 0.
    pub ruleset: Ruleset,
    /// In the order of the text.
    pub warnings: Vec<DocumentError>,
}

impl Compiled {
    /// The same, if it does what it expects of itself: see [`Ruleset::prove`].
    pub fn proven(self, now: Moment) -> Result<Self, PolicyErrors> {
        self.ruleset.prove(now).map(|()| self)
    }

    /// The same after an edit of `previous`, if the edit has broken nothing that is expected.
    ///
    /// An expectation that is not met refuses the edit, unless `previous` has the same one and does
    /// not meet it either: that is added to the warnings. What time has broken must not stand in the
    /// way of an edit that is urgent. Rulesets of two sites have nothing in common.
    pub fn proven_after(mut self, previous: &Ruleset, now: Moment) -> Result<Self, PolicyErrors> {
        self.warnings.extend(expectation::prove_after(&self.ruleset, previous, now)?);
        Ok(self)
    }
}

impl Ruleset {
    /// Compiles a policy for a site. `origin` is the file's name in messages.
    pub fn compile(text: &str, origin: &str, site: &Arc<Site>) -> Result<Compiled, PolicyErrors> {
        Self::build(text, origin, site, None)
    }

    /// Compiles the policy that comes after this one, for the same site. Entries of the same id go
    /// on with what their clients have used up.
    pub fn recompile(&self, text: &str, origin: &str) -> Result<Compiled, PolicyErrors> {
        Self::build(text, origin, &self.site, Some(self))
    }

    fn build(
        text: &str,
        origin: &str,
        site: &Arc<Site>,
        previous: Option<&Self>,
    ) -> Result<Compiled, PolicyErrors> {
        let mut report = Report::default();
        let mut tables = compile::tables(text, site, previous, &mut report);
        compile::find_keepers(&mut tables, site);
        let views = || {
            let mut report = Report::default();
            (listener::views(&tables.entries, &site.listeners, &mut report), report)
        };
        let rest = || {
            exposure::refuse_everybody(&tables.entries, &mut report);
            proxies::warn_of_covered(&tables.entries, site, &mut report);
            if report.errors() == 0 {
                // Routes that are wrong are not there: what misses them would be told for nothing.
                compile::refuse_unrouted(&tables, site, &mut report);
            }
            let dormant = previous.map(|previous| previous.left_behind(&tables));
            (ContentHash::of(text), dormant.unwrap_or_default())
        };
        let is_long = tables.entries.len() >= ENTRIES_TO_SHARE;
        let ((views, views_report), (content, dormant)) = compile::both(is_long, views, rest);
        report.absorb(views_report);
        compile::warn_of_dates(&tables, &views, &mut report);
        let warnings = report.finish(text, origin)?;
        let Tables { entries, ids, routes, credentials, expectations } = tables;
        let credentials = credentials.into_iter().map(|placed| placed.credential).collect();
        let routes = Routes {
            all: routes.into_iter().map(|placed| placed.route).collect(),
            default_upstream: site.default_upstream,
            default_mode: site.default_mode,
        };
        let ruleset = Self {
            generation: Generation::new(0, content),
            content,
            site: Arc::clone(site),
            entries: entries.into_iter().map(|placed| placed.entry).collect(),
            ids,
            views,
            credentials: Credentials::new(credentials),
            routes: Arc::new(routes),
            expectations: Expectations::new(expectations, text, origin),
            dormant,
        };
        Ok(Compiled { ruleset, warnings })
    }

    /// What was used up under ids that are not among the entries any more.
    fn left_behind(&self, next: &Tables) -> HashMap<Arc<str>, Arc<EntryState>> {
        let credentials: HashSet<_> =
            next.credentials.iter().map(|placed| &**placed.credential.id()).collect();
        let is_known = |id: &str| next.find(id).is_some() || credentials.contains(id);
        self.states()
            .filter(|(id, state)| state.is_used() && !is_known(id))
            .take(DORMANT_MAX)
            .map(|(id, state)| (Arc::clone(id), Arc::clone(state)))
            .collect()
    }

    /// Whether every `[[expect]]` holds: the policy must not be used if one does not, and the errors
    /// tell what would happen instead. `now` is for those that name no time.
    pub fn prove(&self, now: Moment) -> Result<(), PolicyErrors> {
        let unmet = self.expectations.unmet(self, now);
        PolicyErrors::none_of(unmet.map(|unmet| unmet.error()))
    }

    /// The same ruleset under the revision that its publisher gives it.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.generation = self.generation.with_revision(revision);
        self
    }

    /// What it was compiled for.
    pub const fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Which policy this is.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The hash of the text that it was compiled from.
    pub const fn content_hash(&self) -> ContentHash {
        self.content
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

    /// How many expectations it has of itself.
    pub fn expectations(&self) -> usize {
        self.expectations.len()
    }

    /// The enabled entries, in the order of the file.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The enabled entry with an id.
    pub fn entry(&self, id: &str) -> Option<&Arc<Entry>> {
        self.entries.get(self.position(id)?)
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.ids.find(id, |index| self.entries[index as usize].id()).map(|index| index as usize)
    }

    /// The enabled credentials, in the order of the file.
    pub fn credentials(&self) -> &[Arc<Credential>] {
        self.credentials.all()
    }

    /// The enabled credential with an id.
    pub fn credential(&self, id: &str) -> Option<&Arc<Credential>> {
        self.credentials.with_id(id)
    }

    /// The enabled credential that a client names on a listener.
    pub fn credential_of(&self, listener: ListenerId, username: &[u8]) -> Option<&Arc<Credential>> {
        self.credentials.find(self.listener_name(listener)?, username)
    }

    /// A credential of the listener to be tried in the place of one that is not there: for a name it is
    /// always the same. `None`: the listener has none.
    pub fn decoy(&self, listener: ListenerId, username: &[u8]) -> Option<&Arc<Credential>> {
        self.credentials.decoy(self.listener_name(listener)?, username)
    }

    /// A credential as it is now, if who has used it then may go on.
    pub fn renewed(&self, listener: ListenerId, then: &Credential) -> Option<&Arc<Credential>> {
        let now = self.credential(then.id())?;
        let name = self.listener_name(listener)?;
        Some(now).filter(|now| now.is_same(then) && now.is_for(name))
    }

    /// What is counted under every id: those of the enabled entries and credentials, then those that are gone or
    /// disabled for now and have something left that must not be forgotten.
    pub fn states(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<EntryState>)> {
        let known = self.entries.iter().map(|entry| (&entry.id, &entry.state));
        let of_credentials = self.credentials().iter().map(|it| (it.id(), it.entry().state()));
        known.chain(of_credentials).chain(&self.dormant)
    }

    /// Where messages go.
    pub const fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    pub(crate) fn views(&self) -> &[View] {
        &self.views
    }

    /// Whether no enabled entry allows anything and no credential lets anybody in, so that nobody is.
    pub fn allows_nobody(&self) -> bool {
        !self.entries.iter().any(|entry| entry.action() == Action::Allow)
            && !self.credentials.let_anybody_in(&self.site)
    }
}

/// What was used up under ids, whether entries have them or have had them.
///
/// Policies are asked for in their order, and change little: mostly the next entry is the one that
/// came next before, and to compare it is much cheaper than to find it among a million.
pub(crate) struct States<'r> {
    ruleset: &'r Ruleset,
    /// The position behind the entry that was found last.
    next: usize,
}

impl<'r> States<'r> {
    pub(crate) const fn new(ruleset: &'r Ruleset) -> Self {
        Self { ruleset, next: 0 }
    }

    pub(crate) fn find(&mut self, id: &str) -> Option<&'r Arc<EntryState>> {
        let entries = self.ruleset.entries();
        let is_next = entries.get(self.next).is_some_and(|entry| &**entry.id() == id);
        let position = if is_next { Some(self.next) } else { self.ruleset.position(id) };
        let Some(position) = position else {
            let of_credential = self.ruleset.credential(id).map(|it| it.entry().state());
            return of_credential.or_else(|| self.ruleset.dormant.get(id));
        };
        self.next = position + 1;
        Some(&entries[position].state)
    }
}

#[cfg(test)]
mod tests;
