use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use super::*;
use crate::item::policy_text;

/// A directory, and a store in it.
fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("policy.db")).expect("opens");
    (directory, store)
}

fn add(id: &str) -> Operation {
    Operation::Add { kind: Kind::Entry, body: format!("id = {id:?}\nowner = \"me\"") }
}

fn set(id: &str, body: &str, unset: &[&str]) -> Operation {
    let unset = unset.iter().map(ToString::to_string).collect();
    Operation::Set { kind: Kind::Entry, id: id.to_owned(), body: body.to_owned(), unset }
}

fn edit(operations: impl Into<Vec<Operation>>) -> Edit {
    let operations = operations.into();
    Edit { operations, author: "ada".to_owned(), reason: None, if_revision: None }
}

/// An edit that nobody judges.
fn make(store: &mut Store, edit: &Edit) -> Result<Outcome<()>, EditError<String>> {
    store.edit(edit, "2026-05-01T10:00:00Z".parse().expect("a time"), |_| Ok(()))
}

/// What is said about an edit that is not made.
fn error(store: &mut Store, operations: impl Into<Vec<Operation>>) -> String {
    let before = store.policy().expect("reads");
    let error = make(store, &edit(operations)).expect_err("is wrong").to_string();
    assert_eq!(store.policy().expect("reads"), before);
    error
}

fn ids(store: &Store) -> Vec<String> {
    let items = store.policy().expect("reads").items;
    items.iter().map(|item| item.id().to_owned()).collect()
}

