//! What upstreams were given in the last 24 hours, kept over restarts: one small file in the
//! `state_dir`, written whole and swapped in, once a minute and whenever much is taken.
//!
//! The file is never behind what was taken, because each writing counts some ahead
//! ([`RecipientRates::count_ahead`] has the promise in full). A file that cannot be read is put aside
//! and counting begins anew: too much for a day at worst, which the provider refuses itself, where
//! refusing mail for a day would be certain. An upstream that is no longer configured is kept for
//! as long as it matters, so that nobody gets a new quota by renaming one for an hour.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gatepost_delivery::{DayCount, RecipientRates, Upstream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{load, state_dir};

/// How often it is written if nothing else asks for it.
const INTERVAL: Duration = Duration::from_mins(1);
/// What is older than this counts for nobody.
const DAY_SECONDS: u64 = 86_400;
/// A hundred upstreams, with every minute of the day, are less than half of this.
const FILE_OCTETS_MAX: u64 = 8 * 1024 * 1024;
/// The form of the file; another one is not guessed at.
const VERSION: u32 = 1;

/// Keeps the counts of all upstreams that have a rate per day.
pub struct RateKeeper {
    ledger: Arc<Ledger>,
    tasks: JoinSet<()>,
}

struct Ledger {
    path: PathBuf,
    upstreams: Vec<Arc<Upstream>>,
    /// What the file says of upstreams that are not ours, or not any more. Locked for a whole
    /// writing, where blocking is allowed: two at once would overtake each other.
    others: Mutex<BTreeMap<String, Kept>>,
}

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RatesFile {
    version: u32,
    upstreams: BTreeMap<String, Kept>,
}

/// One upstream in it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Seconds since 1970.
    written: u64,
    /// Age in seconds at that time, and number of recipients.
    taken: Vec<(u64, u64)>,
    reserved: u32,
}

/// What a writing is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The gateway goes on.
    Running,
    /// Nothing is taken any more.
    End,
}

/// Where it is kept.
pub fn rates_path(state_dir: &Path) -> PathBuf {
    state_dir.join("upstream-rates.json")
}

impl RateKeeper {
    /// Goes on where the last gateway on this `state_dir` ended. None if no upstream has a rate per
    /// day. Must be called inside the runtime: it starts the tasks that write.
    pub fn open(state_dir: &Path, upstreams: &[Arc<Upstream>]) -> Option<Self> {
        let has_day = |upstream: &&Arc<Upstream>| {
            upstream.recipient_rates().count_exactly(Instant::now()).is_some()
        };
        let upstreams: Vec<_> = upstreams.iter().filter(has_day).cloned().collect();
        if upstreams.is_empty() {
            return None;
        }
        let path = rates_path(state_dir);
        let mut others = read(&path);
        let now = unix_seconds();
        for upstream in &upstreams {
            if let Some(kept) = others.remove(&*upstream.config().name) {
                // A clock that was set back: no time has passed, as far as can be told.
                let ago = Duration::from_secs(now.saturating_sub(kept.written));
                let count = DayCount { taken: kept.taken, reserved: kept.reserved };
                upstream.recipient_rates().restore(&count, ago, Instant::now());
            }
        }
        let ledger = Arc::new(Ledger { path, upstreams, others: Mutex::new(others) });
        // Before the first recipient, or soon after: what is taken from now on is counted ahead.
        ledger.write_loudly(Occasion::Running);
        let mut tasks = JoinSet::new();
        for upstream in ledger.upstreams.clone() {
            tasks.spawn(ledger.clone().follow(upstream));
        }
        Some(Self { ledger, tasks })
    }

    /// Writes down what was taken in all, when nobody takes any more.
    pub async fn end(self) {
        drop(self.tasks);
        let write = move || self.ledger.write_loudly(Occasion::End);
        if let Err(bug) = tokio::task::spawn_blocking(write).await {
            tracing::error!("what upstreams were given at last is not kept: {bug}");
        }
    }
}

impl Ledger {
    async fn follow(self: Arc<Self>, upstream: Arc<Upstream>) {
        let rates = upstream.recipient_rates();
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = rates.wants_saving() => {}
            }
            if rates.is_changed() {
                let ledger = Arc::clone(&self);
                let write = move || ledger.write_loudly(Occasion::Running);
                // A panic in there is reported by the runtime; the next round tries again.
                let _ = tokio::task::spawn_blocking(write).await;
            }
        }
    }

    fn write_loudly(&self, occasion: Occasion) {
        if let Err(error) = self.write(occasion) {
            tracing::error!(
                "{}: what upstreams were given is not kept for now: {error}; after a crash more than \
                 recipient_rate may go out",
                self.path.display()
            );
        }
    }

    fn write(&self, occasion: Occasion) -> io::Result<()> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let written = unix_seconds_ceil();
        others.retain(|_, kept| written.saturating_sub(kept.written) < DAY_SECONDS);
        let count = |rates: &RecipientRates| match occasion {
            Occasion::Running => rates.count_ahead(now),
            Occasion::End => rates.count_exactly(now),
        };
        let counts: Vec<_> = self
            .upstreams
            .iter()
            .filter_map(|upstream| Some((upstream, count(upstream.recipient_rates())?)))
            .collect();
        let mut upstreams = others.clone();
        for (upstream, count) in &counts {
            let DayCount { taken, reserved } = count.clone();
            upstreams.insert(upstream.config().name.to_string(), Kept { written, taken, reserved });
        }
        let text = serde_json::to_vec(&RatesFile { version: VERSION, upstreams })?;
        state_dir::replace(&self.path, &text)?;
        for (upstream, count) in &counts {
            upstream.recipient_rates().is_kept(count);
        }
        Ok(())
    }
}

/// What a file says; nothing, loudly, if it cannot be understood.
fn read(path: &Path) -> BTreeMap<String, Kept> {
    if matches!(fs::exists(path), Ok(false)) {
        return BTreeMap::new();
    }
    let understood = load::text(path, FILE_OCTETS_MAX).map_err(|error| error.to_string());
    let understood = understood.and_then(|text| {
        let kept: RatesFile = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match kept.version {
            VERSION => Ok(kept.upstreams),
            other => Err(format!("it is of version {other}, and not of {VERSION}")),
        }
    });
    understood.unwrap_or_else(|reason| {
        let aside = path.with_extension("json.bad");
        // What cannot be put aside is written over: there is nothing in it to go on with.
        let _ = fs::rename(path, &aside);
        tracing::error!(
            "{}: {reason}; it is put aside as {}, and recipient_rate counts from zero: up to twice the \
             number per day may go out in these 24 hours",
            path.display(),
            aside.display()
        );
        BTreeMap::new()
    })
}

/// Rounded down: what was kept is never older than it seems.
fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// Rounded up, for the same reason.
fn unix_seconds_ceil() -> u64 {
    let now = since_1970();
    now.as_secs() + u64::from(now.subsec_nanos() > 0)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
