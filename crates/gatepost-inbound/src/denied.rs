//! Clients that are not let in: who they are, how often they come, and what they say they are.
//!
//! Who runs a gateway asks "which application did I forget?" The table keeps the addresses that
//! come most, in bounded memory, whoever else knocks (Space-Saving: Metwally, Agrawal and
//! El Abbadi, 2005). When it is full, a new address takes the place of the one that came least, and
//! its count on top: a count is too high by `error` at most, and never too low. An address that
//! makes more than one in [`ADDRESSES_MAX`] of all refusals is always there.
//!
//! Clients of an entry that has no connection left are not here: they are known, and will be let in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gatepost_policy::check::Check;
use gatepost_policy::network::Network;
use gatepost_smtp::command::{self, Command, Greeting};
use gatepost_smtp::path::ReversePath;
use metrics::{Gauge, describe_gauge, gauge};
use serde::Serialize;

use crate::admission::Refused;
use crate::rejections::source;

/// Addresses that are remembered, at some 400 octets each; 1.6 KiB if they name as much as they may.
const ADDRESSES_MAX: usize = 10_000;
/// Domains that are remembered of an address: enough to see whose application it is.
const SENDER_DOMAINS_MAX: usize = 4;
/// Listeners that are remembered of an address: there are hardly ever more.
const LISTENERS_MAX: usize = 4;
/// The null reverse-path, as `senders` of an entry has it.
const NULL: &str = "<>";

/// Clients that were refused, as far as they are remembered. It is forgotten with the process.
#[derive(Debug)]
pub struct Denied {
    table: Mutex<Table>,
    addresses_max: usize,
    gauge: Gauge,
}

/// A client that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeniedClient {
    /// What is counted as one: an IPv4 address, or the /64 of an IPv6 one.
    pub network: Network,
    /// The address of it that came last.
    pub address: IpAddr,
    /// How often it was refused, at most.
    pub count: u64,
    /// How much of the count may be of others, whose place it has taken.
    pub error: u64,
    /// Since when it has had a place, in seconds since 1970.
    pub first_seen: i64,
    /// When it was refused last, in seconds since 1970.
    pub last_seen: i64,
    /// The listeners that it came to.
    pub listeners: Vec<Box<str>>,
    /// What it has called itself last.
    pub helo: Option<Box<str>>,
    /// Domains of reverse-paths that it has tried, `<>` for the null one: the first few that are plain
    /// names or address literals.
    pub sender_domains: Vec<Box<str>>,
    /// The check that has refused it last.
    pub check: Check,
    /// The entry that has refused it last, if there was one.
    pub entry: Option<Box<str>>,
}

/// When and where a client was refused.
#[derive(Clone, Copy)]
pub(crate) struct Knock<'a> {
    pub(crate) client: IpAddr,
    pub(crate) listener: &'a Arc<str>,
    pub(crate) unix_seconds: i64,
}

#[derive(Debug, Default)]
struct Table {
    clients: HashMap<IpAddr, Client>,
    /// The same in the order of their counts.
    ranks: BTreeSet<Rank>,
    /// Refusals so far.
    refusals: u64,
}

/// Where a client stands: by its count, and among those of the same by who came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    count: u64,
    refusal: u64,
    source: IpAddr,
}

#[derive(Debug)]
struct Client {
    rank: Rank,
    error: u64,
    address: IpAddr,
    first_seen: i64,
    last_seen: i64,
    listeners: Vec<Arc<str>>,
    helo: Option<Box<str>>,
    sender_domains: Vec<Box<str>>,
    check: Check,
    entry: Option<Arc<str>>,
}

impl Denied {
    pub(crate) fn new() -> Arc<Self> {
        describe_gauge!("gatepost_denied_addresses", "Addresses among the refused clients");
        let gauge = gauge!("gatepost_denied_addresses");
        gauge.set(0);
        Arc::new(Self { table: Mutex::default(), addresses_max: ADDRESSES_MAX, gauge })
    }

    /// Those that were refused most, the most first.
    pub fn clients(&self, most: usize) -> Vec<DeniedClient> {
        let table = self.table();
        let clients = table.ranks.iter().rev().filter_map(|rank| table.clients.get(&rank.source));
        clients.take(most).map(Client::shown).collect()
    }

    /// The one with an address, or in the same /64.
    pub fn client(&self, address: IpAddr) -> Option<DeniedClient> {
        self.table().clients.get(&source(address)).map(Client::shown)
    }

    /// Counts a refusal.
    pub(crate) fn count(&self, knock: Knock<'_>, refused: &Refused) {
        if refused.refusal.check == Check::MaxConnections {
            return;
        }
        let mut table = self.table();
        let addresses = table.clients.len();
        table.count(knock, refused, self.addresses_max);
        // A place that is taken is never empty again.
        if table.clients.len() > addresses {
            self.gauge.increment(1);
        }
    }

