//! A policy in a store, edited by commands while a gateway runs on it, and while none does.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use gatepost_testkit::ScriptedUpstream;
use serde_json::Value;

use crate::harness::{converse, send_message};
use crate::place::{AUTHOR, FLEET, OTHER, Place};

const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
/// Exit code, error and command of edits that are refused: one slip each, of a policy with an
/// expectation, at revision 3.
const REFUSED: [(i32, &str, &str); 18] = [
    (1, "the policy is at revision 3 (by ada, ", "entry edit fleet --owner=me --if-revision=2"),
    (1, "the entry \"fleet\" is there already", "entry add fleet --network=10.0.0.1"),
    (1, "there is no entry \"nobody\"", "entry edit nobody --owner=me"),
    (1, "there is no entry \"nobody\"", "entry remove nobody"),
    (1, "there is no entry \"nobody\"", "entry enable nobody"),
    (1, "there is no revision 9; the last one is 3", "revert 9"),
    (1, "the reason has control characters in it", "entry remove other --reason=a\nb"),
    (64, "nothing is to be changed", "entry edit fleet"),
    (64, "invalid value 'colour' for '--unset <FIELD>'", "entry edit fleet --unset=colour"),
    (64, "invalid value 'soon' for '--expires <TIME>'", "entry edit fleet --expires=soon"),
    (64, "the following required arguments were not provided", "entry remove"),
    (
        78,
        "state/policy.db: entry new: network \"0.0.0.0/0\": covers every address",
        "entry add new --network=0.0.0.0/0 --sender=*",
    ),
    (
        78,
        "state/policy.db: entry new: network 11.0.0.0/8 is public and wider than /24",
        "entry add new --network=11.0.0.0/8 --sender=a.test",
    ),
    (
        78,
        "state/policy.db: entry new: network 127.0.0.1/32 on listener smtp belongs to entry fleet",
        "entry add new --network=127.0.0.1 --sender=a.test",
    ),
    (78, "state/policy.db: entry new: senders is missing", "entry add new --network=10.0.0.1"),
    (
        78,
        "state/policy.db: entry fleet: there is no upstream \"elsewhere\"",
        "entry edit fleet --upstream=elsewhere",
    ),
    (
        78,
        "state/policy.db: expect: 127.0.0.1 from <a@app.test>: accept was expected",
        "entry remove fleet",
    ),
    (78, "state/policy.db: no enabled allow entry is left", "revert 0"),
];

impl Place {
    /// Has the policy expect that its entry lets somebody in.
    fn expect_fleet(&self) {
        let expect = "[[expect]]\nip = \"127.0.0.1\"\nfrom = \"a@app.test\"\nresult = \"accept\"\n";
        self.write("expect.toml", expect);
        let path = self.path("expect.toml");
        self.done(&["entry", "import", "--format=toml", &path.to_string_lossy()]);
    }

    /// All that edits could change.
    fn state(&self) -> (Value, String) {
        (self.json(&["history", "--limit=1000"]), self.done(&["entry", "export"]))
    }
}

/// Each edit holds when its command has ended: for connections that come, and for the next MAIL of
/// a session that is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_holds_at_once() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    let program = place.run();
    program.greeted("554 5.7.1 relay.test: 127.0.0.1 is not on the allow-list").await;

    let answer = place.gatepost(&FLEET);
    assert_eq!((&*answer.stdout, &*answer.stderr), ("revision 1: 1 added\n", ""));
    let mut open = program.client().await;
    assert!(send_message(&mut open, CONTENT).await.starts_with("250"));

    assert_eq!(
        place.done(&["entry", "edit", "fleet", "--sender=other.test"]),
        "revision 2: 1 changed\n"
    );
    let refused = "550 5.7.1 <a@app.test> is not an allowed sender of entry fleet (generation 2-";
    converse(&mut open, &[("MAIL FROM:<a@app.test>", refused)]).await;
    converse(&mut open, &[("MAIL FROM:<a@other.test>", "250"), ("RSET", "250")]).await;

    let made = place.json(&[&OTHER[..], &["--reason=so that somebody is left"]].concat());
    assert_eq!((&made["revision"], &made["added"]), (&3.into(), &1.into()));
    let listed = place.json(&["entry", "list"]);
    assert_eq!(made["generation"], listed["generation"], "the one in use is told");
    assert!(made["generation"].as_str().is_some_and(|it| it.starts_with("3-")), "{made}");

    place.done(&["entry", "disable", "fleet"]);
    program.greeted("554").await;
    converse(&mut open, &[("MAIL FROM:<a@other.test>", "554"), ("QUIT", "221")]).await;
    assert_eq!(place.ids(), ["other"]);
    let shown = place.gatepost(&["entry", "show", "fleet"]);
    assert!(shown.stdout.contains("\nenabled = false\n"), "{shown:?}");
    assert_eq!(shown.stderr, "note: entry fleet is disabled: it does not hold\n");

    place.done(&["entry", "enable", "fleet"]);
    program.client().await;
    assert_eq!(place.done(&["entry", "remove", "fleet"]), "revision 6: 1 removed\n");
    program.greeted("554").await;
    // What is so already makes no revision.
    let same = ["entry", "edit", "other", "--sender=app.test"];
    assert_eq!(place.done(&same), "revision 6: nothing has changed\n");
    program.end();
    upstream.stop().await;
}

