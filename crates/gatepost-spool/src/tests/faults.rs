//! A disk that fails: what callers hear, and what is there afterwards.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::world::{
    Faulty, World, at, body, commit, id, is_pending, message, octets, options, read, run,
    while_blocked,
};
use crate::operation::{Batch, Operation};
use crate::*;

/// Changes a setting of the writer's connection.
struct Pragma(String);

impl Operation for Pragma {
    type Answer = i64;

    fn apply(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<i64> {
        batch.connection.query_row(&self.0, (), |row| row.get(0))
    }
}

/// What all the rest rests on.
#[test]
fn the_database_flushes_every_commit() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for (pragma, expected) in
            [("synchronous", 2), ("foreign_keys", 1), ("wal_autocheckpoint", 0), ("auto_vacuum", 2)]
        {
            let found = spool.write(Pragma(format!("PRAGMA {pragma}"))).await.expect("is asked");
            assert_eq!(found, expected, "{pragma}");
        }
        let log = world.path().join("spool.db-wal");
        assert!(fs::metadata(log).expect("is there").len() > 0, "commits go into the log");
    });
}

/// Nothing is accepted any more, and everybody hears why.
async fn has_stopped(spool: &Spool, why: &str) {
    for error in [
        commit(spool, 90, 10).await.expect_err("has stopped"),
        spool.lease(vec![id(1)]).await.expect_err("has stopped"),
        spool.remove(vec![id(1)]).await.expect_err("has stopped"),
        spool.is_writable().expect_err("has stopped"),
    ] {
        assert!(matches!(&error, SpoolError::Stopped(said) if said.contains(why)), "{error}");
    }
    // What was acknowledged can be read.
    assert_eq!(read(spool, 1).await.expect("reads"), Some(octets(1, 100_000)));
}

#[test]
fn a_failed_flush_is_not_acknowledged_and_stops_the_spool() {
    type Arm = fn(&Faulty);
    let arms: [(Arm, &str); 3] = [
        (|disk| disk.syncs.store(0, SeqCst), "error 5"),
        (|disk| disk.directory_syncs.store(0, SeqCst), "error 5"),
        (|disk| disk.commits.store(0, SeqCst), "I/O"),
    ];
    for (arm, why) in arms {
        let (world, disk) = (World::new(), Arc::new(Faulty::default()));
        run(async {
            let (spool, _) = world.open_on(disk.clone());
            commit(&spool, 1, 100_000).await.expect("is taken");
            arm(&disk);
            let failed = commit(&spool, 2, 100_000).await.expect_err("is not flushed");
            assert!(matches!(failed, SpoolError::Stopped(_)), "{failed}");
            has_stopped(&spool, why).await;
            spool.close().await;
        });
        let (spool, recovery) = world.open();
        assert_eq!(recovery.messages, 1, "{why}");
        assert_eq!(world.files(), [id(1).to_string()], "what was not acknowledged is cleaned up");
        run(async { commit(&spool, 2, 100_000).await.expect("all is well again") });
    }
}

/// The worst a flush can do: say that it has failed, and have happened.
#[test]
fn a_commit_that_failed_and_happened_is_whole() {
    let world = World::new();
    let disk = Arc::new(Faulty { commit_happens: true, ..Faulty::default() });
    run(async {
        let (spool, _) = world.open_on(disk.clone());
        commit(&spool, 1, 100_000).await.expect("is taken");
        disk.commits.store(0, SeqCst);
        commit(&spool, 2, 100_000).await.expect_err("is in doubt");
        spool.close().await;
    });
    let (spool, recovery) = world.open();
    assert_eq!((recovery.messages, recovery.bodies_lost), (2, vec![]));
    run(async { assert_eq!(read(&spool, 2).await.expect("is whole"), Some(octets(2, 100_000))) });
}

