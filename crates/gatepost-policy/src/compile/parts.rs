//! The whole text: parts are compiled side by side, and put together in their order.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    credential::{self, CredentialDraft, PlacedCredential},
    entry::{Draft, Entries},
    expect, route,
    values::Values,
};
use crate::{
    entry::Entry,
    expectation::Expectation,
    file::{self, Part},
    ids::Ids,
    report::{Place, Report},
    route::Route,
    ruleset::Ruleset,
    site::Site,
};

/// Fewer parts are compiled by one thread, in a few milliseconds.
const PARTS_TO_SHARE: usize = 8;

/// An enabled entry, and where in the text it begins.
pub(crate) struct PlacedEntry {
    pub(crate) entry: Arc<Entry>,
    pub(crate) at: usize,
}

/// A route, and where in the text its names are.
pub(crate) struct PlacedRoute {
    pub(crate) route: Route,
    pub(super) id_at: usize,
    /// Where each of the entries is named.
    pub(super) entry_places: Vec<usize>,
}

/// An expectation, where in the text it begins, and where it names its entry.
pub(crate) struct PlacedExpectation {
    pub(crate) expectation: Expectation,
    pub(crate) at: usize,
    pub(super) entry_at: usize,
}

/// All that a policy says, in its order. What is wrong has been reported and is left out.
pub(crate) struct Tables {
    /// The enabled entries.
    pub(crate) entries: Vec<PlacedEntry>,
    /// Their ids.
    pub(crate) ids: Ids,
    pub(crate) routes: Vec<PlacedRoute>,
    /// The enabled credentials.
    pub(crate) credentials: Vec<PlacedCredential>,
    pub(crate) expectations: Vec<PlacedExpectation>,
}

/// Reads and judges every table of the text. `previous` is the ruleset whose entries have kept count
/// so far.
pub(crate) fn tables(
    text: &str,
    site: &Site,
    previous: Option<&Ruleset>,
    report: &mut Report,
) -> Tables {
    let parts = file::parts(text);
    let compiled = side_by_side(&parts, || Worker::new(site, previous));
    let count = compiled.iter().flatten().map(|compiled| compiled.drafts.len()).sum();
    let mut together = Together::new(Worker::new(site, previous), count);
    for (part, compiled) in parts.iter().zip(compiled) {
        match compiled {
            Some(compiled) => together.add(compiled, report),
            None => together.salvage(*part, report),
        }
    }
    together.finish(site, report)
}

/// Does two things, at the same time if it takes long: on the thread that asks, and on one more. Mail
/// needs the rest of a small machine, and a large one gains little, because not all can be divided.
pub(crate) fn both<A: Send, B>(
    is_long: bool,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if !is_long {
        return (one(), other());
    }
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        // A thread that panicked is a bug; the panic goes on in whoever asked.
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// What a part has come to.
struct Compiled {
    drafts: Vec<Draft>,
    routes: Vec<PlacedRoute>,
    credentials: Vec<CredentialDraft>,
    expectations: Vec<PlacedExpectation>,
    report: Report,
}

/// Compiles parts, `None` for one that is not well-formed, in their order.
fn side_by_side<'s>(
    parts: &[Part<'_>],
    worker: impl Fn() -> Worker<'s> + Sync,
) -> Vec<Option<Compiled>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut worker, mut done) = (worker(), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(index) else { return done };
            done.push((index, worker.part(*part)));
        }
    };
    let (mut done, others) = both(parts.len() >= PARTS_TO_SHARE, work, work);
    done.extend(others);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, compiled)| compiled).collect()
}

/// Compiles one part after the other.
struct Worker<'s> {
    entries: Entries<'s>,
}

impl<'s> Worker<'s> {
    fn new(site: &'s Site, previous: Option<&'s Ruleset>) -> Self {
        let values = Values { site, part_at: 0, report: Report::default() };
        Self { entries: Entries::new(values, previous) }
    }

    fn part(&mut self, part: Part<'_>) -> Option<Compiled> {
        let tables = part.read()?;
        self.entries.values.part_at = part.at;
        let drafts = tables.entries.into_iter().map(|entry| self.entries.entry(entry)).collect();
        let credentials = tables.credentials.into_iter();
        let credentials = credentials.map(|table| self.entries.credential(table)).collect();
        let values = &mut self.entries.values;
        let routes =
            tables.routes.into_iter().filter_map(|table| route::route(values, table)).collect();
        let expectations = tables.expectations.into_iter();
        let expectations =
            expectations.filter_map(|table| expect::expectation(values, table)).collect();
        let report = std::mem::take(&mut values.report);
        Some(Compiled { drafts, routes, credentials, expectations, report })
    }
}

/// The tables of all parts so far.
struct Together<'s> {
    worker: Worker<'s>,
    tables: Tables,
    /// Tables of the text so far, right or not: the number of the next.
    count: usize,
    /// Ids of entries that are disabled or wrong: they are taken all the same.
    others: HashSet<Arc<str>>,
    /// Credentials, which are judged when all entries are known: no two of both may have the same id.
    credentials: Vec<CredentialDraft>,
    /// Whether some part was not well-formed.
    is_salvaged: bool,
}

