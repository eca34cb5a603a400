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
    /// How long the recipients of one message wait at most.
    patience: Duration,
}

impl Quota {
    pub(crate) fn new(rates: RecipientRates, patience: Duration) -> Self {
        Self { rates, turn: FairSlots::new(1), patience }
    }

    /// How long the recipients of one message wait at most, all together.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes one recipient for `entry`, or says after how long it might be tried again. What is taken
    /// is not given back. It waits for as long as there is `patience`, which becomes less by that.
    pub(crate) async fn take(
        &self,
        entry: &Arc<str>,
        patience: &mut Duration,
    ) -> Result<(), Duration> {
        if self.rates.is_unlimited() {
            return Ok(());
        }
        let began = Instant::now();
        let taken = self.take_until(entry, began + *patience).await;
        *patience = patience.saturating_sub(began.elapsed());
        taken
    }

    async fn take_until(&self, entry: &Arc<str>, until: Instant) -> Result<(), Duration> {
        let _turn = if let Some(turn) = self.turn.try_acquire(entry) {
            turn
        } else {
            let turn = tokio::time::timeout_at(until.into(), self.turn.acquire(entry)).await;
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

    /// One recipient of a message of its own.
    async fn take(quota: &Quota, entry: &str) -> Result<(), Duration> {
        quota.take(&entry.into(), &mut quota.patience()).await
    }

    #[tokio::test]
    async fn who_would_wait_for_too_long_is_told_how_long() {
        let quota = quota(2, RatePeriod::Minute, Duration::from_secs(5));
        for _ in 0..2 {
            take(&quota, "a").await.expect("there is room");
        }
        let wait = take(&quota, "a").await.expect_err("there is none");
        assert!((Duration::from_secs(25)..=Duration::from_secs(30)).contains(&wait), "{wait:?}");
    }

    /// One entry with hundreds of recipients in line, another with ten: the ten go by turns, not
    /// behind the hundreds.
    #[tokio::test]
    async fn entries_take_turns_at_the_rate() {
        let quota = quota(50, RatePeriod::Second, Duration::from_secs(20));
        for _ in 0..50 {
            take(&quota, "runaway").await.expect("the burst");
        }
        let taken = Arc::new(AtomicU32::new(0));
        let runaway: Vec<_> = (0..300)
            .map(|_| {
                let (quota, taken) = (Arc::clone(&quota), Arc::clone(&taken));
                tokio::spawn(async move {
                    if take(&quota, "runaway").await.is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        for _ in 0..10 {
            take(&quota, "quiet").await.expect("its turn comes");
        }
        let others = taken.load(Ordering::Relaxed);
        assert!(others <= 13, "{others} of the runaway went in front of ten");
        runaway.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn no_rate_is_no_wait() {
        let quota = Quota::new(RecipientRates::new("test", &[]), Duration::ZERO);
        take(&quota, "a").await.expect("there is no limit");
    }

    /// Each of them waits for less than the patience, all of them for ten times as long: nobody waits
    /// for the answer to a first RCPT until the last one may be asked for.
    #[tokio::test]
    async fn recipients_of_a_message_wait_for_no_longer_than_one() {
        let quota = quota(10, RatePeriod::Second, Duration::from_millis(150));
        let (began, mut patience) = (Instant::now(), quota.patience());
        let mut taken = 0;
        for _ in 0..30 {
            taken += u32::from(quota.take(&"a".into(), &mut patience).await.is_ok());
        }
        assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
        assert!((11..=13).contains(&taken), "{taken}");
    }
}
