//! The line against a simple model, and what it promises.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use crate::pool::line::{Line, LineFull, Place, WAITING_MAX};

fn names() -> [Arc<str>; 4] {
    ["a", "b", "c", "d"].map(Arc::from)
}

#[derive(Clone, Debug)]
enum Event {
    /// A party asks: gets a slot, or lines up.
    Ask(usize),
    /// One of those who have a slot gives it back.
    GiveBack(usize),
    /// One of those who lined up goes away, whether a slot was granted to it or not.
    Leave(usize),
    /// One of those who lined up looks.
    Look(usize),
    SetLimit(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_usize..4).prop_map(Event::Ask),
        3 => any::<usize>().prop_map(Event::GiveBack),
        1 => any::<usize>().prop_map(Event::Leave),
        1 => any::<usize>().prop_map(Event::Look),
        1 => (0_usize..5).prop_map(Event::SetLimit),
    ];
    prop::collection::vec(event, 0..200)
}

/// The same, by looking at everybody each time.
#[derive(Default)]
struct Model {
    limit: usize,
    parties: [ModelParty; 4],
    turns: u64,
}

#[derive(Default)]
struct ModelParty {
    held: usize,
    queue: VecDeque<u64>,
    turn: u64,
}

impl Model {
    fn taken(&self) -> usize {
        self.parties.iter().map(|party| party.held).sum()
    }

    fn waiting(&self) -> usize {
        self.parties.iter().map(|party| party.queue.len()).sum()
    }

    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// True if the party has a slot at once.
    fn ask(&mut self, party: usize, waiter: u64) -> bool {
        if self.taken() < self.limit && self.waiting() == 0 {
            self.parties[party].held += 1;
            return true;
        }
        if self.parties[party].queue.is_empty() {
            self.parties[party].turn = self.turn();
        }
        self.parties[party].queue.push_back(waiter);
        false
    }

    fn grant(&mut self, brought_by: Option<usize>) -> Option<u64> {
        let waiting = (0..4).filter(|&it| !self.parties[it].queue.is_empty());
        let next = waiting.min_by_key(|&it| {
            (self.parties[it].held, Some(it) == brought_by, self.parties[it].turn)
        })?;
        self.parties[next].turn = self.turn();
        self.parties[next].held += 1;
        self.parties[next].queue.pop_front()
    }

    fn give_back(&mut self, party: usize) -> Option<u64> {
        let is_surplus = self.taken() > self.limit;
        self.parties[party].held -= 1;
        if is_surplus { None } else { self.grant(Some(party)) }
    }

    fn set_limit(&mut self, limit: usize) -> Vec<u64> {
        self.limit = limit;
        let mut woken = Vec::new();
        while self.taken() < self.limit
            && let Some(next) = self.grant(None)
        {
            woken.push(next);
        }
        woken
    }
}

/// One that lined up.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    id: u64,
    /// Its number in the model.
    party: usize,
    place: Place,
    granted: bool,
}

struct Both {
    line: Line<u64>,
    model: Model,
    names: [Arc<str>; 4],
    /// Who has a slot: the number in the model, and in the line.
    holders: Vec<(usize, usize)>,
    waiters: Vec<Waiter>,
    asked: u64,
}

