//! What the tests of the spool share: a directory, messages, and a disk that fails when it is told to.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rusqlite::Transaction;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::operation::{Batch, Operation};
use crate::*;

/// A wall clock of the tests' own.
pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(super) fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

pub(super) fn options() -> SpoolOptions {
    SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() }
}

pub(super) fn recipient(path: &str) -> Recipient {
    Recipient { path: path.as_bytes().into(), dsn: Box::default() }
}

/// A message for two, due at once.
pub(super) fn message(number: u64) -> Message {
    Message {
        envelope: Envelope {
            id: id(number),
            received_at: at(number),
            expires_at: at(number + 1000),
            reverse_path: b"bounces@example.com"[..].into(),
            sender: b"\"a b\xff\"@example.com"[..].into(),
            dsn: b" RET=HDRS ENVID=x"[..].into(),
            body: Some(gatepost_smtp::command::Body::EightBitMime),
            smtputf8: true,
            mode: Mode::Hybrid,
            upstream: "google".into(),
            origin: Origin {
                session_id: "s1".into(),
                listener: "smtp".into(),
                entry: "billing".into(),
                credential: None,
                generation: "41-abcdef".into(),
                client: [10, 20, 0, 7].into(),
                helo: Some("app".into()),
                tls: Some("1.3".into()),
            },
        },
        recipients: vec![
            Recipient { path: b"a@example.net"[..].into(), dsn: b" NOTIFY=FAILURE"[..].into() },
            recipient("b@example.net"),
        ],
        entrance: Entrance::Due(at(0)),
        about: None,
    }
}

/// Octets that depend on the number.
pub(super) fn octets(number: u64, length: usize) -> Bytes {
    (0..length as u64).map(|place| (place * 31 + number * 7 + place / 256) as u8).collect()
}

/// A directory with a spool that can be opened again and again.
pub(super) struct World {
    pub(super) directory: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    pub(super) fn open(&self) -> (Spool, Recovery) {
        self.open_on(Arc::new(Faulty::default()))
    }

    pub(super) fn open_on(&self, disk: Arc<Faulty>) -> (Spool, Recovery) {
        Spool::open_on(&self.path(), options(), at(0), Box::new(OnFaulty(disk))).expect("opens")
    }

    /// Waits until these messages have files and no other: what is left of one is removed some time.
    pub(super) async fn wait_for_files(&self, numbers: &[u64]) {
        let names: Vec<_> = numbers.iter().map(|&number| id(number).to_string()).collect();
        while self.files() != names {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Names of the files of bodies.
    pub(super) fn files(&self) -> Vec<String> {
        let list = std::fs::read_dir(self.path().join("bodies")).expect("is there");
        let name = |file: io::Result<std::fs::DirEntry>| {
            file.expect("is there").file_name().into_string().expect("is plain")
        };
        let mut names: Vec<String> = list.map(name).collect();
        names.sort();
        names
    }
}

pub(super) fn run<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(Duration::from_mins(1), what).await.expect("ends") })
}

pub(super) async fn body(spool: &Spool, number: u64, length: usize) -> BodyWriter {
    let mut body = spool.body(id(number));
    for chunk in octets(number, length).chunks(100_000) {
        body.append(Bytes::copy_from_slice(chunk)).await.expect("is taken");
    }
    body
}

pub(super) async fn commit(
    spool: &Spool,
    number: u64,
    length: usize,
) -> Result<QueueId, SpoolError> {
    let body = body(spool, number, length).await;
    spool.commit(message(number), body).await
}

pub(super) async fn read(spool: &Spool, number: u64) -> Result<Option<Bytes>, SpoolError> {
    let Some(mut reader) = spool.read_body(id(number)).await? else { return Ok(None) };
    let mut all = Vec::new();
    while let Some(octets) = reader.next().await? {
        all.extend_from_slice(&octets);
    }
    Ok(Some(all.into()))
}

/// Keeps the writer busy: tells when it is, and until it is told.
struct Block {
    is_busy: mpsc::Sender<()>,
    told: mpsc::Receiver<()>,
}

impl Operation for Block {
    type Answer = ();

    fn apply(&mut self, _batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        self.is_busy.send(()).expect("somebody waits");
        self.told.recv().expect("is told");
        Ok(())
    }
}

/// Lets the writer wait while something is asked for: all of that is the next batch.
pub(super) async fn while_blocked(spool: &Spool, what: impl Future<Output = ()>) {
    let ((is_busy, busy), (go, told)) = (mpsc::channel(), mpsc::channel());
    let mut blocked = Box::pin(spool.write(Block { is_busy, told }));
    assert!(is_pending(blocked.as_mut()).await, "the writer waits");
    busy.recv().expect("the writer does nothing else");
    what.await;
    go.send(()).expect("somebody waits");
    blocked.await.expect("does nothing");
}

/// Looks once whether something is pending.
pub(super) async fn is_pending<T>(mut what: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|context| Poll::Ready(what.as_mut().poll(context).is_pending())).await
}

/// Calls that fail: the one after that many others. Below zero none does.
#[derive(Debug)]
pub(super) struct Faulty {
    pub(super) writes: AtomicI64,
    /// Octets that one write takes.
    pub(super) write_most: AtomicU64,
    pub(super) write_error: io::ErrorKind,
    pub(super) syncs: AtomicI64,
    pub(super) directory_syncs: AtomicI64,
    pub(super) commits: AtomicI64,
    /// What SQLite says of a commit that fails.
    pub(super) commit_error: i32,
    /// A commit that fails has happened all the same.
    pub(super) commit_happens: bool,
    pub(super) free: AtomicU64,
}

impl Default for Faulty {
    fn default() -> Self {
        Self {
            writes: AtomicI64::new(-1),
            write_most: AtomicU64::new(u64::MAX),
            write_error: io::ErrorKind::StorageFull,
            syncs: AtomicI64::new(-1),
            directory_syncs: AtomicI64::new(-1),
            commits: AtomicI64::new(-1),
            commit_error: rusqlite::ffi::SQLITE_IOERR_FSYNC,
            commit_happens: false,
            free: AtomicU64::new(u64::MAX),
        }
    }
}

/// Whether this is the call that fails.
fn fails(calls: &AtomicI64) -> bool {
    calls.fetch_sub(1, SeqCst) == 0
}

pub(super) struct OnFaulty(pub(super) Arc<Faulty>);

impl Disk for OnFaulty {
    fn write(&self, mut file: &File, octets: &[u8]) -> io::Result<usize> {
        if fails(&self.0.writes) {
            return Err(self.0.write_error.into());
        }
        let most = usize::try_from(self.0.write_most.load(SeqCst)).unwrap_or(usize::MAX);
        io::Write::write(&mut file, &octets[..octets.len().min(most)])
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if fails(&self.0.syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        file.sync_data()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        if fails(&self.0.directory_syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        File::open(path)?.sync_all()
    }

    fn free_octets(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.0.free.load(SeqCst))
    }

    fn commit(&self, transaction: Transaction<'_>) -> rusqlite::Result<()> {
        if !fails(&self.0.commits) {
            return transaction.commit();
        }
        if self.0.commit_happens {
            transaction.commit()?;
        }
        let error = rusqlite::ffi::Error::new(self.0.commit_error);
        Err(rusqlite::Error::SqliteFailure(error, None))
    }
}
