//! How long edits take: `cargo run --release -p gatepost-registry --example store_speed [ITEMS]`.
//!
//! Nobody judges them: a gateway compiles the policy as well, which takes longer than all of this.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    time::{Duration, Instant},
};

use gatepost_registry::{
    item::Kind,
    store::{Edit, HistoryWanted, Operation, Outcome, Registry, Store},
};
use jiff::Timestamp;

fn main() -> Result<(), Box<dyn Error>> {
    let items: u32 = env::args().nth(1).map_or(Ok(100_000), |items| items.parse())?;
    let directory = tempfile::tempdir()?;
    let mut store = Store::open(&directory.path().join("policy.db"))?;

    let bodies: Vec<_> = (0..items).map(|number| (Kind::Entry, body(number))).collect();
    println!("{items} items, {} octets each", bodies[0].1.len());
    let mut shuffled = bodies.clone();
    shuffled.rotate_left(items as usize / 3);
    shuffled.retain(|(_, body)| !body.contains("7\""));

    let replace = |bodies| vec![Operation::Replace { bodies }];
    time("replace, into nothing", 1, || edit(&mut store, replace(bodies.clone())));
    time("replace, by the same", 1, || edit(&mut store, replace(bodies.clone())));
    time("policy", 5, || store.policy().map(drop).expect("reads"));
    time("text", 5, || store.text().map(drop).expect("reads"));
    let mut number = 0;
    time("set one key", 50, || {
        number += 1;
        let id = format!("entry-{}", number * 7919 % items);
        let body = format!("owner = \"team-{number}\"");
        edit(&mut store, vec![Operation::Set { kind: Kind::Entry, id, body, unset: vec![] }]);
    });
    let mut number = items;
    time("add one", 50, || {
        number += 1;
        edit(&mut store, vec![Operation::Add { kind: Kind::Entry, body: body(number) }]);
    });
    time("replace, other order, a tenth gone", 1, || edit(&mut store, replace(shuffled.clone())));
    time("revert to 1", 1, || edit(&mut store, vec![Operation::Revert { revision: 1 }]));
    time("history, 100 revisions", 5, || {
        let wanted = HistoryWanted { limit: 100, before: None, item: None };
        store.history(&wanted).map(drop).expect("reads");
    });
    time("policy at 50", 1, || store.policy_at(50).map(drop).expect("reads"));
    time("difference 1 to 90", 1, || store.difference(1, 90).map(drop).expect("reads"));
    drop(store);
    time("open and text", 1, || {
        let store = Store::open(&directory.path().join("policy.db")).expect("opens");
        store.text().map(drop).expect("reads");
    });
    let octets = directory.path().join("policy.db").metadata()?.len();
    println!("{:36} {:9.1} MiB", "the file", f64::from((octets >> 10) as u32) / 1024.0);
    Ok(())
}

fn body(number: u32) -> String {
    let [_, a, b, c] = number.to_be_bytes();
    let mut body = format!("id = \"entry-{number}\"\nnetworks = [\"10.{a}.{b}.{c}\"]\n");
    // A string takes any text.
    let _ = write!(body, "description = \"Fleet {number}\"\nsenders = [\"*.example.org\"]\n");
    body
}

fn edit(store: &mut Store, operations: Vec<Operation>) {
    let edit = Edit { operations, author: "speed".to_owned(), reason: None, if_revision: None };
    let outcome = store.edit(&edit, Timestamp::now(), |_| Ok::<_, String>(())).expect("is right");
    if let Outcome::Unchanged { .. } = outcome {
        println!("(nothing is changed by:)");
    }
}

fn time(what: &str, times: u32, mut run: impl FnMut()) {
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    for _ in 0..times {
        let begin = Instant::now();
        run();
        longest = longest.max(begin.elapsed());
    }
    let mean = begin.elapsed() / times;
    println!("{what:36} {:9.2} ms, longest {:9.2} ms", millis(mean), millis(longest));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