/// Whatever the reason: nothing is written, nothing else is in use, and the gateway goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_refused_changes_nothing() {
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let program = place.run();
    place.expect_fleet();
    let mut open = program.client().await;
    let before = place.state();
    let listed = place.json(&["entry", "list"]);

    for (code, told, words) in REFUSED {
        let told = told.replace("state/", &format!("{}/", place.path("state").display()));
        place.refused(code, &told, &words.split(' ').collect::<Vec<_>>());
        assert_eq!(place.state(), before, "{words}");
        assert_eq!(place.json(&["entry", "list"]), listed, "{words}");
    }
    // The same session, in a process that has not begun anew.
    assert!(send_message(&mut open, CONTENT).await.starts_with("250"));
    program.end();
    upstream.stop().await;
}

/// What is expected of the policy is proved with every edit; why it does not hold, is explained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_breaks_an_expectation_is_explained() {
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let program = place.run();
    place.expect_fleet();
    let words = ["entry", "edit", "fleet", "--sender=other.test"];
    let told = format!(
        "{}: expect: 127.0.0.1 from <a@app.test>: accept was expected, but: reject",
        place.path("state/policy.db").display()
    );
    let answer = place.refused(78, &told, &words);
    for line in ["    entry           fleet\n", "    allowed         [other.test]\n"] {
        assert!(answer.stderr.contains(line), "{answer:?}");
    }
    assert_eq!(answer.stderr.matches("error:").count(), 1, "one matter: {answer:?}");
    program.client().await;
    // With the expectation it holds again, and then it does not.
    place.done(&["entry", "edit", "fleet", "--sender=other.test", "--sender=app.test"]);
    program.end();

    // Without a gateway it is the same.
    place.refused(78, &told, &words);
    upstream.stop().await;
}

/// Shutting everybody out by a slip is no edit; it is refused whichever command would do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_allow_entry_stays() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    place.done(&FLEET);
    let program = place.run();
    let told =
        format!("{}: no enabled allow entry is left", place.path("state/policy.db").display());
    for words in [
        &["entry", "remove", "fleet"][..],
        &["entry", "disable", "fleet"],
        &["entry", "edit", "fleet", "--action=deny", "--unset=senders"],
        &["revert", "0"],
    ] {
        place.refused(78, &told, words);
        assert_eq!(place.revisions(), [1]);
    }
    program.client().await;
    program.end();
    // Who edits while no gateway runs may do that, and is told.
    let answer = place.gatepost(&["entry", "remove", "fleet"]);
    assert_eq!(answer.code, Some(0));
    assert!(answer.stderr.starts_with("warning: no enabled entry allows anything"), "{answer:?}");
    upstream.stop().await;
}

/// Who, what and why; and the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_tells_and_can_be_reverted() {
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    let program = place.run();
    let by_sudo = Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(["entry", "edit", "fleet", "--sender=other.test", "--owner=x", "--reason=ticket 7"])
        .args(["--config".as_ref(), place.path("gatepost.toml").as_os_str()])
        .envs([("SUDO_USER", "grace"), ("USER", "root")])
        .output()
        .expect("runs");
    assert!(by_sudo.status.success(), "{by_sudo:?}");

    let history = place.json(&["history", "--limit=2"]);
    let [last, before] = &history["revisions"].as_array().expect("revisions")[..] else {
        panic!("{history}")
    };
    assert_eq!((&last["number"], &last["author"]), (&3.into(), &"grace".into()));
    assert_eq!((&last["reason"], &before["reason"]), (&"ticket 7".into(), &Value::Null));
    assert_eq!(before["author"], AUTHOR);
    let table = place.done(&["history", "--entry=fleet"]);
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(rows[0], ["REVISION", "TIME", "AUTHOR", "CHANGES", "REASON"]);
    assert_eq!(
        (rows[1][0], &rows[1][2..]),
        ("3", &["grace", "changed entry fleet", "ticket 7"][..])
    );
    assert_eq!((rows[2][0], &rows[2][2..]), ("1", &[AUTHOR, "added entry fleet"][..]));
    assert_eq!(rows.len(), 3, "{table}");
    assert_eq!(
        place.json(&["history", "--before=2"])["revisions"].as_array().map(Vec::len),
        Some(1)
    );

    let lines = "\
entry fleet changed
- senders = [\"app.test\"]
+ owner = \"x\"
+ senders = [\"other.test\"]
";
    assert_eq!(place.done(&["diff"]), lines);
    assert_eq!(place.done(&["diff", "2", "3"]), lines);
    let all = place.json(&["diff", "0"]);
    assert_eq!(all["differences"].as_array().map(Vec::len), Some(2));
    assert_eq!(place.done(&["diff", "3", "3"]), "");
    place.refused(1, "there is no revision 9; the last one is 3", &["diff", "2", "9"]);

    program.greeted("220").await;
    let mut client = program.client().await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "550")]).await;
    assert_eq!(place.done(&["revert", "2", "--reason=back"]), "revision 4: 1 changed\n");
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250"), ("QUIT", "221")]).await;
    assert_eq!(place.done(&["diff", "2", "4"]), "");
    assert_eq!(place.revisions(), [4, 3, 2, 1]);
    program.end();
    upstream.stop().await;
}

