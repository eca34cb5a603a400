//! One `[[credential]]`: who knows its password, and whether anybody can use it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use gatepost_smtp::sasl::USERNAME_OCTETS_MAX;
use toml::Spanned;

use super::{
    entry::{self, Entries},
    parts::PlacedEntry,
    terms,
    values::{Subject, Values},
};
use crate::{
    credential::{Credential, PasswordHash},
    entry::{Action, Authentication, Entry},
    file::{CredentialFile, Secret, Text},
    report::{Place, Report},
    site::{AuthOffer, Site},
};

/// What became of a table: its id, which is taken in any case, and the credential if it is enabled
/// and nothing is wrong with it.
pub(super) struct CredentialDraft {
    pub(super) id: Option<Arc<str>>,
    /// Where the id is.
    pub(super) id_at: usize,
    pub(super) credential: Option<PlacedCredential>,
}

/// An enabled credential, and where in the text it begins.
pub(crate) struct PlacedCredential {
    pub(crate) credential: Arc<Credential>,
    pub(crate) at: usize,
    /// Where its name is.
    username_at: usize,
}

impl Entries<'_> {
    pub(super) fn credential(&mut self, mirror: Spanned<CredentialFile>) -> CredentialDraft {
        let at = self.values.offset(&mirror);
        let (mut file, secret) = mirror.into_inner().divide();
        let id_at = file.id.as_ref().map_or(at, |id| self.values.offset(id));
        let username_at = secret.username.as_ref().map_or(at, |name| self.values.offset(name));
        let id = entry::id(&mut self.values, "credential", file.id.take(), at);
        let is_enabled = file.enabled.unwrap_or(true);
        let subject = Subject { table: "credential", id: id.as_deref(), is_enabled, at };
        let errors_before = self.values.report.errors();
        let services = file.services.take();
        let services = services.map(|written| self.services(subject, Action::Allow, written));
        let senders = self.senders(subject, file.senders.take());
        let terms = terms::of_allowed(&mut self.values, subject, &mut file);
        let username = username(&mut self.values, subject, secret.username.as_ref());
        let password_hash = password_hash(&mut self.values, subject, &secret);
        if is_enabled {
            warn_if_useless(
                &mut self.values,
                subject,
                services.as_ref().and_then(Option::as_deref),
            );
        }
        let is_right = is_enabled && self.values.report.errors() == errors_before;
        let known = id.as_ref().and_then(|id| self.previous.as_mut()?.find(id)).cloned();
        let whole = (id.clone().filter(|_| is_right), senders, username, password_hash);
        let credential = match whole {
            (Some(id), Some(senders), Some(username), Some(password_hash)) => {
                let entry = Arc::new(Entry {
                    id,
                    networks: Box::default(),
                    description: file.description,
                    owner: file.owner,
                    services: services.flatten(),
                    acknowledge: None,
                    action: Action::Allow,
                    senders,
                    keeps_messages: self.values.keeps_messages(&terms),
                    terms: self.terms.keep(terms),
                    state: known.unwrap_or_default(),
                });
                let credential = Arc::new(Credential { username, password_hash, entry });
                Some(PlacedCredential { credential, at, username_at })
            }
            _ => None,
        };
        CredentialDraft { id, id_at, credential }
    }
}

fn username(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    written: Option<&Spanned<Box<str>>>,
) -> Option<Box<str>> {
    let Some(written) = written else {
        let message = "username is missing; name what a client calls itself in AUTH";
        values.report.error(Place::At(subject.at), subject, message);
        return None;
    };
    let name = written.get_ref();
    let is_good = !name.is_empty()
        && name.len() <= USERNAME_OCTETS_MAX
        && !name.contains(char::is_control)
        && name.trim().len() == name.len();
    if is_good {
        return Some(name.clone());
    }
    let message = format_args!(
        "username {name:?} is not 1 to {USERNAME_OCTETS_MAX} octets without control characters and without \
         spaces around them"
    );
    values.error(written, subject, message);
    None
}

