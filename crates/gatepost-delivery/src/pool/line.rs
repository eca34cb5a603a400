//! Who is next: a line of waiters, grouped by who they are. No lock, no clock, no runtime.
//!
//! There are so many slots. While all are taken, waiters stand in line, grouped into *parties*: one
//! for each policy entry. A slot that comes free goes to the waiting party that holds the fewest;
//! among equals to the one that has waited longest for its turn; within a party to whoever came
//! first.
//!
//! Turns alone would not do: a party with long transactions takes its slots seldom and keeps them
//! long, until it has all of them. To count what is held gives each party that waits an equal share
//! of the *slots* (max-min fairness), and lends the share of those that want less to the others.
//! Nobody starves: who holds nothing waits for one turn, at most, of each other party that holds
//! nothing; who is passed over holds something. Whoever brings a slot back comes after the others
//! that hold as many, so that a thousand waiters of one party are one turn to another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How many of one party may stand in line. At the end of a longer one a deadline of seconds passes
/// before the turn comes. There is no limit for all together: a party could fill it and shut the
/// others out; and each waiter is a session, whose number is limited.
pub(crate) const WAITING_MAX: usize = 4096;

/// So many parties are remembered at least: looking one up is cheaper than to forget it and learn it
/// again, and each takes some hundred octets.
const KNOWN_MIN: usize = 256;

/// A line in front of slots. `W` is how a waiter is woken.
#[derive(Debug)]
pub(crate) struct Line<W> {
    limit: usize,
    taken: usize,
    waiting: usize,
    /// Those that hold or wait, and those that did a while ago: most come again.
    parties: Vec<Party<W>>,
    /// Places whose party was forgotten.
    vacant: Vec<usize>,
    by_name: HashMap<Arc<str>, usize>,
    /// How many are known before those that neither hold nor wait are forgotten.
    known_max: usize,
    /// The parties that wait, the next one first.
    order: BTreeSet<Rank>,
    /// Waiters that have a slot and do not know it yet.
    granted: BTreeSet<u64>,
    tickets: u64,
    turns: u64,
}

#[derive(Debug)]
struct Party<W> {
    held: usize,
    /// When it last began to wait for a turn.
    turn: u64,
    waiters: BTreeMap<u64, W>,
}

/// The order is that of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    held: usize,
    turn: u64,
    party: usize,
}

/// A place in the line, until it is left or a slot is collected for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) party: usize,
    ticket: u64,
}

/// Too many of one party stand in line already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineFull;

