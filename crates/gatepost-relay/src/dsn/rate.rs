//! How much is told, by domain of the reverse-path and in all: whoever can make us accept mail in
//! somebody else's name must not be able to drown that somebody in notifications (backscatter).
//!
//! Each limit is a time at which it would be back to its full burst (GCRA). The table has a limit of
//! its own, and what is over any of them is kept, not lost.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// What a domain gets at once: a list of addresses that has grown old has some hundred wrong ones.
const DOMAIN: Limit = Limit { burst: 200, every: Duration::from_secs(2) };
/// What everybody together gets. It is a small part of what a gateway delivers, and an upstream sees
/// no more mail without a sender than that.
const ALL: Limit = Limit { burst: 1000, every: Duration::from_millis(200) };
/// Domains of which something is known. By what all get together, those that have not recovered are
/// 3,000 at the most.
const DOMAINS_MAX: usize = 4096;

#[derive(Clone, Copy)]
struct Limit {
    burst: u32,
    every: Duration,
}

/// What was taken lately.
#[derive(Debug, Default)]
pub(super) struct Rate {
    all: Option<SystemTime>,
    domains: HashMap<Box<[u8]>, SystemTime>,
}

impl Rate {
    /// Takes one for a domain, if it and all together have one left.
    pub(super) fn take(&mut self, domain: &[u8], now: SystemTime) -> bool {
        let domain = domain.to_ascii_lowercase().into_boxed_slice();
        let known = self.domains.get(&domain).copied();
        if known.is_none() && self.domains.len() >= DOMAINS_MAX {
            self.domains.retain(|_, full| *full > now);
            if self.domains.len() >= DOMAINS_MAX {
                return false;
            }
        }
        let Some(of_domain) = DOMAIN.take(known, now) else { return false };
        let Some(of_all) = ALL.take(self.all, now) else { return false };
        self.all = Some(of_all);
        self.domains.insert(domain, of_domain);
        true
    }
}

impl Limit {
    /// When it is full again, if it has one left. What is further away than that ever is was noted by
    /// a clock that was set back since: it is forgotten.
    fn take(self, full: Option<SystemTime>, now: SystemTime) -> Option<SystemTime> {
        let latest = now + self.every * self.burst;
        let known = full.filter(|full| *full <= latest).unwrap_or(now);
        let full = known.max(now) + self.every;
        (full <= latest).then_some(full)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn taken(rate: &mut Rate, domain: &str, now: SystemTime) -> usize {
        (0..5000).filter(|_| rate.take(domain.as_bytes(), now)).count()
    }

    #[test]
    fn a_domain_gets_its_burst_and_then_its_share() {
        let mut rate = Rate::default();
        assert_eq!(taken(&mut rate, "a.example", at(0)), 200);
        assert_eq!(taken(&mut rate, "A.Example", at(1)), 0, "it is the same domain");
        assert_eq!(taken(&mut rate, "a.example", at(60)), 30);
        assert_eq!(taken(&mut rate, "b.example", at(60)), 200);
        assert_eq!(taken(&mut rate, "a.example", at(10_000)), 200);
    }

    #[test]
    fn everybody_together_has_a_limit() {
        let mut rate = Rate::default();
        let all: usize =
            (0..10).map(|number| taken(&mut rate, &format!("{number}.example"), at(0))).sum();
        assert_eq!(all, 1000);
        assert_eq!(taken(&mut rate, "new.example", at(10)), 50);
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let mut rate = Rate::default();
        for second in 0..1000 {
            for number in 0..50 {
                rate.take(format!("{second}-{number}.example").as_bytes(), at(second));
            }
        }
        assert!(rate.domains.len() <= DOMAINS_MAX);
        assert!(rate.take(b"new.example", at(2000)));
    }

    #[test]
    fn a_clock_that_was_set_back_blocks_nobody() {
        let mut rate = Rate::default();
        assert_eq!(taken(&mut rate, "a.example", at(1_000_000)), 200);
        assert_eq!(taken(&mut rate, "a.example", at(0)), 200);
        assert_eq!(taken(&mut rate, "a.example", at(1)), 0);
    }
}
