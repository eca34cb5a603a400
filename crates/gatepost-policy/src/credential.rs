//! Credentials: clients that are known by a name and a password, and what they may do.
//!
//! A credential is found by its name on a listener, and its terms are an [`Entry`] of its own. The
//! password is not here, and neither is anybody who could tell a right one: a [`PasswordHash`] is
//! known to be one of argon2id, and to cost no more than may be asked of a gateway.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use phc::PasswordHash as Phc;
use sha2::{Digest, Sha256};

use crate::{
    entry::Entry,
    site::{AuthOffer, Site, names},
};

/// KiB of memory that a hash may take. As many hashes as there are cores are made at once.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Passes over that memory. All of both takes a core some seconds.
pub const ITERATIONS_MAX: u32 = 20;
/// Lanes of a hash.
pub const PARALLELISM_MAX: u32 = 16;
/// KiB that each lane needs (RFC 9106 §3.1).
const MEMORY_KIB_PER_LANE_MIN: u32 = 8;
/// Octets of the hash itself: fewer could be found by trying (RFC 9106 §4 has 32).
const OUTPUT_OCTETS_MIN: usize = 16;
/// The version of Argon2 that RFC 9106 describes.
const VERSION: u32 = 0x13;

/// One `[[credential]]` of the policy, checked.
#[derive(Clone, Debug)]
pub struct Credential {
    pub(crate) username: Box<str>,
    pub(crate) password_hash: PasswordHash,
    pub(crate) entry: Arc<Entry>,
}

/// A password hash in the form of the PHC (`$argon2id$v=19$m=19456,t=2,p=1$salt$hash`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

/// Why a text is no password hash that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// Another algorithm, or another version of it.
    #[error("it is not a hash of argon2id, version 19; make one with: gatepost hash-password")]
    Algorithm,
    /// It would take so much that logins could exhaust the machine.
    #[error(
        "it costs too much: at most m={MEMORY_KIB_MAX} (256 MiB), t={ITERATIONS_MAX} and \
         p={PARALLELISM_MAX}; make another with: gatepost hash-password"
    )]
    Cost,
    /// It is not in the form of the PHC.
    #[error(
        "it is not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash; make one with: gatepost hash-password"
    )]
    Malformed,
}

/// All credentials of a policy, in their order.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    all: Box<[Arc<Credential>]>,
    by_id: HashMap<Arc<str>, u32>,
    /// Places of those that have a name; they are of different listeners.
    by_username: HashMap<Box<str>, Vec<u32>>,
}

impl Credential {
    /// Its id, which no entry has.
    pub fn id(&self) -> &Arc<str> {
        self.entry.id()
    }

    /// The name that a client gives.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// What its password comes to.
    pub const fn password_hash(&self) -> &PasswordHash {
        &self.password_hash
    }

    /// What its clients may do.
    pub const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Its terms, unless they are those of `entry`, because it is what has let the client in.
    pub fn beside(&self, entry: &Entry) -> Option<&Entry> {
        (*self.id() != *entry.id()).then_some(&*self.entry)
    }

    /// Whether it exists for a listener.
    pub(crate) fn is_for(&self, listener: &str) -> bool {
        self.entry.services().is_none_or(|services| names(services, listener))
    }

    /// Whether who has proved to know the password of the one has proved it for the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id() == other.id()
            && self.username == other.username
            && self.password_hash == other.password_hash
    }
}

impl PasswordHash {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let phc = Phc::new(text).map_err(|_| PasswordHashError::Malformed)?;
        if phc.algorithm.as_str() != "argon2id" || phc.version != Some(VERSION) {
            return Err(PasswordHashError::Algorithm);
        }
        let mut costs = [0; 3];
        let mut params = phc.params.iter();
        for (cost, name) in costs.iter_mut().zip(["m", "t", "p"]) {
            let (ident, value) = params.next().ok_or(PasswordHashError::Malformed)?;
            let value = value.decimal().map_err(|_| PasswordHashError::Malformed)?;
            *cost = Some(value)
                .filter(|_| ident.as_str() == name)
                .ok_or(PasswordHashError::Malformed)?;
        }
        let [memory, iterations, parallelism] = costs;
        let is_whole = params.next().is_none()
            && phc.salt.is_some()
            && phc.hash.is_some_and(|output| output.len() >= OUTPUT_OCTETS_MIN);
        if !is_whole || iterations == 0 || parallelism == 0 {
            return Err(PasswordHashError::Malformed);
        }
        if memory > MEMORY_KIB_MAX || iterations > ITERATIONS_MAX || parallelism > PARALLELISM_MAX {
            return Err(PasswordHashError::Cost);
        }
        if memory < MEMORY_KIB_PER_LANE_MIN * parallelism {
            return Err(PasswordHashError::Malformed);
        }
        Ok(Self(text.into()))
    }
}

/// Who has a hash can try passwords on a machine of their own.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// A password hash as it may be shown: its algorithm, and enough to tell one from another. It is
/// not asked whether it is one.
pub fn masked(text: &str) -> String {
    let algorithm = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
    let algorithm =
        algorithm.filter(|name| name.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    let [first, second, third, ..]: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    format!("${}$… ({first:02x}{second:02x}{third:02x})", algorithm.unwrap_or("?"))
}

impl Credentials {
    pub(crate) fn new(all: Vec<Arc<Credential>>) -> Self {
        let mut by_username: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut by_id = HashMap::new();
        for (index, credential) in (0..).zip(&all) {
            by_id.insert(Arc::clone(credential.id()), index);
            by_username.entry(credential.username.clone()).or_default().push(index);
        }
        Self { all: all.into(), by_id, by_username }
    }

    pub(crate) fn all(&self) -> &[Arc<Credential>] {
        &self.all
    }

    /// The one of a name on a listener. Names are compared octet by octet.
    pub(crate) fn find(&self, listener: &str, username: &[u8]) -> Option<&Arc<Credential>> {
        let named = self.by_username.get(str::from_utf8(username).ok()?)?;
        let mut named = named.iter().map(|&index| &self.all[index as usize]);
        named.find(|credential| credential.is_for(listener))
    }

    /// One of a listener whose hash stands in for that of a name which nobody has: always the same
    /// for a name, so that it takes as long to refuse as one that somebody has, and takes it again.
    pub(crate) fn decoy(&self, listener: &str, username: &[u8]) -> Option<&Arc<Credential>> {
        let of_listener = || self.all.iter().filter(|credential| credential.is_for(listener));
        let [first, second, third, fourth, ..]: [u8; 32] = Sha256::digest(username).into();
        let number = u32::from_be_bytes([first, second, third, fourth]);
        let count = of_listener().count();
        of_listener().nth((number as usize).checked_rem(count)?)
    }

    pub(crate) fn with_id(&self, id: &str) -> Option<&Arc<Credential>> {
        self.by_id.get(id).map(|&index| &self.all[index as usize])
    }

    /// Whether one lets clients in that are not on the allow-list.
    pub(crate) fn let_anybody_in(&self, site: &Site) -> bool {
        self.all.iter().any(|credential| lets_in(credential.entry(), site))
    }
}

/// Whether a credential of these terms lets clients in that are not on the allow-list.
pub(crate) fn lets_in(entry: &Entry, site: &Site) -> bool {
    site.auth_at(entry.services()).any(|(_, offer)| offer == AuthOffer::Everybody)
}

#[cfg(test)]
mod tests;
