//! From the mirror to entries: every key of an entry is judged here, alone.
//!
//! What entries do to each other is judged elsewhere (`listener`, `exposure`). A wrong key never
//! hides the next one: all that is wrong with an entry is reported, and then the entry is dropped.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use toml::Spanned;

use crate::{
    entry::{Entry, ID_OCTETS_MAX, is_id},
    exposure::Exposure,
    file::{self, EntryFile, Strings},
    network::Network,
    pattern::Pattern,
    report::{Place, Report},
};

/// An enabled entry, and where in the text it begins.
pub(crate) struct PlacedEntry {
    pub(crate) entry: Arc<Entry>,
    pub(crate) at: usize,
}

/// The enabled entries that are right. All others are only checked.
pub(crate) fn entries(text: &str, listeners: &[&str], report: &mut Report<'_>) -> Vec<PlacedEntry> {
    let mut compiler = Compiler {
        part_at: 0,
        listeners,
        report,
        ids: HashSet::new(),
        senders: Shared::default(),
        services: Shared::default(),
    };
    let mut entries = Vec::new();
    for part in file::parts(text) {
        compiler.part_at = part.at;
        compiler.report.faults(part.at, part.faults);
        entries.extend(part.entries.into_iter().filter_map(|mirror| compiler.entry(mirror)));
    }
    entries
}

struct Compiler<'a, 'r> {
    /// Where the part of the text begins from which spans count.
    part_at: usize,
    listeners: &'a [&'a str],
    report: &'a mut Report<'r>,
    /// Ids that are taken, by disabled entries too.
    ids: HashSet<Arc<str>>,
    senders: Shared<Pattern>,
    services: Shared<Box<str>>,
}

impl Compiler<'_, '_> {
    fn entry(&mut self, mirror: Spanned<EntryFile>) -> Option<PlacedEntry> {
        let at = self.offset(&mirror);
        let mirror = mirror.into_inner();
        let id = self.id(mirror.id, at);
        let subject = Subject { id: id.as_deref(), at };
        let networks = self.networks(subject, mirror.networks.as_ref());
        let senders = self.senders(subject, mirror.senders);
        let services = mirror.services.map(|written| self.services(subject, written));
        let acknowledge = mirror.acknowledge.filter(|reason| !reason.trim().is_empty());

        if !mirror.enabled.unwrap_or(true) {
            return None;
        }
        if acknowledge.is_none()
            && let (Some(networks), Some(senders)) = (&networks, &senders)
        {
            self.exposure(subject, networks, senders, mirror.networks.as_ref());
        }
        let entry = Entry {
            networks: networks?,
            senders: senders?,
            services: match services {
                Some(named) => Some(named?),
                None => None,
            },
            description: mirror.description,
            owner: mirror.owner,
            acknowledge,
            id: id?,
        };
        Some(PlacedEntry { entry: Arc::new(entry), at })
    }

    fn id(&mut self, id: Option<Spanned<String>>, at: usize) -> Option<Arc<str>> {
        let Some(id) = id else {
            self.report.error(Place::At(at), "entry", "id is missing; give it a unique name");
            return None;
        };
        let (place, id) = (self.place(&id), id.into_inner());
        if !is_id(&id) {
            let message = format_args!(
                "id {id:?} is not a slug; write lower-case letters, digits, -, _ and ., at most {ID_OCTETS_MAX}"
            );
            self.report.error(place, "entry", message);
            return None;
        }
        let id: Arc<str> = id.into();
        if !self.ids.insert(Arc::clone(&id)) {
            let message = "the id is used by an earlier entry; give each its own";
            self.report.error(place, format_args!("entry {id}"), message);
            return None;
        }
        Some(id)
    }

