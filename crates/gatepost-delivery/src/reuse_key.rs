//! What must be equal for two transactions to share a connection.
//!
//! A connection carries an identity: the upstream attributes mail to where it comes from, what it
//! said in EHLO and who it logged in as. Sharing one across identities sends one customer's mail
//! as another's, so all of it is in the key, and a part that is not built yet has one value only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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
    /// The key of a connection to `address` as `config` wants it now.
    pub fn new(config: &UpstreamConfig, address: SocketAddr) -> Self {
        Self {
            upstream: config.name.clone(),
            address,
            security: Security::Plain,
            ehlo_name: config.ehlo_name.clone(),
            source_address: config.source_address,
            identity: Identity::Anonymous,
        }
    }
}

/// TLS policy and client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Plain text.
    Plain,
}

/// AUTH identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Not logged in.
    Anonymous,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resolver::NameServers;
    use crate::upstream::IpVersion;

    fn config() -> UpstreamConfig {
        UpstreamConfig {
            name: "a".into(),
            profile: crate::Profile::generic(),
            hosts: Vec::new(),
            ip: IpVersion::Any,
            name_servers: NameServers::System,
            ehlo_name: "relay.test".into(),
            source_address: None,
            max_connections: 1,
            max_messages_per_connection: None,
            idle_timeout: Duration::ZERO,
            max_age: Duration::ZERO,
            max_recipients: None,
            recipient_rates: Vec::new(),
            connect_timeout: Duration::ZERO,
            client_stall: Duration::ZERO,
            patience: crate::patience::Patience::default(),
        }
    }

    #[test]
    fn every_part_of_an_identity_tells_connections_apart() {
        let address = SocketAddr::from(([127, 0, 0, 1], 25));
        let key = ReuseKey::new(&config(), address);
        assert_eq!(key, ReuseKey::new(&UpstreamConfig { max_connections: 9, ..config() }, address));
        for other in [
            UpstreamConfig { name: "b".into(), ..config() },
            UpstreamConfig { ehlo_name: "other.test".into(), ..config() },
            UpstreamConfig { source_address: Some([127, 0, 0, 2].into()), ..config() },
        ] {
            assert_ne!(key, ReuseKey::new(&other, address));
        }
        assert_ne!(key, ReuseKey::new(&config(), SocketAddr::from(([127, 0, 0, 1], 26))));
    }
}
