//! The store of a process that is killed in the middle of edits, again and again.
//!
//! The process is this test itself, started once more; it tells each edit when it is committed.
//! A kill shows what a crash of the process leaves. That the same holds when the power fails is up
//! to `synchronous = FULL` and to the disk.

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gatepost_registry::{
    item::Kind,
    store::{Edit, Operation, Registry, Store},
};
use jiff::Timestamp;
use rusqlite::Connection;

/// Names the store to the process that is to be killed.
const VICTIM: &str = "GATEPOST_TEST_VICTIM";
/// How long processes are killed.
const SPAN: Duration = Duration::from_secs(6);
/// How often, at the most.
const KILLS_MAX: u32 = 200;

#[test]
fn no_edit_that_was_told_is_lost_and_no_other_is_half_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policy.db");
    let begin = Instant::now();
    let (mut told, mut kills) = (0, 0);
    while begin.elapsed() < SPAN && kills < KILLS_MAX {
        told = kill(&path, kills).max(told);
        kills += 1;
        let found = Store::open(&path).expect("opens").revision().expect("reads");
        assert!(found >= told, "{told} was told, and {found} is there");
        examine(&path, found);
    }
    assert!(kills >= 10 && told > u64::from(kills), "{kills} kills, {told} edits");
    println!("{kills} kills, {told} edits");
}

/// Starts a process, and kills it in the middle of what it does. The last edit that it has told.
fn kill(path: &Path, number: u32) -> u64 {
    let mut victim = Command::new(env::current_exe().expect("is known"))
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("is a pipe")).lines();
    let told = |line: io::Result<String>| line.ok()?.strip_prefix("committed ")?.parse().ok();
    let count = 1 + number as usize % 7;
    let last: Option<u64> = lines.by_ref().filter_map(told).nth(count - 1);
    // Some moment of the edits that follow.
    thread::sleep(Duration::from_micros(u64::from(number) * 7919 % 15_000));
    victim.kill().expect("is ours");
    victim.wait().expect("ends");
    // What it told before it was killed is still in the pipe.
    lines.filter_map(told).last().or(last).expect("edits are made")
}

/// Makes edits until it is killed: small ones, and some that do not fit into the cache.
#[test]
fn victim() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let mut store = Store::open(path.as_ref()).expect("opens");
    loop {
        let next = store.revision().expect("reads") + 1;
        let edit = Edit {
            operations: operations(next),
            author: "a victim".to_owned(),
            reason: None,
            if_revision: Some(next - 1),
        };
        store.edit(&edit, Timestamp::now(), |_| Ok::<_, String>(())).expect("is right");
        // One write, so that a line is never half there.
        io::stdout().write_all(format!("committed {next}\n").as_bytes()).expect("is read");
        io::stdout().flush().expect("is read");
    }
}

/// What an edit does follows from its number.
fn operations(number: u64) -> Vec<Operation> {
    let body = |id: u64| format!("id = \"e{id}\"\nmax_recipients = {number}\n");
    let put = |id| Operation::Put { kind: Kind::Entry, body: body(id) };
    match number % 10 {
        3 => (0..300).map(|id| put(id * 7 % 400)).collect(),
        6 => vec![Operation::Revert { revision: number / 2 }, put(1000 + number)],
        9 => vec![Operation::Replace {
            bodies: (0..200).map(|id| (Kind::Entry, body((id + number) % 400))).collect(),
        }],
        _ => vec![put(number % 50), put(1000 + number)],
    }
}

type Item = (i64, String);

/// The file is sound, and its items are what all changes lead to, one after the other.
fn examine(path: &Path, last: u64) {
    let connection = Connection::open(path).expect("opens");
    let sound: String = connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .expect("can be examined");
    assert_eq!(sound, "ok");

    let mut items: BTreeMap<(String, String), Item> = BTreeMap::new();
    let mut revisions = connection
        .prepare("SELECT number, changes FROM revision ORDER BY number")
        .expect("is there");
    let mut changes = connection
        .prepare("SELECT * FROM change WHERE revision = ?1 ORDER BY kind, id")
        .expect("is there");
    let mut expected = 0;
    let mut revisions = revisions.query(()).expect("can be asked");
    while let Some(revision) = revisions.next().expect("reads") {
        expected += 1;
        let (number, count): (i64, usize) = (
            revision.get(0).expect("is there"),
            revision.get::<_, u32>(1).expect("is there") as usize,
        );
        assert_eq!(number, expected, "revisions have no gaps");
        let mut seen = 0;
        let mut rows = changes.query([number]).expect("can be asked");
        while let Some(row) = rows.next().expect("reads") {
            seen += 1;
            let side = |column| {
                let position: Option<i64> = row.get(column).expect("is there");
                position.map(|position| (position, row.get(column + 1).expect("is there")))
            };
            let key = (row.get(1).expect("is there"), row.get(2).expect("is there"));
            assert_eq!(items.remove(&key), side(3), "before revision {number}");
            if let Some(after) = side(5) {
                items.insert(key, after);
            }
        }
        assert_eq!(seen, count, "changes of revision {number}");
    }
    assert_eq!(u64::try_from(expected), Ok(last));

    let mut kept = connection.prepare("SELECT kind, id, position, body FROM item").expect("there");
    let kept: BTreeMap<(String, String), Item> = kept
        .query_map((), |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))
        .expect("can be asked")
        .collect::<Result<_, _>>()
        .expect("reads");
    assert_eq!(kept, items);
}
