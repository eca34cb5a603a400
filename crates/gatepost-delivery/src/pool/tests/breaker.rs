//! The breaker, alone.

use std::time::Duration;

use proptest::prelude::*;

use crate::pool::breaker::{
    Admission, Breaker, Cause, FAILURES, FAILURES_APART_MAX, ProbeId, State,
};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One that has opened at zero, for as long as it can.
fn open(cause: Cause) -> Breaker {
    let mut breaker = Breaker::new();
    match cause {
        Cause::Misconfigured => assert!(breaker.misconfigured(at(0), 1.0)),
        Cause::Unreachable => {
            (1..FAILURES).for_each(|_| assert!(!breaker.unreachable(at(0), 1.0)));
            assert!(breaker.unreachable(at(0), 1.0));
        }
    }
    breaker
}

fn probe(breaker: &mut Breaker, now: Duration) -> ProbeId {
    match breaker.admit(now) {
        Admission::Probe(id) => id,
        other => panic!("{other:?} at {now:?}"),
    }
}

#[test]
fn failures_in_a_row_open_it() {
    let mut breaker = open(Cause::Unreachable);
    assert_eq!(breaker.admit(at(0)), Admission::Rest(at(1000)));
    assert_eq!(breaker.admit(at(999)), Admission::Rest(at(1)));
    // Exactly one finds out.
    probe(&mut breaker, at(1000));
    assert_eq!(breaker.admit(at(5000)), Admission::Rest(Duration::ZERO));
}

#[test]
fn success_in_between_forgives() {
    let mut breaker = Breaker::new();
    for _ in 0..10 {
        (1..FAILURES).for_each(|_| assert!(!breaker.unreachable(at(0), 0.0)));
        assert!(!breaker.is_calm());
        breaker.accepted();
        assert!(breaker.is_calm());
    }
}

#[test]
fn failures_far_apart_are_not_in_a_row() {
    let mut breaker = Breaker::new();
    for n in 0..20 {
        assert!(!breaker.unreachable((FAILURES_APART_MAX + at(1)) * n, 0.0));
    }
}

