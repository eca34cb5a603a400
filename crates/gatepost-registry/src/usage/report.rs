//! What an allow-list could do without: a report for whoever keeps it.
//!
//! It says what was found and changes nothing; each [`Finding`] has a sentence for people and the
//! same as data. Rules are careful rather than clever: nothing is said of usage before it was
//! counted for a while, and an entry that blocks is never called unused.
//!
//! Time is an argument. It sorts and never compares all with all: a hundred thousand entries are a
//! matter of a second.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Duration;

use gatepost_policy::date::Date;
use gatepost_policy::entry::{Action, Entry};
use gatepost_policy::network::Network;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::total::{Distinct, UsageTotal};
use jiff::Timestamp;
use serde::Serialize;

mod alike;
mod shadow;
mod wide;

const DAY: Duration = Duration::from_hours(24);
/// Names of a list that a sentence shows; data has them all.
const SHOWN_MAX: usize = 5;

/// What a report is made from. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The allow-list.
    pub ruleset: &'a Ruleset,
    /// How entries were used, by id.
    pub totals: &'a HashMap<String, UsageTotal>,
    /// When counting began.
    pub counting_since: i64,
    /// When entries were added, by id, where that is known: one of yesterday is not unused.
    pub added: &'a HashMap<String, i64>,
    /// What time it is.
    pub now: i64,
}

/// From when on something is worth a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// An entry is unused when nobody has used it for so long.
    pub unused: Duration,
    /// How long it has to be counted before a network is called too wide: a weekly job is seen.
    pub counted: Duration,
    /// A network is too wide when fewer than one in so many of its addresses were seen.
    pub seen_share: u32,
    /// An entry expires soon when it has no more than so long.
    pub expiring: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Kind by kind, and in the order of the entries.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The thing.
    #[serde(flatten)]
    pub matter: Matter,
    /// The same for people.
    pub sentence: String,
}

/// What can be found. Entries stand here by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Matter {
    /// The end of an entry has come.
    Expired {
        /// The entry.
        entry: String,
        /// As it is written.
        expires: String,
        /// What becomes of its clients: with `warn` they are still let in.
        expiry: &'static str,
        /// When clients have come last.
        last_seen: Option<Timestamp>,
    },
    /// The end of an entry is near.
    ExpiringSoon {
        /// The entry.
        entry: String,
        /// As it is written.
        expires: String,
        /// Whole days that are left.
        days: u64,
    },
    /// No client is ever found by a network: narrower ones of other entries cover all of it.
    Shadowed {
        /// The entry.
        entry: String,
        /// Its network.
        network: Network,
        /// The entries that are found instead.
        by: Vec<String>,
    },
    /// A network has far more addresses than were ever seen.
    TooWide {
        /// The entry.
        entry: String,
        /// Its network.
        network: Network,
        /// How many clients the network had; of the entry, if there were too many to keep apart.
        distinct: Distinct,
        /// Some of them, or all.
        addresses: Vec<IpAddr>,
        /// Networks that would have been enough; none if that cannot be said.
        suggestion: Vec<Network>,
    },
    /// Nobody uses an entry.
    Unused {
        /// The entry.
        entry: String,
        /// When it was used last, if it ever was.
        last_seen: Option<Timestamp>,
        /// When it began to be counted.
        counted_since: Timestamp,
    },
    /// Entries say the same of different networks.
    Duplicates {
        /// The entries.
        entries: Vec<String>,
    },
    /// Networks of an entry are one network in pieces.
    Adjacent {
        /// The entry.
        entry: String,
        /// The pieces.
        networks: Vec<Network>,
        /// The one.
        merged: Network,
    },
}

/// Looks an allow-list through.
pub fn report(facts: &Facts<'_>, thresholds: &Thresholds) -> Report {
    let entries = || facts.ruleset.entries().iter().map(|entry| &**entry);
    let matters = entries()
        .filter_map(|entry| dates(entry, facts, thresholds))
        .chain(shadow::matters(facts.ruleset))
        .chain(entries().flat_map(|entry| wide::matters(entry, facts, thresholds)))
        .chain(entries().filter_map(|entry| unused(entry, facts, thresholds)))
        .chain(alike::matters(facts.ruleset));
    let findings = matters.map(|matter| Finding { sentence: matter.to_string(), matter });
    let mut findings: Vec<_> = findings.collect();
    findings.sort_by_key(|finding| finding.matter.rank());
    Report { findings }
}

