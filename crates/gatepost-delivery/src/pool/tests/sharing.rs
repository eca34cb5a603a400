//! The turnstile as futures: who waits, who goes away, who is next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::pool::slots::FairSlots;

/// Lines up, tells when it has a slot, and gives it back when told.
fn client(slots: &Arc<FairSlots>, who: &'static str, served: &mpsc::UnboundedSender<&'static str>) {
    let (slots, served) = (Arc::clone(slots), served.clone());
    tokio::spawn(async move {
        let _slot = slots.acquire(&who.into()).await.expect("the line is short");
        served.send(who).expect("somebody looks");
    });
}

#[tokio::test]
async fn a_runaway_entry_is_one_turn_to_another() {
    let slots = FairSlots::new(1);
    let first = slots.try_acquire(&"heavy".into()).expect("free");
    let (served, mut seen) = mpsc::unbounded_channel();
    (0..1000).for_each(|_| client(&slots, "heavy", &served));
    yield_now().await;
    client(&slots, "light", &served);
    while slots.waiting() < 1001 {
        yield_now().await;
    }
    drop(first);
    assert_eq!(seen.recv().await, Some("light"), "it waits for the slot in use, and no longer");
    for _ in 0..1000 {
        assert_eq!(seen.recv().await, Some("heavy"));
    }
    yield_now().await;
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[test]
fn to_pass_while_there_is_room_allocates_nothing() {
    let slots = FairSlots::new(2);
    let [one, other]: [Arc<str>; 2] = ["a".into(), "b".into()];
    // The first time makes room for the parties.
    let pass = || drop((slots.try_acquire(&one), slots.try_acquire(&other)));
    pass();
    assert_eq!(allocation_counter::measure(pass).count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_nothing_behind() {
    let slots = FairSlots::new(1);
    let who: Arc<str> = "a".into();
    let first = slots.try_acquire(&who).expect("free");
    let waited = timeout(Duration::from_secs(1), slots.acquire(&who)).await;
    assert!(waited.is_err());
    assert_eq!(slots.waiting(), 0);
    // Granted, and gone before it has noticed: the next one has it.
    let mut gone = Box::pin(slots.acquire(&who));
    let mut next = Box::pin(slots.acquire(&who));
    for waiting in [&mut gone, &mut next] {
        assert!(timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
    }
    drop(first);
    assert_eq!((slots.taken(), slots.waiting()), (1, 1));
    drop(gone);
    assert!(timeout(Duration::from_secs(1), next).await.is_ok());
    assert_eq!((slots.taken(), slots.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_limit_moves_while_it_runs() {
    let slots = FairSlots::new(2);
    let who: Arc<str> = "a".into();
    let mut held: Vec<_> = std::iter::from_fn(|| slots.try_acquire(&who)).collect();
    slots.change_limit(|_| 1);
    held.pop();
    assert!(slots.try_acquire(&who).is_none(), "it was one too many");
    let waits = slots.acquire(&who);
    slots.change_limit(|limit| limit + 1);
    assert!(timeout(Duration::from_secs(1), waits).await.is_ok());
}
