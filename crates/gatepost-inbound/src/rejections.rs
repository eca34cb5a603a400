//! Refused strangers in the mail log: one line per address and minute, whatever they do.
//!
//! The first refusal of an address is logged at once; those that follow within a minute are
//! counted, and the next line says how many there were. The table is bounded: under an attack
//! from more addresses than it holds, the metrics still count every one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses that are remembered, at some 100 octets each.
const ADDRESSES_MAX: usize = 10_000;
/// How often an address may have a line.
const INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Rejections {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Seen>,
    /// When a full table was last searched for addresses to forget.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    logged: Instant,
    since: u32,
}

impl Rejections {
    /// Counts a refusal; returns how many there were since the last line, if it is time for one.
    pub(crate) fn count(&self, address: IpAddr, now: Instant) -> Option<u32> {
        let address = source(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = table.addresses.get_mut(&address) {
            seen.since += 1;
            if now.duration_since(seen.logged) < INTERVAL {
                return None;
            }
            seen.logged = now;
            return Some(std::mem::take(&mut seen.since));
        }
        if table.addresses.len() >= ADDRESSES_MAX && !table.sweep(now) {
            return None;
        }
        table.addresses.insert(address, Seen { logged: now, since: 0 });
        Some(1)
    }
}

impl Table {
    /// Forgets addresses that may have a line again; says whether there is room now. Not more
    /// than once a second: under an attack every stranger would ask for it.
    fn sweep(&mut self, now: Instant) -> bool {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < Duration::from_secs(1)) {
            return false;
        }
        self.swept = Some(now);
        self.addresses.retain(|_, seen| now.duration_since(seen.logged) < INTERVAL);
        self.addresses.len() < ADDRESSES_MAX
    }
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 one, which is what a single
/// customer has (RFC 6177).
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_line_a_minute() {
        let rejections = Rejections::default();
        let address = IpAddr::from([203, 0, 113, 9]);
        let start = Instant::now();
        assert_eq!(rejections.count(address, start), Some(1));
        assert_eq!(rejections.count(address, start + Duration::from_secs(1)), None);
        assert_eq!(rejections.count(address, start + Duration::from_secs(59)), None);
        assert_eq!(rejections.count(address, start + Duration::from_secs(61)), Some(3));
        assert_eq!(rejections.count([203, 0, 113, 10].into(), start), Some(1));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let rejections = Rejections::default();
        let start = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 {
            assert_eq!(rejections.count(IpAddr::from(number.to_be_bytes()), start), Some(1));
        }
        let late = IpAddr::from([255, 0, 0, 1]);
        assert_eq!(rejections.count(late, start), None);
        assert_eq!(
            rejections.count(late, start + Duration::from_millis(1)),
            None,
            "not swept again"
        );
        assert_eq!(rejections.count(late, start + INTERVAL), Some(1));
    }
}