impl<'s> Together<'s> {
    /// Expects so many entries.
    fn new(worker: Worker<'s>, expected: usize) -> Self {
        let tables = Tables {
            entries: Vec::with_capacity(expected),
            ids: Ids::with_capacity(expected),
            routes: Vec::new(),
            credentials: Vec::new(),
            expectations: Vec::new(),
        };
        Self {
            worker,
            tables,
            count: 0,
            others: HashSet::new(),
            credentials: Vec::new(),
            is_salvaged: false,
        }
    }

    fn add(&mut self, compiled: Compiled, report: &mut Report) {
        report.absorb(compiled.report);
        self.count += compiled.drafts.len();
        for draft in compiled.drafts {
            self.draft(draft, report);
        }
        self.tables.routes.extend(compiled.routes);
        self.credentials.extend(compiled.credentials);
        self.tables.expectations.extend(compiled.expectations);
    }

    /// A part that is not well-formed: what is right in it is looked at too, so that all errors are
    /// told at once.
    fn salvage(&mut self, part: Part<'_>, report: &mut Report) {
        self.is_salvaged = true;
        let salvage = part.salvage(self.count);
        report.faults(part.at, salvage.faults);
        self.count += salvage.count;
        self.worker.entries.values.part_at = part.at;
        let entries = &mut self.worker.entries;
        let drafts: Vec<_> =
            salvage.items.into_iter().map(|mirror| entries.entry(mirror)).collect();
        report.absorb(std::mem::take(&mut entries.values.report));
        for draft in drafts {
            self.draft(draft, report);
        }
    }

    fn draft(&mut self, draft: Draft, report: &mut Report) {
        let Some(id) = draft.id else { return };
        let is_new = match draft.entry {
            Some(placed) => !self.others.contains(&id) && self.tables.push(placed),
            None => self.tables.find(&id).is_none() && self.others.insert(Arc::clone(&id)),
        };
        if !is_new {
            let message = "the id is used by an earlier entry; give each its own";
            report.error(Place::At(draft.id_at), format_args!("entry {id}"), message);
        }
    }

    fn finish(mut self, site: &Site, report: &mut Report) -> Tables {
        let of_credentials = self.credentials(report);
        credential::refuse_twins(&self.tables.credentials, site, report);
        credential::warn_of_want(&self.tables.entries, &self.tables.credentials, site, report);
        let mut ids = HashSet::new();
        for placed in &self.tables.routes {
            let subject = format_args!("route {}", placed.route.id());
            if !ids.insert(placed.route.id()) {
                let message = "the id is used by an earlier route; give each its own";
                report.error(Place::At(placed.id_at), subject, message);
            }
            for (id, at) in placed.route.entries.iter().flatten().zip(&placed.entry_places) {
                // Who is let in by a credential has its terms for an entry.
                if !of_credentials.contains(&**id) {
                    self.known_entry(id, *at, subject, report);
                }
            }
        }
        for PlacedExpectation { expectation, entry_at, .. } in &self.tables.expectations {
            if let Some(id) = &expectation.entry {
                self.known_entry(id, *entry_at, "expect", report);
            }
        }
        self.tables
    }

    /// Takes the credentials whose ids nobody else has. All their ids, right or not.
    fn credentials(&mut self, report: &mut Report) -> HashSet<Arc<str>> {
        let mut ids = HashSet::new();
        for CredentialDraft { id, id_at, credential } in std::mem::take(&mut self.credentials) {
            let Some(id) = id else { continue };
            let is_of_entry = self.tables.find(&id).is_some() || self.others.contains(&id);
            if is_of_entry || !ids.insert(Arc::clone(&id)) {
                let whose = if is_of_entry { "an entry" } else { "an earlier credential" };
                let message = format_args!("the id is used by {whose}; give each its own");
                report.error(Place::At(id_at), format_args!("credential {id}"), message);
            } else {
                self.tables.credentials.extend(credential);
            }
        }
        ids
    }

    fn known_entry(&self, id: &str, at: usize, subject: impl fmt::Display, report: &mut Report) {
        // An entry that could not be read would be missed for nothing.
        if self.is_salvaged || self.tables.find(id).is_some() || self.others.contains(id) {
            return;
        }
        let message = format_args!("there is no entry {id:?}; name one that there is");
        report.error(Place::At(at), subject, message);
    }
}

impl Tables {
    /// Adds an entry, unless its id is taken.
    fn push(&mut self, placed: PlacedEntry) -> bool {
        let entries = &self.entries;
        let id_at = |index: u32| &**entries[index as usize].entry.id();
        let is_new = self.ids.insert(entries.len() as u32, placed.entry.id(), id_at);
        if is_new {
            self.entries.push(placed);
        }
        is_new
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.ids.find(id, |index| self.entries[index as usize].entry.id())
    }
}
