//! Answers of name servers: kept for as long as they hold, and a little longer if there are no new
//! ones.
//!
//! A name is asked for once at a time, in a task of its own: whoever wants it meanwhile waits for
//! the same answer, and whoever gives up leaves the rest their answer. A failure is remembered for
//! a moment, so that a name server that is down is not asked by every connection. The lock is held
//! for a look, never across a wait.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// An answer is kept for at least this long: one with a TTL of zero would be asked for by every
/// connection.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And for at most this long, so that nobody has to restart a gateway to move a smart host whose
/// record said a week.
const TTL_MAX: Duration = Duration::from_hours(1);
/// "There is no such name" is believed for this long at most: it is a name of the configuration, so
/// somebody is about to mend it.
const NEGATIVE_TTL_MAX: Duration = Duration::from_mins(1);
/// How long an answer that has run out is better than none (RFC 8767 §5 allows days). Addresses of
/// clouds go to other people sooner than that.
const STALE_MAX: Duration = Duration::from_hours(1);
/// How long a new answer is waited for where an old one could do (RFC 8767 §5).
const STALE_PATIENCE: Duration = Duration::from_millis(1800);
/// How long name servers have peace after a failure where an old answer does (RFC 8767 §5).
const STALE_RECHECK: Duration = Duration::from_secs(30);
/// The same where nothing does: mail waits for it (RFC 9520 §3.2 wants a second or more).
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// Name servers are given up after this long, whatever their own timeouts add up to.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// Answers by name.
pub(super) struct Cache<T> {
    entries: Mutex<HashMap<Box<str>, Entry<T>>>,
}

/// What came just now.
pub(super) struct Fresh<T> {
    pub(super) value: T,
    ttl: Duration,
    stale: Duration,
}

struct Entry<T> {
    answer: Option<Answer<T>>,
    failure: Option<Failure>,
    /// Closed when the look-up is over.
    asking: Option<watch::Receiver<()>>,
    /// Whether the log has it that an old answer is used.
    said_stale: bool,
}

struct Answer<T> {
    value: T,
    fresh_until: Instant,
    usable_until: Instant,
}

struct Failure {
    reason: Arc<str>,
    until: Instant,
}

impl<T> Fresh<T> {
    /// Something is there.
    pub(super) fn positive(value: T, ttl: Duration) -> Self {
        Self { value, ttl: ttl.clamp(TTL_MIN, TTL_MAX), stale: STALE_MAX }
    }

    /// Something that is there, but not all of it: the rest is asked for again soon.
    pub(super) fn partial(value: T, ttl: Duration) -> Self {
        Self::positive(value, ttl.min(STALE_RECHECK))
    }

    /// Nothing is there.
    pub(super) fn negative(value: T, ttl: Duration) -> Self {
        Self { value, ttl: ttl.clamp(TTL_MIN, NEGATIVE_TTL_MAX), stale: Duration::ZERO }
    }
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<T: Clone + Send + 'static> Cache<T> {
    /// What is known of a name. `ask` is called if nothing is, or no longer; its error is in words.
    pub(super) async fn get<F>(self: &Arc<Self>, name: &str, ask: F) -> Result<T, Arc<str>>
    where
        F: Future<Output = Result<Fresh<T>, Arc<str>>> + Send + 'static,
    {
        let (mut asking, has_stale) = {
            let mut entries = self.entries();
            let now = Instant::now();
            if !entries.contains_key(name) {
                entries.retain(|_, entry| entry.is_of_use(now));
            }
            let entry = entries.entry(name.into()).or_default();
            let asking = (!entry.is_settled(now))
                .then(|| entry.asked().unwrap_or_else(|| self.begin(name, entry, ask)));
            (asking, entry.usable(now).is_some())
        };
        if let Some(asking) = &mut asking {
            let over = async { while asking.changed().await.is_ok() {} };
            if has_stale {
                let _ = tokio::time::timeout(STALE_PATIENCE, over).await;
            } else {
                over.await;
            }
        }
        self.outcome(name)
    }

    fn begin<F>(self: &Arc<Self>, name: &str, entry: &mut Entry<T>, ask: F) -> watch::Receiver<()>
    where
        F: Future<Output = Result<Fresh<T>, Arc<str>>> + Send + 'static,
    {
        let (over, asking) = watch::channel(());
        entry.asking = Some(asking.clone());
        let (cache, name) = (Arc::clone(self), Box::<str>::from(name));
        tokio::spawn(async move {
            let answer = tokio::time::timeout(LOOKUP_TIMEOUT, ask).await;
            cache.settle(&name, answer.unwrap_or_else(|_| Err("no answer in time".into())));
            drop(over);
        });
        asking
    }

    fn settle(&self, name: &str, answer: Result<Fresh<T>, Arc<str>>) {
        let now = Instant::now();
        let mut entries = self.entries();
        let entry = entries.entry(name.into()).or_default();
        match answer {
            Ok(Fresh { value, ttl, stale }) => {
                if std::mem::take(&mut entry.said_stale) {
                    tracing::info!(name, "name servers answer again");
                }
                let fresh_until = now + ttl;
                let usable_until = fresh_until + stale;
                entry.answer = Some(Answer { value, fresh_until, usable_until });
                entry.failure = None;
            }
            Err(reason) => {
                let has_stale = entry.usable(now).is_some();
                let until = now + if has_stale { STALE_RECHECK } else { FAILURE_TTL };
                entry.failure = Some(Failure { reason, until });
            }
        }
    }

    fn outcome(&self, name: &str) -> Result<T, Arc<str>> {
        let now = Instant::now();
        let mut entries = self.entries();
        let entry = entries.entry(name.into()).or_default();
        let is_fresh = entry.is_fresh(now);
        let reason = entry.failure.as_ref().map(|failure| failure.reason.clone());
        let Some(value) = entry.usable(now).cloned() else {
            return Err(reason.unwrap_or_else(|| "the look-up broke off".into()));
        };
        if !is_fresh && !std::mem::replace(&mut entry.said_stale, true) {
            tracing::warn!(
                name,
                reason = reason.as_deref().unwrap_or("no answer yet"),
                "no name server answers; what it said before is used, for {} min at most",
                STALE_MAX.as_secs() / 60
            );
        }
        Ok(value)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry<T>>> {
        // Every change is a whole one: a panic leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self { answer: None, failure: None, asking: None, said_stale: false }
    }
}

impl<T> Entry<T> {
    fn is_fresh(&self, now: Instant) -> bool {
        self.answer.as_ref().is_some_and(|answer| now < answer.fresh_until)
    }

    /// Whether nobody has to be asked for now.
    fn is_settled(&self, now: Instant) -> bool {
        self.is_fresh(now) || self.failure.as_ref().is_some_and(|failure| now < failure.until)
    }

    /// The answer, fresh or stale.
    fn usable(&self, now: Instant) -> Option<&T> {
        let answer = self.answer.as_ref()?;
        (now < answer.fresh_until || now < answer.usable_until).then_some(&answer.value)
    }

    /// The look-up that is under way.
    fn asked(&self) -> Option<watch::Receiver<()>> {
        self.asking.clone().filter(|asking| asking.has_changed().is_ok())
    }

    fn is_of_use(&self, now: Instant) -> bool {
        self.is_settled(now) || self.usable(now).is_some() || self.asked().is_some()
    }
}
