//! How an entry is used: how often, by how many hosts, and when last.
//!
//! It is counted where it happens, in the state of the entry, without a lock and without a look-up.
//! Now and then somebody takes what was counted and adds it to what is kept: see
//! [`UsageTotal`](crate::total::UsageTotal). An entry that nobody uses costs two words.
//!
//! What belongs to a count (the moment, the address) is written before it, and the counts are taken
//! first: whoever takes a count also finds what belongs to it, now or the next time.

use std::net::IpAddr;

use crate::{
    atomic::{AtomicU64, OnceLock, Ordering},
    hosts::Hosts,
    registers::Registers,
};

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was greeted.
    Connection,
    /// A message of it was accepted.
    Message,
    /// Something of it was refused: the connection, MAIL, a recipient or the data.
    Refusal,
}

/// How an entry was used since that was last taken.
#[derive(Debug, Default)]
pub struct Usage(OnceLock<Box<Counts>>);

#[derive(Debug)]
struct Counts {
    /// One for each [`Use`].
    uses: [AtomicU64; 3],
    /// When it was made, which is at the first use.
    first_seen: u64,
    last_seen: AtomicU64,
    hosts: Hosts,
}

/// What was counted between two takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageDelta {
    /// Connections that were greeted.
    pub hits: u64,
    /// Messages that were accepted.
    pub messages: u64,
    /// Refusals of all kinds.
    pub refusals: u64,
    /// The first use since the process began, in seconds since 1970.
    pub first_seen: u64,
    /// The last use, in seconds since 1970.
    pub last_seen: u64,
    /// Addresses that were not told before.
    pub addresses: Vec<IpAddr>,
    /// Addresses beyond those that are told one by one, if there are new ones: all of the process.
    pub registers: Option<Box<Registers>>,
}

impl Usage {
    /// Counts a use by a client. Allocates at the first one of all, and at the first of each of the
    /// first few addresses.
    pub fn count(&self, what: Use, client: IpAddr, unix_seconds: i64) {
        // A clock before 1970 is no clock.
        let now = u64::try_from(unix_seconds).unwrap_or_default();
        let counts = self.0.get_or_init(|| Box::new(Counts::since(now)));
        if counts.last_seen.load(Ordering::Relaxed) < now {
            counts.last_seen.fetch_max(now, Ordering::Relaxed);
        }
        counts.hosts.count(client);
        counts.uses[what as usize].fetch_add(1, Ordering::Release);
    }

    /// Takes what was counted since the last time, if there was anything.
    pub fn take(&self) -> Option<UsageDelta> {
        let counts = self.0.get()?;
        let [hits, messages, refusals] = counts.uses.each_ref().map(take);
        if (hits, messages, refusals) == (0, 0, 0) {
            return None;
        }
        let hosts = counts.hosts.take();
        Some(UsageDelta {
            hits,
            messages,
            refusals,
            first_seen: counts.first_seen,
            last_seen: counts.last_seen.load(Ordering::Relaxed),
            addresses: hosts.named,
            registers: hosts.others,
        })
    }

    /// Takes back what could not be kept, to be taken again.
    pub fn give_back(&self, delta: &UsageDelta) {
        // Whoever has taken it has seen the first use.
        let Some(counts) = self.0.get() else { return };
        counts.hosts.give_back(&delta.addresses, delta.registers.as_deref());
        let taken = [delta.hits, delta.messages, delta.refusals];
        for (count, taken) in counts.uses.iter().zip(taken) {
            count.fetch_add(taken, Ordering::Release);
        }
    }

    /// Whether there is anything to take.
    pub(crate) fn is_used(&self) -> bool {
        let is_counted = |count: &AtomicU64| count.load(Ordering::Relaxed) > 0;
        self.0.get().is_some_and(|counts| counts.uses.iter().any(is_counted))
    }
}

impl Counts {
    fn since(now: u64) -> Self {
        Self {
            uses: [const { AtomicU64::new(0) }; 3],
            first_seen: now,
            last_seen: AtomicU64::new(now),
            hosts: Hosts::default(),
        }
    }
}

/// Most counts are zero most of the time, and a look leaves them in the caches of others.
fn take(count: &AtomicU64) -> u64 {
    if count.load(Ordering::Relaxed) == 0 { 0 } else { count.swap(0, Ordering::Acquire) }
}
