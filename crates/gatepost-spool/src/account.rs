//! What is in the spool, counted as it changes, so that nobody has to count it by reading it.
//!
//! The writer notes what a transaction changes and applies that after the commit; a transaction that
//! is rolled back leaves the account as it was.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;

use crate::columns::{Columns, time};
use crate::message::Standing;
use crate::metrics::{SpoolMetrics, Work};

/// Everything that is known of a spool without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Messages of all kinds.
    pub messages: u64,
    /// Octets of their bodies.
    pub octets: u64,
    /// When the oldest one was accepted for which something is undecided.
    pub oldest: Option<SystemTime>,
    /// The same numbers by upstream, entry and standing, in this order; none is zero.
    pub tallies: Vec<Tally>,
    /// What was done since the opening.
    pub work: Work,
}

/// Messages of one entry at one upstream that stand alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tally {
    /// Name of the upstream.
    pub upstream: Arc<str>,
    /// Id of the entry.
    pub entry: Arc<str>,
    /// Where they stand.
    pub standing: Standing,
    /// How many they are.
    pub messages: u64,
    /// Octets of their bodies.
    pub octets: u64,
}

/// One thing that a transaction changes.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A message is counted here from now on.
    Entered(Counted),
    /// It was counted here.
    Left(Counted),
    /// The names of a lane, before something enters it.
    Named { lane: i64, upstream: Arc<str>, entry: Arc<str> },
    /// All lanes of an upstream have another name.
    Renamed { from: Arc<str>, to: Arc<str> },
}

/// As what a message is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) lane: i64,
    pub(crate) standing: Standing,
    pub(crate) octets: u64,
    /// In milliseconds since 1970.
    pub(crate) received_at: i64,
}

/// A lane that has something to deliver.
#[derive(Clone, Debug)]
pub(crate) struct ReadyLane {
    pub(crate) number: i64,
    pub(crate) upstream: Arc<str>,
    pub(crate) entry: Arc<str>,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    lanes: HashMap<i64, Lane>,
    totals: [Count; Standing::ALL.len()],
    /// How many messages that somebody is at work on were accepted at which time: no index has them.
    leased: BTreeMap<i64, u32>,
}

#[derive(Debug)]
struct Lane {
    upstream: Arc<str>,
    entry: Arc<str>,
    counts: [Count; Standing::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    messages: u64,
    octets: u64,
}

impl Account {
    /// Counts what is there. For the opening, when nothing is leased any more, and for those who count
    /// again from outside.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut account = Self::default();
        let mut statement = connection.prepare(
            "SELECT lane.number, lane.upstream, lane.entry, lease, held, phase, count(*), sum(octets)
             FROM message JOIN lane ON lane.number = message.lane GROUP BY lane.number, lease, held, phase",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of(row);
            let (number, upstream, entry) = (columns.plain()?, columns.text()?, columns.text()?);
            let standing = columns.standing()?;
            let count = Count { messages: columns.octets()?, octets: columns.octets()? };
            let lane = account.lanes.entry(number).or_insert_with(|| Lane::new(upstream, entry));
            lane.counts[standing as usize].add(count);
            account.totals[standing as usize].add(count);
        }
        Ok(account)
    }

