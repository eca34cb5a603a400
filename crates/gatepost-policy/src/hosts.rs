//! Which addresses an entry's clients have, kept without a lock while they come.
//!
//! The first few are kept one by one, in a list that only grows: an entry of one host costs one
//! link. The others are counted in [`Registers`]. What is new since it was last taken is marked, so
//! that a host is told once and not every minute.

use std::net::IpAddr;

use crate::{
    atomic::{AtomicBool, AtomicU8, OnceLock, Ordering},
    registers::{Mark, REGISTERS, Registers},
};

/// Addresses that are kept one by one: enough to see which hosts they are, and few to search.
pub const NAMED_MAX: usize = 16;

/// Distinct client addresses.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    named: OnceLock<Box<Host>>,
    others: OnceLock<Box<Others>>,
}

/// A link of the list. It is made by the one thread that comes first; others wait for no more than
/// its allocation.
#[derive(Debug)]
struct Host {
    address: IpAddr,
    is_new: AtomicBool,
    next: OnceLock<Box<Self>>,
}

/// Addresses beyond those that are named.
#[derive(Debug)]
struct Others {
    registers: [AtomicU8; REGISTERS],
    is_new: AtomicBool,
}

/// What was new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewHosts {
    pub(crate) named: Vec<IpAddr>,
    pub(crate) others: Option<Box<Registers>>,
}

impl Hosts {
    /// Counts a client.
    pub(crate) fn count(&self, client: IpAddr) {
        let mut link = &self.named;
        for _ in 0..NAMED_MAX {
            let host = link.get_or_init(|| Box::new(Host::new(client)));
            if host.address == client {
                return;
            }
            link = &host.next;
        }
        self.others.get_or_init(Box::default).count(client);
    }

    /// What is new since it was last taken.
    pub(crate) fn take(&self) -> NewHosts {
        let is_new = |host: &&Host| host.is_new.swap(false, Ordering::Relaxed);
        NewHosts {
            named: self.named().filter(is_new).map(|host| host.address).collect(),
            others: self.others.get().and_then(|others| others.take()),
        }
    }

    /// Takes back what was taken and got lost.
    pub(crate) fn give_back(&self, named: &[IpAddr], others: Option<&Registers>) {
        for host in self.named().filter(|host| named.contains(&host.address)) {
            host.is_new.store(true, Ordering::Relaxed);
        }
        if let (Some(_), Some(others)) = (others, self.others.get()) {
            others.is_new.store(true, Ordering::Release);
        }
    }

    fn named(&self) -> impl Iterator<Item = &Host> {
        let first = self.named.get().map(|host| &**host);
        std::iter::successors(first, |host| host.next.get().map(|host| &**host))
    }
}

impl Host {
    const fn new(address: IpAddr) -> Self {
        Self { address, is_new: AtomicBool::new(true), next: OnceLock::new() }
    }
}

impl Others {
    fn count(&self, client: IpAddr) {
        let Mark { register, rank } = Mark::of(client);
        // Nearly always it is there already, and a look disturbs no other processor.
        if self.registers[register].load(Ordering::Relaxed) < rank {
            self.registers[register].fetch_max(rank, Ordering::Relaxed);
            self.is_new.store(true, Ordering::Release);
        }
    }

    fn take(&self) -> Option<Box<Registers>> {
        let is_new = self.is_new.swap(false, Ordering::Acquire);
        let octet = |register: &AtomicU8| register.load(Ordering::Relaxed);
        is_new.then(|| Box::new(Registers::new(self.registers.each_ref().map(octet))))
    }
}

impl Default for Others {
    fn default() -> Self {
        Self {
            registers: std::array::from_fn(|_| AtomicU8::new(0)),
            is_new: AtomicBool::new(false),
        }
    }
}
