//! A fair turnstile: so many may pass, the others wait for their turn (see [`super::line`]).
//!
//! To pass while there is room is one short critical section without an allocation. A future that
//! is dropped while it waits loses its place, and a slot that was meant for it goes to the next; a
//! deadline is whatever the caller puts around it. Nobody is woken while the lock is held.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::line::{Line, LineFull, Place};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Slots, and the line in front of them.
#[derive(Debug)]
pub struct FairSlots {
    line: Mutex<Line<Waker>>,
}

/// One of the slots. Dropping it gives it to the next.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<FairSlots>,
    party: usize,
}

impl FairSlots {
    /// A turnstile through which so many pass at once.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { line: Mutex::new(Line::new(limit)) })
    }

    /// How many slots somebody has.
    pub fn taken(&self) -> usize {
        self.line().taken()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line().waiting()
    }

    /// A slot, if one is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>, who: &Arc<str>) -> Option<Slot> {
        let party = self.line().try_take(who)?;
        Some(self.slot(party))
    }

    /// A slot, when it is `who`'s turn.
    pub async fn acquire(self: &Arc<Self>, who: &Arc<str>) -> Result<Slot, LineFull> {
        Waiting { slots: self, who, place: None }.await
    }

    /// Changes how many slots there are, from what there were. Slots that are too many vanish as
    /// they are given back.
    pub fn change_limit(&self, change: impl FnOnce(usize) -> usize) {
        let mut line = self.line();
        let limit = change(line.limit());
        let woken = line.set_limit(limit);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
    }

    fn slot(self: &Arc<Self>, party: usize) -> Slot {
        Slot { slots: Arc::clone(self), party }
    }

    fn line(&self) -> MutexGuard<'_, Line<Waker>> {
        // Nothing in the line panics half way: a place is found or made before it is used.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let woken = self.slots.line().give_back(self.party);
        if let Some(next) = woken {
            next.wake();
        }
    }
}

/// Waits for a slot. It has a place in line from its first poll on.
struct Waiting<'a> {
    slots: &'a Arc<FairSlots>,
    who: &'a Arc<str>,
    place: Option<Place>,
}

impl Future for Waiting<'_> {
    type Output = Result<Slot, LineFull>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slots = self.slots;
        let mut line = slots.line();
        let Some(place) = self.place else {
            if let Some(party) = line.try_take(self.who) {
                drop(line);
                return Poll::Ready(Ok(slots.slot(party)));
            }
            let joined = line.join(self.who, context.waker().clone());
            drop(line);
            return match joined {
                Ok(place) => {
                    self.place = Some(place);
                    Poll::Pending
                }
                Err(full) => Poll::Ready(Err(full)),
            };
        };
        if line.collect(place) {
            drop(line);
            self.place = None;
            return Poll::Ready(Ok(slots.slot(place.party)));
        }
        let waker = line.waiter_mut(place).filter(|it| !it.will_wake(context.waker()));
        let old = waker.map(|it| std::mem::replace(it, context.waker().clone()));
        // Whatever a waker does when it is dropped, it does without the lock.
        drop(line);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let woken = self.slots.line().leave(place);
        if let Some(next) = woken {
            next.wake();
        }
    }
}
