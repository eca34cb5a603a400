//! A smart host: where it is, who we are to it, and its limits.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gatepost_stream::Clock;

use crate::patience::Patience;
use crate::pool::{Lease, Pool};
use crate::profile::Profile;
use crate::trouble::Trouble;

/// What is configured for one upstream; the contract has keys and defaults.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Unique name; in logs, metrics and policy.
    pub name: Arc<str>,
    /// What is known of its provider.
    pub profile: Arc<Profile>,
    /// Where it is, tried in order.
    pub hosts: Vec<HostPort>,
    /// Which addresses of a host are used.
    pub ip: IpVersion,
    /// What we say we are.
    pub ehlo_name: Arc<str>,
    /// Address to connect from.
    pub source_address: Option<IpAddr>,
    /// Connections at once.
    pub max_connections: usize,
    /// Messages after which a connection is closed.
    pub max_messages_per_connection: Option<u32>,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How old a connection may become.
    pub max_age: Duration,
    /// Recipients of one transaction.
    pub max_recipients: Option<u32>,
    /// From the first SYN to the answer to EHLO, per address; also the wait for a free connection.
    pub connect_timeout: Duration,
    /// How long a client that stalls may hold a connection.
    pub client_stall: Duration,
    /// How long it may take for what no key speaks of.
    pub patience: Patience,
}

/// `host:port`. The host is a name or an address, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Box<str>,
    port: u16,
}

/// Which addresses of a host are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// All, in the order the resolver gives.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// A smart host with its connections.
pub struct Upstream {
    pool: Arc<Pool>,
}

impl Upstream {
    /// An upstream without connections. Must be called inside the runtime: it starts the task
    /// that closes connections which were idle for too long.
    pub fn new(config: UpstreamConfig, clock: Clock) -> Arc<Self> {
        let pool = Pool::new(config, clock);
        pool.clone().spawn_monitor();
        Arc::new(Self { pool })
    }

    /// What was configured.
    pub fn config(&self) -> &UpstreamConfig {
        self.pool.config()
    }

    /// Connections that a transaction has, and connections that wait for one.
    pub fn connections(&self) -> (usize, usize) {
        self.pool.connections()
    }

    /// A connection for one transaction: the one used last if there is any, a new one if not.
    pub async fn checkout(&self) -> Result<Lease, Trouble> {
        self.pool.checkout().await
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.config().name).finish_non_exhaustive()
    }
}

impl IpVersion {
    /// Whether an address is one of those.
    pub const fn takes(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl HostPort {
    /// The name, or the address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// All addresses, in the order to try them. A literal address asks no resolver.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        Ok(tokio::net::lookup_host((&*self.host, self.port)).await?.collect())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected host:port, like smarthost.example.com:25 or [2001:db8::1]:25")]
pub struct HostPortError;

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let port = port.parse().ok().filter(|&port: &u16| port != 0).ok_or(HostPortError)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => {
                address.parse::<std::net::Ipv6Addr>().map(|_| address).map_err(|_| HostPortError)?
            }
            None => host,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let valid = !host.is_empty()
            && (host.contains(':') && text.starts_with('[') || host.chars().all(is_name));
        if valid { Ok(Self { host: host.into(), port }) } else { Err(HostPortError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_name_or_an_address_with_a_port() {
        for good in [
            "smarthost.example.com:25",
            "127.0.0.1:2525",
            "[2001:db8::1]:25",
            "mail_1.internal:587",
        ] {
            assert_eq!(good.parse::<HostPort>().expect(good).to_string(), good);
        }
        for wrong in [
            "",
            "a",
            "a:",
            ":25",
            "a:0",
            "a:65536",
            "2001:db8::1:25",
            "[::1]",
            "[a]:25",
            "a b:25",
            "a:25 ",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong:?}");
        }
    }
}
