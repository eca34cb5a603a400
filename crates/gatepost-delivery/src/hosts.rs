//! Where a connection can go: the hosts of an upstream, their addresses, and in what order they are
//! tried.
//!
//! Hosts are a priority, not a balance: the first one that is well gets everything, and gets it
//! back when it has recovered. The addresses of one host are alternatives that its owner wants
//! used evenly, so their order is left to chance for each connection, IPv6 and IPv4 by turns
//! (RFC 8305 §4). What has failed is put behind what has not (`health`); if everything has failed,
//! everything is tried. The lock is held for a look, never across a wait.

mod health;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::health::{Change, Health};
use crate::metrics::HostMetrics;
use crate::resolver::{Place, Resolver, gather};
use crate::trouble::Trouble;
use crate::upstream::{HostPort, UpstreamConfig};

/// Addresses of one host that a connection may try. Chance says which, where there are more.
const ADDRESSES_MAX: usize = 16;
/// Addresses of one host that may refuse one connection. A single bad node is got around; a
/// password that is wrong is not tried at every node, which is how an account is locked.
const REFUSALS_MAX: usize = 2;
/// Hosts, and addresses of them, that may refuse the login of one connection: it is one account,
/// wherever it is tried.
const LOGINS_REFUSED_MAX: usize = 2;

/// The hosts of one upstream.
pub(crate) struct Hosts {
    upstream: Arc<str>,
    list: Box<[Arc<HostPort>]>,
    resolver: Arc<Resolver>,
    connect_timeout: Duration,
    metrics: HostMetrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    health: Health,
    /// How many addresses each host had when it was looked up last, if it was.
    known: Box<[Option<usize>]>,
}

/// One address of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place in the list of hosts.
    pub(crate) host: usize,
    /// Who should be there: the host as it is configured, or the mail exchanger. Its certificate
    /// says so.
    pub(crate) name: Arc<str>,
    /// Where to connect.
    pub(crate) address: SocketAddr,
}

impl Hosts {
    pub(crate) fn new(config: &UpstreamConfig) -> Self {
        let known = vec![None; config.hosts.len()].into();
        Self {
            upstream: config.name.clone(),
            list: config.hosts.iter().cloned().map(Arc::new).collect(),
            resolver: Resolver::new(config),
            connect_timeout: config.connect_timeout,
            metrics: HostMetrics::new(&config.name, &config.hosts),
            state: Mutex::new(State { health: Health::default(), known }),
        }
    }

    /// Where to connect, in the order to try; never empty.
    pub(crate) async fn candidates(&self) -> Result<Vec<Candidate>, Trouble> {
        let begun = self.list.iter().map(|host| {
            let (resolver, host) = (self.resolver.clone(), host.clone());
            tokio::spawn(async move { resolver.places(&host).await })
        });
        let found = gather(begun.collect(), self.connect_timeout).await;
        let mut candidates = Vec::new();
        let mut trouble = None;
        let mut known = Vec::with_capacity(found.len());
        for (index, (host, found)) in self.list.iter().zip(found).enumerate() {
            let before = candidates.len();
            match found {
                Ok(places) => candidates.extend(in_turn(index, host.port(), &places)),
                Err(error) => {
                    if self.state().known.get(index) != Some(&Some(0)) {
                        // Once each time that it is lost.
                        tracing::warn!(upstream = &*self.upstream, %host, %error, "the host has no address");
                    }
                    let text = format!("{host}: {error}");
                    trouble.get_or_insert(Trouble::Unreachable(text));
                }
            }
            known.push(Some(candidates.len() - before));
        }
        self.put_in_order(&mut candidates, known.into());
        match trouble {
            Some(trouble) if candidates.is_empty() => Err(trouble),
            // Every host has addresses, or has said why it has none.
            _ => Ok(candidates),
        }
    }

    /// A connection was opened.
    pub(crate) fn succeeded(&self, candidate: &Candidate) {
        if candidate.host > 0 {
            self.metrics.failovers.increment(1);
        }
        let mut state = self.state();
        let was_down = state.is_down(candidate.host);
        let recovered = state.health.succeeded(candidate);
        drop(state);
        if recovered {
            self.tell(candidate.host);
        }
        if was_down {
            let host = self.name(candidate);
            tracing::info!(upstream = &*self.upstream, host, "the host can be used again");
        }
    }

    /// A connection could not be opened.
    pub(crate) fn failed(&self, candidate: &Candidate, trouble: &Trouble) {
        let address = candidate.address;
        let host = self.name(candidate);
        tracing::debug!(upstream = &*self.upstream, host, %address, %trouble, "cannot open a connection");
        let mut state = self.state();
        let change = state.health.failed(candidate, Instant::now());
        let is_down = state.is_down(candidate.host);
        drop(state);
        if change == Change::Fell && is_down {
            self.tell(candidate.host);
            // Once each time that it falls: whoever sends mail cannot fill the log.
            tracing::warn!(upstream = &*self.upstream, host, %trouble, "the host cannot be used");
        }
    }

