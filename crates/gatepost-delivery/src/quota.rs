//! Recipients that an upstream may be given, in fair turns.
//!
//! While there is room nobody waits. When there is none, whoever has a recipient waits for a while,
//! and entries take turns: one that sends far more than the rate waits and is deferred, and the others
//! hardly notice. The turn is held while its recipient waits, so nobody overtakes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pool::FairSlots;
use crate::rate::RecipientRates;

/// The rates of an upstream, and the line in front of them.
pub(crate) struct Quota {
    pub(crate) rates: RecipientRates,
    turn: Arc<FairSlots>,
    /// How long a recipient waits at most.
    patience: Duration,
}

impl Quota {
    pub(crate) fn new(rates: RecipientRates, patience: Duration) -> Self {
        Self { rates, turn: FairSlots::new(1), patience }
    }

    /// Takes one recipient for `entry`, or says after how long it might be tried again. What is taken
    /// is not given back.
    pub(crate) async fn take(&self, entry: &Arc<str>) -> Result<(), Duration> {
        if self.rates.is_unlimited() {
            return Ok(());
        }
        let until = Instant::now() + self.patience;
        let _turn = if let Some(turn) = self.turn.try_acquire(entry) {
            turn
        } else {
            let turn = tokio::time::timeout(self.patience, self.turn.acquire(entry)).await;
            turn.map_err(|_| self.patience)?.map_err(|_| self.patience)?
        };
        loop {
            let now = Instant::now();
            match self.rates.try_take(1, now) {
                Ok(()) => return Ok(()),
                Err(wait) if now + wait > until => return Err(wait),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::rate::{RatePeriod, RecipientRate};

    fn quota(count: u32, period: RatePeriod, patience: Duration) -> Arc<Quota> {
        let rate = RecipientRate { count, period };
        Arc::new(Quota::new(RecipientRates::new("test", &[rate]), patience))
    }

    #[tokio::test]
    async fn who_would_wait_for_too_long_is_told_how_long() {
        let quota = quota(2, RatePeriod::Minute, Duration::from_secs(5));
        for _ in 0..2 {
            quota.take(&"a".into()).await.expect("there is room");
        }
        let wait = quota.take(&"a".into()).await.expect_err("there is none");
        assert!((Duration::from_secs(25)..=Duration::from_secs(30)).contains(&wait), "{wait:?}");
    }

    /// One entry with hundreds of recipients in line, another with ten: the ten go by turns, not
    /// behind the hundreds.
    #[tokio::test]
    async fn entries_take_turns_at_the_rate() {
        let quota = quota(50, RatePeriod::Second, Duration::from_secs(20));
        for _ in 0..50 {
            quota.take(&"runaway".into()).await.expect("the burst");
        }
        let taken = Arc::new(AtomicU32::new(0));
        let runaway: Vec<_> = (0..300)
            .map(|_| {
                let (quota, taken) = (Arc::clone(&quota), Arc::clone(&taken));
                tokio::spawn(async move {
                    if quota.take(&"runaway".into()).await.is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..10 {
            quota.take(&"quiet".into()).await.expect("its turn comes");
        }
        let others = taken.load(Ordering::Relaxed);
        assert!(others <= 13, "{others} of the runaway went in front of ten");
        runaway.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn no_rate_is_no_wait() {
        let quota = Quota::new(RecipientRates::new("test", &[]), Duration::ZERO);
        quota.take(&"a".into()).await.expect("there is no limit");
    }
}
