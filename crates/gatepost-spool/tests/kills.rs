//! The spool of a process that is killed in the middle of its work, again and again.
//!
//! The process is this test itself, started once more; it tells what was acknowledged, on a pipe. A
//! kill shows what a crash of the process leaves. That the same holds when the power fails is up to
//! `synchronous = FULL`, to the flushes of files and directories, and to the disk.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use gatepost_spool::{Entrance, Filter, LIST_MAX, QueueId, Spool};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use world::{at, commit, id, message, octets, options, read};

/// Names the spool to the process that is to be killed.
const VICTIM: &str = "GATEPOST_TEST_VICTIM";
/// How long processes are killed.
const SPAN: Duration = Duration::from_secs(4);
/// How often, at the most and at the least.
const KILLS: (u32, u32) = (30, 300);

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("spool");
    let begin = Instant::now();
    let mut told = Told::default();
    let mut kills = 0;
    while kills < KILLS.0 || (begin.elapsed() < SPAN && kills < KILLS.1) {
        kill(&path, kills, &mut told);
        kills += 1;
        examine(&path, &told);
    }
    let (committed, removed) = (told.committed.len(), told.removed.len());
    assert!(committed > 10 * kills as usize && removed > kills as usize, "{committed} {removed}");
    println!("{kills} kills, {committed} messages acknowledged, {removed} of them removed");
}

/// What the processes have told.
#[derive(Default)]
struct Told {
    /// Messages, and how long their bodies are.
    committed: BTreeMap<u64, usize>,
    /// Those that are to be removed, whether or not that was heard.
    going: BTreeSet<u64>,
    removed: BTreeSet<u64>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (word, mut number) = (words.next(), || words.next()?.parse().ok());
        let Some(message) = number() else { return };
        match word {
            Some("committed") => {
                let length = number().expect("stands there");
                self.committed.insert(message, length as usize);
            }
            Some("removing") => drop(self.going.insert(message)),
            Some("removed") => drop(self.removed.insert(message)),
            _ => {}
        }
    }
}

/// Starts a process, and kills it in the middle of what it does.
fn kill(path: &Path, turn: u32, told: &mut Told) {
    let mut victim = Command::new(env::current_exe().expect("is known"))
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(victim.stdout.take().expect("is a pipe")).lines();
    for line in lines.by_ref().take(12 + turn as usize * 7 % 60) {
        told.hear(&line.expect("is text"));
    }
    // Some moment of what follows.
    thread::sleep(Duration::from_micros(u64::from(turn) * 7919 % 15_000));
    victim.kill().expect("is ours");
    victim.wait().expect("ends");
    // What it told before it was killed is still in the pipe; the last line may be a part of one.
    for line in lines.map_while(Result::ok) {
        told.hear(&line);
    }
}

/// Commits and removes until it is killed; several of each at once.
#[test]
fn victim() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    runtime.expect("a runtime").block_on(async {
        let (spool, _) = Spool::open(path.as_ref(), options(), at(0)).expect("opens");
        let last = spool.list(Filter::default(), None, LIST_MAX).await.expect("reads").messages;
        // Ids of one process follow those of the one before, with room for what was not heard of.
        let next = last.last().map_or(1, |message| message.id.as_u64() + 10_000);
        let next = Arc::new(AtomicU64::new(next));
        // Some of what was left is removed, so that the spool stays small.
        let some = last.iter().map(|message| message.id).filter(|id| id.as_u64().is_multiple_of(3));
        remove(&spool, some.collect()).await;
        let tasks: Vec<_> =
            (0..8).map(|_| tokio::spawn(work(spool.clone(), next.clone()))).collect();
        for task in tasks {
            task.await.expect("goes on until it is killed");
        }
    });
}

async fn work(spool: Spool, next: Arc<AtomicU64>) {
    loop {
        let number = next.fetch_add(1, SeqCst);
        let length = match number % 11 {
            3 => 70_000 + number as usize % 1000,
            7 => 300_000 + number as usize % 1000,
            rest => rest as usize * 700,
        };
        let entrance =
            if number.is_multiple_of(2) { Entrance::Due(at(0)) } else { Entrance::Leased };
        let taken = commit(&spool, message(number, "google", 2, entrance), length).await;
        taken.expect("is taken");
        tell(&format!("committed {number} {length}\n"));
        if !number.is_multiple_of(5) {
            remove(&spool, vec![id(number)]).await;
        }
    }
}

/// Removes messages, whether or not they are leased.
async fn remove(spool: &Spool, ids: Vec<QueueId>) {
    let all = |word| {
        let lines = ids.iter().map(|id| format!("{word} {}", id.as_u64()));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    tell(&all("removing"));
    spool.release(ids.clone()).await.expect("writes");
    spool.remove(ids.clone()).await.expect("writes");
    tell(&all("removed"));
}

/// One write, so that lines are not mixed.
fn tell(line: &str) {
    io::stdout().lock().write_all(line.as_bytes()).expect("is read");
}

/// What was acknowledged is there and whole, what was removed is not, and nothing else lies about.
fn examine(path: &Path, told: &Told) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (spool, recovery) = Spool::open(path, options(), at(0)).expect("opens");
        assert_eq!(recovery.bodies_lost, []);
        for (&number, &length) in &told.committed {
            if told.removed.contains(&number) {
                assert!(spool.show(id(number)).await.expect("reads").is_none(), "{number} is back");
                continue;
            }
            let Some(found) = read(&spool, number).await else {
                assert!(told.going.contains(&number), "{number} was acknowledged, and is lost");
                continue;
            };
            assert_eq!(Sha256::digest(&found), Sha256::digest(octets(number, length)), "{number}");
            let shown = spool.show(id(number)).await.expect("reads").expect("is there");
            assert_eq!(shown.recipients.len(), 2);
        }
        spool.close().await;
    });
    let connection = Connection::open(path.join("spool.db")).expect("opens");
    let sound: String = connection
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .expect("can be examined");
    assert_eq!(sound, "ok");
    let expected: u32 = connection
        .query_row("SELECT count(*) FROM message WHERE filed = 1", (), |row| row.get(0))
        .expect("counts");
    let files = std::fs::read_dir(path.join("bodies")).expect("is there").count();
    assert_eq!(files, expected as usize, "orphans are removed");
}