    /// Sorts candidates by their health, and lets this connection be the one that tries what has
    /// failed some time ago, if that is the first now.
    fn put_in_order(&self, candidates: &mut [Candidate], known: Box<[Option<usize>]>) {
        let now = Instant::now();
        let mut state = self.state();
        state.health.keep_only(candidates);
        candidates.sort_by_cached_key(|candidate| state.health.behind(candidate, now));
        if let Some(first) = candidates.first()
            && state.health.behind(first, now).is_none()
        {
            state.health.probe(first, now, self.connect_timeout);
        }
        let changed = state.known != known;
        state.known = known;
        drop(state);
        if changed {
            (0..self.list.len()).for_each(|host| self.tell(host));
        }
    }

    fn tell(&self, host: usize) {
        let is_down = self.state().is_down(host);
        if let Some(healthy) = self.metrics.healthy.get(host) {
            healthy.set(f64::from(u8::from(!is_down)));
        }
    }

    fn name(&self, candidate: &Candidate) -> String {
        self.list.get(candidate.host).map(ToString::to_string).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether no address of a host is left that has not failed.
    fn is_down(&self, host: usize) -> bool {
        let known = self.known.get(host).copied().flatten();
        known.is_some_and(|known| self.health.down(host) >= known)
    }
}

/// How one connection fares with the candidates, until one takes it.
#[derive(Default)]
pub(crate) struct Attempts {
    told: Option<Trouble>,
    refusals: Vec<usize>,
    logins_refused: usize,
}

impl Attempts {
    /// Whether a candidate should be tried at all after what the ones before it have said.
    pub(crate) fn may_try(&self, candidate: &Candidate) -> bool {
        let of_host = self.refusals.iter().filter(|host| **host == candidate.host);
        self.logins_refused < LOGINS_REFUSED_MAX && of_host.count() < REFUSALS_MAX
    }

    /// A candidate has failed.
    pub(crate) fn failed(&mut self, candidate: &Candidate, trouble: Trouble) {
        if says_much(&trouble) == Says::No {
            self.refusals.push(candidate.host);
        }
        if matches!(trouble, Trouble::AuthRefused(_)) {
            self.logins_refused += 1;
        }
        // The first of those that say most: the host that should have been used comes first.
        if self.told.as_ref().is_none_or(|told| says_much(told) < says_much(&trouble)) {
            self.told = Some(trouble);
        }
    }

    /// What to say when there is no candidate left.
    pub(crate) fn give_up(self) -> Trouble {
        self.told.unwrap_or(Trouble::Silent)
    }
}

/// How much a trouble says about what to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    /// Nobody was there.
    Nothing,
    /// Somebody was there and did not get to the point.
    Little,
    /// Somebody did not want us.
    No,
}

fn says_much(trouble: &Trouble) -> Says {
    match trouble {
        Trouble::Busy | Trouble::NoToken(_) | Trouble::Resting { .. } | Trouble::Unreachable(_) => {
            Says::Nothing
        }
        Trouble::Silent | Trouble::Lost(_) => Says::Little,
        Trouble::AuthRefused(_)
        | Trouble::Desync(_)
        | Trouble::NoMechanism(_)
        | Trouble::NoTls(_)
        | Trouble::Refused(_)
        | Trouble::Tls(_) => Says::No,
    }
}

/// The candidates of one host: place by place, and within a place by chance, families by turns.
fn in_turn(host: usize, port: u16, places: &[Place]) -> impl Iterator<Item = Candidate> {
    let candidates = places.iter().flat_map(move |place| {
        by_turns(&place.addresses).into_iter().map(move |address| {
            let address = SocketAddr::new(address, port);
            Candidate { host, name: place.name.clone(), address }
        })
    });
    let mut unique: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        // Exchangers may share addresses, and a record may be there twice.
        if unique.len() < ADDRESSES_MAX && unique.iter().all(|it| it.address != candidate.address) {
            unique.push(candidate);
        }
    }
    unique.into_iter()
}

/// Addresses in an order by chance, an IPv6 address first and then families by turns, so that a
/// network without the one costs one attempt (RFC 8305 §4).
fn by_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (mut six, mut four): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6());
    fastrand::shuffle(&mut six);
    fastrand::shuffle(&mut four);
    let mut order = Vec::with_capacity(addresses.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let before = order.len();
        order.extend(six.next());
        order.extend(four.next());
        if order.len() == before {
            return order;
        }
    }
}
