//! SQLite, and the files beside it, on a disk that fails: each kind of fault, at one point after the other of
//! what a spool does from its opening to its end.
//!
//! `faulty_disk.c` fails single calls of a process of its own, which is this test once more. Whatever
//! fails: what was acknowledged is there afterwards and whole, what was removed is not; after a flush or
//! a write has failed otherwise than for room nothing is acknowledged any more; and the spool opens again.
//! `GATEPOST_TEST_FAULTS=all` tries every point; without it each kind is tried at some.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gatepost_spool::{After, Attempt, Entrance, Outcome, QueueId, Spool, SpoolError, SpoolOptions};
use rusqlite::Connection;
use tempfile::TempDir;
use world::{at, commit, id, message, octets, options, read};

/// Names the spool to the process with the disk that fails.
const VICTIM: &str = "GATEPOST_TEST_VICTIM";
/// Asks for every point.
const ALL: &str = "GATEPOST_TEST_FAULTS";
/// Messages that a process commits.
const MESSAGES: u64 = 24;
/// Points at which each kind of fault is tried, unless all are.
const POINTS: u64 = 8;
/// Larger than the number of any call: a fault that stays.
const EVER: u64 = 1 << 40;
const EIO: u32 = 5;
const ENOSPC: u32 = 28;

/// What fails, and how.
#[derive(Clone, Copy, Debug)]
struct Kind {
    path: &'static str,
    call: &'static str,
    /// None: a write takes only a part of what it is given.
    error: Option<u32>,
    /// Calls that fail from the first one on.
    calls: u64,
}

const KINDS: [Kind; 11] = [
    Kind { path: "spool.db", call: "sync", error: Some(EIO), calls: 1 },
    Kind { path: "spool.db", call: "sync", error: Some(EIO), calls: EVER },
    Kind { path: "spool.db", call: "sync", error: Some(ENOSPC), calls: 1 },
    Kind { path: "spool.db", call: "write", error: Some(EIO), calls: 1 },
    Kind { path: "spool.db", call: "write", error: Some(ENOSPC), calls: 1 },
    Kind { path: "spool.db", call: "write", error: Some(ENOSPC), calls: EVER },
    Kind { path: "spool.db", call: "write", error: None, calls: EVER },
    Kind { path: "spool.db", call: "read", error: Some(EIO), calls: 1 },
    Kind { path: "bodies", call: "sync", error: Some(EIO), calls: 1 },
    Kind { path: "bodies", call: "write", error: Some(ENOSPC), calls: 1 },
    Kind { path: "bodies", call: "write", error: None, calls: EVER },
];

#[test]
fn no_fault_loses_what_was_acknowledged() {
    let tools = TempDir::new().expect("a directory");
    let library = build(tools.path());
    for (turn, kind) in (0..).zip(KINDS) {
        // Without a fault: how many such calls there are.
        let all = run(&library, kind, None).calls;
        assert!(all > 10, "{kind:?}: {all} calls");
        let step = if env::var_os(ALL).is_some() { 1 } else { (all / POINTS).max(1) };
        let mut fired = 0;
        // Other points for each kind.
        for point in (turn % step..all).step_by(step as usize) {
            let told = run(&library, kind, Some(point));
            fired += u64::from(told.fired);
            told.judge(kind, point);
        }
        println!("{kind:?}: {fired} of {all} calls have failed");
        assert!(fired > 5, "{kind:?}: only {fired} times of {all}");
    }
}

/// Makes what is loaded in front of the C library.
fn build(directory: &Path) -> PathBuf {
    let library = directory.join("faulty_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk_faults/faulty_disk.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.expect("a C compiler is there, SQLite needs it too").success());
    library
}

/// What a process has told, and what it has left.
struct Told {
    _directory: TempDir,
    path: PathBuf,
    committed: BTreeMap<u64, usize>,
    going: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    /// A call has failed.
    fired: bool,
    /// Messages whose commit began after that, and was acknowledged.
    after: Vec<u64>,
    opened: bool,
    ended: bool,
    calls: u64,
}

/// Starts a process whose disk fails from some point on.
fn run(library: &Path, kind: Kind, point: Option<u64>) -> Told {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("spool");
    let first = point.unwrap_or(EVER);
    let output = Command::new(env::current_exe().expect("is known"))
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, &path)
        .env("LD_PRELOAD", library)
        .env("FAULT_PATH", format!("/spool/{}", kind.path))
        .env("FAULT_CALL", kind.call)
        .env("FAULT_ERROR", kind.error.unwrap_or(0).to_string())
        .env("FAULT_FIRST", first.to_string())
        .env("FAULT_LAST", (first.saturating_add(kind.calls - 1)).to_string())
        .stderr(Stdio::inherit())
        .output()
        .expect("starts");
    let mut told = Told {
        _directory: directory,
        path,
        committed: BTreeMap::new(),
        going: BTreeSet::new(),
        removed: BTreeSet::new(),
        fired: false,
        after: vec![],
        opened: false,
        ended: false,
        calls: 0,
    };
    let mut beginning = None;
    for line in String::from_utf8(output.stdout).expect("is text").lines() {
        let mut words = line.split(' ');
        let (word, number) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        match (word, number) {
            (Some("opened"), _) => told.opened = true,
            (Some("fired"), _) => told.fired = true,
            (Some("ended"), _) => told.ended = true,
            (Some("calls"), Some(calls)) => told.calls = calls,
            (Some("committing"), Some(_)) => beginning = Some(told.fired),
            (Some("committed"), Some(number)) => {
                told.committed.insert(number, length(number));
                if beginning == Some(true) {
                    told.after.push(number);
                }
            }
            (Some("removing"), Some(number)) => drop(told.going.insert(number)),
            (Some("removed"), Some(number)) => drop(told.removed.insert(number)),
            _ => {}
        }
    }
    assert!(output.status.success(), "{kind:?} at {point:?} did not end well");
    told
}

