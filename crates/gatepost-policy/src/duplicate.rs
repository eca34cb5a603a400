//! The damper on copies: how often the same message of an entry has come of late.
//!
//! A message is known by its fingerprint, which whoever reads the message makes: the same message has
//! the same one, and nobody who sends can choose it. Each has a limiter of its own, in a table of
//! fixed size that is made when the first is counted.
//!
//! A fingerprint belongs into one row of the table. When the row is full, the one whose debt is paid
//! back first gives way: messages that come once never displace one that comes again and again, so a
//! program that runs wild is seen among any number of others. What has given way is forgotten, and
//! may come more often; a message that is not a copy is never refused for it.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use crate::{gcra::Gcra, rate::Rate};

/// Rows of the table.
const ROWS: usize = 128;
/// Fingerprints of a row: few enough to look at all of them. 1,024 in the whole table, in 32 KiB: an
/// entry has rarely as many messages on their way at once, and a program that runs wild has one.
const ROW_FINGERPRINTS: usize = 8;

/// What a message is known by when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// The fingerprints that an entry has seen. The lock is held while a row is looked at, once for a
/// message, and never while anybody waits.
#[derive(Default)]
pub(crate) struct Duplicates(OnceLock<Box<Mutex<Table>>>);

/// A message that has come more often than its rate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOften {
    /// How often, this time included, since it was last forgotten.
    pub(crate) times: u32,
    /// After how long it may come once more.
    pub(crate) wait: Duration,
}

/// Its length never changes.
struct Table(Box<[Row; ROWS]>);

type Row = [Seen; ROW_FINGERPRINTS];

/// A fingerprint, or a place for one.
#[derive(Default)]
struct Seen {
    fingerprint: u64,
    limiter: Gcra,
    times: u32,
}

impl Fingerprint {
    /// A fingerprint that is this hash: of all that makes two messages the same, under a key that
    /// nobody knows.
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }
}

impl Duplicates {
    /// Counts a message, or says that it has come too often.
    pub(crate) fn take(
        &self,
        message: Fingerprint,
        rate: Rate,
        now: Duration,
    ) -> Result<(), TooOften> {
        let table = self.0.get_or_init(Box::default);
        let mut table = lock(table);
        let seen = table.place(message);
        if seen.limiter.paid_back_at() <= now {
            seen.times = 0;
        }
        seen.times = seen.times.saturating_add(1);
        seen.limiter.take(rate, now).map_err(|wait| TooOften { times: seen.times, wait })
    }

    /// What [`Duplicates::take`] would say. Only a message that is refused by it has come.
    pub(crate) fn look(
        &self,
        message: Fingerprint,
        rate: Rate,
        now: Duration,
    ) -> Result<(), TooOften> {
        let Some(table) = self.0.get() else { return Ok(()) };
        let mut table = lock(table);
        let Some(seen) = table.find(message) else { return Ok(()) };
        let looked = seen.limiter.look(rate, now, 0);
        looked.map_err(|wait| {
            seen.times = seen.times.saturating_add(1);
            TooOften { times: seen.times, wait }
        })
    }

    /// Whether anything was ever counted.
    pub(crate) fn is_used(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Table {
    fn row(&mut self, message: Fingerprint) -> &mut Row {
        &mut self.0[message.0 as usize % ROWS]
    }

    fn find(&mut self, message: Fingerprint) -> Option<&mut Seen> {
        self.row(message).iter_mut().find(|seen| seen.fingerprint == message.0)
    }

    /// Where the fingerprint is; if it is nowhere, the place of the one that gives way.
    fn place(&mut self, message: Fingerprint) -> &mut Seen {
        let row = self.row(message);
        let known = row.iter().position(|seen| seen.fingerprint == message.0);
        let at = known.unwrap_or_else(|| {
            let first = (0..row.len()).min_by_key(|&at| row[at].limiter.paid_back_at());
            let at = first.unwrap_or_default();
            row[at] = Seen { fingerprint: message.0, ..Seen::default() };
            at
        });
        &mut row[at]
    }
}

impl Default for Table {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Row::default())))
    }
}

