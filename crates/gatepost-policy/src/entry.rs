//! An entry of the allow-list: who its clients are, and what they may do.
//!
//! Entries are made by the compiler only, and never change. They are shared: a session keeps its
//! entry, not the ruleset it came from.

use std::sync::Arc;

use crate::{network::Network, pattern::Pattern};

/// Octets of an entry id: it stands in replies, log lines and metric labels.
pub const ID_OCTETS_MAX: usize = 64;

/// One `[[entry]]` of the policy, checked.
///
/// Text that many entries of a fleet have in common is stored once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(crate) id: Arc<str>,
    pub(crate) networks: Box<[Network]>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) services: Option<Arc<[Box<str>]>>,
    pub(crate) senders: Arc<[Pattern]>,
    pub(crate) acknowledge: Option<Box<str>>,
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

    /// The reverse-paths its clients may use. Empty: they may connect, and send nothing.
    pub fn senders(&self) -> &[Pattern] {
        &self.senders
    }

    /// Why a wide or public network is right here.
    pub fn acknowledge(&self) -> Option<&str> {
        self.acknowledge.as_deref()
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