#[test]
fn the_back_off_doubles_up_to_its_end() {
    for (cause, expected) in [
        (Cause::Unreachable, [1, 2, 4, 8, 16, 32, 60, 60]),
        (Cause::Misconfigured, [30, 60, 120, 240, 480, 600, 600, 600]),
    ] {
        let mut breaker = open(cause);
        let mut now = at(0);
        for seconds in expected {
            assert_eq!(breaker.admit(now), Admission::Rest(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            probe(&mut breaker, now);
            match cause {
                Cause::Misconfigured => assert!(breaker.misconfigured(now, 1.0)),
                Cause::Unreachable => assert!(breaker.unreachable(now, 1.0)),
            }
        }
        probe(&mut breaker, now + Duration::from_mins(10));
        assert!(breaker.accepted());
        assert!(breaker.is_calm());
    }
}

/// What counts as mended depends on what was wrong.
#[test]
fn an_answer_is_enough_where_there_was_none_and_not_where_it_was_wrong() {
    let mut breaker = open(Cause::Unreachable);
    assert!(!breaker.answered(), "nobody was asked");
    probe(&mut breaker, at(1000));
    assert!(breaker.answered());

    let mut breaker = open(Cause::Misconfigured);
    assert!(!breaker.accepted(), "that was sent before");
    probe(&mut breaker, at(30_000));
    assert!(!breaker.answered());
    assert!(breaker.accepted());
}

#[test]
fn what_was_under_way_can_close_it_but_not_keep_it_open() {
    let mut breaker = open(Cause::Unreachable);
    assert!(!breaker.unreachable(at(900), 1.0));
    assert_eq!(breaker.admit(at(900)), Admission::Rest(at(100)), "not put off by late failures");
    assert!(breaker.accepted());
    assert!(breaker.is_calm());
}

#[test]
fn a_worse_fault_takes_over() {
    let mut breaker = open(Cause::Unreachable);
    assert!(breaker.misconfigured(at(500), 1.0));
    assert_eq!(breaker.admit(at(500)), Admission::Rest(at(30_000)));
    // That a probe does not get through says nothing of the set-up.
    probe(&mut breaker, at(31_000));
    assert!(breaker.unreachable(at(31_000), 1.0));
    assert!(matches!(breaker.state(), State::Open { cause: Cause::Misconfigured, .. }));
}

#[test]
fn a_probe_without_a_verdict_makes_room_for_another() {
    let mut breaker = open(Cause::Unreachable);
    let first = probe(&mut breaker, at(1000));
    breaker.probe_ended(first, at(1100));
    let second = probe(&mut breaker, at(1100));
    // The first cannot give the place of the second away.
    breaker.probe_ended(first, at(1200));
    assert_eq!(breaker.admit(at(1200)), Admission::Rest(Duration::ZERO));
    breaker.reset();
    breaker.probe_ended(second, at(1300));
    assert!(breaker.is_calm());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Admit,
    Accepted,
    Answered,
    Misconfigured,
    ProbeEnded,
    Reset,
    Unreachable,
}

proptest! {
    /// Whatever happens: it is shut for no longer than its longest back-off, at most one probe is
    /// under way, and success of a probe closes it.
    #[test]
    fn it_never_shuts_for_good_and_never_lets_two_find_out(
        events in prop::collection::vec(
            (
                0_u64..40_000,
                0.0_f64..=1.0,
                prop::sample::select(vec![
                    Event::Admit, Event::Admit, Event::Accepted, Event::Answered,
                    Event::Misconfigured, Event::ProbeEnded, Event::Reset,
                    Event::Unreachable, Event::Unreachable, Event::Unreachable,
                ]),
            ),
            0..150,
        ),
    ) {
        let mut breaker = Breaker::new();
        let (mut now, mut probes) = (at(0), Vec::new());
        for (pause, luck, event) in events {
            now += at(pause);
            match event {
                Event::Admit => match breaker.admit(now) {
                    Admission::Pass => {
                        let closed = matches!(breaker.state(), State::Closed { .. });
                        prop_assert!(closed);
                    }
                    Admission::Probe(id) => {
                        prop_assert!(!probes.contains(&id), "each probe is its own");
                        probes.push(id);
                        prop_assert_eq!(breaker.admit(now), Admission::Rest(Duration::ZERO));
                    }
                    Admission::Rest(next) => prop_assert!(next <= Duration::from_mins(10)),
                },
                Event::Accepted => {
                    let half_open = matches!(breaker.state(), State::HalfOpen { .. });
                    let closes = breaker.accepted();
                    prop_assert!(closes || !half_open);
                }
                Event::Answered => { breaker.answered(); }
                Event::Misconfigured => {
                    breaker.misconfigured(now, luck);
                    let misconfigured =
                        matches!(breaker.state(), State::Open { cause: Cause::Misconfigured, .. });
                    prop_assert!(misconfigured);
                }
                Event::ProbeEnded => {
                    if let Some(id) = probes.pop() {
                        breaker.probe_ended(id, now);
                    }
                }
                Event::Reset => {
                    breaker.reset();
                    prop_assert!(breaker.is_calm());
                }
                Event::Unreachable => {
                    let was_closed = matches!(breaker.state(), State::Closed { .. });
                    if breaker.unreachable(now, luck) {
                        let State::Open { cause, until } = breaker.state() else {
                            return Err(TestCaseError::fail("it has opened"));
                        };
                        prop_assert!(!was_closed || cause == Cause::Unreachable);
                        prop_assert!(until >= now + at(500));
                        prop_assert!(until <= now + Duration::from_mins(10));
                    }
                }
            }
        }
        // Left alone, it lets somebody find out.
        if let State::HalfOpen { probe, .. } = breaker.state() {
            breaker.probe_ended(probe, now);
        }
        let admission = breaker.admit(now + Duration::from_mins(10));
        prop_assert!(!matches!(admission, Admission::Rest(_)));
    }
}

/// A probe whose client dribbles its message for an hour is no reason to defer all others as long.
#[test]
fn a_probe_that_takes_too_long_is_not_the_only_one() {
    for cause in [Cause::Unreachable, Cause::Misconfigured] {
        let mut breaker = open(cause);
        let slow = probe(&mut breaker, at(600_000));
        assert_eq!(breaker.admit(at(629_999)), Admission::Rest(Duration::ZERO));
        let next = probe(&mut breaker, at(630_000));
        assert_ne!(slow, next);
        breaker.probe_ended(slow, at(630_001));
        assert_eq!(breaker.admit(at(630_002)), Admission::Rest(Duration::ZERO), "the other is out");
        breaker.probe_ended(next, at(630_003));
        probe(&mut breaker, at(630_003));
    }
}
