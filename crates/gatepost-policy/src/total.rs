//! What the usage of an entry comes to over the months: the sum of what was taken.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use serde::Serialize;

use crate::{hosts::NAMED_MAX, registers::Registers, usage::UsageDelta};

/// How an entry was used since counting began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTotal {
    /// Connections that were greeted.
    pub hits: u64,
    /// Messages that were accepted.
    pub messages: u64,
    /// Refusals of all kinds.
    pub refusals: u64,
    /// The first use, in seconds since 1970.
    pub first_seen: u64,
    /// The last use, in seconds since 1970.
    pub last_seen: u64,
    /// The addresses of clients: all of them, or the first [`NAMED_MAX`] if there were more.
    pub addresses: BTreeSet<IpAddr>,
    /// All addresses, if there were more.
    pub registers: Option<Box<Registers>>,
}

/// How many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distinct {
    /// Estimated, with a standard error of 6.5 %.
    About(u64),
    /// Counted.
    Exact(u64),
}

impl UsageTotal {
    /// Adds what was taken.
    pub fn add(&mut self, delta: &UsageDelta) {
        self.hits = self.hits.saturating_add(delta.hits);
        self.messages = self.messages.saturating_add(delta.messages);
        self.refusals = self.refusals.saturating_add(delta.refusals);
        self.first_seen = self.first_seen.min(delta.first_seen);
        self.last_seen = self.last_seen.max(delta.last_seen);
        for &address in &delta.addresses {
            self.see(address);
        }
        if let Some(others) = &delta.registers {
            self.all().merge(others);
        }
    }

    /// How many addresses its clients had.
    pub fn distinct(&self) -> Distinct {
        let named = self.addresses.len() as u64;
        match &self.registers {
            None => Distinct::Exact(named),
            Some(registers) => Distinct::About(registers.estimate().max(named)),
        }
    }

    fn see(&mut self, address: IpAddr) {
        if self.addresses.len() < NAMED_MAX {
            self.addresses.insert(address);
        }
        if self.registers.is_some() || !self.addresses.contains(&address) {
            self.all().count(address);
        }
    }

    /// The registers. Those that were enough so far are counted in them first.
    fn all(&mut self) -> &mut Registers {
        self.registers.get_or_insert_with(|| {
            let mut registers = Registers::default();
            self.addresses.iter().for_each(|&address| registers.count(address));
            Box::new(registers)
        })
    }
}

impl From<&UsageDelta> for UsageTotal {
    fn from(delta: &UsageDelta) -> Self {
        let mut total = Self {
            hits: 0,
            messages: 0,
            refusals: 0,
            first_seen: delta.first_seen,
            last_seen: delta.last_seen,
            addresses: BTreeSet::new(),
            registers: None,
        };
        total.add(delta);
        total
    }
}

impl Distinct {
    /// The number, however sure it is.
    pub const fn number(self) -> u64 {
        match self {
            Self::About(number) | Self::Exact(number) => number,
        }
    }
}

impl fmt::Display for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::About(number) => write!(f, "about {number}"),
            Self::Exact(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage::{Usage, Use};

    fn client(number: u32) -> IpAddr {
        (0x0a00_0000 + number).to_be_bytes().into()
    }

    #[test]
    fn a_sum_of_two_processes() {
        let mut total: Option<UsageTotal> = None;
        for (first, hosts) in [(1000, 0..10), (500, 5..15)] {
            let usage = Usage::default();
            hosts.for_each(|n| usage.count(Use::Connection, client(n), first + i64::from(n)));
            let delta = usage.take().expect("it was used");
            match &mut total {
                Some(total) => total.add(&delta),
                None => total = Some(UsageTotal::from(&delta)),
            }
        }
        let total = total.expect("two were added");
        assert_eq!((total.hits, total.first_seen, total.last_seen), (20, 505, 1009));
        assert_eq!(total.distinct(), Distinct::Exact(15));
        assert!(total.addresses.iter().eq(&(0..15).map(client).collect::<Vec<_>>()));
    }

    #[test]
    fn many_hosts_of_many_processes_are_estimated_as_one_crowd() {
        let mut total: Option<UsageTotal> = None;
        // Each process sees 600 hosts, most of them the same as the others.
        for process in 0..5 {
            let usage = Usage::default();
            (0..600).for_each(|n| usage.count(Use::Connection, client(process * 100 + n), 1));
            let delta = usage.take().expect("it was used");
            total = Some(match total.take() {
                None => UsageTotal::from(&delta),
                Some(mut total) => {
                    total.add(&delta);
                    total
                }
            });
        }
        let total = total.expect("five were added");
        assert_eq!(total.addresses.len(), NAMED_MAX);
        let Distinct::About(number) = total.distinct() else { panic!("{total:?}") };
        assert!((800..1200).contains(&number), "{number}");
        assert_eq!(Distinct::About(1000).to_string(), "about 1000");
    }

    proptest! {
        /// Whoever takes at whatever moments, nothing is lost and nothing is counted twice.
        #[test]
        fn takes_add_up(events in prop::collection::vec((0..3_usize, 0..30_u32, any::<bool>()), 1..200)) {
            const USES: [Use; 3] = [Use::Connection, Use::Message, Use::Refusal];
            let usage = Usage::default();
            let mut total: Option<UsageTotal> = None;
            let mut counted = [0_u64; 3];
            let mut hosts = BTreeSet::new();
            let last = events.len() as u32 - 1;
            for (at, (what, host, takes)) in (0..).zip(events) {
                usage.count(USES[what], client(host), at);
                counted[what] += 1;
                hosts.insert(client(host));
                if (takes || at == i64::from(last)) && let Some(delta) = usage.take() {
                    match &mut total {
                        Some(total) => total.add(&delta),
                        None => total = Some(UsageTotal::from(&delta)),
                    }
                }
            }
            let total = total.expect("the last is taken");
            prop_assert_eq!([total.hits, total.messages, total.refusals], counted);
            prop_assert_eq!((total.first_seen, total.last_seen), (0, u64::from(last)));
            prop_assert!(total.addresses.is_subset(&hosts));
            match total.distinct() {
                Distinct::Exact(number) => {
                    prop_assert!(hosts.len() <= NAMED_MAX);
                    prop_assert_eq!(number, hosts.len() as u64);
                }
                Distinct::About(number) => {
                    prop_assert!(hosts.len() > NAMED_MAX);
                    prop_assert!(number.abs_diff(hosts.len() as u64) <= 6, "{number}");
                }
            }
        }
    }
}
