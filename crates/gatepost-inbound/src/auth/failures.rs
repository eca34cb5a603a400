//! Wrong passwords, by address: each makes the next answer slower, and many make it a refusal.
//!
//! A failure is forgotten in a minute, one after the other: an address that has had ten at once may
//! try again a minute later, once. The table is bounded. When it is full of addresses that are not
//! forgotten, those that come new are not remembered: what bounds them is the pause of a first
//! failure, and the line of those who wait for a hash.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::rejections::source;

/// Failures after which no password of an address is looked at any more.
const FAILURES_MAX: u32 = 10;
/// How long a failure is remembered behind those before it: ten in ten minutes.
const COOLING: Duration = Duration::from_mins(1);
/// Addresses that are remembered, at some 60 octets each.
const ADDRESSES_MAX: usize = 10_000;
/// How often a full table is searched for addresses to forget.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Addresses that have failed.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// When all failures of an address are forgotten.
    cooled: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

impl Failures {
    /// Whether an address has failed so often that it has to wait.
    pub(crate) fn are_too_many(&self, address: IpAddr, now: Instant) -> bool {
        let table = self.table();
        table.cooled.get(&source(address)).is_some_and(|&cooled| level(cooled, now) >= FAILURES_MAX)
    }

    /// Counts a failure. How many are not forgotten yet, with this one.
    pub(crate) fn count(&self, address: IpAddr, now: Instant) -> u32 {
        let address = source(address);
        let mut table = self.table();
        if !table.cooled.contains_key(&address) && !table.has_room(now) {
            return 1;
        }
        let cooled = table.cooled.entry(address).or_insert(now);
        // Whatever comes in at once, it is forgotten in ten minutes.
        *cooled = ((*cooled).max(now) + COOLING).min(now + COOLING * FAILURES_MAX);
        level(*cooled, now)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in it can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether there is room for one more, after those that are forgotten have gone.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.cooled.len() < ADDRESSES_MAX {
            return true;
        }
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP_INTERVAL) {
            return false;
        }
        self.swept = Some(now);
        self.cooled.retain(|_, cooled| *cooled > now);
        self.cooled.len() < ADDRESSES_MAX
    }
}

/// Failures that are not forgotten yet.
fn level(cooled: Instant, now: Instant) -> u32 {
    let left = cooled.saturating_duration_since(now);
    left.as_millis().div_ceil(COOLING.as_millis()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_too_many_and_one_is_forgotten_a_minute() {
        let failures = Failures::default();
        let (address, start) = (IpAddr::from([203, 0, 113, 9]), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        for nth in 1..=FAILURES_MAX {
            assert!(!failures.are_too_many(address, start));
            assert_eq!(failures.count(address, start), nth);
        }
        assert!(failures.are_too_many(address, later(59)));
        assert!(!failures.are_too_many([203, 0, 113, 10].into(), later(59)), "another address");
        // Those that were under way are counted, and do not make it worse.
        assert_eq!(failures.count(address, start), FAILURES_MAX);
        assert!(!failures.are_too_many(address, later(60)));
        assert_eq!(failures.count(address, later(60)), FAILURES_MAX);
        assert!(failures.are_too_many(address, later(61)));
        assert_eq!(failures.count(address, later(1000)), 1, "all is forgotten");
    }

    #[test]
    fn a_customer_is_one_source() {
        let failures = Failures::default();
        let now = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        assert_eq!(failures.count(address("2001:db8::1"), now), 1);
        assert_eq!(failures.count(address("2001:db8::2:3"), now), 2);
        assert_eq!(failures.count(address("2001:db8:0:1::1"), now), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let failures = Failures::default();
        let start = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 {
            assert_eq!(failures.count(IpAddr::from(number.to_be_bytes()), start), 1);
        }
        let late = IpAddr::from([255, 0, 0, 1]);
        assert_eq!((failures.count(late, start), failures.count(late, start)), (1, 1), "no room");
        let first = IpAddr::from([0, 0, 0, 0]);
        assert_eq!(failures.count(first, start), 2, "who is there is counted on");
        let then = start + COOLING;
        assert_eq!((failures.count(late, then), failures.count(late, then)), (1, 2));
    }
}
