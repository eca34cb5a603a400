//! What must be equal for two transactions to share a connection.
//!
//! A connection carries an identity: the upstream attributes mail to where it comes from, what it
//! said in EHLO, which certificate it showed and who it logged in as. Sharing one across identities
//! sends one customer's mail as another's, so all of it is in the key. What is read from files is in
//! it as it was when the connection was opened: once a file is replaced, no key of before is equal.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use gatepost_smtp::client::{Mechanism, TlsPolicy};

use crate::access::{Current, Fingerprints};
use crate::upstream::UpstreamConfig;

/// The identity of a connection. Two connections are interchangeable only if their keys are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReuseKey {
    /// Name of the upstream.
    pub upstream: Arc<str>,
    /// Resolved address and port.
    pub address: SocketAddr,
    /// How the connection is secured, and as whom.
    pub security: Security,
    /// What we say we are.
    pub ehlo_name: Arc<str>,
    /// Address we connect from, where one is configured.
    pub source_address: Option<IpAddr>,
    /// Whom we are logged in as.
    pub identity: Identity,
}

impl ReuseKey {
    /// The key of a connection to `host` at `address` as `config` wants it now.
    pub fn new(config: &UpstreamConfig, host: &str, address: SocketAddr) -> Self {
        let current = config.access.current();
        Self::opened(config, &config.expected_name(host), address, current.as_deref())
    }

    /// The key of one that is opened with what was current.
    pub(crate) fn opened(
        config: &UpstreamConfig,
        server_name: &Arc<str>,
        address: SocketAddr,
        current: Option<&Current>,
    ) -> Self {
        let security = match config.tls {
            TlsPolicy::None => Security::Plain,
            policy => Security::Tls {
                policy,
                server_name: server_name.clone(),
                keys: TlsKeys(current.map(|it| it.fingerprints.clone()).unwrap_or_default()),
            },
        };
        let identity = match (&security, current) {
            (Security::Tls { .. }, Some(current)) => current.identity.clone(),
            _ => Identity::Anonymous,
        };
        Self {
            upstream: config.name.clone(),
            address,
            security,
            ehlo_name: config.ehlo_name.clone(),
            source_address: config.source_address,
            identity,
        }
    }

    /// Whether a connection to the same host and address would be opened in the same way now.
    pub fn is_current(&self, config: &UpstreamConfig) -> bool {
        // Field by field, as `opened` has it, without a count of references touched: this is asked
        // for every message, by all threads at once.
        let Self { upstream, address: _, security, ehlo_name, source_address, identity } = self;
        let keys_of_now;
        let (is_same_security, wanted) = match (security, config.tls) {
            (Security::Plain, TlsPolicy::None) => (true, None),
            (Security::Tls { policy, server_name, keys }, wanted) if *policy == wanted => {
                keys_of_now = config.access.peek();
                let current = keys_of_now.as_deref();
                let is_expected = config.server_name.as_ref().is_none_or(|it| it == server_name);
                let is_same = match current {
                    Some(current) => *keys.0 == *current.fingerprints,
                    None => *keys.0 == Fingerprints::default(),
                };
                (is_expected && is_same, current.map(|current| &current.identity))
            }
            _ => (false, None),
        };
        is_same_security
            && *identity == *wanted.unwrap_or(&Identity::Anonymous)
            && *upstream == config.name
            && *ehlo_name == config.ehlo_name
            && *source_address == config.source_address
    }
}

/// How a connection is secured, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Plain text.
    Plain,
    /// TLS, as far as the policy has it.
    Tls {
        /// When, and whether there may be none.
        policy: TlsPolicy,
        /// Who the other side must be.
        server_name: Arc<str>,
        /// Who says so, and what we show.
        keys: TlsKeys,
    },
}

/// The roots that were believed and the certificate that was shown, as fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsKeys(Arc<Fingerprints>);

/// AUTH identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Not logged in.
    Anonymous,
    /// Logged in.
    Login {
        /// How.
        mechanism: Mechanism,
        /// As whom.
        username: Arc<str>,
        /// Stands for the secret: another one with every change of it, and in every upstream.
        epoch: u64,
    },
}

impl Identity {
    /// How we are logged in, and as whom.
    pub(crate) fn login(&self) -> Option<(Mechanism, Arc<str>)> {
        match self {
            Self::Anonymous => None,
            Self::Login { mechanism, username, .. } => Some((*mechanism, username.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