/// The same edits in the file, and the next gateway has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_without_a_gateway_are_for_the_next_one() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    let answer = place.gatepost(&FLEET);
    let told = "note: the gateway is not running; it will start with this policy\n";
    assert_eq!((&*answer.stdout, &*answer.stderr), ("revision 1: 1 added\n", told));
    place.done(&OTHER);
    place.done(&["entry", "disable", "fleet"]);
    place.done(&["entry", "edit", "other", "--network=127.0.0.1", "--max-connections=7"]);
    place.refused(
        1,
        "the policy is at revision 4",
        &["entry", "remove", "other", "--if-revision=3"],
    );
    place.refused(78, "", &["entry", "enable", "fleet"]);
    let made = place.json(&["entry", "remove", "fleet", "--if-revision=4"]);
    assert_eq!((&made["revision"], &made["generation"]), (&5.into(), &Value::Null));

    let program = place.run();
    let listed = place.json(&["entry", "list"]);
    assert!(listed["generation"].as_str().is_some_and(|it| it.starts_with("5-")), "{listed}");
    assert_eq!(
        (place.ids(), &listed["entries"][0]["max_connections"]),
        (vec!["other".to_owned()], &7.into())
    );
    let mut client = program.client().await;
    let refused = "550 5.7.1 <a@b.test> is not an allowed sender of entry other (generation 5-";
    converse(&mut client, &[("MAIL FROM:<a@b.test>", refused)]).await;
    let shown = place.gatepost(&["check"]).stdout;
    assert!(shown.contains("policy.db: 1 entry, generation 5-"), "{shown}");
    program.end();
    upstream.stop().await;
}

/// A state_dir that is somebody's who does not answer is left alone; with a file, there is nothing
/// to edit; and what only a gateway knows, only a gateway tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_has_its_exit_code() {
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    for words in [&["denied"][..], &["denied", "--allow=127.0.0.1"], &["shadow", "report"]] {
        place.refused(69, "no gateway is running here: nobody answers at ", words);
    }
    let lock = File::open(place.path("state/lock")).expect("is there");
    lock.try_lock().expect("is free");
    let began = Instant::now();
    let told =
        format!("state_dir {} is in use, and nobody answers there", place.path("state").display());
    place.refused(75, &told, &["entry", "remove", "fleet"]);
    assert!(began.elapsed() >= Duration::from_secs(1), "whoever has it may be done in a moment");
    assert_eq!(place.revisions(), [2, 1]);
    // One that is done in a moment is waited for.
    let other = std::thread::spawn({
        let place = place.clone();
        move || place.gatepost(&["entry", "remove", "fleet"])
    });
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    let answer = other.join().expect("no panic");
    assert_eq!(answer.code, Some(0), "{answer:?}");

    let place = Place::with_file(upstream.addr());
    let program = place.run();
    for words in
        [&["history"][..], &["diff"], &["revert", "1"], &FLEET, &["entry", "disable", "mute"]]
    {
        place.refused(77, "the policy is in ", words);
    }
    program.end();
    upstream.stop().await;
}

/// What the store says of clients is nobody else's matter, whoever has made it.
#[tokio::test]
async fn the_store_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let upstream = ScriptedUpstream::start();
    let place = Place::filled(upstream.addr());
    for (name, mode) in [("state", 0o700), ("state/policy.db", 0o600)] {
        let found = std::fs::metadata(place.path(name)).expect("is there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    upstream.stop().await;
}
