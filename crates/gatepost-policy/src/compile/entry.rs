//! One `[[entry]]`: who its clients are.

use std::sync::Arc;

use toml::Spanned;

use super::{
    credential,
    parts::PlacedEntry,
    shared, terms,
    values::{Meant, Subject, Values},
};
use crate::{
    choice::Choices,
    entry::{Action, Entry, ID_OCTETS_MAX, Terms, is_id},
    exposure::Exposure,
    file::{EntryFile, Strings, Text},
    network::Network,
    pattern::Pattern,
    report::Place,
    ruleset::{Ruleset, States},
};

const ACTIONS: Choices<Action> = &[("allow", Some(Action::Allow)), ("deny", Some(Action::Deny))];

/// What became of a table: its id, which is taken in any case, and the entry if it is enabled and
/// nothing is wrong with it.
pub(super) struct Draft {
    pub(super) id: Option<Arc<str>>,
    /// Where the id is.
    pub(super) id_at: usize,
    pub(super) entry: Option<PlacedEntry>,
}

/// Compiles entries of one part after the other.
pub(super) struct Entries<'s> {
    pub(super) values: Values<'s>,
    /// Where entries of the same id have kept count so far.
    pub(super) previous: Option<States<'s>>,
    senders: shared::Lists<Pattern>,
    services: shared::Lists<Box<str>>,
    pub(super) terms: shared::Values<Terms>,
}

impl<'s> Entries<'s> {
    pub(super) fn new(values: Values<'s>, previous: Option<&'s Ruleset>) -> Self {
        Self {
            values,
            previous: previous.map(States::new),
            senders: shared::Lists::default(),
            services: shared::Lists::default(),
            terms: shared::Values::default(),
        }
    }

    pub(super) fn entry(&mut self, mirror: Spanned<EntryFile>) -> Draft {
        let at = self.values.offset(&mirror);
        let mut file = mirror.into_inner();
        let id_at = file.id.as_ref().map_or(at, |id| self.values.offset(id));
        let id = id(&mut self.values, "entry", file.id.take(), at);
        let entry = self.body(id.as_ref(), at, file);
        Draft { id, id_at, entry: entry.map(|entry| PlacedEntry { entry: Arc::new(entry), at }) }
    }

    fn body(&mut self, id: Option<&Arc<str>>, at: usize, mut file: EntryFile) -> Option<Entry> {
        let is_enabled = file.enabled.unwrap_or(true);
        let subject = Subject { table: "entry", id: id.map(|id| &**id), is_enabled, at };
        let errors_before = self.values.report.errors();
        let action = self.values.choice(subject, "action", file.action.take(), ACTIONS);
        let action = action.unwrap_or_default();
        let networks = self.networks(subject, file.networks.as_ref());
        let services = file.services.take().map(|written| self.services(subject, action, written));
        let (senders, terms) = match action {
            Action::Allow => {
                let senders = self.senders(subject, file.senders.take());
                let place = credential::place_of(&self.values, &file.authentication);
                let terms = terms::of_allowed(&mut self.values, subject, &mut file);
                let services = services.as_ref().and_then(Option::as_deref);
                let asked = (terms.authentication, place);
                credential::possible(&mut self.values, subject, asked, services);
                (senders, terms)
            }
            Action::Deny => {
                terms::of_denied(&mut self.values, subject, &file);
                (Some(Arc::default()), self.values.terms())
            }
        };
        if !is_enabled {
            return None;
        }
        let acknowledge = file.acknowledge.filter(|reason| !reason.trim().is_empty());
        if action == Action::Allow
            && acknowledge.is_none()
            && let (Some(networks), Some(senders)) = (&networks, &senders)
        {
            self.exposure(subject, networks, senders, file.networks.as_ref());
        }
        let right = self.values.report.errors() == errors_before;
        let (id, networks, senders) = (right.then_some(id?)?, networks?, senders?);
        let known = self.previous.as_mut().and_then(|previous| previous.find(id));
        Some(Entry {
            id: Arc::clone(id),
            networks,
            description: file.description,
            owner: file.owner,
            services: services.flatten(),
            acknowledge,
            action,
            senders,
            keeps_messages: self.values.keeps_messages(&terms),
            terms: self.terms.keep(terms),
            state: known.cloned().unwrap_or_default(),
        })
    }

    fn networks(
        &mut self,
        subject: Subject<'_>,
        written: Option<&Strings>,
    ) -> Option<Box<[Network]>> {
        let Some(written) = written.filter(|Strings(list)| !list.get_ref().is_empty()) else {
            let place =
                written.map_or(Place::At(subject.at), |Strings(list)| self.values.place(list));
            let message = "networks is missing or empty; name the networks of the clients";
            self.values.report.error(place, subject, message);
            return None;
        };
        self.values.each(subject, "network", written.0.get_ref()).map(Vec::into_boxed_slice)
    }

    pub(super) fn senders(
        &mut self,
        subject: Subject<'_>,
        written: Option<Strings>,
    ) -> Option<Arc<[Pattern]>> {
        let Some(written) = written.map(|Strings(list)| list.into_inner()) else {
            let message = "senders is missing; name who may be the sender, [] for nobody";
            self.values.report.error(Place::At(subject.at), subject, message);
            return None;
        };
        if let Some(senders) = self.senders.find(&written) {
            return Some(senders);
        }
        let senders = self.values.patterns(subject, "sender", &written, Meant::Senders)?;
        Some(self.senders.keep(written, senders))
    }

    pub(super) fn services(
        &mut self,
        subject: Subject<'_>,
        action: Action,
        Strings(written): Strings,
    ) -> Option<Arc<[Box<str>]>> {
        if written.get_ref().is_empty() {
            let message = "services is empty; name a listener, or leave it out for every listener";
            self.values.error(&written, subject, message);
            return None;
        }
        let written = written.into_inner();
        for service in &written {
            self.known_service(subject, action, service);
        }
        if let Some(services) = self.services.find(&written) {
            return Some(services);
        }
        let services = written.iter().map(|service| service.get_ref().clone()).collect();
        Some(self.services.keep(written, services))
    }

    /// A listener that does not exist: an allow entry lets nobody in there, but a deny entry would
    /// not block who it should.
    fn known_service(&mut self, subject: Subject<'_>, action: Action, service: &Spanned<Box<str>>) {
        let site = self.values.site;
        if site.listeners.iter().any(|listener| **listener == **service.get_ref()) {
            return;
        }
        let message = format_args!(
            "service {:?} is not a listener; known are {}",
            service.get_ref(),
            site.listeners.join(", "),
        );
        match action {
            Action::Allow => {
                let place = self.values.place(service);
                self.values.report.warn(place, subject, message);
            }
            Action::Deny => self.values.unknown(service, subject, message),
        }
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
                self.values.error(place, subject, format_args!("network {network} {exposure}"));
            }
        }
    }
}

/// The id of a table, if it has a good one.
pub(super) fn id(
    values: &mut Values<'_>,
    table: &'static str,
    written: Text,
    at: usize,
) -> Option<Arc<str>> {
    let Some(written) = written else {
        values.report.error(Place::At(at), table, "id is missing; give it a unique name");
        return None;
    };
    let id = &**written.get_ref();
    if is_id(id) {
        return Some(id.into());
    }
    let message = format_args!(
        "id {id:?} is not a slug; write lower-case letters, digits, -, _ and ., at most {ID_OCTETS_MAX}"
    );
    values.error(&written, table, message);
    None
}
