//! Evidence that was tampered with: each lie has to be found. This is tried with the evidence of every run,
//! because a comparison that finds nothing may not have looked.

use gatepost_spool::{QueueId, RecipientState};

use crate::ledger::{Entry, Word};
use crate::letter::{Letter, number_of, place_of};
use crate::options::Mode;
use crate::reconcile::{Evidence, Fault, reconcile};
use crate::spool::Kept;
use crate::upstream::record::{Delivery, Plan, Wholeness};

/// A lie, and what it has to be found as. It answers false if the evidence gives no occasion for it.
type Lie = (&'static str, Fault, fn(&mut Evidence) -> bool);

const LIES: [Lie; 14] = [
    ("an acknowledged message did not arrive", Fault::Lost, forget),
    ("nor did one that nobody has sent", Fault::Lost, make_up),
    ("one of several recipients is missing", Fault::Lost, forget_one),
    ("a dead letter is gone", Fault::Lost, bury),
    ("something arrived twice", Fault::Twice, repeat),
    ("by two gateways, of which the first was well", Fault::Twice, repeat_later),
    ("again, because a gateway did not wait for the upstream's word", Fault::Twice, hang_up),
    ("something arrived with another content", Fault::Damaged, damage),
    ("something arrived for somebody else", Fault::NeverNamed, divert),
    ("something was refused, and arrived", Fault::RefusedAndDelivered, refuse),
    ("something was refused, and the spool has it", Fault::RefusedAndKept, refuse_and_keep),
    ("something arrived, and its client was told to try again", Fault::DeferredAndDelivered, defer),
    ("something waits in the spool", Fault::Stuck, leave),
    ("something was given up too early", Fault::GivenUp, give_up),
];

/// Tells each lie; answers how many there was occasion for, or which was believed.
pub(crate) fn tell_all(evidence: &Evidence) -> Result<usize, String> {
    let before = reconcile(evidence).faults;
    let mut told = 0;
    for (name, fault, lie) in LIES {
        let mut changed = evidence.clone();
        if !lie(&mut changed) {
            continue;
        }
        told += 1;
        let count = |faults: &std::collections::BTreeMap<Fault, u64>| {
            faults.get(&fault).copied().unwrap_or_default()
        };
        if count(&reconcile(&changed).faults) <= count(&before) {
            return Err(name.to_owned());
        }
    }
    Ok(told)
}

/// The first delivery to so many recipients whose client has heard of it, and that came once and whole.
fn acknowledged(evidence: &Evidence, recipients: usize) -> Option<usize> {
    evidence.deliveries.iter().position(|delivery| {
        let number = delivery.recipients.first().and_then(|path| number_of(path));
        let entry = number.and_then(|number| evidence.ledger.get(number as usize));
        let again =
            |other: &&Delivery| other.recipients.iter().any(|it| delivery.recipients.contains(it));
        delivery.recipients.len() >= recipients
            && entry.is_some_and(|entry| {
                (0..entry.recipients.len()).any(|it| entry.is_acknowledged(it))
            })
            && delivery.told.is_some()
            && delivery.whole == Wholeness::Whole
            && evidence.deliveries.iter().filter(again).count() == 1
    })
}

fn forget(evidence: &mut Evidence) -> bool {
    let found = acknowledged(evidence, 1);
    found.map(|place| evidence.deliveries.remove(place)).is_some()
}

fn forget_one(evidence: &mut Evidence) -> bool {
    let found = acknowledged(evidence, 2);
    found.map(|place| evidence.deliveries[place].recipients.pop()).is_some()
}

fn make_up(evidence: &mut Evidence) -> bool {
    let letter = Letter::made_up(evidence.ledger.len() as u64);
    let recipients = vec![Some(Word::Accepted)];
    evidence.ledger.push(Entry { letter, recipients, whole: Word::Accepted });
    true
}

fn bury(evidence: &mut Evidence) -> bool {
    let found = evidence.kept.iter().position(|kept| {
        let acknowledged = evidence.ledger[kept.number as usize].is_acknowledged(kept.place);
        kept.state == RecipientState::Failed && acknowledged
    });
    found.map(|place| evidence.kept.remove(place)).is_some()
}

fn repeat(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    let again = evidence.deliveries[place].clone();
    evidence.deliveries.insert(place + 1, again);
    true
}

fn repeat_later(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    let mut again = evidence.deliveries[place].clone();
    again.gateway += 1;
    // Long before its gateway was killed.
    evidence.deliveries[place].at = 1;
    evidence.deliveries[place].told = Some(2);
    evidence.deliveries.push(again);
    true
}

fn hang_up(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    let again = evidence.deliveries[place].clone();
    // Long before its gateway was killed.
    evidence.deliveries[place].told = None;
    evidence.deliveries[place].gone = Some(1);
    evidence.deliveries.push(again);
    true
}

fn damage(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    evidence.deliveries[place].whole = Wholeness::Damaged;
    true
}

fn divert(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    evidence.deliveries[place].recipients[0].insert(0, 'x');
    true
}

/// A recipient whose client was told that it does not get the message.
fn refused(evidence: &Evidence) -> Option<(u64, usize)> {
    evidence.ledger.iter().find_map(|entry| {
        let place = (0..entry.recipients.len()).find(|&place| entry.is_refused(place))?;
        Some((entry.letter.number, place))
    })
}

fn refuse_and_keep(evidence: &mut Evidence) -> bool {
    let Some((number, place)) = refused(evidence) else { return false };
    let Some(id) = QueueId::new(number) else { return false };
    evidence.kept.push(Kept { id, number, place, state: RecipientState::Failed });
    true
}

fn defer(evidence: &mut Evidence) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    let number = number_of(&evidence.deliveries[place].recipients[0]);
    let entry = number.and_then(|number| evidence.ledger.get_mut(number as usize));
    entry.map(|entry| entry.whole = Word::Deferred).is_some()
}

fn refuse(evidence: &mut Evidence) -> bool {
    let Some((number, place)) = refused(evidence) else { return false };
    let path = evidence.ledger[number as usize].letter.forward_path(place);
    let (whole, plan) = (Wholeness::Whole, Plan::Reply);
    let recipients = vec![path];
    let delivery = Delivery {
        upstream: 1,
        gateway: 1,
        whole,
        plan,
        at: 1,
        told: Some(2),
        gone: None,
        recipients,
    };
    evidence.deliveries.push(delivery);
    true
}

fn leave(evidence: &mut Evidence) -> bool {
    keep(evidence, RecipientState::Pending)
}

fn give_up(evidence: &mut Evidence) -> bool {
    keep(evidence, RecipientState::Failed)
}

/// The spool has something that has arrived.
fn keep(evidence: &mut Evidence, state: RecipientState) -> bool {
    let Some(place) = acknowledged(evidence, 1) else { return false };
    let path = &evidence.deliveries[place].recipients[0];
    let Some((number, place)) = place_of(path) else { return false };
    let Some(id) = QueueId::new(number) else { return false };
    evidence.kept.push(Kept { id, number, place, state });
    evidence.mode != Mode::Sync
}
