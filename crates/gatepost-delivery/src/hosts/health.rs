//! Which candidates have failed, and for how long they are put behind the others.
//!
//! One that fails is put behind for a second, then two, up to a minute; after that it is tried
//! again, by one connection first. The first success forgets everything. Time is a parameter.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Candidate;

/// For how long a candidate is put behind after its first failure: a restart takes longer.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// And at most: so much later than possible the first host is returned to.
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

/// What is remembered of failures; nothing of candidates that are well.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: Vec<Failure>,
}

#[derive(Debug)]
struct Failure {
    host: usize,
    address: SocketAddr,
    /// The one after this failure.
    back_off: Duration,
    /// When it is over.
    until: Instant,
    /// Somebody tries it now: the others wait until here.
    tried_until: Instant,
    last: Instant,
}

/// What a failure changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The candidate was well until now.
    Fell,
    /// It had failed before.
    Same,
}

impl Health {
    /// When a candidate failed last, if it is put behind. Those with nothing go first, then those
    /// whose failure is longest ago.
    pub(super) fn behind(&self, candidate: &Candidate, now: Instant) -> Option<Instant> {
        let failure = self.find(candidate)?;
        (now < failure.until.max(failure.tried_until)).then_some(failure.last)
    }

    /// A candidate is tried after a failure: for so long, others do not try it first too.
    pub(super) fn probe(&mut self, candidate: &Candidate, now: Instant, hold: Duration) {
        if let Some(failure) = self.find_mut(candidate) {
            failure.tried_until = now + hold;
        }
    }

    /// A candidate has failed. Connections that fail at the same time are one failure.
    pub(super) fn failed(&mut self, candidate: &Candidate, now: Instant) -> Change {
        let Some(failure) = self.find_mut(candidate) else {
            self.failures.push(Failure {
                host: candidate.host,
                address: candidate.address,
                back_off: BACK_OFF_MIN,
                until: now + BACK_OFF_MIN,
                tried_until: now,
                last: now,
            });
            return Change::Fell;
        };
        if now >= failure.until {
            failure.back_off = (failure.back_off * 2).min(BACK_OFF_MAX);
            failure.until = now + failure.back_off;
        }
        failure.tried_until = now;
        failure.last = now;
        Change::Same
    }

    /// A candidate is well. Whether it was not.
    pub(super) fn succeeded(&mut self, candidate: &Candidate) -> bool {
        let before = self.failures.len();
        self.failures.retain(|failure| !failure.is_of(candidate));
        self.failures.len() < before
    }

    /// Forgets what has failed and is no candidate any more.
    pub(super) fn keep_only(&mut self, candidates: &[Candidate]) {
        self.failures.retain(|failure| candidates.iter().any(|it| failure.is_of(it)));
    }

    /// How many candidates of a host have failed last.
    pub(super) fn down(&self, host: usize) -> usize {
        self.failures.iter().filter(|failure| failure.host == host).count()
    }

    fn find(&self, candidate: &Candidate) -> Option<&Failure> {
        self.failures.iter().find(|failure| failure.is_of(candidate))
    }

    fn find_mut(&mut self, candidate: &Candidate) -> Option<&mut Failure> {
        self.failures.iter_mut().find(|failure| failure.is_of(candidate))
    }
}

impl Failure {
    fn is_of(&self, candidate: &Candidate) -> bool {
        self.host == candidate.host && self.address == candidate.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(host: usize) -> Candidate {
        Candidate { host, name: "a".into(), address: SocketAddr::from(([127, 0, 0, 1], 25)) }
    }

    #[test]
    fn the_back_off_doubles_to_a_minute_and_ends_with_a_success() {
        let (mut health, one, mut now) = (Health::default(), candidate(0), Instant::now());
        assert_eq!(health.behind(&one, now), None);
        assert_eq!(health.failed(&one, now), Change::Fell);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(health.behind(&one, now), Some(now));
            let back_off = Duration::from_secs(seconds);
            assert!(health.behind(&one, now + back_off - Duration::from_millis(1)).is_some());
            now += back_off;
            assert_eq!(health.behind(&one, now), None, "{seconds}");
            assert_eq!(health.failed(&one, now), Change::Same);
        }
        assert!(health.succeeded(&one));
        assert!(!health.succeeded(&one));
        assert_eq!(health.behind(&one, now), None);
        health.failed(&one, now);
        assert_eq!(health.behind(&one, now + BACK_OFF_MIN), None, "it begins anew");
    }

    #[test]
    fn a_hundred_connections_that_fail_at_once_are_one_failure() {
        let (mut health, one, now) = (Health::default(), candidate(0), Instant::now());
        for _ in 0..100 {
            health.failed(&one, now);
        }
        assert_eq!(health.behind(&one, now + BACK_OFF_MIN), None);
        assert_eq!(health.down(0), 1);
    }

    #[test]
    fn after_a_back_off_one_tries() {
        let (mut health, one, now) = (Health::default(), candidate(0), Instant::now());
        health.failed(&one, now);
        let later = now + BACK_OFF_MIN;
        health.probe(&one, later, Duration::from_secs(10));
        assert_eq!(health.behind(&one, later), Some(now), "the others go elsewhere");
        assert_eq!(health.behind(&one, later + Duration::from_secs(10)), None, "it gave up unsaid");
        health.failed(&one, later);
        assert_eq!(health.behind(&one, later + BACK_OFF_MIN), Some(later), "two seconds now");
        assert_eq!(health.behind(&one, later + BACK_OFF_MIN * 2), None);
        health.probe(&candidate(1), now, Duration::from_secs(10));
        assert_eq!(health.behind(&candidate(1), now), None, "what is well is not held back");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(&candidate(0), now);
        health.failed(&candidate(1), now);
        health.keep_only(&[candidate(1)]);
        assert_eq!((health.down(0), health.down(1)), (0, 1));
    }
}