#[test]
fn short_writes_are_gone_on_with_and_a_full_disk_is_told() {
    let (world, disk) = (World::new(), Arc::new(Faulty::default()));
    run(async {
        let (spool, _) = world.open_on(disk.clone());
        disk.write_most.store(1000, SeqCst);
        commit(&spool, 1, 300_000).await.expect("is taken");
        assert_eq!(read(&spool, 1).await.expect("is whole"), Some(octets(1, 300_000)));
        disk.writes.store(5, SeqCst);
        let full = commit(&spool, 2, 300_000).await.expect_err("is full");
        assert!(matches!(full, SpoolError::Full { .. }), "{full}");
        commit(&spool, 3, 300_000).await.expect("there is room again");
        world.wait_for_files(&[1, 3]).await;
    });
    // Another error concerns this message alone: nothing of it was acknowledged.
    let disk = Arc::new(Faulty { write_error: io::ErrorKind::Other, ..Faulty::default() });
    let world = World::new();
    run(async {
        let (spool, _) = world.open_on(disk.clone());
        disk.writes.store(0, SeqCst);
        let failed = commit(&spool, 1, 300_000).await.expect_err("cannot be written");
        assert!(matches!(failed, SpoolError::Io { .. }), "{failed}");
        commit(&spool, 1, 300_000).await.expect("is taken");
    });
}

/// SQLite itself finds no room: nothing is half there, and the queue can be emptied.
#[test]
fn a_full_database_refuses_and_goes_on() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 60_000).await.expect("is taken");
        let pages = spool.write(Pragma("PRAGMA page_count".to_owned())).await.expect("is asked");
        let most = format!("PRAGMA max_page_count = {}", pages + 20);
        spool.write(Pragma(most)).await.expect("is set");
        let mut taken = vec![];
        let full = loop {
            match commit(&spool, 2 + taken.len() as u64, 30_000).await {
                Ok(id) => taken.push(id),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, SpoolError::Full { .. }), "{full}");
        assert!(!taken.is_empty() && taken.len() < 5);
        spool.is_writable().expect("has not stopped");

        assert_eq!(spool.remove(vec![id(1)]).await.expect("is possible"), [id(1)]);
        commit(&spool, 60, 20_000).await.expect("there is room again");
        spool.close().await;
    });
    let (spool, _) = world.open();
    run(async {
        assert_eq!(read(&spool, 2).await.expect("is whole"), Some(octets(2, 30_000)));
        assert_eq!(read(&spool, 60).await.expect("is whole"), Some(octets(60, 20_000)));
        assert!(read(&spool, 1).await.expect("reads").is_none());
    });
}

#[test]
fn below_the_floor_nothing_is_taken_and_everything_else_goes_on() {
    let (world, disk) = (World::new(), Arc::new(Faulty::default()));
    let options = SpoolOptions { free_space_floor: 1000, ..options() };
    run(async {
        let disk = Box::new(super::world::OnFaulty(disk.clone()));
        disk.0.free.store(1000, SeqCst);
        let faulty = disk.0.clone();
        let (spool, _) =
            Spool::open_on(&world.path(), options.clone(), at(0), disk).expect("opens");
        commit(&spool, 1, 10).await.expect("there is room");
        spool.close().await;
        faulty.free.store(999, SeqCst);
        let disk = Box::new(super::world::OnFaulty(faulty));
        let (spool, _) = Spool::open_on(&world.path(), options, at(0), disk).expect("opens");
        for length in [10, 10_000_000] {
            let mut body = spool.body(id(2));
            let taken = match body.append(octets(2, length)).await {
                Ok(()) => spool.commit(message(2), body).await,
                Err(error) => Err(error),
            };
            assert!(matches!(taken, Err(SpoolError::Full { .. })), "{taken:?}");
        }
        assert!(matches!(spool.is_writable(), Err(SpoolError::Full { .. })));
        assert_eq!(spool.lease(vec![id(1)]).await.expect("goes on"), [id(1)]);
        let done = vec![0, 1].into_iter().map(|place| Attempt {
            place,
            outcome: Outcome::Delivered(After::Forget),
            reply: None,
        });
        assert_eq!(spool.record(id(1), done.collect(), at(0)).await.expect("goes on"), None);
    });
}

