//! A spool on a disk that is filled to the brim, for real.
//!
//! `scripts/full-disk` gives this a small file system of its own (tmpfs): the directory is the argument. Messages
//! are committed until there is no room, first down to the floor that the spool keeps free, then, when
//! somebody else has taken that as well, down to the last octet. Whatever is told must be true: refused
//! is refused, with the reason; acknowledged is there; removed is gone; and where there is room again
//! it goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gatepost_spool::{
    After, Attempt, Entrance, Envelope, Message, Mode, Origin, Outcome, QueueId, Recipient, Spool,
    SpoolError, SpoolOptions, Standing,
};

/// A larger file system is not filled: it may be one that somebody needs.
const DISK_OCTETS_MAX: u64 = 64 << 20;
/// What the spool keeps free in the first part.
const FLOOR: u64 = 4 << 20;
/// A row and a file.
const LENGTHS: [usize; 2] = [8_000, 100_000];
/// How long the spool believes how much is free, and a little more.
const BELIEVED: Duration = Duration::from_millis(1100);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let directory: PathBuf = std::env::args().nth(1).expect("a directory").into();
    let disk = rustix::fs::statvfs(&directory).expect("is there");
    let octets = disk.f_blocks * disk.f_frsize;
    assert!(octets <= DISK_OCTETS_MAX, "{octets} octets are no small disk");
    let path = directory.join("spool");

    println!("--- with a floor of {FLOOR} octets");
    let [others, ballast, reserve] =
        ["others", "ballast", "reserve"].map(|name| directory.join(name));
    std::fs::write(&others, vec![b'o'; 2 * FLOOR as usize]).expect("there is room");
    let mut world = World::open(&path, FLOOR, BTreeMap::new()).await;
    world.fill().await;
    assert!(matches!(world.spool.is_writable(), Err(SpoolError::Full { .. })), "says so");
    take_rest(&ballast);
    world.is_refused().await;
    // The log has its room already, which is what the floor is for.
    let removed = world.deliver_some().await;
    assert_eq!(removed, 20, "the queue is emptied, though nothing is free");
    for path in [&ballast, &others] {
        std::fs::remove_file(path).expect("is there");
    }
    tokio::time::sleep(BELIEVED).await;
    assert!(world.fill().await > 100, "goes on");
    world.spool.close().await;

    // What the floor is for: the log finds no room, and nothing can be removed before somebody makes some.
    println!("--- without a floor");
    for (path, octets) in [(&others, 1 << 20), (&reserve, 4 << 20)] {
        std::fs::write(path, vec![b'o'; octets]).expect("there is room");
    }
    let mut world = World::open(&path, 0, world.kept).await;
    world.fill().await;
    take_rest(&ballast);
    world.is_refused().await;
    let removed = world.deliver_some().await;
    println!("{removed} of 20 removals found room in the log");
    // Everything that was acknowledged can be read, and the next opening finds it.
    world.examine().await;
    for path in [&ballast, &others] {
        std::fs::remove_file(path).expect("is there");
    }
    assert_eq!(world.deliver_some().await, 20, "there is room again");
    assert!(world.fill().await > 0, "goes on");
    world.spool.close().await;

    // An opening has something to write, too: without room it is refused, and loses nothing.
    let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
    let refused = Spool::open(&path, options, SystemTime::now()).err();
    assert!(matches!(refused, Some(SpoolError::Full { .. })), "{refused:?}");
    std::fs::remove_file(&reserve).expect("is there");
    let world = World::open(&path, 0, world.kept).await;
    world.spool.close().await;
    println!("nothing that was acknowledged is lost: {} messages", world.kept.len());
}

/// A spool, and what it has acknowledged.
struct World {
    spool: Spool,
    kept: BTreeMap<u64, usize>,
    next: u64,
}

impl World {
    async fn open(path: &Path, free_space_floor: u64, kept: BTreeMap<u64, usize>) -> Self {
        let options = SpoolOptions { free_space_floor, ..SpoolOptions::default() };
        let (spool, recovery) = Spool::open(path, options, SystemTime::now()).expect("opens");
        assert_eq!((recovery.messages, recovery.bodies_lost.len()), (kept.len() as u64, 0));
        let next = kept.last_key_value().map_or(1, |(last, _)| last + 1000);
        let world = Self { spool, kept, next };
        world.examine().await;
        world
    }

