//! A candidate policy that is asked about what comes in, and decides nothing.
//!
//! Sessions leave envelopes in a bounded queue, see [`gatepost_inbound::ShadowTap`]; one task takes
//! them out in batches, compares, counts and goes on. No session waits for it: if it is too slow,
//! envelopes are dropped, and counted. Without a candidate the tap is off, and the task sleeps.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_admin::Recorder;
use gatepost_inbound::{ShadowReceiver, ShadowSwitch};
use gatepost_policy::date::Moment;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::shadow::{Envelope, Flip, OTHER, ShadowReport, Tally, UNKNOWN, Word, compare};
use metrics::{Counter, counter, describe_counter};

use super::live;

/// Envelopes that are compared before other tasks have their turn: a fraction of a millisecond.
const BATCH: usize = 64;
/// Entries that have metrics of their own: each is nine series at most, which are kept for ever. The
/// report names more of them.
const ENTRY_LABELS_MAX: usize = 100;

/// Compares a candidate with the policy in use.
pub struct Shadow {
    switch: ShadowSwitch,
    /// Held for moments: to count a batch that was compared already, or to make a report.
    trial: Mutex<Option<Trial>>,
}

/// One candidate, and what came of it so far.
struct Trial {
    candidate: Arc<Ruleset>,
    tally: Tally,
    /// What was dropped before it began.
    dropped_before: u64,
}

/// The task's counters.
struct ShadowMetrics {
    recorder: Recorder,
    same: Counter,
    flip: Counter,
    flips: HashMap<(Arc<str>, Word, Word), Counter>,
    entries: HashSet<Arc<str>>,
}

impl Shadow {
    /// Starts the task, with no candidate yet. It ends when the tap is gone. Must be called inside
    /// the runtime.
    pub fn start(receiver: ShadowReceiver, recorder: Recorder) -> Arc<Self> {
        let shadow = Arc::new(Self { switch: receiver.switch(), trial: Mutex::default() });
        tokio::spawn(shadow.clone().run(receiver, ShadowMetrics::new(recorder)));
        shadow
    }

    /// Tries a candidate, compiled for the site of the policy in use, or none any more. If its text
    /// is another one, counting begins anew. Must be called inside the runtime.
    pub fn try_candidate(&self, candidate: Option<Ruleset>) {
        let mut trial = self.trial();
        let retired = match (&mut *trial, candidate) {
            (Some(trial), Some(same)) if trial.candidate.content_hash() == same.content_hash() => {
                Some(std::mem::replace(&mut trial.candidate, Arc::new(same)))
            }
            (trial, candidate) => {
                let next = candidate.map(|it| Trial::new(it, self.switch.dropped()));
                if next.is_some() {
                    self.switch.turn_on();
                } else {
                    self.switch.turn_off();
                }
                std::mem::replace(trial, next).map(|trial| trial.candidate)
            }
        };
        drop(trial);
        if let Some(retired) = retired {
            tokio::spawn(live::free(retired));
        }
    }

    /// What the candidate would change; none if there is no candidate.
    pub fn report(&self) -> Option<ShadowReport> {
        let trial = self.trial();
        let Trial { tally, dropped_before, .. } = trial.as_ref()?;
        Some(tally.report(self.switch.dropped() - dropped_before))
    }

    async fn run(self: Arc<Self>, mut receiver: ShadowReceiver, mut metrics: ShadowMetrics) {
        let mut batch = Vec::with_capacity(BATCH);
        while receiver.receive(&mut batch, BATCH).await > 0 {
            self.compare(batch.drain(..), &mut metrics);
            tokio::task::yield_now().await;
        }
    }

    fn compare(&self, batch: impl Iterator<Item = Box<Envelope>>, metrics: &mut ShadowMetrics) {
        let candidate = self.trial().as_ref().map(|trial| trial.candidate.clone());
        // The candidate was taken away, and these are the last.
        let Some(candidate) = candidate else { return };
        let compared: Vec<_> = batch
            .map(|envelope| (compare(&candidate, &envelope), envelope))
            .inspect(|(flips, envelope)| metrics.count(envelope.entry(), flips))
            .collect();
        let mut trial = self.trial();
        // What was compared with a candidate that is gone meanwhile is not counted for the next one.
        let is_same = |it: &&mut Trial| it.candidate.content_hash() == candidate.content_hash();
        let Some(trial) = trial.as_mut().filter(is_same) else { return };
        for (flips, envelope) in compared {
            trial.tally.record(&envelope, flips);
        }
    }