impl Told {
    fn judge(&self, kind: Kind, point: u64) {
        let what = format!("{kind:?} at {point}");
        let is_for_room = matches!(kind.error, None | Some(ENOSPC)) && kind.call == "write";
        assert!(self.ended || !self.opened, "{what}: went on without telling an error");
        if self.fired && self.opened && !is_for_room && kind.call != "read" {
            assert_eq!(self.after, [], "{what}: acknowledged after a failure");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.examine(&what));
        let connection = Connection::open(self.path.join("spool.db")).expect("opens");
        let sound: String =
            connection.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("reads");
        assert_eq!(sound, "ok", "{what}");
    }

    /// The disk is well again.
    async fn examine(&self, what: &str) {
        let opened = Spool::open(&self.path, options(), at(0));
        let (spool, recovery) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(recovery.bodies_lost, [], "{what}");
        for (&number, &length) in &self.committed {
            let found = read(&spool, number).await;
            match found {
                Some(found) => {
                    assert_eq!(found, octets(number, length), "{what}: {number}");
                    assert!(!self.removed.contains(&number), "{what}: {number} is back");
                }
                None => assert!(self.going.contains(&number), "{what}: {number} is lost"),
            }
        }
        let new = message(9000, "google", 1, Entrance::Leased);
        commit(&spool, new, 100).await.expect("is taken");
        spool.close().await;
    }
}

/// Octets of a body: rows, and now and then a file.
fn length(number: u64) -> usize {
    if number % 4 == 3 { 70_000 } else { number as usize * 1000 % 9000 }
}

/// Commits and removes, and tells everything that it hears, until the spool takes nothing more.
#[test]
fn victim() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let ended = tokio::time::timeout(Duration::from_mins(1), work(path.as_ref())).await;
        ended.expect("nobody waits for ever");
    });
}

async fn work(path: &Path) {
    let options = SpoolOptions { body_memory_each: 20_000, ..options() };
    let spool = match Spool::open(path, options, at(0)) {
        Ok((spool, _)) => spool,
        Err(error) => return tell(&format!("not opened {error}")),
    };
    tell("opened");
    let mut has_stopped = false;
    for number in 1..=MESSAGES {
        tell(&format!("committing {number}"));
        let next = message(number, "google", 2, Entrance::Leased);
        match commit(&spool, next, length(number)).await {
            Ok(_) => {
                assert!(!has_stopped, "it takes nothing more");
                tell(&format!("committed {number}"));
            }
            Err(error) => has_stopped |= heard(&error),
        }
        if !number.is_multiple_of(3) {
            tell(&format!("removing {number}"));
            match deliver(&spool, id(number)).await {
                Ok(()) => tell(&format!("removed {number}")),
                Err(error) => has_stopped |= heard(&error),
            }
        }
    }
    tell("ended");
    spool.close().await;
}

/// Tells an error. Whether it is the end.
fn heard(error: &SpoolError) -> bool {
    let has_stopped = matches!(error, SpoolError::Stopped(_));
    tell(if has_stopped { "stopped" } else { "refused" });
    has_stopped
}

async fn deliver(spool: &Spool, id: QueueId) -> Result<(), SpoolError> {
    let outcome = Outcome::Delivered(After::Forget);
    let both = [0, 1].map(|place| Attempt { place, outcome, reply: None });
    spool.record(id, both.into(), at(0)).await.map(|_| ())
}

/// One write, so that lines are not mixed with those of the disk.
fn tell(line: &str) {
    io::stdout().lock().write_all(format!("\n{line}\n").as_bytes()).expect("is read");
}