/// What it holds is nobody's business, and much.
impl fmt::Debug for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplicates").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}

/// A table is whole after every step: what a panic has left is as good as any.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect(text)
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// All of them belong into the first row, as if they had been chosen for it.
    fn in_one_row(number: u64) -> Fingerprint {
        Fingerprint::new(number * ROWS as u64)
    }

    #[test]
    fn the_same_message_comes_so_often() {
        let (seen, rate, message) = (Duplicates::default(), rate("3/min"), Fingerprint::new(7));
        assert!(!seen.is_used());
        assert!(seen.look(message, rate, at(0)).is_ok());
        assert!(!seen.is_used(), "a look counts nothing");
        for _ in 0..3 {
            assert_eq!(seen.take(message, rate, at(1)), Ok(()));
        }
        assert!(seen.is_used());
        let refused = |times, seconds| Err(TooOften { times, wait: at(seconds) });
        assert_eq!(seen.take(message, rate, at(1)), refused(4, 20));
        assert_eq!(seen.look(message, rate, at(2)), refused(5, 19));
        assert_eq!(seen.take(Fingerprint::new(8), rate, at(2)), Ok(()), "another message");
        assert_eq!(seen.take(message, rate, at(21)), Ok(()), "one more each interval");
        assert_eq!(seen.take(message, rate, at(21)), refused(7, 20));
        assert_eq!(seen.take(message, rate, at(100)), Ok(()));
        assert_eq!(seen.take(message, rate, at(100)), Ok(()));
        assert_eq!(seen.take(message, rate, at(100)), Ok(()));
        assert_eq!(seen.take(message, rate, at(100)), refused(4, 20), "counted from anew");
    }

    #[test]
    fn a_message_that_comes_again_and_again_is_not_displaced() {
        let (seen, rate, wild) = (Duplicates::default(), rate("2/h"), in_one_row(1));
        assert!(seen.take(wild, rate, at(0)).is_ok());
        assert!(seen.take(wild, rate, at(0)).is_ok());
        for number in 2..10_000 {
            assert!(seen.take(in_one_row(number), rate, at(1)).is_ok(), "each comes once");
            assert!(seen.take(wild, rate, at(1)).is_err(), "behind {number} others");
        }
    }

    proptest! {
        /// Whatever comes and whenever: no message passes that its own limiter would not let pass,
        /// as long as a row has room for all that come; and none is refused because of others.
        #[test]
        fn each_message_has_a_rate_of_its_own(
            comes in prop::collection::vec((0..ROW_FINGERPRINTS as u64, 0..40_u64), 0..200),
        ) {
            let (seen, rate) = (Duplicates::default(), rate("3/min"));
            let limiters: [Gcra; ROW_FINGERPRINTS] = std::array::from_fn(|_| Gcra::default());
            let mut now = at(1);
            for (number, pause) in comes {
                now += at(pause);
                let taken = seen.take(in_one_row(number), rate, now).map_err(|it| it.wait);
                prop_assert_eq!(taken, limiters[number as usize].take(rate, now));
            }
        }

        /// With more messages than there is room for, one may pass too often, and still none is
        /// refused that has not passed as often as the rate says.
        #[test]
        fn nothing_is_refused_that_was_not_let_pass_before(
            comes in prop::collection::vec((0..20_u64, 0..4_u64), 0..400),
        ) {
            let (seen, rate) = (Duplicates::default(), rate("2/min"));
            let mut passed: Vec<(u64, Duration)> = Vec::new();
            let mut now = at(100);
            for (number, pause) in comes {
                now += at(pause);
                if seen.take(in_one_row(number), rate, now).is_ok() {
                    passed.push((number, now));
                    continue;
                }
                let of_late = |&&(other, then): &&(u64, Duration)| {
                    other == number && then + rate.period() > now
                };
                prop_assert!(passed.iter().filter(of_late).count() >= 2);
            }
        }
    }
}