    fn trial(&self) -> MutexGuard<'_, Option<Trial>> {
        // Counts that a panic has left half-way are still counts.
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trial {
    fn new(candidate: Ruleset, dropped_before: u64) -> Self {
        let tally = Tally::new(&candidate, now());
        Self { candidate: Arc::new(candidate), tally, dropped_before }
    }
}

impl ShadowMetrics {
    fn new(recorder: Recorder) -> Self {
        let envelopes = |result: &'static str| {
            let counter = counter!("gatepost_shadow_envelopes_total", "result" => result);
            counter.increment(0);
            counter
        };
        let (same, flip) = recorder.with(|| {
            describe_counter!(
                "gatepost_shadow_envelopes_total",
                "Envelopes that the candidate policy was asked about, by whether it agrees"
            );
            describe_counter!(
                "gatepost_shadow_flips_total",
                "Envelopes that the candidate policy would answer otherwise"
            );
            (envelopes("same"), envelopes("flip"))
        });
        Self { recorder, same, flip, flips: HashMap::new(), entries: HashSet::new() }
    }

    fn count(&mut self, entry: Option<&Arc<str>>, flips: &[Flip]) {
        if flips.is_empty() {
            return self.same.increment(1);
        }
        self.flip.increment(1);
        for flip in flips {
            self.flips_of(entry, flip).increment(1);
        }
    }

    fn flips_of(&mut self, entry: Option<&Arc<str>>, flip: &Flip) -> &Counter {
        let label: Arc<str> = match entry {
            None => UNKNOWN.into(),
            Some(id) if self.entries.contains(id) => id.clone(),
            Some(id) if self.entries.len() < ENTRY_LABELS_MAX => {
                self.entries.insert(id.clone());
                id.clone()
            }
            Some(_) => OTHER.into(),
        };
        let recorder = &self.recorder;
        self.flips.entry((label, flip.from, flip.to)).or_insert_with_key(|(label, from, to)| {
            let (entry, from, to) = (label.to_string(), from.name(), to.name());
            recorder.with(|| {
                counter!("gatepost_shadow_flips_total", "entry" => entry, "from" => from, "to" => to)
            })
        })
    }
}

fn now() -> Moment {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A rate has no meaning here.
    Moment { unix_seconds: since_1970.as_secs().cast_signed(), uptime: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flip(from: Word, to: Word) -> Flip {
        Flip {
            from,
            to,
            upstream: None,
            check: None,
            candidate_entry: None,
            recipient: None,
            recipients: 0,
            active: String::new(),
            candidate: String::new(),
        }
    }

    #[test]
    fn metrics_name_a_bounded_number_of_entries() {
        let recorder = Recorder::new("1");
        let mut metrics = ShadowMetrics::new(recorder.clone());
        for turn in 0..2 {
            metrics.count(None, &[flip(Word::Reject, Word::Accept)]);
            for number in 0..ENTRY_LABELS_MAX + 20 {
                let id = format!("e{number}").into();
                let flips = [Word::Defer, Word::Reject].map(|to| flip(Word::Accept, to));
                metrics.count(Some(&id), &flips[..=turn]);
            }
        }
        let page = recorder.handle().render();
        let flips = |entry: &str, to: &str, count: u32| {
            let from = if entry == UNKNOWN { "reject" } else { "accept" };
            let labels = format!("{{entry=\"{entry}\",from=\"{from}\",to=\"{to}\"}}");
            page.contains(&format!("gatepost_shadow_flips_total{labels} {count}\n"))
        };
        assert!(flips("e0", "defer", 2) && flips("e99", "reject", 1), "{page}");
        assert!(flips(OTHER, "defer", 40) && flips(OTHER, "reject", 20), "{page}");
        assert!(flips(UNKNOWN, "accept", 2) && !page.contains("e100"), "{page}");
        assert!(page.contains("gatepost_shadow_envelopes_total{result=\"flip\"} 242\n"), "{page}");
        assert!(page.contains("gatepost_shadow_envelopes_total{result=\"same\"} 0\n"), "{page}");
    }
}
