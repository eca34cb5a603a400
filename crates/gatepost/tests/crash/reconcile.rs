//! The comparison: what clients were told, against what the upstream has accepted and what the spool has
//! kept. It is a function of this evidence and of nothing else.
//!
//! | a client was told of a recipient | so it has |
//! |---|---|
//! | 250 at RCPT, and 250 after the end of data | arrived, or is a dead letter that the upstream refuses for good |
//! | 5yz at RCPT, or for the whole message | not arrived, and the spool does not have it |
//! | 4yz | not arrived, unless the upstream's word did not come back: the client sends it again |
//! | nothing | done whatever it likes |
//!
//! Whatever has arrived is whole, for nobody who was not named, and once. It may have arrived again if the
//! gateway could not know that it had arrived ([`Excuse`]), and in mode `sync` never: there the client
//! hears of it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use gatepost_spool::RecipientState;

use crate::ledger::Entry;
use crate::letter::{Letter, place_of};
use crate::options::Mode;
use crate::spool::Kept;
use crate::upstream::Killed;
use crate::upstream::mood::SLOW_MAX;
use crate::upstream::record::{Delivery, Plan, Wholeness};

/// How long it may take from the upstream's word until it is on the disk: a read, a turn of the writer's
/// queue and a flush, on a machine that does other things as well. Tens of milliseconds are usual, and a
/// report has the longest; half a second was seen where a release build took all the time there was.
const RECORDING_MAX: Duration = Duration::from_secs(3);
/// Faults that are told one by one.
const EXAMPLES_MAX: usize = 20;

/// Everything that is known in the end.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) mode: Mode,
    pub(crate) ledger: Vec<Entry>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) kept: Vec<Kept>,
    /// Gateways and upstreams that were killed.
    pub(crate) gateways: Vec<Killed>,
    pub(crate) upstreams: Vec<Killed>,
}

/// Why something arrived twice without a fault of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// The upstream has accepted it, and its word did not come back (RFC 1047).
    NoWord,
    /// The word came back, and the gateway was killed before it was on the disk; so long after the
    /// word.
    NotRecorded(Duration),
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It was acknowledged, and is nowhere.
    Lost,
    /// It was acknowledged, and is still on its way.
    Stuck,
    /// It was given up, and the upstream would have taken it.
    GivenUp,
    /// It has arrived, and is not what the client has sent.
    Damaged,
    /// It has arrived twice, for no reason.
    Twice,
    /// It was refused for good, and has arrived nevertheless.
    RefusedAndDelivered,
    /// It was refused for good, and the spool has it.
    RefusedAndKept,
    /// The client was told to send it again, and the gateway had heard that it has arrived.
    DeferredAndDelivered,
    /// It has arrived for somebody who was not named, or the spool has it for somebody.
    NeverNamed,
}

/// What the comparison has found.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) acknowledged_messages: u64,
    /// Recipients, from here on.
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// Delivered, and the client has not heard of it.
    pub(crate) unheard: u64,
    pub(crate) dead_letters: u64,
    pub(crate) twice_no_word: u64,
    pub(crate) twice_not_recorded: u64,
    /// The longest time from an upstream's word to the kill that has made the gateway forget it.
    pub(crate) not_recorded_max: Duration,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) examples: Vec<String>,
}

/// A recipient: number of the message, place in it.
type Whose = (u64, usize);

impl Fault {
    /// The name of it, in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stuck => "stuck",
            Self::GivenUp => "given_up",
            Self::Damaged => "damaged",
            Self::Twice => "twice",
            Self::RefusedAndDelivered => "refused_and_delivered",
            Self::RefusedAndKept => "refused_and_kept",
            Self::DeferredAndDelivered => "deferred_and_delivered",
            Self::NeverNamed => "never_named",
        }
    }
}

/// Compares.
pub(crate) fn reconcile(evidence: &Evidence) -> Findings {
    let mut findings = Findings::default();
    let arrivals = arrivals(evidence, &mut findings);
    let kept = kept(evidence, &mut findings);
    for entry in &evidence.ledger {
        let mut acknowledged = 0;
        for place in 0..entry.recipients.len() {
            let whose = (entry.letter.number, place);
            let arrivals = arrivals.get(&whose).map_or(&[][..], Vec::as_slice);
            let states = kept.get(&whose).map_or(&[][..], Vec::as_slice);
            acknowledged += u64::from(entry.is_acknowledged(place));
            findings.judge(entry, place, arrivals, states);
            findings.count_again(evidence, whose, arrivals);
        }
        findings.acknowledged += acknowledged;
        findings.acknowledged_messages += u64::from(acknowledged > 0);
    }
    findings
}

/// What has arrived, by recipient, the earliest first.
fn arrivals<'a>(
    evidence: &'a Evidence,
    findings: &mut Findings,
) -> HashMap<Whose, Vec<&'a Delivery>> {
    let mut arrivals: HashMap<Whose, Vec<&Delivery>> = HashMap::new();
    for delivery in &evidence.deliveries {
        for path in &delivery.recipients {
            let named = place_of(path).filter(|&whose| is_named(evidence, whose, path));
            let Some(whose) = named else {
                findings.fault(Fault::NeverNamed, path);
                continue;
            };
            if delivery.whole == Wholeness::Damaged {
                findings.fault(Fault::Damaged, path);
            }
            arrivals.entry(whose).or_default().push(delivery);
        }
    }
    arrivals
}