fn open_error(path: &Path) -> String {
    let error = Store::open(path).expect_err("is no store").to_string();
    let to_read = Store::open_to_read(path).expect_err("is no store").to_string();
    assert_eq!(error, to_read);
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn what_is_judged_is_what_holds() {
    let (_directory, mut store) = store();
    let policy = store.policy().expect("reads");
    assert_eq!((policy.revision, policy.items.len()), (0, 0));
    make(&mut store, &edit([add("a"), add("b"), add("c")])).expect("is right");

    let route = Operation::Add { kind: Kind::Route, body: "id = 'r'".to_owned() };
    let second = edit([route, set("b", "owner = 'you'\nenabled = false", &[]), add("d")]);
    let judge = |proposed: Proposed<'_>| Ok::<_, String>(proposed.text.to_owned());
    let proposed = store.propose(&second, judge).expect("is right");
    assert_eq!(store.revision().expect("reads"), 1);
    let made = store.edit(&second, Timestamp::UNIX_EPOCH, judge).expect("is right");
    assert_eq!(made, proposed);
    let Outcome::Changed { revision: 2, judged, differences } = made else { panic!("{made:?}") };
    let policy = store.policy().expect("reads");
    assert_eq!(judged, policy_text(&policy.items));
    assert_eq!(store.text().expect("reads"), StoredText { revision: 2, text: judged });
    assert_eq!(differences, store.difference(1, 2).expect("reads"));
    let b = store.item(Kind::Entry, "b").expect("reads").expect("is there");
    assert_eq!(b.body(), "id = \"b\"\nowner = \"you\"\nenabled = false\n");
    assert_eq!(store.item(Kind::Route, "b").expect("reads"), None);

    let refusal = store.edit(&edit([add("e")]), Timestamp::UNIX_EPOCH, |proposed| {
        assert_eq!(proposed.revision, 3);
        Err::<(), _>("too wide")
    });
    assert!(matches!(refusal, Err(EditError::Refused("too wide"))));
    assert_eq!(store.policy().expect("reads"), policy);
    let error = store.difference(0, 3).expect_err("is not there").to_string();
    assert_eq!(error, "there is no revision 3; the last one is 2");
}

#[test]
fn an_edit_that_changes_nothing_is_no_revision() {
    let (_directory, mut store) = store();
    make(&mut store, &edit([add("a"), add("b")])).expect("is right");
    let items = store.policy().expect("reads").items;
    let bodies = items.iter().map(|item| (item.kind(), item.body().to_owned())).collect();
    for operations in [
        vec![],
        vec![set("a", "owner = \"me\" # still", &["upstream"])],
        vec![set("a", "", &["owner"]), set("a", "owner = 'me'", &[])],
        vec![Operation::Put { kind: Kind::Entry, body: "owner = 'me'\nid = 'b'".to_owned() }],
        vec![Operation::Replace { bodies }],
        vec![Operation::Revert { revision: 1 }],
        vec![add("c"), Operation::Revert { revision: 1 }],
    ] {
        let outcome = store.edit(&edit(operations), Timestamp::UNIX_EPOCH, |_| Err::<(), _>("no"));
        assert_eq!(outcome.expect("nobody is asked"), Outcome::Unchanged { revision: 1 });
    }
    assert_eq!(store.history(&wanted(10, None)).expect("reads").len(), 1);
}

#[test]
fn what_is_wrong_with_an_edit_is_told() {
    let (_directory, mut store) = store();
    make(&mut store, &edit([add("a"), add("b")])).expect("is right");
    let expect = Operation::Add { kind: Kind::Expect, body: "ip = '10.0.0.1'".to_owned() };
    make(&mut store, &edit([expect])).expect("is right");
    let expectation = ids(&store)[2].clone();
    let gone = Operation::Remove { kind: Kind::Route, id: "a".to_owned() };
    assert_eq!(
        error(&mut store, [add("c"), add("a")]),
        "the entry \"a\" is there already; edit it, or give the new one another id"
    );
    assert_eq!(error(&mut store, [gone]), "there is no route \"a\"");
    assert_eq!(error(&mut store, [set("x", "owner = 'y'", &[])]), "there is no entry \"x\"");
    assert!(error(&mut store, [set("a", "", &["id"])]).starts_with("the id of the entry \"a\""));
    assert!(error(&mut store, [set("a", "id = 'z'", &[])]).starts_with("the id of the entry"));
    assert!(error(&mut store, [set("a", "tls = 'none'", &["tls"])]).starts_with("the key \"tls\""));
    let on_expectation = Operation::Set {
        kind: Kind::Expect,
        id: expectation,
        body: "ip = '10.0.0.2'".to_owned(),
        unset: Vec::new(),
    };
    assert!(error(&mut store, [on_expectation]).starts_with("an expectation is named by"));
    assert!(
        error(&mut store, [add("c"), set("c", "owner = \n", &[])]).starts_with("operation 2:1:")
    );
    let replace = |bodies: &[&str]| Operation::Replace {
        bodies: bodies.iter().map(|body| (Kind::Entry, (*body).to_owned())).collect(),
    };
    assert_eq!(
        error(&mut store, [replace(&["id = 'a'", "id = 'b'", "id = 'a'\nowner = 'x'"])]),
        "the entry \"a\" is there twice; leave one of them out"
    );
    assert!(
        error(&mut store, [replace(&["id = 'a'", "id ="])]).starts_with("operation 1, item 2:")
    );
    assert_eq!(
        error(&mut store, [Operation::Revert { revision: 3 }]),
        "there is no revision 3; the last one is 2"
    );
}

#[test]
fn an_edit_is_bounded() {
    let (_directory, mut store) = store();
    let long = format!("id = 'a'\nowner = '{}'", "x".repeat(BODY_OCTETS_MAX));
    assert!(error(&mut store, [set("a", &long, &[])]).starts_with("the text of an item is 8388"));
    let many = Operation::Replace { bodies: vec![(Kind::Entry, String::new()); EDIT_ITEMS_MAX] };
    assert_eq!(
        error(&mut store, [many, add("a")]),
        "the edit is 1048577 items long; 1048576 are the most"
    );
    let by = |author: &str, reason: &str| Edit {
        author: author.to_owned(),
        reason: Some(reason.to_owned()),
        ..edit([add("a")])
    };
    let mut error = |edit| make(&mut store, &edit).expect_err("is wrong").to_string();
    assert_eq!(error(by(" ", "")), "an edit needs an author");
    assert!(error(by("a\u{1b}[2J", "")).starts_with("the author has control characters"));
    assert!(error(by("a", "two\nlines")).starts_with("the reason has control characters"));
    assert!(error(by(&"a".repeat(AUTHOR_OCTETS_MAX + 1), "")).starts_with("the author is 257"));
    assert!(error(by("a", &"a".repeat(REASON_OCTETS_MAX + 1))).starts_with("the reason is 1025"));
    make(&mut store, &by(&"a".repeat(AUTHOR_OCTETS_MAX), &"a".repeat(REASON_OCTETS_MAX)))
        .expect("is long enough");
}

#[test]
fn an_edit_travels_as_json() {
    let edit = Edit {
        if_revision: Some(4),
        ..edit([
            add("a"),
            set("a", "", &["owner"]),
            Operation::Replace { bodies: vec![(Kind::Route, "id = 'r'".to_owned())] },
            Operation::Revert { revision: 3 },
        ])
    };
    let json = serde_json::to_string(&edit).expect("is plain");
    assert!(json.contains(r#"{"set":{"kind":"entry","id":"a","body":"","unset":["owner"]}}"#));
    assert_eq!(serde_json::from_str::<Edit>(&json).expect("is ours"), edit);
    let slip = json.replace("if_revision", "if_revison");
    serde_json::from_str::<Edit>(&slip).expect_err("is not known");
}

#[test]
fn an_edit_for_another_revision_is_stale() {
    let (directory, mut store) = store();
    let for_revision = |revision, id| Edit { if_revision: Some(revision), ..edit([add(id)]) };
    make(&mut store, &for_revision(0, "a")).expect("is right");
    // The second writer has seen the same revision.
    let mut second = Store::open(&directory.path().join("policy.db")).expect("opens");
    make(&mut second, &for_revision(1, "b")).expect("is right");
    let Err(EditError::Stale(stale)) = make(&mut store, &for_revision(1, "c")) else { panic!() };
    assert_eq!(
        stale.to_string(),
        "the policy is at revision 2 (by ada, 2026-05-01T10:00:00Z), and the edit is for revision \
         1; see what has changed with `gatepost diff`, and edit again"
    );
    let proposed = store.propose(&for_revision(1, "c"), |_| Ok::<_, String>(()));
    assert!(matches!(proposed, Err(EditError::Stale(_))));
    assert_eq!(ids(&store), ["a", "b"]);
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    let (directory, store) = store();
    let path = directory.path().join("policy.db");
    std::thread::scope(|scope| {
        for writer in ["a", "b", "c"] {
            let path = &path;
            scope.spawn(move || {
                let mut store = Store::open(path).expect("opens");
                for number in 0..30 {
                    make(&mut store, &edit([add(&format!("{writer}{number}"))])).expect("its turn");
                }
            });
        }
    });
    let policy = store.policy().expect("reads");
    assert_eq!((policy.revision, policy.items.len()), (90, 90));
    assert_eq!(store.policy_at(89).expect("reads").items, policy.items[..89]);
}

#[test]
fn whoever_comes_during_an_edit_reads_and_does_not_write() {
    let (directory, mut store) = store();
    let path = directory.path().join("policy.db");
    make(&mut store, &edit([add("a")])).expect("is right");
    let mut other = Store::open(&path).expect("opens");
    other.connection.busy_timeout(std::time::Duration::ZERO).expect("is taken");
    let judge = |_: Proposed<'_>| {
        let busy = make(&mut other, &edit([add("b")])).expect_err("is not its turn");
        assert!(matches!(busy, EditError::Store(StoreError::Busy(_))), "{busy}");
        assert_eq!(ids(&other), ["a"]);
        let reader = Store::open_to_read(&path).expect("opens").expect("is there");
        assert_eq!(ids(&reader), ["a"]);
        Ok::<_, String>(())
    };
    store.edit(&edit([add("c")]), Timestamp::UNIX_EPOCH, judge).expect("is right");
    make(&mut other, &edit([add("b")])).expect("its turn");
    assert_eq!(ids(&store), ["a", "c", "b"]);
}

#[test]
fn a_judge_that_panics_has_refused() {
    let (_directory, mut store) = store();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.edit(&edit([add("a")]), Timestamp::UNIX_EPOCH, |_| -> Result<(), String> {
            panic!("a bug of the compiler")
        })
    }));
    panic.expect_err("panics");
    assert_eq!(store.revision().expect("reads"), 0);
    make(&mut store, &edit([add("a")])).expect("is right");
}