    fn networks(
        &mut self,
        subject: Subject<'_>,
        written: Option<&Strings>,
    ) -> Option<Box<[Network]>> {
        let Some(written) = written.filter(|Strings(list)| !list.get_ref().is_empty()) else {
            let place = written.map_or(Place::At(subject.at), |Strings(list)| self.place(list));
            let message = "networks is missing or empty; name the networks of the clients";
            self.report.error(place, subject, message);
            return None;
        };
        self.each(subject, "network", written.0.get_ref()).map(Vec::into_boxed_slice)
    }

    fn senders(
        &mut self,
        subject: Subject<'_>,
        written: Option<Strings>,
    ) -> Option<Arc<[Pattern]>> {
        let Some(written) = written.map(|Strings(list)| list.into_inner()) else {
            let message = "senders is missing; name who may be the sender, [] for nobody";
            self.report.error(Place::At(subject.at), subject, message);
            return None;
        };
        if let Some(senders) = self.senders.find(&written) {
            return Some(senders);
        }
        let senders = self.each(subject, "sender", &written)?;
        Some(self.senders.keep(written, senders))
    }

    fn services(
        &mut self,
        subject: Subject<'_>,
        Strings(written): Strings,
    ) -> Option<Arc<[Box<str>]>> {
        let (place, written) = (self.place(&written), written.into_inner());
        if written.is_empty() {
            let message = "services is empty; name a listener, or leave it out for every listener";
            self.report.error(place, subject, message);
            return None;
        }
        for service in &written {
            if !self.listeners.contains(&service.get_ref().as_str()) {
                let message = format_args!(
                    "service {:?} is not a listener; known are {}",
                    service.get_ref(),
                    self.listeners.join(", "),
                );
                self.report.warn(self.place(service), subject, message);
            }
        }
        if let Some(services) = self.services.find(&written) {
            return Some(services);
        }
        let services = written.iter().map(|service| service.get_ref().as_str().into()).collect();
        Some(self.services.keep(written, services))
    }

    fn offset<T>(&self, spanned: &Spanned<T>) -> usize {
        self.part_at + spanned.span().start
    }

    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::At(self.offset(spanned))
    }

    /// Parses a list; `None` if one of its items is wrong. Every wrong one is reported.
    fn each<T>(
        &mut self,
        subject: Subject<'_>,
        noun: &str,
        list: &[Spanned<String>],
    ) -> Option<Vec<T>>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        let mut parsed = Vec::with_capacity(list.len());
        for item in list {
            match item.get_ref().parse() {
                Ok(value) => parsed.push(value),
                Err(error) => {
                    let message = format_args!("{noun} {:?}: {error}", item.get_ref());
                    self.report.error(self.place(item), subject, message);
                }
            }
        }
        (parsed.len() == list.len()).then_some(parsed)
    }

    fn exposure(
        &mut self,
        subject: Subject<'_>,
        networks: &[Network],
        senders: &[Pattern],
        written: Option<&Strings>,
    ) {
        let any_sender = senders.iter().any(Pattern::is_any);
        let places = written.into_iter().flat_map(|Strings(list)| list.get_ref());
        for (network, place) in networks.iter().zip(places) {
            if let Some(exposure) = Exposure::of(*network, any_sender) {
                let message = format_args!("network {network} {exposure}");
                self.report.error(self.place(place), subject, message);
            }
        }
    }
}

/// What a message is about: `entry billing`, or `entry` where it has no name.
#[derive(Clone, Copy)]
struct Subject<'a> {
    id: Option<&'a str>,
    at: usize,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entry")?;
        self.id.map_or(Ok(()), |id| write!(f, " {id}"))
    }
}

/// Lists that are written the same in many entries, parsed and stored once.
struct Shared<T>(HashMap<Vec<Spanned<String>>, Arc<[T]>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Shared<T> {
    fn find(&self, written: &Vec<Spanned<String>>) -> Option<Arc<[T]>> {
        self.0.get(written).cloned()
    }

    fn keep(&mut self, written: Vec<Spanned<String>>, parsed: Vec<T>) -> Arc<[T]> {
        Arc::clone(self.0.entry(written).or_insert(parsed.into()))
    }
}

#[cfg(test)]
mod tests;
