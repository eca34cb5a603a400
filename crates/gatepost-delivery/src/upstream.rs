//! A smart host: where it is, who we are to it, and its limits.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::client::TlsPolicy;
use gatepost_stream::Clock;

use crate::access::Access;
use crate::offer::KnownOffers;
use crate::patience::Patience;
use crate::pool::{Lease, Pool, PoolStatus};
use crate::profile::Profile;
use crate::quota::Quota;
use crate::rate::{RateUsage, RecipientRate, RecipientRates};
use crate::resolver::NameServers;
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
    /// Who is asked for them.
    pub name_servers: NameServers,
    /// Whether connections are protected.
    pub tls: TlsPolicy,
    /// The name that its certificate must have, if that is not the one of the host.
    pub server_name: Option<Arc<str>>,
    /// Whom we take for it, and who we are to it: what is in files, and may be replaced.
    pub access: Arc<Access>,
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
    /// Recipients in a second, a minute, an hour, a day; all of them hold.
    pub recipient_rates: Vec<RecipientRate>,
    /// From the first SYN to the answer to EHLO, per address; also the wait for a free connection.
    pub connect_timeout: Duration,
    /// How long a client that stalls may hold a connection.
    pub client_stall: Duration,
    /// How long it may take for what no key speaks of.
    pub patience: Patience,
}

/// `host:port`, or `mx:domain:port`. The host is a name or an address, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Box<str>,
    port: u16,
    means: HostMeans,
}

/// What the name before a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMeans {
    /// A host, or an address.
    Host,
    /// A domain, whose mail exchangers are the hosts (RFC 5321 §5.1).
    MailDomain,
}

/// Which addresses of a host are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// Both, by turns.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// A smart host with its connections.
pub struct Upstream {
    pub(crate) pool: Arc<Pool>,
    quota: Quota,
}

impl Upstream {
    /// An upstream without connections. Must be called inside the runtime: it starts the task
    /// that closes connections which were idle for too long.
    pub fn new(config: UpstreamConfig, clock: Clock) -> Arc<Self> {
        let rates = RecipientRates::new(&config.name, &config.recipient_rates);
        let quota = Quota::new(rates, config.connect_timeout);
        let pool = Pool::new(config, clock);
        pool.clone().spawn_monitor();
        Arc::new(Self { pool, quota })
    }

    /// What was configured.
    pub fn config(&self) -> &UpstreamConfig {
        self.pool.config()
    }

    /// Connections that a transaction has, and connections that wait for one.
    pub fn connections(&self) -> (usize, usize) {
        let PoolStatus { busy, idle, .. } = self.status();
        (busy, idle)
    }

    /// What its pool is doing.
    pub fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    /// A connection for one transaction: the one used last if there is any, a new one if not.
    ///
    /// `entry` is the id of the policy entry that asks: while connections are scarce, entries have
    /// equal shares of them.
    pub async fn checkout(&self, entry: &Arc<str>) -> Result<Lease, Trouble> {
        self.pool.checkout(entry).await
    }

    /// Takes one recipient from what the upstream may be given, or says after how long it might be
    /// tried again. What is taken is not given back.
    ///
    /// While there is none to take, `entry`, the id of the policy entry that asks, has its turn among
    /// others, for as long as there is `patience`, which becomes less by what it waits: a message
    /// begins with [`Upstream::recipient_patience`].
    pub async fn take_recipient(
        &self,
        entry: &Arc<str>,
        patience: &mut Duration,
    ) -> Result<(), Duration> {
        self.quota.take(entry, patience).await
    }

    /// How long the recipients of a message may wait, all together: no longer than for a connection.
    pub const fn recipient_patience(&self) -> Duration {
        self.quota.patience()
    }

    /// Why a message gets no connection now, if that is certain without asking for one.
    pub fn resting(&self) -> Option<Trouble> {
        self.pool.resting()
    }

    /// Forgets what is held against it: back-off, throttling and pauses. An operator knows better.
    pub fn reset_breaker(&self) {
        self.pool.reset();
    }

    /// What is used of each rate, for whoever wants to look at it.
    pub fn recipient_usage(&self) -> Vec<RateUsage> {
        self.quota.rates.usage(std::time::Instant::now())
    }

    /// What it has offered in EHLO so far.
    pub fn known_offers(&self) -> KnownOffers {
        self.pool.offers.known().clone()
    }

    /// What it had offered before this process began.
    pub fn restore_offers(&self, before: &KnownOffers) {
        self.pool.offers.restore(before);
    }

    /// What is counted of recipients, for whoever keeps it over a restart.
    pub const fn recipient_rates(&self) -> &RecipientRates {
        &self.quota.rates
    }
}

impl UpstreamConfig {
    /// The name that the certificate of a host must have.
    pub(crate) fn expected_name(&self, host: &str) -> Arc<str> {
        self.server_name.clone().unwrap_or_else(|| host.into())
    }
}