/// Whether a client has named this recipient, with this very path.
fn is_named(evidence: &Evidence, (number, place): Whose, path: &str) -> bool {
    let entry = evidence.ledger.get(number as usize);
    let named = entry.filter(|entry| entry.recipients.get(place).is_some_and(Option::is_some));
    named.is_some_and(|entry| entry.letter.forward_path(place) == path)
}

/// What the spool has, by recipient.
fn kept(evidence: &Evidence, findings: &mut Findings) -> HashMap<Whose, Vec<RecipientState>> {
    let mut kept: HashMap<Whose, Vec<RecipientState>> = HashMap::new();
    for &Kept { number, place, state, .. } in &evidence.kept {
        let entry = evidence.ledger.get(number as usize);
        if entry.is_none_or(|entry| entry.recipients.get(place).is_none_or(Option::is_none)) {
            findings.fault(Fault::NeverNamed, &format!("recipient {place} of {number}, kept"));
        }
        kept.entry((number, place)).or_default().push(state);
    }
    kept
}

impl Findings {
    /// One recipient.
    fn judge(
        &mut self,
        entry: &Entry,
        place: usize,
        arrivals: &[&Delivery],
        kept: &[RecipientState],
    ) {
        let has = |state| kept.contains(&state);
        let is_dead = has(RecipientState::Failed) || has(RecipientState::Expired);
        let path = || {
            let Letter { number, nature, recipients, .. } = &entry.letter;
            format!("recipient {place} of {number}, {nature:?} to {:?}", recipients[place])
        };
        self.delivered += u64::from(!arrivals.is_empty());
        self.dead_letters += u64::from(is_dead);
        if is_dead && entry.letter.is_welcome(place) {
            self.fault(Fault::GivenUp, &path());
        }
        let is_pending = has(RecipientState::Pending);
        if is_pending {
            self.fault(Fault::Stuck, &path());
        }
        if entry.is_acknowledged(place) {
            if arrivals.is_empty() && !is_dead && !is_pending {
                self.fault(Fault::Lost, &path());
            }
        } else if entry.is_refused(place) {
            if !arrivals.is_empty() {
                self.fault(Fault::RefusedAndDelivered, &path());
            }
            if !kept.is_empty() {
                self.fault(Fault::RefusedAndKept, &path());
            }
        } else {
            self.unheard += u64::from(!arrivals.is_empty());
            if entry.is_deferred(place) && arrivals.iter().any(|it| it.told.is_some()) {
                self.fault(Fault::DeferredAndDelivered, &path());
            }
        }
    }

    /// What has arrived more than once.
    fn count_again(&mut self, evidence: &Evidence, whose: Whose, arrivals: &[&Delivery]) {
        for pair in arrivals.windows(2) {
            match excuse(evidence, pair[0], pair[1]) {
                Some(Excuse::NoWord) => self.twice_no_word += 1,
                Some(Excuse::NotRecorded(after)) => {
                    self.twice_not_recorded += 1;
                    self.not_recorded_max = self.not_recorded_max.max(after);
                }
                None => {
                    let (number, place) = whose;
                    self.fault(Fault::Twice, &format!("recipient {place} of {number}: {pair:?}"));
                }
            }
        }
    }

    /// Something is wrong.
    fn fault(&mut self, fault: Fault, about: &str) {
        *self.faults.entry(fault).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{}: {about}", fault.name()));
        }
    }
}

/// Why the gateway could not know at the second time of the first.
fn excuse(evidence: &Evidence, first: &Delivery, second: &Delivery) -> Option<Excuse> {
    if evidence.mode == Mode::Sync {
        return None;
    }
    let gateway = killed(&evidence.gateways, first.gateway);
    if let Some(told) = first.told {
        // Another incarnation has sent it again, because the first has come to its end.
        let gateway = gateway.filter(|_| second.gateway > first.gateway)?;
        if gateway.before < first.at {
            // It was dead when the upstream read what it had sent, and the word was said to nobody.
            return Some(Excuse::NoWord);
        }
        let until = told + RECORDING_MAX.as_micros() as u64;
        let after = Duration::from_micros(gateway.before.saturating_sub(told));
        return (gateway.after <= until).then_some(Excuse::NotRecorded(after));
    }
    let is_excused = if let Some(gone) = first.gone {
        // It has not gone away by itself.
        gateway.is_some_and(|it| it.after <= gone)
    } else {
        let until = first.at + (SLOW_MAX + RECORDING_MAX).as_micros() as u64;
        let upstream = killed(&evidence.upstreams, first.upstream);
        first.plan == Plan::HangUp || upstream.is_some_and(|it| it.after <= until)
    };
    is_excused.then_some(Excuse::NoWord)
}

fn killed(all: &[Killed], incarnation: u32) -> Option<Killed> {
    all.iter().copied().find(|killed| killed.incarnation == incarnation)
}