impl<W> Line<W> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: 0,
            waiting: 0,
            parties: Vec::new(),
            vacant: Vec::new(),
            by_name: HashMap::new(),
            known_max: KNOWN_MIN,
            order: BTreeSet::new(),
            granted: BTreeSet::new(),
            tickets: 0,
            turns: 0,
        }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Slots that somebody has, those included that were granted and not yet collected.
    pub(crate) const fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// A slot for a party, if one is free and nobody waits for it.
    pub(crate) fn try_take(&mut self, who: &Arc<str>) -> Option<usize> {
        if self.taken >= self.limit || !self.order.is_empty() {
            return None;
        }
        let party = self.party(who);
        self.parties[party].held += 1;
        self.taken += 1;
        Some(party)
    }

    /// Lines up. For who has just not got a slot: none is free, or others wait.
    pub(crate) fn join(&mut self, who: &Arc<str>, waiter: W) -> Result<Place, LineFull> {
        let party = self.party(who);
        if self.parties[party].waiters.len() >= WAITING_MAX {
            return Err(LineFull);
        }
        let ticket = next(&mut self.tickets);
        if self.parties[party].waiters.is_empty() {
            self.parties[party].turn = next(&mut self.turns);
        }
        self.parties[party].waiters.insert(ticket, waiter);
        self.waiting += 1;
        self.rank(party);
        Ok(Place { party, ticket })
    }

    /// Whether a slot was granted to a waiter. It has it from now on, and its place no more.
    pub(crate) fn collect(&mut self, place: Place) -> bool {
        self.granted.remove(&place.ticket)
    }

    /// How a waiter is woken, to be changed.
    pub(crate) fn waiter_mut(&mut self, place: Place) -> Option<&mut W> {
        self.parties[place.party].waiters.get_mut(&place.ticket)
    }

    /// Gives a place up. A slot that was granted to it goes to the next, who has to be woken.
    pub(crate) fn leave(&mut self, place: Place) -> Option<W> {
        if self.granted.remove(&place.ticket) {
            return self.give_back(place.party);
        }
        self.unrank(place.party);
        if self.parties[place.party].waiters.remove(&place.ticket).is_some() {
            self.waiting -= 1;
        }
        self.rank(place.party);
        None
    }

    /// Gives a slot back. It goes to the next, who has to be woken.
    pub(crate) fn give_back(&mut self, party: usize) -> Option<W> {
        self.unrank(party);
        self.parties[party].held -= 1;
        self.rank(party);
        let next = if self.taken > self.limit { None } else { self.next_after(party) };
        if next.is_none() {
            self.taken -= 1;
        }
        next.and_then(|next| self.hand_to(next))
    }

    /// Who gets a slot that a party has brought back.
    fn next_after(&self, brought_by: usize) -> Option<usize> {
        let mut ranks = self.order.iter();
        let first = ranks.next()?;
        let other = ranks.next().filter(|it| first.party == brought_by && it.held == first.held);
        Some(other.unwrap_or(first).party)
    }

    /// Changes how many slots there are. Those who get one have to be woken; slots that are too
    /// many vanish as they are given back.
    pub(crate) fn set_limit(&mut self, limit: usize) -> Vec<W> {
        self.limit = limit;
        let mut woken = Vec::new();
        while self.taken < self.limit
            && let Some(&Rank { party, .. }) = self.order.first()
        {
            self.taken += 1;
            woken.extend(self.hand_to(party));
        }
        woken
    }

    /// A slot for the first of a party that waits. It is counted as taken already.
    fn hand_to(&mut self, party: usize) -> Option<W> {
        self.unrank(party);
        let (ticket, waiter) = self.parties[party].waiters.pop_first()?;
        self.waiting -= 1;
        self.granted.insert(ticket);
        self.parties[party].held += 1;
        self.parties[party].turn = next(&mut self.turns);
        self.rank(party);
        Some(waiter)
    }

    /// The place of a party, a new one if it is not known.
    fn party(&mut self, who: &Arc<str>) -> usize {
        if let Some(&party) = self.by_name.get(who) {
            return party;
        }
        if self.by_name.len() >= self.known_max {
            self.forget();
        }
        let new = Party { held: 0, turn: 0, waiters: BTreeMap::new() };
        let party = self.vacant.pop().unwrap_or(self.parties.len());
        match self.parties.get_mut(party) {
            Some(vacant) => *vacant = new,
            None => self.parties.push(new),
        }
        self.by_name.insert(Arc::clone(who), party);
        party
    }

    /// Forgets those that neither hold nor wait. Not before there are twice as many as are left.
    fn forget(&mut self) {
        let (parties, vacant) = (&self.parties, &mut self.vacant);
        self.by_name.retain(|_, party| {
            let is_needed = parties[*party].held > 0 || !parties[*party].waiters.is_empty();
            if !is_needed {
                vacant.push(*party);
            }
            is_needed
        });
        self.known_max = (self.by_name.len() * 2).max(KNOWN_MIN);
    }

    fn rank(&mut self, party: usize) {
        if !self.parties[party].waiters.is_empty() {
            self.order.insert(self.rank_of(party));
        }
    }

    fn unrank(&mut self, party: usize) {
        if !self.order.is_empty() {
            self.order.remove(&self.rank_of(party));
        }
    }

    fn rank_of(&self, party: usize) -> Rank {
        let Party { held, turn, .. } = self.parties[party];
        Rank { held, turn, party }
    }
}

fn next(number: &mut u64) -> u64 {
    // At a million a second this takes half a million years.
    *number += 1;
    *number
}