#[test]
fn a_body_that_somebody_took_makes_a_dead_letter() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=4 {
            commit(&spool, number, 100_000).await.expect("is taken");
        }
        spool.close().await;
    });
    let path = |number| world.path().join("bodies").join(id(number).to_string());
    fs::remove_file(path(1)).expect("is there");
    fs::OpenOptions::new()
        .write(true)
        .open(path(2))
        .expect("opens")
        .set_len(99_999)
        .expect("is cut");
    flip(&path(3), 50_000);
    fs::write(path(9), "not acknowledged").expect("is written");
    fs::write(world.path().join("bodies/README"), "not ours").expect("is written");

    let (spool, recovery) = world.open();
    assert_eq!(recovery.bodies_lost, [id(1), id(2)]);
    assert_eq!((recovery.orphans, recovery.strange_files, recovery.messages), (1, 1, 4));
    run(async {
        let dead = Filter { standing: Some(Standing::Dead), ..Filter::default() };
        let page = spool.list(dead, None, 10).await.expect("reads");
        assert_eq!(page.messages.iter().map(|it| it.id).collect::<Vec<_>>(), [id(1), id(2)]);
        // What was changed in place is noticed by whoever reads it.
        let error = read(&spool, 3).await.expect_err("is damaged");
        assert!(matches!(error, SpoolError::BodyDamaged { id: of, .. } if of == id(3)), "{error}");
        fs::remove_file(path(4)).expect("is there");
        read(&spool, 4).await.expect_err("is gone");
        spool.close().await;
    });
    let (_, again) = world.open();
    assert_eq!(again.bodies_lost, [id(4)], "a dead letter is named once");
}

fn flip(path: &std::path::Path, at: u64) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut octet = [0];
    file.seek(SeekFrom::Start(at)).expect("is long enough");
    file.read_exact(&mut octet).expect("reads");
    file.seek(SeekFrom::Start(at)).expect("is long enough");
    file.write_all(&[octet[0] ^ 0x10]).expect("writes");
}

#[test]
fn a_damaged_or_foreign_database_is_left_as_it_is() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=20 {
            commit(&spool, number, 10_000).await.expect("is taken");
        }
        spool.close().await;
    });
    let database = world.path().join("spool.db");
    let sound = fs::read(&database).expect("is there");
    let open = || Spool::open(&world.path(), options(), at(0)).err();
    // A page in the middle of a tree.
    let mut damaged = sound.clone();
    damaged[4096..8192].fill(0xff);
    fs::write(&database, &damaged).expect("is written");
    let error = open().expect("is damaged");
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&database).expect("is there"), damaged);
    // The head.
    damaged = sound.clone();
    damaged[..16].fill(b'x');
    fs::write(&database, &damaged).expect("is written");
    let error = open().expect("is no database");
    assert!(matches!(error, SpoolError::NotSpool(_)), "{error}");
    assert_eq!(fs::read(&database).expect("is there"), damaged);
    // A later version, and another program's.
    for (pragma, is_expected) in [
        (
            "PRAGMA user_version = 99",
            (|error| matches!(error, SpoolError::Newer { version: 99, .. }))
                as fn(&SpoolError) -> bool,
        ),
        ("PRAGMA application_id = 7", |error| matches!(error, SpoolError::NotSpool(_))),
    ] {
        fs::write(&database, &sound).expect("is written");
        rusqlite::Connection::open(&database)
            .expect("opens")
            .execute_batch(pragma)
            .expect("is set");
        let error = open().expect("is not ours");
        assert!(is_expected(&error), "{error}");
    }
    fs::write(&database, &sound).expect("is written");
    let (_, recovery) = world.open();
    assert_eq!(recovery.messages, 20);
}

/// Who moves a damaged database away, or loses it, must not lose the bodies with it.
#[test]
fn bodies_without_their_database_are_left_where_they_are() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 100_000).await.expect("is taken");
        spool.close().await;
    });
    let (database, kept) = (world.path().join("spool.db"), world.path().join("kept"));
    fs::rename(&database, &kept).expect("is there");
    for _ in 0..2 {
        let error = Spool::open(&world.path(), options(), at(0)).err().expect("there is mail");
        assert!(matches!(error, SpoolError::NoDatabase(_)), "{error}");
        assert_eq!(world.files(), [id(1).to_string()]);
    }
    fs::rename(&kept, &database).expect("is there");
    run(async {
        let (spool, recovery) = world.open();
        assert_eq!((recovery.messages, recovery.orphans, recovery.latest), (1, 0, Some(id(1))));
        assert_eq!(read(&spool, 1).await.expect("is whole"), Some(octets(1, 100_000)));
        spool.close().await;
    });
}