    /// Applies what a committed transaction has changed, in its order.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) {
        let mut touched = HashSet::new();
        for change in changes {
            match change {
                Change::Entered(counted) => {
                    self.count(counted, Count::add);
                    if counted.is_leased() {
                        *self.leased.entry(counted.received_at).or_default() += 1;
                    }
                }
                Change::Left(counted) => {
                    self.count(counted, Count::subtract);
                    if counted.is_leased() {
                        self.forget_lease(counted.received_at);
                    }
                    touched.insert(counted.lane);
                }
                Change::Named { lane, upstream, entry } => {
                    touched.insert(lane);
                    self.lanes.entry(lane).or_insert_with(|| Lane::new(upstream, entry));
                }
                Change::Renamed { from, to } => {
                    for lane in self.lanes.values_mut().filter(|lane| lane.upstream == from) {
                        lane.upstream = to.clone();
                    }
                }
            }
        }
        // Entries come and go; what is counted is what is there.
        for number in touched {
            if self.lanes.get(&number).is_some_and(Lane::is_empty) {
                self.lanes.remove(&number);
            }
        }
    }

    fn count(&mut self, counted: Counted, what: impl Fn(&mut Count, Count)) {
        let count = Count { messages: 1, octets: counted.octets };
        what(&mut self.totals[counted.standing as usize], count);
        if let Some(lane) = self.lanes.get_mut(&counted.lane) {
            what(&mut lane.counts[counted.standing as usize], count);
        }
    }

    fn forget_lease(&mut self, received_at: i64) {
        if let Entry::Occupied(mut messages) = self.leased.entry(received_at) {
            *messages.get_mut() -= 1;
            if *messages.get() == 0 {
                messages.remove();
            }
        }
    }

    /// When the oldest message was accepted that somebody is at work on.
    pub(crate) fn oldest_leased(&self) -> Option<SystemTime> {
        self.leased.first_key_value().map(|(&received_at, _)| time(received_at))
    }

    /// Lanes with something to deliver, by entry, without those of upstreams that rest.
    pub(crate) fn ready(&self, resting: &HashSet<Arc<str>>) -> Vec<ReadyLane> {
        let ready = |lane: &Lane| {
            lane.counts[Standing::Queued as usize].messages > 0 && !resting.contains(&lane.upstream)
        };
        let lanes = self.lanes.iter().filter(|(_, lane)| ready(lane));
        let mut lanes: Vec<ReadyLane> = lanes
            .map(|(&number, lane)| ReadyLane {
                number,
                upstream: lane.upstream.clone(),
                entry: lane.entry.clone(),
            })
            .collect();
        lanes.sort_unstable_by(|a, b| (&a.entry, a.number).cmp(&(&b.entry, b.number)));
        lanes
    }

    /// The totals, into the gauges.
    pub(crate) fn show(&self, metrics: &SpoolMetrics) {
        for standing in Standing::ALL {
            let Count { messages, octets } = self.totals[standing as usize];
            metrics.hold(standing, messages, octets);
        }
    }

    /// Everything but what has to be read.
    pub(crate) fn stats(&self, oldest: Option<SystemTime>, work: Work) -> Stats {
        let all = self.lanes.values().flat_map(|lane| {
            Standing::ALL.map(|standing| (lane, standing, lane.counts[standing as usize]))
        });
        let tallies = all.filter(|(_, _, count)| count.messages > 0);
        let mut tallies: Vec<Tally> = tallies
            .map(|(lane, standing, Count { messages, octets })| Tally {
                upstream: lane.upstream.clone(),
                entry: lane.entry.clone(),
                standing,
                messages,
                octets,
            })
            .collect();
        tallies.sort_unstable();
        // Lanes may have the same names, after an upstream was renamed.
        tallies.dedup_by(|next, kept| {
            let same = (&next.upstream, &next.entry, next.standing)
                == (&kept.upstream, &kept.entry, kept.standing);
            if same {
                kept.messages += next.messages;
                kept.octets += next.octets;
            }
            same
        });
        let sum = |part: fn(&Count) -> u64| self.totals.iter().map(part).sum();
        Stats {
            messages: sum(|count| count.messages),
            octets: sum(|count| count.octets),
            oldest,
            tallies,
            work,
        }
    }
}

impl Counted {
    const fn is_leased(&self) -> bool {
        matches!(self.standing, Standing::InDoubt | Standing::Leased)
    }
}

impl Lane {
    fn new(upstream: Arc<str>, entry: Arc<str>) -> Self {
        Self { upstream, entry, counts: Default::default() }
    }

    fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.messages == 0)
    }
}

impl Count {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.octets += other.octets;
    }

    fn subtract(&mut self, other: Self) {
        // What leaves was counted when it came.
        self.messages = self.messages.saturating_sub(other.messages);
        self.octets = self.octets.saturating_sub(other.octets);
    }
}