#[cfg(test)]
impl UpstreamConfig {
    /// Plain text to nowhere, for tests to say what is different.
    pub(crate) fn of_test() -> Self {
        let second = Duration::from_secs(1);
        Self {
            name: "test".into(),
            profile: Profile::generic(),
            hosts: Vec::new(),
            ip: IpVersion::Any,
            name_servers: NameServers::System,
            tls: TlsPolicy::None,
            server_name: None,
            access: Arc::default(),
            ehlo_name: "relay.test".into(),
            source_address: None,
            max_connections: 10,
            max_messages_per_connection: None,
            idle_timeout: second * 30,
            max_age: second * 600,
            max_recipients: None,
            recipient_rates: Vec::new(),
            connect_timeout: second * 5,
            client_stall: second * 10,
            patience: Patience::default(),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.config().name).finish_non_exhaustive()
    }
}

impl IpVersion {
    /// Whether an address is one of those.
    pub const fn takes(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// Those of them that can be connected to from an address.
    #[must_use]
    pub const fn from_source(self, source: Option<IpAddr>) -> Self {
        match (self, source) {
            (Self::Any, Some(IpAddr::V4(_))) => Self::V4,
            (Self::Any, Some(IpAddr::V6(_))) => Self::V6,
            _ => self,
        }
    }
}

impl HostPort {
    /// The name, or the address without brackets.
    pub const fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What [`HostPort::host`] is.
    pub const fn means(&self) -> HostMeans {
        self.means
    }

    /// Whether it is this machine: `localhost`, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.means {
            HostMeans::Host => "",
            HostMeans::MailDomain => MAIL_DOMAIN,
        };
        if self.host.contains(':') {
            write!(f, "{prefix}[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{prefix}{}:{}", self.host, self.port)
        }
    }
}

/// In front of a domain whose mail exchangers are meant. No host can begin so: a colon is in no name.
const MAIL_DOMAIN: &str = "mx:";

/// Why text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected host:port, like smarthost.example.com:25 or [2001:db8::1]:25, or mx:example.com:25 for its mail exchangers"
)]
pub struct HostPortError;

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (means, text) = match text.strip_prefix(MAIL_DOMAIN) {
            Some(rest) => (HostMeans::MailDomain, rest),
            None => (HostMeans::Host, text),
        };
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let port = port.parse().ok().filter(|&port: &u16| port != 0).ok_or(HostPortError)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => {
                address.parse::<Ipv6Addr>().map(|_| address).map_err(|_| HostPortError)?
            }
            None => host,
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        let valid = if host.contains(':') {
            is_address && text.starts_with('[')
        } else {
            is_address || is_name(host)
        };
        // An address has no mail exchangers.
        let valid = valid && (means == HostMeans::Host || !is_address);
        if valid { Ok(Self { host: host.into(), port, means }) } else { Err(HostPortError) }
    }
}

/// Whether name servers and certificates could know it (RFC 1123 §2.1, and the underscore that some
/// networks have). Its last label is no number: that is an address with a slip in it.
fn is_name(host: &str) -> bool {
    /// RFC 1035 §2.3.4.
    const LABEL_OCTETS_MAX: usize = 63;
    /// The same, without the root.
    const OCTETS_MAX: usize = 253;
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LABEL_OCTETS_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() <= OCTETS_MAX
        && host.split('.').all(is_label)
        && !last.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for (text, is_loopback) in [
            ("localhost:25", true),
            ("127.3.2.1:25", true),
            ("[::1]:25", true),
            ("localhost.example.com:25", false),
            ("10.0.0.1:25", false),
        ] {
            assert_eq!(text.parse::<HostPort>().expect(text).is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn hosts_are_a_name_or_an_address_with_a_port() {
        for good in [
            "smarthost.example.com:25",
            "127.0.0.1:2525",
            "[2001:db8::1]:25",
            "mail_1.internal:587",
            "mx:example.com:25",
            "mx.example.com:25",
            "smarthost.:25",
        ] {
            assert_eq!(good.parse::<HostPort>().expect(good).to_string(), good);
        }
        let domain: HostPort = "mx:example.com:25".parse().expect("a mail domain");
        assert_eq!((domain.host(), domain.port()), ("example.com", 25));
        assert_eq!(domain.means(), HostMeans::MailDomain);
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
            "mx:example.com",
            "mx::25",
            "mx:127.0.0.1:25",
            "mx:[::1]:25",
            "mx:mx:example.com:25",
            "10.0.0.256:25",
            "10.1:25",
            "a..b:25",
            ".:25",
            "-a:25",
            "a-:25",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_source_address_says_which_addresses_can_be_reached() {
        let (four, six): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into());
        assert_eq!(IpVersion::Any.from_source(Some(four)), IpVersion::V4);
        assert_eq!(IpVersion::Any.from_source(Some(six)), IpVersion::V6);
        assert_eq!(IpVersion::Any.from_source(None), IpVersion::Any);
        assert!(IpVersion::Any.takes(&four) && IpVersion::Any.takes(&six));
        assert!(IpVersion::V4.takes(&four) && !IpVersion::V4.takes(&six));
        assert!(IpVersion::V6.takes(&six) && !IpVersion::V6.takes(&four));
    }
}