/// What was committed last is in the log alone.
#[test]
fn a_log_without_its_database_is_left_where_it_is() {
    let world = World::new();
    let (database, kept) = (world.path().join("spool.db"), world.path().join("kept"));
    let log = world.path().join("spool.db-wal");
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 100).await.expect("is taken");
        let (rows, newest) = (fs::read(&database), fs::read(&log));
        spool.close().await;
        // As a process that was killed leaves them.
        fs::write(&kept, rows.expect("is there")).expect("is written");
        fs::write(&log, newest.expect("is there")).expect("is written");
    });
    fs::remove_file(&database).expect("is there");
    let error = Spool::open(&world.path(), options(), at(0)).err().expect("there is mail");
    assert!(matches!(error, SpoolError::NoDatabase(_)), "{error}");
    fs::rename(&kept, &database).expect("is there");
    let (_, recovery) = world.open();
    assert_eq!(recovery.messages, 1);
}

#[test]
fn a_directory_that_is_not_ours_is_told() {
    let world = World::new();
    let path = world.path();
    fs::write(&path, "a file").expect("is written");
    let error = Spool::open(&path, options(), at(0)).err().expect("is a file");
    assert!(matches!(error, SpoolError::Io { .. }), "{error}");
    fs::remove_file(&path).expect("is there");
    drop(world.open());
    let mode = |path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(path.clone()), mode(path.join("spool.db"))), (0o700, 0o600));
    assert_eq!(mode(path.join("bodies")), 0o700);
}

/// A message is not committed whose caller has gone before its batch began; anything else is done.
#[test]
fn who_has_gone_gets_no_message_committed() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 10).await.expect("is taken");
        let text = body(&spool, 2, 10).await;
        while_blocked(&spool, async {
            let both =
                async { tokio::join!(spool.commit(message(2), text), spool.hold(vec![id(1)])) };
            assert!(is_pending(pin!(both)).await, "and goes");
        })
        .await;
        assert_eq!(spool.lease(vec![id(1), id(2)]).await.expect("writes"), []);
        assert!(spool.show(id(2)).await.expect("reads").is_none());
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!(shown.standing, Standing::Held);
    });
}

/// What needs room is refused, what makes room is done, in one and the same batch.
#[test]
fn a_removal_is_not_refused_for_a_message_beside_it() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 60_000).await.expect("is taken");
        let pages = spool.write(Pragma("PRAGMA page_count".to_owned())).await.expect("is asked");
        let most = format!("PRAGMA max_page_count = {}", pages + 5);
        spool.write(Pragma(most)).await.expect("is set");
        let large = commit(&spool, 2, 60_000);
        let mut both = Box::pin(async { tokio::join!(large, spool.remove(vec![id(1)])) });
        while_blocked(&spool, async { assert!(is_pending(both.as_mut()).await) }).await;
        let (large, removed) = both.await;
        assert!(matches!(large, Err(SpoolError::Full { .. })), "{large:?}");
        assert_eq!(removed.expect("makes room"), [id(1)]);
        commit(&spool, 3, 60_000).await.expect("there is room again");
    });
}

/// Somebody looks at the database with another program, and forgets to end a transaction.
#[test]
fn a_lock_from_outside_is_told_and_gone_on_from() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        spool.write(Pragma("PRAGMA busy_timeout = 10".to_owned())).await.expect("is set");
        let other = rusqlite::Connection::open(world.path().join("spool.db")).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("begins");
        let busy = commit(&spool, 1, 10).await.expect_err("waits for the other");
        assert!(matches!(busy, SpoolError::Busy(_)), "{busy}");
        other.execute_batch("ROLLBACK").expect("ends");
        commit(&spool, 1, 10).await.expect("is taken");
    });
}

#[test]
fn a_second_message_of_an_id_leaves_no_file() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 10).await.expect("is taken");
        let twice = commit(&spool, 1, 100_000).await.expect_err("is there");
        assert!(matches!(twice, SpoolError::Exists(_)), "{twice}");
        world.wait_for_files(&[]).await;
    });
}