fn dates(entry: &Entry, facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Matter> {
    let date = entry.terms().expires.as_ref()?;
    let (id, expires) = (entry.id().to_string(), date.to_string());
    let left = u64::try_from(date.unix_seconds() - facts.now).unwrap_or_default();
    if left == 0 {
        let last_seen = facts.last_seen(entry).map(timestamp);
        let expiry = entry.terms().expiry.name();
        return Some(Matter::Expired { entry: id, expires, expiry, last_seen });
    }
    let is_soon = left <= thresholds.expiring.as_secs();
    is_soon.then(|| Matter::ExpiringSoon { entry: id, expires, days: left / DAY.as_secs() })
}

fn unused(entry: &Entry, facts: &Facts<'_>, thresholds: &Thresholds) -> Option<Matter> {
    // One that blocks nobody is not in the way, and may be there for the day when somebody comes.
    if entry.action() == Action::Deny {
        return None;
    }
    let (last_seen, counted_since) = (facts.last_seen(entry), facts.counted_since(entry));
    let idle_since = last_seen.unwrap_or(counted_since).max(counted_since);
    (facts.elapsed_since(idle_since) >= thresholds.unused).then(|| Matter::Unused {
        entry: entry.id().to_string(),
        last_seen: last_seen.map(timestamp),
        counted_since: timestamp(counted_since),
    })
}

impl Facts<'_> {
    fn total(&self, entry: &Entry) -> Option<&UsageTotal> {
        self.totals.get(&**entry.id())
    }

    fn last_seen(&self, entry: &Entry) -> Option<i64> {
        self.total(entry).map(|total| total.last_seen.try_into().unwrap_or(i64::MAX))
    }

    /// From when on an entry could have been used.
    fn counted_since(&self, entry: &Entry) -> i64 {
        let added = self.added.get(&**entry.id()).copied();
        let valid = entry.terms().not_before.as_ref().map(Date::unix_seconds);
        [added, valid].into_iter().flatten().fold(self.counting_since, i64::max)
    }

    fn elapsed_since(&self, moment: i64) -> Duration {
        Duration::from_secs(u64::try_from(self.now - moment).unwrap_or_default())
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            unused: 30 * DAY, // what is done once a month is seen
            counted: 7 * DAY,
            seen_share: 64,
            expiring: 30 * DAY, // time to ask whoever owns it
        }
    }
}

impl Matter {
    /// What is urgent comes first.
    const fn rank(&self) -> u8 {
        match self {
            Self::Expired { .. } => 0,
            Self::ExpiringSoon { .. } => 1,
            Self::Shadowed { .. } => 2,
            Self::TooWide { .. } => 3,
            Self::Unused { .. } => 4,
            Self::Duplicates { .. } => 5,
            Self::Adjacent { .. } => 6,
        }
    }
}

impl Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { entry, expires, expiry, last_seen } => {
                write!(f, "entry {entry} has expired at {expires} (expiry is {expiry})")?;
                match last_seen {
                    Some(last) => write!(f, "; its clients came last on {}", day(*last)),
                    None => f.write_str("; no client of it was seen"),
                }
            }
            Self::ExpiringSoon { entry, expires, days: 0 } => {
                write!(f, "entry {entry} expires at {expires}, within a day")
            }
            Self::ExpiringSoon { entry, expires, days } => {
                write!(f, "entry {entry} expires at {expires}, in {}", count(*days, "day"))
            }
            Self::Shadowed { entry, network, by } => write!(
                f,
                "entry {entry}: no client is found by {network}, narrower networks of {} cover all of it",
                list(by)
            ),
            Self::TooWide { entry, network, distinct, addresses, suggestion } => {
                write!(f, "entry {entry}: ")?;
                wide::say(f, *network, *distinct, addresses, suggestion)
            }
            Self::Unused { entry, last_seen: Some(last), .. } => {
                write!(f, "entry {entry} was used last on {}", day(*last))
            }
            Self::Unused { entry, last_seen: None, counted_since } => {
                write!(f, "entry {entry} was never used since {}", day(*counted_since))
            }
            Self::Duplicates { entries } => write!(
                f,
                "entries {} say the same of different networks: one entry could have them all",
                list(entries)
            ),
            Self::Adjacent { entry, networks, merged } => {
                write!(f, "entry {entry}: {} are {merged}", list(networks))
            }
        }
    }
}

/// The first few of a list, and how many more there are.
fn list<T: Display>(items: &[T]) -> String {
    let shown = if items.len() > SHOWN_MAX + 1 { SHOWN_MAX } else { items.len() };
    let mut texts: Vec<_> = items[..shown].iter().map(ToString::to_string).collect();
    if shown < items.len() {
        texts.push(format!("{} more", items.len() - shown));
    }
    match texts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    if number == 1 { format!("{number} {noun}") } else { format!("{number} {noun}s") }
}

fn day(moment: Timestamp) -> impl Display {
    moment.strftime("%Y-%m-%d")
}

/// A moment that no calendar has is the first one.
fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
