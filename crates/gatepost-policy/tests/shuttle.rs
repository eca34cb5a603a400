//! The limiter under every order of threads: its source is compiled once more, with atomics that
//! hand the processor over at each access.
#![allow(missing_docs, dead_code, unreachable_pub)] // a part of the crate, seen from outside

#[path = "../src/gcra.rs"]
mod gcra;
#[path = "../src/rate.rs"]
mod rate;

mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
}

use std::{sync::Arc, time::Duration};

use shuttle::thread;

use crate::{gcra::Gcra, rate::Rate};

/// Orders that are tried: of three threads with two accesses and more each, a good part of all.
const ORDERS: usize = 20_000;

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
