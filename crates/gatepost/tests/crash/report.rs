//! What a run has shown: for people a table that docs/reliability.md can have as it is, for programs JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::reconcile::{Evidence, Findings};

/// Acknowledged messages for each kill, at the least: a run in which next to nothing happened shows
/// nothing.
const MESSAGES_PER_KILL_MIN: u64 = 2;

/// The fault of such a run.
pub(crate) const TOO_LITTLE: &str = "too_little_happened";

/// All modes of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) modes: Vec<ModeReport>,
}

/// One mode of a run.
#[derive(Default, Serialize)]
pub(crate) struct ModeReport {
    mode: &'static str,
    gateway_kills: usize,
    /// The same, by the kind of the moment.
    moments: BTreeMap<&'static str, u64>,
    /// How often the gateway was ended in good order, between these.
    gateway_ends: u64,
    upstream_kills: usize,
    killed_for_seconds: f64,
    /// From the end of killing until nothing was on its way.
    rested_for_seconds: f64,
    begun_messages: usize,
    acknowledged_messages: u64,
    acknowledged_messages_per_second: u64,
    acknowledged_recipients: u64,
    delivered_recipients: u64,
    unheard_recipients: u64,
    dead_letters: u64,
    twice: Twice,
    /// Replies to the end of data, by code.
    replies: BTreeMap<u16, u64>,
    /// What is wrong, by kind; empty if nothing is.
    faults: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
    /// Lies about this run that were told, and found out.
    lies_found: usize,
}

/// Recipients that got a message again, by the excuse.
#[derive(Default, Serialize)]
struct Twice {
    no_word: u64,
    not_recorded: u64,
    not_recorded_max_milliseconds: f64,
}

impl ModeReport {
    pub(crate) fn new(
        evidence: &Evidence,
        findings: Findings,
        lies: Result<usize, String>,
    ) -> Self {
        let mut faults: BTreeMap<_, _> =
            findings.faults.into_iter().map(|(fault, count)| (fault.name(), count)).collect();
        let mut examples = findings.examples;
        let lies_found = lies.unwrap_or_else(|lie| {
            faults.insert("lie_believed", 1);
            examples.push(format!("lie_believed: {lie}"));
            0
        });
        let kills = evidence.gateways.len();
        if findings.acknowledged_messages < MESSAGES_PER_KILL_MIN * kills as u64 {
            faults.insert(TOO_LITTLE, 1);
        }
        Self {
            mode: evidence.mode.name(),
            gateway_kills: kills,
            upstream_kills: evidence.upstreams.len(),
            begun_messages: evidence.ledger.len(),
            acknowledged_messages: findings.acknowledged_messages,
            acknowledged_recipients: findings.acknowledged,
            delivered_recipients: findings.delivered,
            unheard_recipients: findings.unheard,
            dead_letters: findings.dead_letters,
            twice: Twice {
                no_word: findings.twice_no_word,
                not_recorded: findings.twice_not_recorded,
                not_recorded_max_milliseconds: findings.not_recorded_max.as_secs_f64() * 1000.0,
            },
            faults,
            examples,
            lies_found,
            ..Self::default()
        }
    }

    /// Adds when the gateway was killed, and how often it was not.
    pub(crate) fn with_kills(mut self, moments: BTreeMap<&'static str, u64>, ends: u64) -> Self {
        self.moments = moments;
        self.gateway_ends = ends;
        self
    }

    /// Adds how long everything took.
    pub(crate) fn with_course(mut self, killed_for: Duration, rested_for: Duration) -> Self {
        self.killed_for_seconds = killed_for.as_secs_f64();
        self.rested_for_seconds = rested_for.as_secs_f64();
        let millis = killed_for.as_millis().max(1) as u64;
        self.acknowledged_messages_per_second = 1000 * self.acknowledged_messages / millis;
        self
    }

    /// Adds the replies that clients have heard.
    pub(crate) fn with_replies(mut self, replies: BTreeMap<u16, u64>) -> Self {
        self.replies = replies;
        self
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Report {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, modes: Vec::new() }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.modes.iter().all(ModeReport::is_good)
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| mode | kills: gateway, upstream | messages acknowledged | recipients of these | lost | dead letters | twice: no word, not recorded | messages/s |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for mode in &self.modes {
            let ModeReport { mode: name, gateway_kills, upstream_kills, .. } = mode;
            let ModeReport { acknowledged_messages, acknowledged_recipients, dead_letters, .. } =
                mode;
            let Twice { no_word, not_recorded, .. } = mode.twice;
            let lost = mode.faults.get("lost").copied().unwrap_or_default();
            let rate = mode.acknowledged_messages_per_second;
            writeln!(
                f,
                "| `{name}` | {gateway_kills}, {upstream_kills} | {acknowledged_messages} | {acknowledged_recipients} | {lost} | {dead_letters} | {no_word}, {not_recorded} | {rate} |"
            )?;
        }
        writeln!(f, "\nseed {}", self.seed)?;
        for mode in &self.modes {
            writeln!(
                f,
                "{}: replies to the end of data {:?}; killed while {:?}, ended {} times; {} delivered without an acknowledgement; at rest after {:.1} s; {} lies found out",
                mode.mode,
                mode.replies,
                mode.moments,
                mode.gateway_ends,
                mode.unheard_recipients,
                mode.rested_for_seconds,
                mode.lies_found
            )?;
            let longest = mode.twice.not_recorded_max_milliseconds;
            if longest > 0.0 {
                writeln!(
                    f,
                    "{}: at most {longest:.1} ms from an upstream's word to the kill by which it was forgotten",
                    mode.mode
                )?;
            }
            if !mode.is_good() {
                writeln!(f, "{}: FAILED {:?}", mode.mode, mode.faults)?;
            }
            for example in &mode.examples {
                writeln!(f, "  {example}")?;
            }
        }
        Ok(())
    }
}