fn wanted(limit: u32, item: Option<&str>) -> HistoryWanted {
    let item = item.map(|id| (Kind::Entry, id.to_owned()));
    HistoryWanted { limit, before: None, item }
}

#[test]
fn the_history_tells_who_did_what() {
    let (_directory, mut store) = store();
    let many: Vec<_> = (0..30).map(|number| add(&format!("e{number:02}"))).collect();
    make(&mut store, &edit(many)).expect("is right");
    let reason = Some("they moved".to_owned());
    make(&mut store, &Edit { reason, ..edit([set("e07", "owner = 'you'", &[])]) }).expect("right");
    let remove = Operation::Remove { kind: Kind::Entry, id: "e08".to_owned() };
    make(&mut store, &edit([remove, add("x"), set("e07", "owner = 'me'", &[])])).expect("right");
    make(&mut store, &edit([Operation::Revert { revision: 1 }])).expect("is right");

    let all = store.history(&wanted(10, None)).expect("reads");
    let told: Vec<_> = all.iter().map(|record| (record.number, &*record.summary)).collect();
    assert_eq!(
        told,
        [
            (4, "1 added, 1 removed"),
            (3, "1 added, 1 changed, 1 removed"),
            (2, "entry \"e07\" changed"),
            (1, "30 added"),
        ]
    );
    assert_eq!((all[3].changes.len(), all[3].more), (20, 10));
    assert_eq!((&*all[2].author, all[2].reason.as_deref()), ("ada", Some("they moved")));
    assert_eq!(all[2].at.to_string(), "2026-05-01T10:00:00Z");
    let change = |id: &str, what| ChangeSummary { kind: Kind::Entry, id: id.to_owned(), what };
    let third =
        [change("e07", What::Changed), change("e08", What::Removed), change("x", What::Added)];
    assert_eq!((&all[1].changes[..], all[1].more), (&third[..], 0));

    let page = HistoryWanted { before: Some(4), ..wanted(2, None) };
    assert_eq!(store.history(&page).expect("reads"), all[1..3]);
    let of_one = store.history(&wanted(10, Some("e07"))).expect("reads");
    let told: Vec<_> =
        of_one.iter().map(|record| (record.number, record.changes.len(), record.more)).collect();
    assert_eq!(told, [(3, 1, 2), (2, 1, 0), (1, 1, 29)]);
    assert_eq!(store.difference(1, 4).expect("reads"), []);
    let back = store.difference(3, 2).expect("reads");
    assert_eq!(
        back.iter().map(Difference::what).collect::<Vec<_>>(),
        [What::Changed, What::Added, What::Removed]
    );
}

