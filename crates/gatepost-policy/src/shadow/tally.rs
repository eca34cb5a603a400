//! What was compared so far: counters, and a few samples. It does not grow with the mail.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Envelope, Flip, FlipCount, Sample, ShadowReport, Word, envelope::Mail};
use crate::{
    date::Moment, generation::Generation, network::client_address, ruleset::Ruleset, site::Site,
};

/// What stands for clients that the policy in use does not know. No entry can have such an id.
pub const UNKNOWN: &str = "(unknown)";
/// What stands for all entries beyond those that are counted by name.
pub const OTHER: &str = "(other)";

/// Entries that are counted by name: who has more of them to look at has the wrong candidate, and
/// sees it by the first thousand.
const ENTRIES_MAX: usize = 1000;
/// Samples of one kind of difference: one may be chance, five are a pattern.
const SAMPLES_OF_ONE_MAX: usize = 5;
/// Samples in all: 4 KB each at most, mostly a tenth of that.
const SAMPLES_MAX: usize = 1000;
/// When there are so many, each kind keeps its last only: the first kinds do not take all.
const SAMPLES_MANY: usize = SAMPLES_MAX / 2;

/// Counts what one candidate would change.
#[derive(Debug)]
pub struct Tally {
    candidate: Generation,
    site: Arc<Site>,
    since: Moment,
    envelopes: u64,
    same: u64,
    entries: HashMap<Arc<str>, Vec<Kind>>,
    samples: usize,
}

/// One kind of difference for one entry. Of them there are a few, and one for each upstream.
#[derive(Debug)]
struct Kind {
    from: Word,
    to: Word,
    upstream: Option<Arc<str>>,
    count: u64,
    samples: VecDeque<Sample>,
}

impl Tally {
    /// Begins to count.
    pub fn new(candidate: &Ruleset, since: Moment) -> Self {
        Self {
            candidate: candidate.generation(),
            site: Arc::clone(candidate.site()),
            since,
            envelopes: 0,
            same: 0,
            entries: HashMap::new(),
            samples: 0,
        }
    }

    /// Counts an envelope, and what [`compare()`](super::compare()) has found in it.
    pub fn record(&mut self, envelope: &Envelope, flips: Vec<Flip>) {
        self.envelopes += 1;
        self.same += u64::from(flips.is_empty());
        for flip in flips {
            let sample = self.sample(envelope, &flip);
            self.count(envelope.entry.as_ref(), flip, sample);
        }
    }

    /// What was counted. `dropped` did not come here.
    pub fn report(&self, dropped: u64) -> ShadowReport {
        let count = |entry: &Arc<str>, kind: &Kind| FlipCount {
            entry: entry.to_string(),
            from: kind.from,
            to: kind.to,
            upstream: kind.upstream.as_deref().map(str::to_owned),
            count: kind.count,
            samples: kind.samples.iter().cloned().collect(),
        };
        let kinds = self.entries.iter();
        let mut flips: Vec<_> =
            kinds.flat_map(|(entry, kinds)| kinds.iter().map(|kind| count(entry, kind))).collect();
        flips.sort_by(|one, other| {
            let names = (&one.entry, one.from, one.to, &one.upstream);
            let others = (&other.entry, other.from, other.to, &other.upstream);
            other.count.cmp(&one.count).then(names.cmp(&others))
        });
        ShadowReport {
            candidate: self.candidate.to_string(),
            since_unix_seconds: self.since.unix_seconds,
            envelopes: self.envelopes,
            same: self.same,
            dropped,
            flips,
        }
    }

    fn count(&mut self, entry: Option<&Arc<str>>, flip: Flip, sample: Sample) {
        let label = self.label(entry);
        let kinds = self.entries.entry(label).or_default();
        let is_alike = |kind: &Kind| {
            (kind.from, kind.to, &kind.upstream) == (flip.from, flip.to, &flip.upstream)
        };
        let index = kinds.iter().position(is_alike).unwrap_or_else(|| {
            let Flip { from, to, upstream, .. } = flip;
            kinds.push(Kind { from, to, upstream, count: 0, samples: VecDeque::new() });
            kinds.len() - 1
        });
        let kind = &mut kinds[index];
        kind.count += 1;
        self.samples -= kind.samples.len();
        let most = match self.samples {
            0..SAMPLES_MANY => SAMPLES_OF_ONE_MAX,
            SAMPLES_MANY..SAMPLES_MAX => 1,
            _ => 0,
        };
        // The new one takes the place of the oldest.
        kind.samples.push_back(sample);
        let surplus = kind.samples.len().saturating_sub(most);
        kind.samples.drain(..surplus);
        self.samples += kind.samples.len();
    }

    /// Under which name an entry is counted.
    fn label(&self, entry: Option<&Arc<str>>) -> Arc<str> {
        match entry {
            None => UNKNOWN.into(),
            Some(id) if self.entries.len() < ENTRIES_MAX || self.entries.contains_key(id) => {
                Arc::clone(id)
            }
            Some(_) => OTHER.into(),
        }
    }

    fn sample(&self, envelope: &Envelope, flip: &Flip) -> Sample {
        let shown = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mail = envelope.mail.as_ref();
        let listener = self.site.listeners.get(envelope.listener.index());
        Sample {
            at_unix_seconds: envelope.now.unix_seconds,
            listener: listener.map_or_else(String::new, ToString::to_string),
            client: client_address(envelope.client),
            helo: mail.and_then(|mail| mail.helo.as_deref()).map(shown),
            sender: mail.and_then(Mail::sender).map(|path| shown(path.as_bytes())),
            recipient: flip.recipient.as_deref().map(shown),
            recipients: flip.recipients,
            generation: envelope.generation.to_string(),
            active: flip.active.clone(),
            candidate_entry: flip.candidate_entry.as_deref().map(str::to_owned),
            check: flip.check.map(|check| check.name().to_owned()),
            candidate: flip.candidate.clone(),
        }
    }
}
