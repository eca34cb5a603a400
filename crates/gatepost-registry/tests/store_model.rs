//! The store beside a model that is too simple to be wrong: a list, and a copy of it for every
//! revision.

use gatepost_registry::{
    item::{Item, Kind, policy_text},
    store::{Difference, Edit, Operation, Outcome, Proposed, Registry, Store},
};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::Index};

/// What is done, with places in lists that are not known yet.
#[derive(Clone, Debug)]
enum Step {
    Add(Kind, u8, u8),
    Put(Kind, u8, u8),
    Remove(Index),
    /// The items in another order, without some, and with some new ones.
    Replace(Vec<Index>, Vec<(Kind, u8, u8)>),
    Revert(Index),
    Set(Index, u8),
    Unset(Index),
}

/// Every revision, from the empty one on. Items are in the order of a policy.
struct Model(Vec<Vec<Item>>);

fn body(id: u8, value: u8) -> String {
    format!("id = \"i{id}\"\nmax_recipients = {value}\n")
}

fn item(kind: Kind, id: u8, value: u8) -> Item {
    Item::from_body(kind, &body(id, value), "a test").expect("an item")
}

/// Behind the last one of its kind.
fn insert(items: &mut Vec<Item>, item: Item) {
    let place = items.partition_point(|other| other.kind() <= item.kind());
    items.insert(place, item);
}

fn find(items: &[Item], kind: Kind, id: &str) -> Option<usize> {
    items.iter().position(|item| item.kind() == kind && item.id() == id)
}

impl Model {
    /// Does a step to a list. The operation that it is, or nothing if it makes no sense.
    fn step(&self, items: &mut Vec<Item>, step: &Step) -> Option<Operation> {
        match step {
            Step::Add(kind, id, value) | Step::Put(kind, id, value) => {
                let (kind, body, new) = (*kind, body(*id, *value), item(*kind, *id, *value));
                match (find(items, kind, new.id()), step) {
                    (Some(_), Step::Add(..)) => return None,
                    (Some(place), _) => items[place] = new,
                    (None, _) => insert(items, new),
                }
                Some(match step {
                    Step::Add(..) => Operation::Add { kind, body },
                    _ => Operation::Put { kind, body },
                })
            }
            Step::Remove(_) | Step::Set(..) | Step::Unset(_) if items.is_empty() => None,
            Step::Remove(index) => {
                let gone = items.remove(index.index(items.len()));
                Some(Operation::Remove { kind: gone.kind(), id: gone.id().to_owned() })
            }
            Step::Set(index, _) | Step::Unset(index) => {
                let place = index.index(items.len());
                let old = &mut items[place];
                let (kind, id) = (old.kind(), old.id().to_owned());
                let (keys, unset, whole) = match step {
                    Step::Set(_, value) => {
                        let key = format!("max_recipients = {value}\n");
                        (key.clone(), vec![], format!("id = {id:?}\n{key}"))
                    }
                    _ => (String::new(), vec!["max_recipients".to_owned()], format!("id = {id:?}")),
                };
                *old = Item::from_body(kind, &whole, "a test").expect("an item");
                Some(Operation::Set { kind, id, body: keys, unset })
            }
            Step::Replace(kept, new) => {
                let old = std::mem::take(items);
                let kept = kept.iter().filter(|_| !old.is_empty());
                let kept = kept.map(|index| old[index.index(old.len())].clone());
                for item in kept.chain(new.iter().map(|&(kind, id, value)| item(kind, id, value))) {
                    if find(items, item.kind(), item.id()).is_none() {
                        insert(items, item);
                    }
                }
                let bodies = items.iter().map(|item| (item.kind(), item.body().to_owned()));
                Some(Operation::Replace { bodies: bodies.collect() })
            }
            Step::Revert(index) => {
                let revision = index.index(self.0.len());
                items.clone_from(&self.0[revision]);
                Some(Operation::Revert { revision: revision as u64 })
            }
        }
    }

