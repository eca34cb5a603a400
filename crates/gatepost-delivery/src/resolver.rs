//! From the name of a host to its addresses.
//!
//! A literal address and `localhost` ask nobody. Everything else is asked of the hosts file and the
//! name servers (`dns`), and kept for its TTL (`cache`); no thread waits for it, as one does for
//! `getaddrinfo`. A mail domain is first turned into its mail exchangers (RFC 5321 §5.1). In what
//! order addresses are tried is not decided here, except that exchangers come by preference.

mod cache;
mod dns;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::dns::NameServers;
use self::{cache::Cache, dns::Dns};
use crate::upstream::{HostMeans, HostPort, IpVersion, UpstreamConfig};

/// Mail exchangers of a domain that are looked up, the preferred first. Nobody has more that matter,
/// and each is a question.
const EXCHANGERS_MAX: usize = 8;
/// How long one look-up is waited for when another has already found somewhere to go.
const GRACE: Duration = Duration::from_secs(1);
/// How long all exchangers of a domain may take together, so that one whose name server is silent
/// does not cost the others.
const EXCHANGERS_PATIENCE: Duration = Duration::from_secs(5);

/// Finds addresses, and remembers them.
pub(crate) struct Resolver {
    ip: IpVersion,
    dns: Arc<Dns>,
    addresses: Arc<Cache<Result<Arc<[IpAddr]>, LookupError>>>,
    exchangers: Arc<Cache<Result<Arc<[Exchanger]>, LookupError>>>,
}

/// One MX record. The name ends with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchanger {
    preference: u16,
    name: Arc<str>,
}

/// A host with a name of its own, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What its certificate should say: the host as it is configured, or a mail exchanger.
    pub(crate) name: Arc<str>,
    pub(crate) addresses: Arc<[IpAddr]>,
}

/// Why a host has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nobody knows for now.
    #[error("the name servers do not answer: {0}")]
    Failed(Arc<str>),
    /// The name is there, an address that may be used is not.
    #[error("has no address that ip and source_address allow")]
    NoAddress,
    /// The name is not there.
    #[error("there is no such name")]
    NoSuchName,
    /// RFC 7505.
    #[error("takes no mail: it has a null MX record")]
    NullMx,
}

/// The addresses of a host of an upstream as its gateway would find them.
pub async fn resolve(
    config: &UpstreamConfig,
    host: &HostPort,
) -> Result<Vec<SocketAddr>, LookupError> {
    let places = Resolver::new(config).places(host).await?;
    let addresses = places.iter().flat_map(|place| &*place.addresses);
    Ok(addresses.map(|address| SocketAddr::new(*address, host.port())).collect())
}

impl Resolver {
    pub(crate) fn new(config: &UpstreamConfig) -> Arc<Self> {
        Arc::new(Self {
            ip: config.ip.from_source(config.source_address),
            dns: Arc::new(Dns::new(config.name_servers.clone())),
            addresses: Arc::default(),
            exchangers: Arc::default(),
        })
    }

    /// One for what is no upstream.
    pub(crate) fn of_machine() -> Arc<Self> {
        Arc::new(Self {
            ip: IpVersion::Any,
            dns: Arc::new(Dns::new(NameServers::System)),
            addresses: Arc::default(),
            exchangers: Arc::default(),
        })
    }

    /// Where a host is; a mail domain can be in several places, which come in the order of their
    /// preference. Never empty, and no place is without an address.
    pub(crate) async fn places(
        self: &Arc<Self>,
        host: &HostPort,
    ) -> Result<Vec<Place>, LookupError> {
        match host.means() {
            HostMeans::Host => self.place(host.host().into()).await.map(|place| vec![place]),
            HostMeans::MailDomain => self.places_of_domain(host.host()).await,
        }
    }

    async fn places_of_domain(self: &Arc<Self>, domain: &str) -> Result<Vec<Place>, LookupError> {
        let (dns, name) = (self.dns.clone(), Box::<str>::from(domain));
        let ask = async move { dns.exchangers(&name).await };
        let found = self.exchangers.get(domain, ask).await.map_err(LookupError::Failed)??;
        let begun = by_preference(&found).map(|exchanger| {
            let (resolver, name) = (Arc::clone(self), exchanger.name.clone());
            tokio::spawn(async move { resolver.place(name).await })
        });
        let found = gather(begun.collect(), EXCHANGERS_PATIENCE).await;
        let trouble = found.iter().find_map(|place| place.as_ref().err().cloned());
        let places: Vec<Place> = found.into_iter().flatten().collect();
        if places.is_empty() { Err(trouble.unwrap_or(LookupError::NoAddress)) } else { Ok(places) }
    }

    /// Where one host is.
    pub(crate) async fn place(&self, host: Arc<str>) -> Result<Place, LookupError> {
        let addresses = match self.without_asking(&host) {
            Some(addresses) if addresses.is_empty() => return Err(LookupError::NoAddress),
            Some(addresses) => addresses.into(),
            None => {
                let (dns, name, ip) = (self.dns.clone(), host.clone(), self.ip);
                let ask = async move { dns.addresses(&name, ip).await };
                self.addresses.get(&host, ask).await.map_err(LookupError::Failed)??
            }
        };
        // The dot only keeps the search list away.
        let name = host.strip_suffix('.').map_or_else(|| host.clone(), Arc::from);
        Ok(Place { name, addresses })
    }

    /// The addresses of a host that nobody has to be asked for: an address, or `localhost` and what
    /// is below it (RFC 6761 §6.3).
    fn without_asking(&self, host: &str) -> Option<Vec<IpAddr>> {
        let addresses = if let Ok(address) = host.parse() {
            vec![address]
        } else {
            let name = host.strip_suffix('.').unwrap_or(host);
            let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
            if !last.eq_ignore_ascii_case("localhost") {
                return None;
            }
            vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
        };
        Some(addresses.into_iter().filter(|address| self.ip.takes(address)).collect())
    }
}

/// Waits for look-ups in their order: with patience until there is somewhere to go, and for the
/// others hardly at all. One that is not waited for goes on, and is there the next time.
pub(crate) async fn gather<T>(
    begun: Vec<JoinHandle<Result<T, LookupError>>>,
    patience: Duration,
) -> Vec<Result<T, LookupError>> {
    let mut until = Instant::now() + patience;
    let mut found = Vec::with_capacity(begun.len());
    for lookup in begun {
        let answer = match tokio::time::timeout_at(until, lookup).await {
            Ok(answer) => {
                answer.unwrap_or_else(|broke| Err(LookupError::Failed(broke.to_string().into())))
            }
            Err(_) => Err(LookupError::Failed("no answer in time".into())),
        };
        if answer.is_ok() {
            until = until.min(Instant::now() + GRACE);
        }
        found.push(answer);
    }
    found
}

/// RFC 5321 §5.1: the lowest preference first, and those that are equal in an order by chance.
fn by_preference(exchangers: &[Exchanger]) -> impl Iterator<Item = &Exchanger> {
    let mut order: Vec<&Exchanger> = exchangers.iter().collect();
    fastrand::shuffle(&mut order);
    order.sort_by_key(|exchanger| exchanger.preference);
    order.into_iter().take(EXCHANGERS_MAX)
}
