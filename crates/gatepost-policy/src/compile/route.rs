//! One `[[route]]`, and whether all that is allowed has a way.

use gatepost_smtp::path::Mailbox;
use toml::Spanned;

use super::{
    entry,
    parts::{PlacedRoute, Tables},
    values::{Meant, Subject, Values},
};
use crate::{
    credential,
    entry::{Action, Entry},
    file::{RouteFile, Strings, Text},
    pattern::Pattern,
    report::{Place, Report},
    route::{Rewrite, Route},
    site::Site,
};

/// Entries without a way that are told one by one.
const UNROUTED_TOLD_MAX: usize = 10;

/// Compiles a route; `None` if something is wrong with it. That its entries exist is seen to when
/// all of them are known.
pub(super) fn route(values: &mut Values<'_>, mirror: Spanned<RouteFile>) -> Option<PlacedRoute> {
    let at = values.offset(&mirror);
    let file = mirror.into_inner();
    let id_at = file.id.as_ref().map_or(at, |id| values.offset(id));
    let errors_before = values.report.errors();
    let id = entry::id(values, "route", file.id, at);
    let subject = Subject { table: "route", id: id.as_deref(), is_enabled: true, at };
    let says_nothing =
        file.upstream.is_none() && file.mode.is_none() && file.rewrite_mail_from.is_none();
    if says_nothing {
        let message = "it changes nothing; name an upstream, a mode or rewrite_mail_from";
        values.report.error(Place::At(at), subject, message);
    }
    let (mut entries, mut entry_places) = (None, Vec::new());
    if let Some(Strings(list)) = file.entries {
        not_empty(values, subject, "entries", &list);
        entry_places = list.get_ref().iter().map(|id| values.offset(id)).collect();
        entries = Some(list.into_inner().into_iter().map(Spanned::into_inner).collect());
    }
    let (senders, recipients) = (file.sender_domains, file.recipient_domains);
    let route = Route {
        entries,
        senders: domains(values, subject, "sender_domains", senders, Meant::Senders),
        recipients: domains(values, subject, "recipient_domains", recipients, Meant::Recipients),
        upstream: values.upstream(subject, file.upstream),
        mode: values.mode(subject, file.mode),
        rewrite: rewrite(values, subject, file.rewrite_mail_from),
        id: id.as_deref().unwrap_or_default().into(),
    };
    let right = values.report.errors() == errors_before;
    right.then_some(PlacedRoute { route, id_at, entry_places })
}

fn domains(
    values: &mut Values<'_>,
    subject: Subject<'_>,
    key: &str,
    written: Option<Strings>,
    meant: Meant,
) -> Option<Box<[Pattern]>> {
    let Strings(list) = written?;
    not_empty(values, subject, key, &list);
    values.patterns(subject, key, list.get_ref(), meant).map(Vec::into_boxed_slice)
}

fn not_empty<T>(values: &mut Values<'_>, subject: Subject<'_>, key: &str, list: &Spanned<Vec<T>>) {
    if list.get_ref().is_empty() {
        let message =
            format_args!("{key} is empty, so nothing would take this route; leave it out for all");
        values.error(list, subject, message);
    }
}

fn rewrite(values: &mut Values<'_>, subject: Subject<'_>, written: Text) -> Option<Rewrite> {
    let written = written?;
    let text = &**written.get_ref();
    let domain = text.strip_prefix("*@");
    let probe = domain.map_or_else(|| text.to_owned(), |domain| format!("x@{domain}"));
    // An A-label, because not every upstream offers SMTPUTF8.
    if Mailbox::parse(probe.as_bytes()).is_err() || !probe.is_ascii() {
        let message = format_args!(
            "rewrite_mail_from {text:?} is not a mailbox; write bounces@example.com, or *@example.com to \
             keep the local-part"
        );
        values.error(&written, subject, message);
        return None;
    }
    Some(domain.map_or_else(|| Rewrite::Mailbox(text.into()), |d| Rewrite::Domain(d.into())))
}

/// Refuses entries whose messages have no upstream: neither the entry, nor a route that takes all
/// of them, nor the gateway names one. A credential that is only used beside an entry needs none.
pub(crate) fn refuse_unrouted(tables: &Tables, site: &Site, report: &mut Report) {
    if site.default_upstream.is_some() {
        return;
    }
    let allowed = tables.entries.iter().filter(|placed| placed.entry.action() == Action::Allow);
    let entries = allowed.map(|placed| ("entry", &placed.entry, placed.at));
    let credentials = tables.credentials.iter().filter_map(|placed| {
        let entry = placed.credential.entry();
        credential::lets_in(entry, site).then_some(("credential", entry, placed.at))
    });
    let unrouted =
        entries.chain(credentials).filter(|(_, entry, _)| !has_way(entry, &tables.routes));
    for (table, entry, at) in unrouted.take(UNROUTED_TOLD_MAX) {
        let message = format_args!(
            "no upstream for some of its messages; name one here, in a route that takes all of them, or \
             in the configuration as [delivery] upstream; known are {}",
            site.upstreams.join(", "),
        );
        report.error(Place::At(at), format_args!("{table} {}", entry.id()), message);
    }
}

/// Whether every message of an entry meets an upstream: for each pattern of its senders.
fn has_way(entry: &Entry, routes: &[PlacedRoute]) -> bool {
    entry.terms().upstream.is_some()
        || entry.senders().iter().all(|senders| {
            let mut of_entry =
                routes.iter().map(|placed| &placed.route).filter(|it| it.is_for(entry));
            // What takes a route is not looked for behind it: the first that all of them take must
            // name an upstream, and so must those that some of them take before.
            let decisive = of_entry.by_ref().find(|route| {
                route.takes_all_of(senders)
                    || (route.takes_some_of(senders) && route.upstream.is_none())
            });
            decisive.is_some_and(|route| route.upstream.is_some())
        })
}