    /// A refused client goes on speaking, and says who it is.
    pub(crate) fn hear(&self, client: IpAddr, line: &[u8]) {
        match command::parse(line, Greeting::Ehlo) {
            Ok(Command::Hello(_, name)) => self.hear_hello(client, name),
            Ok(Command::Mail(mail)) => self.hear_sender(client, mail.reverse_path),
            _ => {}
        }
    }

    /// What a refused client calls itself.
    pub(crate) fn hear_hello(&self, client: IpAddr, name: &str) {
        if let Some(client) = self.table().clients.get_mut(&source(client))
            && client.helo.as_deref() != Some(name)
        {
            client.helo = Some(name.into());
        }
    }

    fn hear_sender(&self, client: IpAddr, path: ReversePath<'_>) {
        let domain = match path {
            ReversePath::Null => NULL.to_owned(),
            ReversePath::Mailbox(mailbox) => match plain(mailbox.domain()) {
                Some(domain) => domain.to_ascii_lowercase(),
                None => return,
            },
        };
        if let Some(client) = self.table().clients.get_mut(&source(client))
            && client.sender_domains.len() < SENDER_DOMAINS_MAX
            && !client.sender_domains.iter().any(|known| **known == *domain)
        {
            client.sender_domains.push(domain.into());
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A place is taken, given and ranked together, and nothing of it can panic in between.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&mut self, knock: Knock<'_>, refused: &Refused, addresses_max: usize) {
        self.refusals += 1;
        let source = source(knock.client);
        let mut client = match self.clients.remove(&source) {
            Some(client) => {
                self.ranks.remove(&client.rank);
                client
            }
            None if self.clients.len() >= addresses_max => Client::new(knock, self.give_way()),
            None => Client::new(knock, 0),
        };
        client.rank = Rank { count: client.rank.count + 1, refusal: self.refusals, source };
        client.see(knock, refused);
        self.ranks.insert(client.rank);
        self.clients.insert(source, client);
    }

    /// Forgets the address that came least, and says how often it did.
    fn give_way(&mut self) -> u64 {
        let Some(least) = self.ranks.pop_first() else { return 0 };
        self.clients.remove(&least.source);
        least.count
    }
}

impl Client {
    /// One that was never refused, in the place of one that was so often.
    const fn new(knock: Knock<'_>, error: u64) -> Self {
        let (address, now) = (knock.client, knock.unix_seconds);
        Self {
            rank: Rank { count: error, refusal: 0, source: address },
            error,
            address,
            first_seen: now,
            last_seen: now,
            listeners: Vec::new(),
            helo: None,
            sender_domains: Vec::new(),
            check: Check::AllowList,
            entry: None,
        }
    }

    fn see(&mut self, knock: Knock<'_>, refused: &Refused) {
        self.address = knock.client;
        self.last_seen = self.last_seen.max(knock.unix_seconds);
        self.check = refused.refusal.check;
        self.entry = refused.entry.as_ref().map(|entry| Arc::clone(entry.id()));
        if self.listeners.len() < LISTENERS_MAX && !self.listeners.contains(knock.listener) {
            self.listeners.push(Arc::clone(knock.listener));
        }
    }

    fn shown(&self) -> DeniedClient {
        let source = self.rank.source;
        let prefix_length = if source.is_ipv4() { 32 } else { 64 };
        // Neither /0 nor host bits; IPv4-mapped addresses are IPv4 before they come here.
        let network = Network::new(source, prefix_length).expect("a source is a network");
        DeniedClient {
            network,
            address: self.address,
            count: self.rank.count,
            error: self.error,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            listeners: self.listeners.iter().map(|name| Box::from(&**name)).collect(),
            helo: self.helo.clone(),
            sender_domains: self.sender_domains.clone(),
            check: self.check,
            entry: self.entry.as_ref().map(|id| Box::from(&**id)),
        }
    }
}

/// A domain of letters, digits, `-`, `_` and dots, or an address literal of those and colons. All else
/// that a stranger names is not kept: nobody needs it to know an application again, and whoever looks
/// at the table would be shown what the stranger wants to be read.
fn plain(domain: &[u8]) -> Option<&str> {
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let literal = domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let all_are = match literal {
        Some(inside) => inside.iter().all(|octet| is_plain(octet) || *octet == b':'),
        None => domain.iter().all(is_plain),
    };
    str::from_utf8(domain).ok().filter(|_| all_are && !domain.is_empty())
}

#[cfg(test)]
mod tests;
