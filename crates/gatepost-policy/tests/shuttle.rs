//! The limiter, and the counting of usage, under every order of threads: their sources are compiled
//! once more, with atomics that hand the processor over at each access.
#![allow(missing_docs, dead_code, unreachable_pub)] // a part of the crate, seen from outside

#[path = "../src/gcra.rs"]
mod gcra;
#[path = "../src/hosts.rs"]
mod hosts;
#[path = "../src/rate.rs"]
mod rate;
#[path = "../src/registers.rs"]
mod registers;
#[path = "../src/usage.rs"]
mod usage;

mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// Shuttle has none. Making what is inside hands over nothing, so nobody ever waits for it.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T>(std::sync::OnceLock<T>);

    impl<T> OnceLock<T> {
        pub(crate) const fn new() -> Self {
            Self(std::sync::OnceLock::new())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            hand_over();
            self.0.get()
        }

        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            hand_over();
            self.0.get_or_init(make)
        }
    }

    /// An access like any other. (To yield would say that the thread waits for others.)
    fn hand_over() {
        AtomicBool::new(false).load(Ordering::Relaxed);
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }
}

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use shuttle::{Config, Runner, scheduler::PctScheduler, thread};

use crate::{
    gcra::Gcra,
    rate::Rate,
    registers::{Mark, Registers},
    usage::{Usage, UsageDelta, Use},
};

/// Orders that are tried: of three threads with two accesses and more each, a good part of all.
const ORDERS: usize = 20_000;
/// The same where 256 registers are looked at one by one, which takes long.
const ORDERS_OF_REGISTERS: usize = 1_000;

/// How many of `threads * tries` are accepted, whatever the order. Each thread has its own clock.
fn accepted(rate: Rate, tries: usize, clocks: &'static [u64]) -> usize {
    let limiter = Arc::new(Gcra::default());
    let threads: Vec<_> = clocks
        .iter()
        .map(|&seconds| {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || {
                let now = Duration::from_secs(seconds);
                (0..tries).filter(|_| limiter.take(rate, now).is_ok()).count()
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
}

#[test]
fn a_burst_is_exact_in_every_order() {
    shuttle::check_random(
        || {
            let rate = "4/min".parse().expect("a rate");
            assert_eq!(accepted(rate, 2, &[100, 100, 100]), 4, "no more, and no less");
        },
        ORDERS,
    );
}

/// Threads look at their clocks at different times, and get to the limiter in any order. Two of
/// four are paid back in the half minute between the first clock and the last; who comes late with
/// an old clock sees less of it.
#[test]
fn clocks_that_differ_grant_no_more_than_time_has_passed() {
    shuttle::check_random(
        || {
            let rate = "4/min".parse().expect("a rate");
            let accepted = accepted(rate, 3, &[100, 115, 130]);
            assert!((3..=6).contains(&accepted), "{accepted}");
        },
        ORDERS,
    );
}

#[test]
fn looking_uses_nothing_up() {
    shuttle::check_random(
        || {
            let limiter = Arc::new(Gcra::default());
            let rate: Rate = "2/s".parse().expect("a rate");
            let other = Arc::clone(&limiter);
            let looks = thread::spawn(move || {
                (0..3).filter(|others| other.look(rate, Duration::ZERO, *others).is_ok()).count()
            });
            assert!(limiter.take(rate, Duration::ZERO).is_ok());
            assert!(limiter.take(rate, Duration::ZERO).is_ok());
            assert_eq!(limiter.take(rate, Duration::ZERO), Err(Duration::from_millis(500)));
            looks.join().expect("it only looks");
        },
        ORDERS,
    );
}

fn client(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

/// Two threads count while a third takes; the last take finds what the others left, and no more.
fn counted_and_taken(hosts: [[u8; 2]; 2]) -> Vec<UsageDelta> {
    let usage = Arc::new(Usage::default());
    let counters = hosts.map(|hosts| {
        let usage = Arc::clone(&usage);
        thread::spawn(move || {
            for number in hosts {
                usage.count(Use::Message, client(number), number.into());
            }
        })
    });
    let taker = {
        let usage = Arc::clone(&usage);
        thread::spawn(move || [usage.take(), usage.take()])
    };
    let mut deltas: Vec<_> = taker.join().expect("it only takes").into_iter().flatten().collect();
    for counter in counters {
        counter.join().expect("it only counts");
    }
    deltas.extend(usage.take());
    assert_eq!(usage.take(), None);
    deltas
}

#[test]
fn no_count_is_lost_and_none_is_taken_twice() {
    shuttle::check_random(
        || {
            let deltas = counted_and_taken([[1, 2], [2, 3]]);
            assert_eq!(deltas.iter().map(|delta| delta.messages).sum::<u64>(), 4);
            assert_eq!(deltas.iter().map(|delta| delta.last_seen).max(), Some(3));
            let told: Vec<_> = deltas.iter().flat_map(|delta| &delta.addresses).collect();
            let hosts: BTreeSet<_> = told.iter().collect();
            assert_eq!((told.len(), hosts.len()), (3, 3), "each host once: {told:?}");
        },
        ORDERS,
    );
}

/// Beyond those that are named: a host that is counted in a register is told with some take.
#[test]
fn no_host_is_lost() {
    let mut config = Config::new();
    // Registers are made on the stack, and each of these atomics carries its history.
    config.stack_size = 1 << 20;
    Runner::new(PctScheduler::new(3, ORDERS_OF_REGISTERS), config).run(|| {
        let usage = Arc::new(Usage::default());
        (0..hosts::NAMED_MAX).for_each(|n| usage.count(Use::Refusal, client(n as u8), 1));
        // Of those that the taker looks at first.
        let is_early = |host: &IpAddr| Mark::of(*host).register < 8;
        let late: Vec<_> = (100..=255).map(client).filter(is_early).take(2).collect();
        let mut expected = Registers::default();
        let mut counters = Vec::new();
        for &host in &late {
            expected.count(host);
            let usage = Arc::clone(&usage);
            counters.push(thread::spawn(move || usage.count(Use::Refusal, host, 1)));
        }
        let mut deltas = vec![usage.take(), usage.take()];
        for counter in counters {
            counter.join().expect("it only counts");
        }
        deltas.push(usage.take());
        let mut merged = Registers::default();
        for registers in deltas.iter().flatten().filter_map(|delta| delta.registers.as_deref()) {
            merged.merge(registers);
        }
        assert_eq!((merged, late.len()), (expected, 2));
    });
}
