//! Refused strangers in the mail log: one line per address and minute, whatever they do.
//!
//! The first refusal of an address is logged at once; those that follow within a minute are
//! counted, and the next line says how many there were. The table is bounded: under an attack
//! from more addresses than it holds, the metrics still count every one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses that are remembered, at some 100 octets each.
const ADDRESSES_MAX: usize = 10_000;
/// How often an address may have a line.
const INTERVAL: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Rejections {
    addresses: Mutex<HashMap<IpAddr, Seen>>,
}

#[derive(Debug)]
struct Seen {
    logged: Instant,
    since: u32,
}

impl Rejections {
    /// Counts a refusal; returns how many there were since the last line, if it is time for one.
    pub(crate) fn count(&self, address: IpAddr, now: Instant) -> Option<u32> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = addresses.get_mut(&address) {
            seen.since += 1;
            if now.duration_since(seen.logged) < INTERVAL {
                return None;
            }
            seen.logged = now;
            return Some(std::mem::take(&mut seen.since));
        }
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, seen| now.duration_since(seen.logged) < INTERVAL);
        }
        if addresses.len() >= ADDRESSES_MAX {
            return None;
        }
        addresses.insert(address, Seen { logged: now, since: 0 });
        Some(1)
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
        assert_eq!(rejections.count(late, start + INTERVAL), Some(1));
    }
}