    /// Commits until no message is taken, of whatever length: each was refused since the last one that was
    /// taken. SQLite may free some of its log meanwhile, so a length that had no room may find some again.
    async fn fill(&mut self) -> usize {
        let before = self.kept.len();
        let mut refused = 0;
        for length in LENGTHS.into_iter().cycle() {
            match self.commit(length).await {
                Ok(()) => refused = 0,
                Err(SpoolError::Full { .. }) => refused += 1,
                Err(other) => panic!("full, and not {other:?}"),
            }
            if refused > LENGTHS.len() {
                break;
            }
        }
        println!("{} messages taken, {} in the spool", self.kept.len() - before, self.kept.len());
        self.kept.len() - before
    }

    async fn is_refused(&mut self) {
        for length in LENGTHS {
            let refused = self.commit(length).await;
            assert!(matches!(refused, Err(SpoolError::Full { .. })), "{refused:?}");
        }
    }

    async fn commit(&mut self, length: usize) -> Result<(), SpoolError> {
        self.next += 1;
        let message = message(self.next);
        let mut body = self.spool.body(message.envelope.id);
        body.append(octets(self.next, length)).await?;
        match self.spool.commit(message, body).await {
            Ok(_) => {
                self.kept.insert(self.next, length);
                Ok(())
            }
            Err(error @ SpoolError::Full { .. }) => Err(error),
            Err(error) => panic!("a full disk is no reason to say this: {error}"),
        }
    }

    /// Records the delivery of some messages. Answers how many were removed.
    async fn deliver_some(&mut self) -> usize {
        let some: Vec<u64> = self.kept.keys().copied().step_by(3).take(20).collect();
        let mut removed = 0;
        for number in some {
            match self.deliver(number).await {
                Ok(stands) => {
                    assert_eq!(stands, None);
                    self.kept.remove(&number);
                    removed += 1;
                }
                Err(SpoolError::Full { .. }) => {}
                Err(error) => panic!("a full disk is no reason to say this: {error}"),
            }
        }
        removed
    }

    async fn deliver(&self, number: u64) -> Result<Option<Standing>, SpoolError> {
        // Those of before the last opening are leased no more.
        self.spool.lease(vec![id(number)]).await?;
        let outcome = Outcome::Delivered(After::Forget);
        let attempt = Attempt { place: 0, outcome, reply: None };
        self.spool.record(id(number), vec![attempt], SystemTime::now()).await
    }

    /// Everything that was acknowledged is there and whole, and nothing else is.
    async fn examine(&self) {
        let stats = self.spool.stats(SystemTime::now()).await.expect("reads");
        assert_eq!(stats.messages, self.kept.len() as u64);
        for (&number, &length) in &self.kept {
            let mut reader =
                self.spool.read_body(id(number)).await.expect("reads").expect("is there");
            let mut all = Vec::new();
            while let Some(octets) = reader.next().await.expect("is whole") {
                all.extend_from_slice(&octets);
            }
            assert_eq!(all, octets(number, length), "{number}");
        }
    }
}

/// Writes a file until nothing is free.
fn take_rest(path: &Path) {
    let mut file = File::create(path).expect("is made");
    for length in [1 << 16, 1 << 12, 1] {
        let octets = vec![b'b'; length];
        let full = loop {
            if let Err(error) = file.write_all(&octets) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    }
}

fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

fn octets(number: u64, length: usize) -> Bytes {
    (0..length as u64).map(|place| (place * 31 + number * 7 + place / 251) as u8).collect()
}

fn message(number: u64) -> Message {
    let now = SystemTime::now();
    Message {
        envelope: Envelope {
            id: id(number),
            received_at: now,
            expires_at: now + Duration::from_hours(24),
            reverse_path: b""[..].into(),
            sender: b"noreply@example.com"[..].into(),
            dsn: b""[..].into(),
            body: None,
            smtputf8: false,
            mode: Mode::Spool,
            upstream: "google".into(),
            origin: Origin {
                session_id: "06c8k2z0000".into(),
                listener: "smtp".into(),
                entry: "fleet".into(),
                credential: None,
                generation: "41-abcdef".into(),
                client: [10, 20, 0, 7].into(),
                helo: None,
                tls: None,
            },
        },
        recipients: vec![Recipient { path: b"a@example.net"[..].into(), dsn: Box::default() }],
        entrance: Entrance::Leased,
        about: None,
    }
}