impl Both {
    fn new(limit: usize) -> Self {
        let model = Model { limit, ..Model::default() };
        let (line, names) = (Line::new(limit), names());
        Self { line, model, names, holders: Vec::new(), waiters: Vec::new(), asked: 0 }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Ask(party) => self.ask(party),
            Event::GiveBack(which) if !self.holders.is_empty() => {
                let (model, line) = self.holders.swap_remove(which % self.holders.len());
                let woken = self.line.give_back(line);
                assert_eq!(woken, self.model.give_back(model));
                self.woken(woken);
            }
            Event::Leave(which) if !self.waiters.is_empty() => {
                let left = self.waiters.swap_remove(which % self.waiters.len());
                let expected = if left.granted {
                    self.model.give_back(left.party)
                } else {
                    self.model.parties[left.party].queue.retain(|&id| id != left.id);
                    None
                };
                let woken = self.line.leave(left.place);
                assert_eq!(woken, expected);
                self.woken(woken);
            }
            Event::Look(which) if !self.waiters.is_empty() => {
                let which = which % self.waiters.len();
                let Waiter { party, place, granted, .. } = self.waiters[which];
                assert_eq!(self.line.collect(place), granted);
                if granted {
                    self.waiters.swap_remove(which);
                    self.holders.push((party, place.party));
                }
            }
            Event::SetLimit(limit) => {
                let woken = self.line.set_limit(limit);
                assert_eq!(woken, self.model.set_limit(limit));
                self.woken(woken);
            }
            Event::GiveBack(_) | Event::Leave(_) | Event::Look(_) => {}
        }
        assert_eq!(self.line.taken(), self.model.taken());
        assert_eq!(self.line.waiting(), self.model.waiting());
        assert!(
            self.line.waiting() == 0 || self.line.taken() >= self.line.limit(),
            "nobody waits while a slot is free"
        );
    }

    fn ask(&mut self, party: usize) {
        self.asked += 1;
        let id = self.asked;
        let taken = self.line.try_take(&self.names[party]);
        assert_eq!(taken.is_some(), self.model.ask(party, id));
        if let Some(line) = taken {
            self.holders.push((party, line));
            return;
        }
        let place = self.line.join(&self.names[party], id).expect("not so many");
        self.waiters.push(Waiter { id, party, place, granted: false });
    }

    fn woken(&mut self, woken: impl IntoIterator<Item = u64>) {
        for woken in woken {
            let waiter = self.waiters.iter_mut().find(|it| it.id == woken).expect("it waits");
            assert!(!std::mem::replace(&mut waiter.granted, true), "one slot each");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_line_is_the_model(limit in 0_usize..5, events in events()) {
        let mut both = Both::new(limit);
        for event in &events {
            both.happen(event);
        }
        // When all have gone, nothing is left of them.
        both.happen(&Event::SetLimit(4));
        while !both.waiters.is_empty() {
            both.happen(&Event::Leave(0));
        }
        while !both.holders.is_empty() {
            both.happen(&Event::GiveBack(0));
        }
        prop_assert_eq!((both.line.taken(), both.line.waiting()), (0, 0));
    }

    /// A party that never gives anything back ends with its share, not with all.
    #[test]
    fn long_transactions_do_not_take_all_slots(limit in 2_usize..12, rounds in 20_usize..60) {
        let [long, shorts_name, ..] = names();
        let mut line = Line::new(limit);
        while line.try_take(&long).is_some() {}
        let hoard = (0..100).map(|_| line.join(&long, 'l').expect("fits")).collect::<Vec<_>>();
        // The long ones end one by one, until the short ones have their half; whatever short ones
        // give back stays with them.
        let mut shorts = 0;
        for _ in 0..100 {
            line.join(&shorts_name, 's').expect("fits");
        }
        for _ in 0..limit / 2 {
            shorts += usize::from(line.give_back(hoard[0].party) == Some('s'));
        }
        prop_assert_eq!(shorts, limit / 2);
        prop_assert_eq!(line.try_take(&shorts_name), None, "nobody jumps the queue");
        let short = line.join(&shorts_name, 's').expect("fits").party;
        for _ in 0..rounds {
            line.join(&shorts_name, 's').expect("fits");
            prop_assert_eq!(line.give_back(short), Some('s'), "the share is kept");
        }
    }
}

/// However many of one party wait: the other waits for the slot that is in use, and for no more.
#[test]
fn a_thousand_of_one_party_are_one_turn() {
    let [heavy, light, ..] = names();
    let mut line = Line::new(1);
    let party = line.try_take(&heavy).expect("free");
    for number in 0..1000 {
        line.join(&heavy, ("heavy", number)).expect("fits");
    }
    line.join(&light, ("light", 0)).expect("fits");
    assert_eq!(line.give_back(party), Some(("light", 0)));
}

/// Parties that come and go for one slot at a time do not shut out the one that has always waited.
#[test]
fn newcomers_line_up_behind() {
    let [patient, one, other, _] = names();
    let mut line = Line::new(1);
    let mut holder = line.try_take(&one).expect("free");
    line.join(&patient, "patient").expect("fits");
    let mut served = 0;
    for _ in 0..10 {
        line.join(&one, "one").expect("fits");
        line.join(&other, "other").expect("fits");
        let places = [&patient, &one, &other];
        for _ in 0..3 {
            let woken = line.give_back(holder).expect("somebody waits");
            served += usize::from(woken == "patient");
            let who = ["patient", "one", "other"].iter().position(|it| *it == woken);
            let who = places[who.expect("one of them")];
            if woken == "patient" {
                line.join(&patient, "patient").expect("fits");
            }
            holder = party_of(&mut line, who);
        }
    }
    assert!(served >= 9, "{served}");
}

/// The number that the line has given to a party.
fn party_of(line: &mut Line<&'static str>, who: &Arc<str>) -> usize {
    let place = line.join(who, "asks").expect("fits");
    line.leave(place);
    place.party
}

/// As many parties as come: those that have gone are not kept, and those that have not are.
#[test]
fn parties_that_have_gone_are_forgotten_in_time() {
    let mut line = Line::<()>::new(2);
    let patient: Arc<str> = "patient".into();
    let held = line.try_take(&patient).expect("free");
    for number in 0..10_000 {
        let party = line.try_take(&format!("p{number}").into()).expect("free");
        assert!(party < 300, "places are used again");
        assert_ne!(party, held);
        line.give_back(party);
    }
    assert_eq!(line.join(&patient, ()).expect("fits").party, held);
}

#[test]
fn a_line_that_is_full_is_full_for_one_party_only() {
    let [heavy, light, ..] = names();
    let mut line = Line::new(0);
    for _ in 0..WAITING_MAX {
        line.join(&heavy, ()).expect("fits");
    }
    assert_eq!(line.join(&heavy, ()), Err(LineFull));
    assert!(line.join(&light, ()).is_ok());
}