    /// Items that are not the same at two revisions, apart from their order.
    fn difference(&self, from: usize, to: usize) -> Vec<Difference> {
        let mut names: Vec<_> = self.0[from].iter().chain(&self.0[to]).collect();
        names.sort_by_key(|item| (item.kind(), item.id()));
        names.dedup_by_key(|item| (item.kind(), item.id()));
        let body = |revision: usize, kind, id: &str| {
            let items = &self.0[revision];
            find(items, kind, id).map(|place| items[place].body().to_owned())
        };
        let difference = |item: &Item| {
            let (kind, id) = (item.kind(), item.id().to_owned());
            let (before, after) = (body(from, kind, &id), body(to, kind, &id));
            (before != after).then_some(Difference { kind, id, before, after })
        };
        names.into_iter().filter_map(difference).collect()
    }
}

/// Makes edits in a store and in a model, and compares them after each.
fn compare(store: &mut impl Registry, edits: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let mut model = Model(vec![vec![]]);
    for steps in edits {
        let before = model.0.len() - 1;
        let mut items = model.0[before].clone();
        let operations = steps.iter().filter_map(|step| model.step(&mut items, step)).collect();
        let edit = Edit {
            operations,
            author: "a test".to_owned(),
            reason: None,
            if_revision: Some(before as u64),
        };
        let judge = |proposed: Proposed<'_>| Ok::<_, String>(proposed.text.to_owned());
        let proposed = store.propose(&edit, judge).expect("is right");
        let outcome = store.edit(&edit, Timestamp::UNIX_EPOCH, judge).expect("is right");
        prop_assert_eq!(&outcome, &proposed);
        match outcome {
            Outcome::Unchanged { revision } => {
                prop_assert_eq!(revision, before as u64);
                prop_assert_eq!(&items, &model.0[before]);
            }
            Outcome::Changed { revision, judged, differences } => {
                prop_assert_ne!(&items, &model.0[before]);
                prop_assert_eq!(judged, policy_text(&items));
                model.0.push(items);
                prop_assert_eq!(revision as usize, model.0.len() - 1);
                prop_assert_eq!(differences, store.difference(before as u64, revision).unwrap());
            }
        }
        let policy = store.policy().expect("reads");
        prop_assert_eq!(&policy.items, model.0.last().unwrap());
        prop_assert_eq!(policy_text(&policy.items), store.text().expect("reads").text);
    }
    for (from, items) in model.0.iter().enumerate() {
        prop_assert_eq!(&store.policy_at(from as u64).expect("reads").items, items);
        for to in 0..model.0.len() {
            let mut differences = store.difference(from as u64, to as u64).expect("reads");
            // What has gone and come back may have another position, in the same order or not.
            differences.retain(|difference| difference.before != difference.after);
            prop_assert_eq!(differences, model.difference(from, to));
        }
    }
    Ok(())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Entry), Just(Kind::Entry), Just(Kind::Route), Just(Kind::Credential)]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let new = || (kind(), 0..9_u8, 0..3_u8);
    prop_oneof![
        3 => new().prop_map(|(kind, id, value)| Step::Add(kind, id, value)),
        3 => new().prop_map(|(kind, id, value)| Step::Put(kind, id, value)),
        2 => index().prop_map(Step::Remove),
        2 => (index(), 0..3_u8).prop_map(|(index, value)| Step::Set(index, value)),
        1 => index().prop_map(Step::Unset),
        1 => (vec(index(), 0..12), vec(new(), 0..4))
            .prop_map(|(kept, new)| Step::Replace(kept, new)),
        1 => index().prop_map(Step::Revert),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_what_its_model_is(edits in vec(vec(step(), 1..6), 1..14)) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(&directory.path().join("policy.db")).expect("opens");
        compare(&mut store, &edits)?;
    }
}
