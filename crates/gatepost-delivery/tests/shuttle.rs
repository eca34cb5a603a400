//! The turnstile under every order of threads: its sources are compiled once more, with a lock that
//! hands the processor over. A wake-up that is lost is a thread that waits for ever, which shuttle
//! finds.
#![allow(missing_docs, dead_code, unreachable_pub)] // a part of the crate, seen from outside

#[path = "../src/pool/line.rs"]
mod line;
#[path = "../src/pool/slots.rs"]
mod slots;

mod sync {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::slots::FairSlots;

/// Orders that are tried.
const ORDERS: usize = 4_000;

/// Who passes, and how many did at the same time.
#[derive(Default)]
struct Gate {
    inside: AtomicUsize,
    passed: AtomicUsize,
}

impl Gate {
    fn pass(&self, limit: usize) {
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        assert!(others < limit, "{} of {limit}", others + 1);
        self.passed.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start(
    slots: &Arc<FairSlots>,
    gate: &Arc<Gate>,
    who: &str,
    limit: usize,
) -> thread::JoinHandle<()> {
    let (slots, gate, who) = (Arc::clone(slots), Arc::clone(gate), Arc::from(who));
    thread::spawn(move || {
        let slot = block_on(slots.acquire(&who)).expect("the line is short");
        gate.pass(limit);
        drop(slot);
    })
}

/// Waits a little and goes away: perhaps before its turn, perhaps after a slot was granted to it.
fn give_up(slots: &Arc<FairSlots>) -> thread::JoinHandle<()> {
    let slots = Arc::clone(slots);
    thread::spawn(move || {
        let who: Arc<str> = "impatient".into();
        let mut waiting = pin!(slots.acquire(&who));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            if let Poll::Ready(slot) = waiting.as_mut().poll(&mut context) {
                drop(slot);
                return;
            }
        }
    })
}

fn end(threads: impl IntoIterator<Item = thread::JoinHandle<()>>, slots: &FairSlots) {
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    assert_eq!((slots.taken(), slots.waiting()), (0, 0), "nothing is left");
}

#[test]
fn all_pass_and_never_too_many_at_once() {
    shuttle::check_random(
        || {
            let (slots, gate) = (FairSlots::new(2), Arc::default());
            let threads = ["a", "a", "a", "b", "c"].map(|who| start(&slots, &gate, who, 2));
            end(threads, &slots);
            assert_eq!(gate.passed.load(Ordering::SeqCst), 5);
        },
        ORDERS,
    );
}

#[test]
fn who_gives_up_takes_no_slot_along() {
    shuttle::check_random(
        || {
            let (slots, gate) = (FairSlots::new(1), Arc::default());
            let quitters = [give_up(&slots), give_up(&slots)];
            let threads = ["a", "b"].map(|who| start(&slots, &gate, who, 1));
            end(threads.into_iter().chain(quitters), &slots);
        },
        ORDERS,
    );
}

/// From none to one and on to two and back, while others come, wait and go.
#[test]
fn a_limit_that_moves_wakes_those_it_lets_in() {
    shuttle::check_random(
        || {
            let (slots, gate) = (FairSlots::new(0), Arc::default());
            let threads = ["a", "a", "b"].map(|who| start(&slots, &gate, who, 2));
            let quitter = give_up(&slots);
            let mover = Arc::clone(&slots);
            let mover = thread::spawn(move || {
                for limit in [1, 2, 1] {
                    mover.change_limit(|_| limit);
                }
            });
            end(threads.into_iter().chain([quitter, mover]), &slots);
        },
        ORDERS,
    );
}

/// Without a wait a slot is there for whoever comes first, and nobody jumps the queue.
#[test]
fn those_who_do_not_wait_take_nothing_from_those_who_do() {
    shuttle::check_random(
        || {
            let (slots, gate) = (FairSlots::new(1), Arc::default());
            let hasty = Arc::clone(&slots);
            let hasty = thread::spawn(move || {
                let who: Arc<str> = "hasty".into();
                (0..3).for_each(|_| drop(hasty.try_acquire(&who)));
            });
            let threads = ["a", "b"].map(|who| start(&slots, &gate, who, 1));
            end(threads.into_iter().chain([hasty]), &slots);
        },
        ORDERS,
    );
}
