//! SQLite on a file system that fails to write, for real: a limit on the size of files.
//!
//! The limit is the process's, hence a process of its own: this test itself, started once more. What
//! it acknowledged before is there afterwards.

mod world;

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use gatepost_spool::{Entrance, Spool, SpoolError};
use tokio::signal::unix::{SignalKind, signal};
use world::{at, commit, id, message, octets, options, read};

/// Names the spool to the process that cannot write.
const VICTIM: &str = "GATEPOST_TEST_VICTIM";
/// What a process gets that writes past the limit; it would end it.
const SIGXFSZ: i32 = 25;
/// Octets of a body that is a row.
const LENGTH: usize = 30_000;

#[test]
fn a_write_that_fails_stops_the_spool_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("spool");
    let output = Command::new(env::current_exe().expect("is known"))
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, &path)
        .stderr(Stdio::inherit())
        .output()
        .expect("starts");
    let output = String::from_utf8(output.stdout).expect("is text");
    let told = output.lines().find_map(|line| line.strip_prefix("acknowledged "));
    let told: u64 = told.expect("it ends well").parse().expect("is a number");
    assert!(told > 0, "{output}");

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (spool, recovery) = Spool::open(&path, options(), at(0)).expect("opens");
        assert!(recovery.messages >= told);
        for number in 1..=told {
            assert_eq!(read(&spool, number).await, Some(octets(number, LENGTH)));
        }
        commit(&spool, message(9000, "google", 1, Entrance::Leased), LENGTH)
            .await
            .expect("is taken");
    });
}

/// Commits until the disk fails, and tells how many of them were acknowledged.
#[test]
fn victim() {
    let Some(path) = env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime.expect("a runtime").block_on(async {
        let _caught = signal(SignalKind::from_raw(SIGXFSZ)).expect("can be caught");
        let (spool, _) = Spool::open(path.as_ref(), options(), at(0)).expect("opens");
        let log = Path::new(&path).join("spool.db-wal");
        commit(&spool, message(1, "google", 2, Entrance::Due(at(0))), LENGTH)
            .await
            .expect("is taken");
        let most = std::fs::metadata(log).expect("is there").len() + 300_000;
        rlimit::setrlimit(rlimit::Resource::FSIZE, most, most).expect("can be lower");
        let mut told = 1;
        let failed = loop {
            let next = message(told + 1, "google", 2, Entrance::Due(at(0)));
            match commit(&spool, next, LENGTH).await {
                Ok(_) => told += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&failed, SpoolError::Stopped(why) if why.contains("I/O")), "{failed}");
        let again = spool.lease(vec![id(1)]).await.expect_err("takes nothing more");
        assert!(matches!(again, SpoolError::Stopped(_)), "{again}");
        assert_eq!(read(&spool, told).await, Some(octets(told, LENGTH)));
        println!("\nacknowledged {told}");
    });
}
