//! Limit and breaker together, in a time that is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{advance, sleep};

use crate::pool::governor::{BreakerStatus, Governor};
use crate::pool::slots::{FairSlots, Slot};
use crate::signal::Signal;
use crate::trouble::Trouble;

const MANY: usize = 8;

fn governor() -> (Arc<Governor>, Arc<FairSlots>) {
    let slots = FairSlots::new(MANY);
    (Governor::new(&"sink".into(), MANY, Arc::clone(&slots)), slots)
}

/// All slots that are free.
fn take(slots: &Arc<FairSlots>) -> Vec<Slot> {
    std::iter::from_fn(|| slots.try_acquire(&"a".into())).collect()
}

fn down(governor: &Arc<Governor>) {
    for _ in 0..5 {
        governor.unreachable(&Trouble::Unreachable("nobody listens".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_shrinks_what_is_in_use_and_success_brings_it_back() {
    let (governor, slots) = governor();
    let mut held = take(&slots);
    assert_eq!(held.len(), MANY);
    (0..3).for_each(|_| governor.signal(Signal::Throttled { pause: None }));
    assert_eq!(governor.status(), (MANY / 2, BreakerStatus::Closed));
    held.truncate(MANY / 2);
    assert!(take(&slots).is_empty(), "what is given back is not handed on");
    for limit in MANY / 2..MANY {
        assert_eq!(governor.limit(), limit);
        advance(Duration::from_secs(1)).await;
        (0..MANY).for_each(|_| governor.signal(Signal::Fine));
    }
    assert_eq!(take(&slots).len(), MANY / 2);
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_and_may_become_longer() {
    let (governor, slots) = governor();
    let pause = |seconds| Signal::Throttled { pause: Some(Duration::from_secs(seconds)) };
    governor.signal(pause(5));
    governor.signal(pause(9));
    assert_eq!(governor.status().0, 0);
    let waits = {
        let slots = Arc::clone(&slots);
        tokio::spawn(async move { drop(slots.acquire(&"a".into()).await) })
    };
    sleep(Duration::from_millis(8900)).await;
    assert!(!waits.is_finished());
    sleep(Duration::from_millis(200)).await;
    assert!(waits.is_finished());
    assert!(governor.status().0 > 0);
    // And again, by a task of its own.
    governor.signal(pause(1));
    assert_eq!(governor.status().0, 0);
    sleep(Duration::from_millis(1100)).await;
    assert!(governor.status().0 > 0);
}

#[tokio::test(start_paused = true)]
async fn one_finds_out_and_the_others_are_told_why_they_do_not() {
    let (governor, _slots) = governor();
    down(&governor);
    let told = governor.admit().map(|_| ()).expect_err("it rests").to_string();
    assert!(told.starts_with("resting, next attempt in "), "{told}");
    assert!(told.ends_with(" s: cannot connect: nobody listens"), "{told}");
    advance(Duration::from_secs(1)).await;
    let probe = governor.admit().expect("it is time").expect("the first finds out");
    let told = governor.admit().map(|_| ()).expect_err("the others wait").to_string();
    assert!(told.starts_with("resting until an attempt that is under way succeeds"), "{told}");
    // Its client went away: another one may find out.
    drop(probe);
    let probe = governor.admit().expect("at once").expect("a probe again");
    governor.answered();
    drop(probe);
    assert!(governor.admit().expect("it is well").is_none());
    assert_eq!(governor.status(), (MANY, BreakerStatus::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_set_up_is_found_mended_by_a_message_only() {
    let (governor, _slots) = governor();
    governor.signal(Signal::Misconfigured);
    let BreakerStatus::Open(rest) = governor.status().1 else { panic!("it rests") };
    assert!((15..=30).contains(&rest.as_secs()), "{rest:?}");
    advance(rest).await;
    let probe = governor.admit().expect("it is time");
    governor.answered();
    assert_eq!(governor.status().1, BreakerStatus::HalfOpen);
    governor.accepted();
    assert_eq!(governor.status().1, BreakerStatus::Closed);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_have_it_forgotten() {
    let (governor, slots) = governor();
    down(&governor);
    governor.signal(Signal::Throttled { pause: Some(Duration::from_mins(10)) });
    governor.reset();
    assert_eq!(governor.status(), (MANY, BreakerStatus::Closed));
    assert!(governor.admit().expect("it is well").is_none());
    assert_eq!(take(&slots).len(), MANY);
}

/// What is forgotten has a task that still waits for its end. A pause after it ends in its own time.
#[tokio::test(start_paused = true)]
async fn a_pause_after_one_that_was_forgotten_ends_in_its_own_time() {
    let (governor, _slots) = governor();
    let pause = |seconds| Signal::Throttled { pause: Some(Duration::from_secs(seconds)) };
    governor.signal(pause(3600));
    governor.reset();
    governor.signal(pause(5));
    assert_eq!(governor.status().0, 0);
    sleep(Duration::from_secs(6)).await;
    assert!(governor.status().0 > 0, "five seconds are over");
    governor.signal(pause(3599));
    sleep(Duration::from_secs(3597)).await;
    assert_eq!(governor.status().0, 0, "the task of the forgotten one ends nothing");
    sleep(Duration::from_secs(5)).await;
    assert!(governor.status().0 > 0);
}

/// Whoever cannot have a connection in time is told so, and does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_pause_that_is_longer_than_anybody_waits_is_told() {
    let (governor, _slots) = governor();
    let patience = Duration::from_secs(10);
    assert!(governor.resting(patience).is_none());
    governor.signal(Signal::Throttled { pause: Some(Duration::from_secs(30)) });
    let told = governor.resting(patience).expect("it rests").to_string();
    assert_eq!(told, "resting, next attempt in 30.0 s: it wants nothing for a while");
    sleep(Duration::from_secs(21)).await;
    assert!(governor.resting(patience).is_none(), "that can be waited for");
}
