use proptest::prelude::*;

use super::*;
use crate::leg::Refused;

const OK: Reply = Reply::fixed(250, (2, 0, 0), "fine");
const TAKEN: Reply = Reply::fixed(250, (2, 6, 0), "taken");
const NOT_NOW: Reply = Reply::fixed(450, (4, 2, 0), "later");
const NO: Reply = Reply::fixed(550, (5, 1, 1), "no such user");
const TOO_MANY: Reply = Reply::fixed(452, (4, 5, 3), "too many");
const LOST: Reply = Reply::fixed(451, (4, 4, 2), "lost");

fn refused(reply: Reply, ambiguous: bool) -> Ending {
    let decided = if ambiguous { Decided::Nobody } else { Decided::Upstream };
    Ending::Refused(Refused { reply, reason: None, decided })
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        Just(Word::Unasked),
        prop::sample::select(vec![OK, NOT_NOW, NO, TOO_MANY, LOST]).prop_map(Word::Asked),
    ]
}

fn ending() -> impl Strategy<Value = Option<(Reply, bool, bool)>> {
    prop::option::of((prop::sample::select(vec![NOT_NOW, NO, LOST]), any::<bool>(), any::<bool>()))
}

proptest! {
    /// Whatever was said, there is one decision for each, and it is one that this word allows.
    #[test]
    fn everyone_has_one_decision(
        words in prop::collection::vec(word(), 0..20),
        ending in ending(),
        is_over in any::<bool>(),
    ) {
        let time = if is_over { Time::Over } else { Time::Left };
        let ending = ending.map(|(reply, accepted, ambiguous)| {
            if accepted { Ending::Accepted(TAKEN) } else { refused(reply, ambiguous) }
        });
        let decisions = judge(&words, ending.as_ref(), time);
        prop_assert_eq!(decisions.len(), words.len());
        for (word, decision) in words.iter().zip(&decisions) {
            let is_accepted = matches!(word, Word::Asked(reply) if reply.is_positive());
            let may_deliver = is_accepted && matches!(ending, Some(Ending::Accepted(_)));
            prop_assert_eq!(matches!(decision, Decision::Delivered(_)), may_deliver);
            match decision {
                // A refusal is the upstream's own, of this recipient or of the whole message.
                Decision::Failed(reply) => {
                    prop_assert_eq!(reply, &NO);
                    let of_message = matches!(&ending, Some(Ending::Refused(it)) if it.decided != Decided::Nobody);
                    prop_assert!(*word == Word::Asked(NO) || is_accepted && of_message);
                }
                Decision::Left => {
                    prop_assert!(matches!(word, Word::Unasked) || *word == Word::Asked(TOO_MANY));
                }
                Decision::Deferred(_) => prop_assert_eq!(time, Time::Left),
                Decision::Expired(_) => prop_assert_eq!(time, Time::Over),
                Decision::Delivered(reply) => prop_assert_eq!(reply, &TAKEN),
            }
            if *word == Word::Unasked {
                prop_assert_eq!(decision, &Decision::Left);
            }
        }
    }
}

fn decide(words: &[Reply], ending: &Ending) -> Vec<Decision> {
    let words: Vec<Word> = words.iter().cloned().map(Word::Asked).collect();
    judge(&words, Some(ending), Time::Left)
}

#[test]
fn the_rows_of_the_table() {
    let accepted = Ending::Accepted(TAKEN);
    assert_eq!(
        decide(&[OK, NO, NOT_NOW, TOO_MANY], &accepted),
        [
            Decision::Delivered(TAKEN),
            Decision::Failed(NO),
            Decision::Deferred(NOT_NOW),
            Decision::Left
        ]
    );
    assert_eq!(decide(&[OK], &refused(NO, false)), [Decision::Failed(NO)]);
    assert_eq!(decide(&[OK], &refused(NOT_NOW, false)), [Decision::Deferred(NOT_NOW)]);
    assert_eq!(decide(&[OK], &refused(NO, true)), [Decision::Deferred(NO)], "nobody knows");
    let only = [Word::Asked(TOO_MANY)];
    assert_eq!(
        judge(&only, None, Time::Left),
        [Decision::Deferred(TOO_MANY)],
        "no others were first"
    );
}

#[test]
fn a_connection_that_was_lost_is_not_heard() {
    assert!(!is_heard(&[Word::Asked(LOST), Word::Unasked]));
    assert!(is_heard(&[Word::Asked(LOST), Word::Asked(NO)]));
    assert!(is_heard(&[Word::Asked(NOT_NOW)]));
    assert!(is_heard(&[Word::Asked(OK)]));
}
