//! An entry of the allow-list: who its clients are, and what they may do. The terms of a credential
//! are an entry too, without networks.
//!
//! Entries are made by the compiler only, and never change. They are shared: a session keeps its
//! entry, not the ruleset it came from. What clients use up of their limits is not part of an
//! entry; it is kept in a state that entries of the same id share.

use std::sync::Arc;

use crate::{
    exposure::Exposure,
    network::Network,
    pattern::Pattern,
    state::{Connection, EntryState},
};

pub use terms::{
    Authentication, BareNewlines, Expiry, HeaderFrom, MissingHeaders, Mode, RequiredTls, Standing,
    Terms,
};

mod terms;

/// Octets of an entry id: it stands in replies, log lines and metric labels.
pub const ID_OCTETS_MAX: usize = 64;

/// One `[[entry]]` of the policy, checked.
///
/// Text that many entries of a fleet have in common is stored once.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) id: Arc<str>,
    pub(crate) networks: Box<[Network]>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) services: Option<Arc<[Box<str>]>>,
    pub(crate) acknowledge: Option<Box<str>>,
    pub(crate) action: Action,
    pub(crate) senders: Arc<[Pattern]>,
    pub(crate) terms: Arc<Terms>,
    /// Every mode that its messages can have keeps them: its own, or those of routes and gateway.
    pub(crate) keeps_messages: bool,
    pub(crate) state: Arc<EntryState>,
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Its clients may send.
    #[default]
    Allow,
    /// Its clients are refused, whatever a wider network says.
    Deny,
}

impl Entry {
    /// The unique name.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Where its clients are.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Those that are right only for a reason: wide ones, and public ones that are wide or free in
    /// their senders. Of an entry that is compiled, `acknowledge` has the reason.
    pub fn exposed_networks(&self) -> impl Iterator<Item = Network> {
        let any_sender = self.senders.iter().any(Pattern::is_any);
        let is_exposed = move |it: &Network| Exposure::of(*it, any_sender).is_some();
        let networks = if self.action == Action::Allow { self.networks() } else { &[] };
        networks.iter().copied().filter(is_exposed)
    }

    /// What it is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Whom to ask.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// The listeners it exists for; `None` is every listener.
    pub fn services(&self) -> Option<&[Box<str>]> {
        self.services.as_deref()
    }

    /// Why a wide or public network is right here.
    pub fn acknowledge(&self) -> Option<&str> {
        self.acknowledge.as_deref()
    }

    /// Whether its clients are let in at all.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The reverse-paths its clients may use. Empty: they may connect, and send nothing.
    pub fn senders(&self) -> &[Pattern] {
        &self.senders
    }

    /// What else its clients may do.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether every message of its clients is one that may be kept, whatever its sender and its
    /// recipients are: only then can it be promised that somebody is told what became of it.
    pub const fn keeps_messages(&self) -> bool {
        self.keeps_messages
    }

    /// Whether the address alone lets nobody send, so that it does not matter who else comes by it.
    pub fn asks_for_proof(&self) -> bool {
        self.terms.authentication == Authentication::Required
    }

    /// What its clients have used up.
    pub const fn state(&self) -> &Arc<EntryState> {
        &self.state
    }

    /// Counts a connection, if there may be one more.
    pub fn connect(&self) -> Option<Connection> {
        self.state.connect(self.terms.max_connections)
    }

    /// A connection that was let in before and belongs to this entry now: it is counted here, over
    /// the limit if need be, because a reload ends no session.
    pub fn adopt(&self, connection: Connection) -> Connection {
        if connection.is_of(&self.state) {
            return connection;
        }
        self.join().unwrap_or(connection)
    }

    /// Counts a connection that goes on, over the limit if need be.
    pub fn join(&self) -> Option<Connection> {
        self.state.connect(None)
    }
}

impl Action {
    /// As it is written in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Whether a text can be an entry id: lower-case letters, digits, `.`, `-` and `_`, beginning with
/// a letter or digit, [`ID_OCTETS_MAX`] at most. Capitals would make ids that look alike differ.
pub fn is_id(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    text.len() <= ID_OCTETS_MAX
        && text.bytes().next().is_some_and(is_plain)
        && text.bytes().all(|octet| is_plain(octet) || matches!(octet, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_slugs() {
        for good in ["a", "billing", "4", "billing-eu.west_1", &"a".repeat(ID_OCTETS_MAX)] {
            assert!(is_id(good), "{good}");
        }
        let long = "a".repeat(ID_OCTETS_MAX + 1);
        for bad in ["", "-a", ".a", "_a", "Billing", "a b", "a\n", "ä", "a/b", "a:b", &long] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