#[test]
fn a_list_that_replaces_all_is_told_as_what_is_different_in_it() {
    let (_directory, mut store) = store();
    let body = |id: &str| (Kind::Route, format!("id = {id:?}"));
    let replace = |ids: &[&str]| {
        edit([Operation::Replace { bodies: ids.iter().map(|id| body(id)).collect() }])
    };
    make(&mut store, &replace(&["a", "b", "c", "d"])).expect("is right");
    make(&mut store, &replace(&["d", "a", "new", "c"])).expect("is right");
    assert_eq!(ids(&store), ["d", "a", "new", "c"]);
    let told: Vec<_> = store.difference(1, 2).expect("reads");
    let told: Vec<_> = told.iter().map(|change| (&*change.id, change.what())).collect();
    assert_eq!(told, [("b", What::Removed), ("d", What::Moved), ("new", What::Added)]);
    make(&mut store, &edit([Operation::Revert { revision: 1 }])).expect("is right");
    assert_eq!(ids(&store), ["a", "b", "c", "d"]);
    // Expectations that say the same are one.
    let twice = vec![(Kind::Expect, "ip = '10.0.0.1'".to_owned()); 2];
    make(&mut store, &edit([Operation::Replace { bodies: twice }])).expect("is right");
    assert_eq!(ids(&store).len(), 1);
}

#[test]
fn what_is_added_after_a_revert_comes_behind_it() {
    let (_directory, mut store) = store();
    make(&mut store, &edit(["a", "b", "c", "d"].map(add))).expect("is right");
    make(&mut store, &edit([Operation::Replace { bodies: vec![] }])).expect("is right");
    let operations = [add("x"), Operation::Revert { revision: 1 }, add("y"), add("z")];
    make(&mut store, &edit(operations)).expect("is right");
    assert_eq!(ids(&store), ["a", "b", "c", "d", "y", "z"]);
}

