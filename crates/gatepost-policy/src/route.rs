//! Routes: which upstream, which mode and which reverse-path a recipient's message has.
//!
//! The entry decides first, then the first route that matches, then the gateway's defaults. A
//! route is chosen for each recipient; recipients whose ways lead apart cannot share a transaction.
//! Choosing allocates nothing.

use std::sync::Arc;

use gatepost_smtp::path::{ForwardPath, ReversePath};

use crate::{
    entry::{Entry, Mode},
    pattern::Pattern,
    site::UpstreamId,
};

/// One `[[route]]` of the policy, checked. What is not named does not restrict.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) id: Box<str>,
    pub(crate) entries: Option<Box<[Box<str>]>>,
    pub(crate) senders: Option<Box<[Pattern]>>,
    pub(crate) recipients: Option<Box<[Pattern]>>,
    pub(crate) upstream: Option<UpstreamId>,
    pub(crate) mode: Option<Mode>,
    pub(crate) rewrite: Option<Rewrite>,
}

/// What becomes of the reverse-path. Never applied to the null one, which has to stay what it is
/// (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Another domain behind the same local-part, which is not read, let alone re-quoted.
    Domain(Box<str>),
    /// Another mailbox.
    Mailbox(Box<str>),
}

/// All routes, in their order, and what is behind the last.
#[derive(Debug, Default)]
pub struct Routes {
    pub(crate) all: Box<[Route]>,
    pub(crate) default_upstream: Option<UpstreamId>,
    pub(crate) default_mode: Mode,
}

/// The way of one recipient's message, as [`Routes`] have found it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Where it goes.
    pub upstream: UpstreamId,
    /// How it is handed over.
    pub mode: Mode,
    /// The place of the route that was chosen.
    route: Option<usize>,
}

impl Routes {
    /// The way of a message from a client of `entry`. `None`: nothing names an upstream, which the
    /// compiler does not let happen.
    pub fn way(
        &self,
        entry: &Entry,
        sender: &ReversePath<'_>,
        recipient: &ForwardPath<'_>,
    ) -> Option<Way> {
        let index = self.all.iter().position(|route| route.takes(entry, sender, recipient));
        let route = index.and_then(|index| self.all.get(index));
        let terms = entry.terms();
        let upstream = terms.upstream.or_else(|| route?.upstream).or(self.default_upstream)?;
        let mode = terms.mode.or_else(|| route?.mode).unwrap_or(self.default_mode);
        Some(Way { upstream, mode, route: index })
    }

    /// The upstream of all messages of an entry whose recipient is not known, and perhaps not even
    /// their sender. The error is the first route that some of them take to another one than the
    /// rest.
    pub(crate) fn upstream_of_all(
        &self,
        entry: &Entry,
        sender: Option<&ReversePath<'_>>,
    ) -> Result<Option<UpstreamId>, &Route> {
        if let Some(upstream) = entry.terms().upstream {
            return Ok(Some(upstream));
        }
        let upstream_of = |route: &Route| route.upstream.or(self.default_upstream);
        let mut of_some = Vec::new();
        let mut of_rest = self.default_upstream;
        for route in self.all.iter().filter(|route| route.is_for(entry)) {
            let of_sender = match (&route.senders, sender) {
                (None, _) => Some(true),
                (Some(_), None) => None,
                (Some(patterns), Some(path)) => Some(patterns.iter().any(|p| p.matches(path))),
            };
            match of_sender {
                Some(false) => {}
                Some(true) if route.takes_all_recipients() => {
                    of_rest = upstream_of(route);
                    break;
                }
                _ => of_some.push(route),
            }
        }
        of_some.into_iter().find(|route| upstream_of(route) != of_rest).map_or(Ok(of_rest), Err)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The route of a way.
    pub fn route(&self, way: Way) -> Option<&Route> {
        self.all.get(way.route?)
    }

    /// Whether recipients that take both ways can share a transaction.
    pub fn lead_together(&self, one: Way, other: Way) -> bool {
        one.upstream == other.upstream
            && one.mode == other.mode
            && self.rewrite(one) == self.rewrite(other)
    }

    /// What stands between the brackets of MAIL upstream, if it is not what the client has sent.
    pub fn reverse_path(&self, way: Way, sender: &ReversePath<'_>) -> Option<Arc<[u8]>> {
        let ReversePath::Mailbox(mailbox) = sender else { return None };
        match self.rewrite(way)? {
            Rewrite::Domain(domain) => {
                Some([mailbox.local_part(), b"@", domain.as_bytes()].concat().into())
            }
            Rewrite::Mailbox(whole) => Some(whole.as_bytes().into()),
        }
    }

    fn rewrite(&self, way: Way) -> Option<&Rewrite> {
        self.route(way)?.rewrite.as_ref()
    }
}

impl Route {
    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is for clients of an entry.
    pub(crate) fn is_for(&self, entry: &Entry) -> bool {
        self.entries.as_ref().is_none_or(|ids| ids.iter().any(|id| **id == **entry.id()))
    }

    fn takes(&self, entry: &Entry, sender: &ReversePath<'_>, recipient: &ForwardPath<'_>) -> bool {
        let any = |list: &Option<Box<[Pattern]>>, matches: &dyn Fn(&Pattern) -> bool| {
            list.as_ref().is_none_or(|patterns| patterns.iter().any(matches))
        };
        self.is_for(entry)
            && any(&self.senders, &|pattern| pattern.matches(sender))
            && any(&self.recipients, &|pattern| pattern.matches_recipient(recipient))
    }

    /// Whether all messages of such senders take it.
    pub(crate) fn takes_all_of(&self, senders: &Pattern) -> bool {
        let all = |list: &[Pattern]| list.iter().any(|pattern| pattern.covers(senders));
        self.senders.as_deref().is_none_or(all) && self.takes_all_recipients()
    }

    /// Whether it does not matter to it whom a message is for.
    pub(crate) fn takes_all_recipients(&self) -> bool {
        self.recipients.as_ref().is_none_or(|patterns| patterns.iter().any(Pattern::is_any))
    }

    /// Whether some messages of such senders may take it.
    pub(crate) fn takes_some_of(&self, senders: &Pattern) -> bool {
        let some = |pattern: &Pattern| pattern.covers(senders) || senders.covers(pattern);
        self.senders.as_ref().is_none_or(|patterns| patterns.iter().any(some))
    }
}
