//! Takes what is due, as much as there is room for, and sends it on its way.
//!
//! It never waits for a delivery, and it never asks the spool twice for the same reason: between two
//! looks that found nothing there is a pause, an error makes it longer, and a spool that has stopped is
//! not asked any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatepost_spool::{DueMessage, LeaseGuard, QueueId, Recovery, SpoolError};
use tokio::time::Instant;

use super::delivery::Job;
use super::fresh::Fresh;
use super::record::is_over;
use super::tasks::Kind;
use super::way::Way;
use super::{Inner, Phase, upkeep};

/// Messages that are looked at and leased at once.
const BATCH_MAX: usize = 256;
/// Between two looks that find nothing, however often somebody says that something is due.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Nobody sleeps longer: the clock of the wall may be set.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// The first pause after an error. It doubles up to [`PAUSE_MAX`].
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// What to do next.
enum Next {
    /// Look again.
    Look,
    /// Nothing, for so long; and then until so long, unless somebody wakes the runner.
    Sleep { least: Duration, most: Duration },
}

/// Runs until it is told to stop, and what is on its way has come to its end.
pub(super) async fn run(inner: Arc<Inner>, recovery: &Recovery) {
    let begins = inner.phase.send_if_modified(|phase| {
        let is_idle = *phase == Phase::Idle;
        if is_idle {
            *phase = Phase::Running;
        }
        is_idle
    });
    if !begins {
        return;
    }
    let end = End(inner.clone());
    upkeep::tell_in_doubt(&inner, recovery).await;
    // Neither is dropped in the middle of something: a lease without a guard would not be given back.
    tokio::join!(take(&inner), upkeep::run(&inner));
    inner.tasks.ended().await;
    drop(end);
}

/// The runner has ended, in whatever way.
struct End(Arc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.phase.send_replace(Phase::Ended);
        self.0.tasks.cut();
    }
}

/// Sends a message on its way that was never put down.
pub(super) fn take_fresh(inner: &Arc<Inner>, fresh: Fresh) {
    let Some(ticket) = fresh.room.way().begin().filter(|_| !inner.is_stopping()) else {
        return give_back(inner, fresh.lease);
    };
    inner.tasks.spawn(Kind::Fresh, Job::fresh(fresh, ticket).run(inner.clone()));
}

/// Ends a lease, and says so when it has ended: a runner that looked before would find nothing, and
/// sleep.
fn give_back(inner: &Arc<Inner>, lease: LeaseGuard) {
    let giving = inner.clone();
    inner.tasks.spawn(Kind::Fresh, async move { giving.give_back(lease).await });
}

async fn take(inner: &Arc<Inner>) {
    let mut error_pause = ERROR_PAUSE;
    while !inner.is_stopping() {
        let next = match look(inner).await {
            Ok(next) => {
                error_pause = ERROR_PAUSE;
                next
            }
            Err(error) if is_over(&error) => {
                inner.tell_stopped(&error);
                return inner.told_to_stop().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take anything from the spool; trying again");
                let pause = error_pause;
                error_pause = (pause * 2).min(PAUSE_MAX);
                Next::Sleep { least: pause, most: pause }
            }
        };
        match next {
            Next::Look => tokio::task::yield_now().await,
            Next::Sleep { least, most } => {
                let woken = async {
                    tokio::time::sleep(least).await;
                    let most = most.saturating_sub(least);
                    // Whichever it is.
                    let _ = tokio::time::timeout(most, inner.wake.notified()).await;
                };
                tokio::select! {
                    () = inner.told_to_stop() => {}
                    () = woken => {}
                }
            }
        }
    }
}