#[test]
fn the_file_is_its_owners_alone() {
    let (directory, mut store) = store();
    make(&mut store, &edit([add("a")])).expect("is right");
    let mode = |name| {
        let metadata = fs::metadata(directory.path().join(name)).expect("is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(["policy.db", "policy.db-wal", "policy.db-shm"].map(mode), [0o600; 3]);
    drop(store);
    let path = directory.path().join("policy.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("is ours");
    Store::open(&path).expect("opens");
    assert_eq!(mode("policy.db"), 0o600);
}

#[test]
fn settings_that_the_promise_needs_are_made() {
    let (_directory, store) = store();
    let pragma = |name| {
        let value = store.connection.pragma_query_value(None, name, |row| {
            row.get(0).map(|value: rusqlite::types::Value| format!("{value:?}"))
        });
        value.expect("is known")
    };
    let pragmas = ["journal_mode", "synchronous", "foreign_keys"].map(pragma);
    assert_eq!(pragmas, ["Text(\"wal\")", "Integer(2)", "Integer(1)"]);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policy.db");
    fs::write(&path, "[[entry]]\nid = \"a\"\n".repeat(100)).expect("writes");
    let not_ours = "FILE is not a store of Gatepost; move it away, and restore the last export \
                    with `gatepost entry import`";
    assert_eq!(open_error(&path), not_ours);
    fs::remove_file(&path).expect("is there");
    let other = Connection::open(&path).expect("opens");
    other.execute_batch("CREATE TABLE mine (x)").expect("is made");
    drop(other);
    let before = fs::read(&path).expect("reads");
    assert_eq!(open_error(&path), not_ours);
    assert_eq!(fs::read(&path).expect("reads"), before);
}

#[test]
fn a_newer_store_is_refused_and_an_older_one_is_not_read() {
    let (directory, store) = store();
    let path = directory.path().join("policy.db");
    store.connection.pragma_update(None, "user_version", 99).expect("is taken");
    drop(store);
    assert!(
        open_error(&path).starts_with("FILE: written by a newer version of Gatepost (schema 99)")
    );
    let connection = Connection::open(&path).expect("opens");
    connection.pragma_update(None, "user_version", 0).expect("is taken");
    drop(connection);
    let error = Store::open_to_read(&path).expect_err("is too old");
    assert!(matches!(error, StoreError::Older { version: 0, .. }), "{error}");
}

#[test]
fn damage_is_told_with_its_mend() {
    let (directory, mut store) = store();
    let many: Vec<_> = (0..2000).map(|number| add(&format!("e{number}"))).collect();
    make(&mut store, &edit(many)).expect("is right");
    drop(store);
    let path = directory.path().join("policy.db");
    let mut octets = fs::read(&path).expect("reads");
    let pages = octets.len() / 4096;
    for page in (2..pages).step_by(3) {
        octets[page * 4096..(page + 1) * 4096].fill(0xA5);
    }
    fs::write(&path, octets).expect("writes");
    let store = Store::open(&path).expect("its first page is right");
    let error = store.policy().expect_err("is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().ends_with("restore the last export with `gatepost entry import`"));
}

#[test]
fn readers_find_a_store_or_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pol icy%41?.db");
    assert!(Store::open_to_read(&path).expect("is not there").is_none());
    assert!(!path.exists());
    fs::write(&path, "").expect("writes");
    assert!(Store::open_to_read(&path).expect("was not finished").is_none());
    let mut store = Store::open(&path).expect("is finished now");
    let reader = Store::open_to_read(&path).expect("opens").expect("is there");
    make(&mut store, &edit([add("a")])).expect("is right");
    assert_eq!(ids(&reader), ["a"]);
    drop((reader, store));
    assert!(!directory.path().join("pol icy%41?.db-wal").exists());

    let mut reader = Store::open_to_read(&path).expect("opens").expect("is there");
    assert_eq!(ids(&reader), ["a"]);
    let proposed = reader.propose(&edit([add("b")]), |_| Ok::<_, String>(()));
    assert!(matches!(proposed, Ok(Outcome::Changed { revision: 2, .. })));
    let refused = make(&mut reader, &edit([add("b")])).expect_err("reads only");
    assert!(matches!(refused, EditError::Store(StoreError::ReadOnly(_))), "{refused}");
    // Where SQLite can put nothing beside the file, it is read as it is.
    let unchanging = open::unchanging(&path);
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(unchanging, flags).expect("opens");
    assert_eq!(history::last_revision(&connection).expect("reads"), 1);
}

/// Root may write everywhere: run as anybody else, this says more.
#[test]
fn a_directory_that_cannot_be_written_to_can_be_read() {
    let (directory, mut store) = store();
    let path = directory.path().join("policy.db");
    let lock = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode));
    let read = || ids(&Store::open_to_read(&path).expect("opens").expect("is there"));
    make(&mut store, &edit([add("a")])).expect("is right");
    lock(0o500).expect("is ours");
    assert_eq!(read(), ["a"], "while somebody writes");
    lock(0o700).expect("is ours");
    // What a crash leaves: copies of the three files in the middle of everything.
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).expect("is new");
    for name in ["policy.db", "policy.db-wal", "policy.db-shm"] {
        fs::copy(directory.path().join(name), copy.join(name)).expect("is there");
    }
    drop(store);
    lock(0o500).expect("is ours");
    assert_eq!(read(), ["a"], "when nobody has it open");
    lock(0o700).expect("is ours");

    let read = || Store::open_to_read(&copy.join("policy.db")).map(|store| ids(&store.unwrap()));
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o500)).expect("is ours");
    assert_eq!(read().expect("opens"), ["a"], "after a crash");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("is ours");
    fs::remove_file(copy.join("policy.db-shm")).expect("is there");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o500)).expect("is ours");
    // Without the log it would be an older policy: better none.
    match read() {
        Ok(ids) => assert_eq!(ids, ["a"]),
        Err(error) => assert!(matches!(error, StoreError::NotOpened { .. }), "{error}"),
    }
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("is ours");
}