/// The hash is not shown when it is wrong: it may be the password itself.
fn password_hash(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    Secret { password_hash, .. }: &Secret,
) -> Option<PasswordHash> {
    let Some(written) = password_hash else {
        let message = "password_hash is missing; make one with: gatepost hash-password";
        values.report.error(Place::At(subject.at), subject, message);
        return None;
    };
    let parsed = written.get_ref().parse();
    parsed
        .map_err(|error| values.error(written, subject, format_args!("password_hash: {error}")))
        .ok()
}

/// Without TLS nobody is asked for a password.
fn warn_if_useless(values: &mut Values<'_>, subject: Subject<'_>, services: Option<&[Box<str>]>) {
    let site = values.site;
    if site.auth_at(services).all(|(_, offer)| offer == AuthOffer::Nobody) {
        let message =
            "AUTH is offered on none of its listeners, because they have no TLS; nobody can use it";
        values.report.warn(Place::At(subject.at), subject, message);
    }
}

/// Whether clients of an entry are asked for what they cannot give. `written` is where that is
/// asked for.
pub(super) fn possible(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    asked: (Authentication, Option<Place>),
    services: Option<&[Box<str>]>,
) {
    let (Authentication::Required, Some(place)) = asked else { return };
    let site = values.site;
    let (without, with): (Vec<_>, Vec<_>) =
        site.auth_at(services).partition(|(_, offer)| *offer == AuthOffer::Nobody);
    let Some((first, _)) = without.first() else { return };
    if with.is_empty() {
        let message = format_args!(
            "authentication \"required\" can never be met: AUTH needs TLS, and listener {first} has \
             none; give the listener TLS, or name others in services"
        );
        if subject.is_enabled {
            values.report.error(place, subject, message);
        }
    } else {
        let message = format_args!(
            "authentication \"required\" cannot be met on listener {first}: AUTH needs TLS; its clients \
             can send on the others only"
        );
        values.report.warn(place, subject, message);
    }
}

/// Where a key is written.
pub(super) fn place_of(values: &Values<'_>, written: &Text) -> Option<Place> {
    written.as_ref().map(|written| values.place(written))
}

/// Warns of entries whose clients are asked for a password that nobody has.
pub(super) fn warn_of_want(
    entries: &[PlacedEntry],
    credentials: &[PlacedCredential],
    site: &Site,
    report: &mut Report,
) {
    let is_any_for = |name: &str| credentials.iter().any(|it| it.credential.is_for(name));
    let met: HashSet<&str> =
        site.listeners.iter().map(|name| &**name).filter(|name| is_any_for(name)).collect();
    for PlacedEntry { entry, at, .. } in entries {
        if entry.terms().authentication == Authentication::Required
            && !site.auth_at(entry.services()).any(|(name, _)| met.contains(name))
        {
            let message = "authentication is \"required\", and there is no credential for its listeners: \
                           its clients may not send; add a [[credential]]";
            report.warn(Place::At(*at), format_args!("entry {}", entry.id()), message);
        }
    }
}

/// Refuses two credentials of one name on one listener: whose password would it be?
pub(super) fn refuse_twins(credentials: &[PlacedCredential], site: &Site, report: &mut Report) {
    let mut by_username: HashMap<&str, Vec<&PlacedCredential>> = HashMap::new();
    for placed in credentials {
        let twins = by_username.entry(placed.credential.username()).or_default();
        let shared = twins.iter().find_map(|other| {
            let is_shared =
                |name: &&Arc<str>| other.credential.is_for(name) && placed.credential.is_for(name);
            Some((other, site.listeners.iter().find(is_shared)?))
        });
        if let Some((other, listener)) = shared {
            let message = format_args!(
                "username {:?} on listener {listener} belongs to credential {} already; give each its own, \
                 or different services",
                placed.credential.username(),
                other.credential.id(),
            );
            let subject = format_args!("credential {}", placed.credential.id());
            report.error(Place::At(placed.username_at), subject, message);
        }
        twins.push(placed);
    }
}