/// Takes what is due and has room.
async fn look(inner: &Arc<Inner>) -> Result<Next, SpoolError> {
    let now = Instant::now();
    let spaces = Spaces::of(inner, now);
    if spaces.wanted == 0 {
        // Whoever makes room says so.
        return Ok(Next::Sleep { least: Duration::ZERO, most: sleep_until_rested(inner, now) });
    }
    let limit = spaces.wanted.min(BATCH_MAX);
    #[cfg(test)]
    inner.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let due = inner.spool.due(SystemTime::now(), limit, &spaces.closed).await?;
    let is_all = due.len() < limit;
    let picked = spaces.pick(inner, due);
    if picked.is_empty() {
        if !is_all {
            // Upstreams that are gone stood in front; they do not any more.
            return Ok(Next::Sleep { least: PAUSE_MIN, most: PAUSE_MIN });
        }
        return sleep_until_due(inner, &spaces, now).await;
    }
    if set_out(inner, picked).await? == 0 {
        return Ok(Next::Sleep { least: PAUSE_MIN, most: PAUSE_MIN });
    }
    Ok(Next::Look)
}

/// How many messages each upstream may be given.
struct Spaces {
    each: HashMap<Arc<str>, usize>,
    wanted: usize,
    /// Those that are given none.
    closed: Vec<Arc<str>>,
}

impl Spaces {
    fn of(inner: &Inner, now: Instant) -> Self {
        let free = inner.tasks.free();
        let mut found = Self {
            each: HashMap::new(),
            wanted: 0,
            closed: inner.strangers().keys().cloned().collect(),
        };
        for (name, way) in &inner.ways {
            let space = way.space(now, free);
            if space == 0 {
                found.closed.push(name.clone());
            } else {
                found.each.insert(name.clone(), space);
                found.wanted += space;
            }
        }
        found.wanted = found.wanted.min(free);
        found
    }

    /// As many of these as their upstreams may be given, in their order.
    fn pick(&self, inner: &Inner, due: Vec<DueMessage>) -> Vec<(QueueId, Arc<Way>)> {
        let mut left = self.each.clone();
        let mut picked = Vec::with_capacity(due.len());
        for message in due {
            let Some(way) = inner.ways.get(&message.upstream) else {
                inner.strangers().entry(message.upstream).or_insert(0);
                continue;
            };
            if let Some(space) = left.get_mut(&message.upstream).filter(|space| **space > 0) {
                *space -= 1;
                picked.push((message.id, way.clone()));
            }
        }
        picked
    }
}

/// Leases these and lets them go. Answers how many did.
async fn set_out(
    inner: &Arc<Inner>,
    picked: Vec<(QueueId, Arc<Way>)>,
) -> Result<usize, SpoolError> {
    let ids = picked.iter().map(|(id, _)| *id).collect();
    let leased = inner.spool.lease(ids).await?;
    let mut ways: HashMap<QueueId, Arc<Way>> = picked.into_iter().collect();
    let (mut gone, mut held_up) = (0, Vec::new());
    for id in leased {
        let lease = inner.spool.guard(id);
        let Some(way) = ways.remove(&id) else { continue };
        let Some(ticket) = way.begin() else {
            // A rest has begun in between.
            held_up.push(lease);
            continue;
        };
        let job = Job::stored(lease, ticket, way.place());
        inner.tasks.spawn(Kind::Taken, job.run(inner.clone()));
        gone += 1;
    }
    if !held_up.is_empty() {
        inner.give_all_back(held_up).await;
    }
    Ok(gone)
}

/// Until the next message is due, or an upstream has rested.
async fn sleep_until_due(inner: &Inner, spaces: &Spaces, now: Instant) -> Result<Next, SpoolError> {
    let mut closed = spaces.closed.clone();
    closed.extend(inner.strangers().keys().cloned());
    let due = inner.spool.next_due(&closed).await?;
    let wait =
        due.map_or(PAUSE_MAX, |due| due.duration_since(SystemTime::now()).unwrap_or_default());
    let most = wait.min(sleep_until_rested(inner, now)).max(PAUSE_MIN);
    Ok(Next::Sleep { least: PAUSE_MIN, most })
}

fn sleep_until_rested(inner: &Inner, now: Instant) -> Duration {
    let until = inner.ways.values().filter_map(|way| way.rests_until(now)).min();
    until.map_or(PAUSE_MAX, |until| until.saturating_duration_since(now)).min(PAUSE_MAX)
}