#[test]
fn a_full_disk_changes_nothing() {
    let (_directory, mut store) = store();
    make(&mut store, &edit([add("a")])).expect("is right");
    let pages: i64 = store
        .connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .expect("is known");
    store.connection.pragma_update(None, "max_page_count", pages).expect("is taken");
    let many: Vec<_> = (0..500).map(|number| add(&format!("e{number}"))).collect();
    let error = make(&mut store, &edit(many)).expect_err("there is no room");
    assert!(error.to_string().ends_with(": the disk is full; nothing was changed"), "{error}");
    assert_eq!((ids(&store), store.revision().expect("reads")), (vec!["a".to_owned()], 1));
    store.connection.pragma_update(None, "max_page_count", 1 << 20).expect("is taken");
    make(&mut store, &edit([add("b")])).expect("there is room again");
}

#[test]
fn after_a_commit_has_failed_no_edit_is_taken() {
    let (directory, mut store) = store();
    make(&mut store, &edit([add("a")])).expect("is right");
    // A row without its parent is allowed until the commit, which fails.
    store
        .connection
        .execute_batch(
            "CREATE TEMP TABLE parent (x INTEGER PRIMARY KEY);
             CREATE TEMP TABLE child (
                 x REFERENCES parent (x) DEFERRABLE INITIALLY DEFERRED
             );
             CREATE TEMP TRIGGER fault AFTER INSERT ON main.revision BEGIN
                 INSERT INTO child VALUES (1);
             END;",
        )
        .expect("is made");
    let error = make(&mut store, &edit([add("b")])).expect_err("fails");
    assert!(matches!(error, EditError::Store(StoreError::Broken { .. })), "{error}");
    store.connection.execute_batch("DROP TRIGGER fault").expect("is there");
    let again = make(&mut store, &edit([add("b")])).expect_err("is broken");
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(ids(&store), ["a"]);
    drop(store);
    let mut store = Store::open(&directory.path().join("policy.db")).expect("opens");
    make(&mut store, &edit([add("b")])).expect("is right");
}
