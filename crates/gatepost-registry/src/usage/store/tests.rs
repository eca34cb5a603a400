use std::fs;
use std::os::unix::fs::PermissionsExt;

use gatepost_policy::total::Distinct;
use gatepost_policy::usage::{Usage, Use};
use tempfile::TempDir;

use super::*;

const DAY: i64 = 86_400;

fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("usage.sqlite");
    (directory, path)
}

/// So many hosts at a moment, one connection each.
fn used(hosts: std::ops::Range<u32>, unix_seconds: i64) -> UsageDelta {
    let usage = Usage::default();
    hosts.for_each(|n| {
        usage.count(Use::Connection, (0x0a00_0000 + n).to_be_bytes().into(), unix_seconds);
    });
    usage.take().expect("it was used")
}

#[test]
fn totals_survive_restarts() {
    let (_directory, path) = file();
    assert!(UsageStore::open_to_read(&path).expect("nothing is wrong").is_none());
    let mut store = UsageStore::open(&path, 1000).expect("a new file");
    let few = used(0..3, 1100);
    store.add([("few", &few), ("many", &used(0..100, 1200))]).expect("added");
    drop(store);
    let mut store = UsageStore::open(&path, 5000).expect("the same file");
    store.add([("many", &used(50..150, 5200)), ("few", &few)]).expect("added");
    assert_eq!(store.since().expect("it is kept"), 1000, "counting has begun once");
    let few = store.total("few").expect("readable").expect("used");
    assert_eq!((few.hits, few.first_seen, few.last_seen), (6, 1100, 1100));
    assert_eq!(few.distinct(), Distinct::Exact(3));
    let many = store.total("many").expect("readable").expect("used");
    assert_eq!((many.hits, many.first_seen, many.last_seen), (200, 1200, 5200));
    assert!((130..170).contains(&many.distinct().number()), "{}", many.distinct());
    assert_eq!(store.total("other").expect("readable"), None);
    let totals = HashMap::from([("few".to_owned(), few), ("many".to_owned(), many)]);
    assert_eq!(store.totals().expect("readable"), totals);
    // Others look while it is open.
    let mut reader = UsageStore::open_to_read(&path).expect("readable").expect("there");
    assert_eq!(reader.totals().expect("readable"), totals);
    assert!(reader.add([("few", &used(0..1, 1))]).is_err());
    drop(store);
    let reader = UsageStore::open_to_read(&path).expect("readable").expect("there");
    assert_eq!(reader.totals().expect("readable"), totals, "and when nobody writes");
}

#[test]
fn the_file_is_its_owners() {
    let (directory, path) = file();
    let mut store = UsageStore::open(&path, 0).expect("a new file");
    store.add([("a", &used(0..1, 1))]).expect("added");
    let files = fs::read_dir(directory.path()).expect("a directory").map(|it| it.expect("a file"));
    let modes: Vec<_> =
        files.map(|it| it.metadata().expect("a file").permissions().mode() & 0o777).collect();
    assert!(modes.len() > 1 && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
}

#[test]
fn only_what_nobody_has_and_nobody_used_for_long_is_forgotten() {
    let (_directory, path) = file();
    let mut store = UsageStore::open(&path, 0).expect("a new file");
    let (old, young) = (used(0..1, 10 * DAY), used(0..1, 11 * DAY));
    store.add([("gone", &old), ("kept", &old), ("young", &young)]).expect("added");
    let is_known = |id: &str| id == "kept";
    assert_eq!(store.prune(410 * DAY, is_known).expect("pruned"), 0);
    assert_eq!(store.prune(410 * DAY + 1, is_known).expect("pruned"), 1);
    let mut left: Vec<_> = store.totals().expect("readable").into_keys().collect();
    left.sort();
    assert_eq!(left, ["kept", "young"]);
}

#[test]
fn a_file_that_is_not_ours_is_told_with_its_name() {
    let (_directory, path) = file();
    drop(UsageStore::open(&path, 0).expect("a new file"));
    let other = Connection::open(&path).expect("the same file");
    let row = "INSERT INTO usage VALUES ('a', 1, 1, 1, 1, 1, '10.0.0.1 no', NULL)";
    other.execute(row, []).expect("a strange row");
    let store = UsageStore::open(&path, 0).expect("it has the version");
    let told = store.total("a").expect_err("not an address").to_string();
    assert!(told.contains("usage.sqlite: the row of entry a is damaged; move"), "{told}");
    assert!(matches!(store.totals(), Err(UsageError::Damaged { .. })));
    other.execute("UPDATE usage SET addresses = '', registers = x'00'", []).expect("changed");
    assert!(matches!(store.total("a"), Err(UsageError::Damaged { .. })));
    other.pragma_update(None, "user_version", 7).expect("changed");
    for told in [UsageStore::open(&path, 0).err(), UsageStore::open_to_read(&path).err()] {
        assert!(matches!(told, Some(UsageError::Newer { found: 7, .. })), "{told:?}");
    }
    let text = path.with_file_name("text.sqlite");
    fs::write(&text, "not a database, but long enough to be taken for one").expect("written");
    assert!(matches!(UsageStore::open(&text, 0), Err(UsageError::Sqlite { .. })));
    let nowhere = path.with_file_name("nothing").join("usage.sqlite");
    assert!(matches!(UsageStore::open(&nowhere, 0), Err(UsageError::Create { .. })));
}

#[test]
fn what_is_added_is_added_as_a_whole() {
    let (_directory, path) = file();
    let mut store = UsageStore::open(&path, 0).expect("a new file");
    store.add([("a", &used(0..1, 1))]).expect("added");
    store.connection.execute("UPDATE usage SET addresses = 'no'", []).expect("damaged");
    let delta = used(0..1, 2);
    assert!(store.add([("b", &delta), ("a", &delta)]).is_err());
    assert_eq!(store.total("b").expect("readable"), None, "to be given back and added again");
}
