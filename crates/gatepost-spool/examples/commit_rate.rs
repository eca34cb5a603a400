//! What a message costs: how many of 4 KiB a second are committed, or committed and recorded as
//! delivered, how many flushes that takes, and how much of a processor.
//!
//! `cargo run --release -p gatepost-spool --example commit_rate [directory [octets [committers]]]`: the
//! directory decides which disk is measured. Each committer commits its next message when the last one is
//! acknowledged. Messages that are only committed stay in the spool. Those that are delivered are
//! committed leased, as the hand-over does it in mode `spool`, and others record that, as the queue
//! runner does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use gatepost_spool::{
    After, Attempt, Entrance, Envelope, Message, Mode, Origin, Outcome, QueueId, Recipient, Spool,
    SpoolOptions,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

/// How long each number of committers is measured.
const SPAN: Duration = Duration::from_secs(5);
/// Deliveries that one committer has in flight.
const IN_FLIGHT: usize = 8;

/// What is done with each message.
#[derive(Clone, Copy, Debug)]
enum Way {
    Committed,
    Delivered,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let octets = arguments.next().and_then(|octets| octets.parse().ok()).unwrap_or(4096);
    let committers = arguments.next().and_then(|committers| committers.parse().ok());
    println!("{octets} octets each, in {}", directory.display());
    println!(
        "{:>9} {:>10} {:>10} {:>14} {:>11} {:>10} {:>10}",
        "way", "committers", "messages/s", "messages/flush", "CPU/message", "p50", "p99"
    );
    for way in [Way::Committed, Way::Delivered] {
        for committers in committers.map_or(vec![1, 16, 64, 256], |committers| vec![committers]) {
            measure(&directory, octets, way, committers).await;
        }
    }
}

async fn measure(directory: &Path, octets: usize, way: Way, committers: usize) {
    let path = directory.join(format!("spool-rate-{}-{committers}", std::process::id()));
    let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
    let (spool, _) = Spool::open(&path, options, SystemTime::now()).expect("opens");
    let next = Arc::new(AtomicU64::new(1));
    let (begin, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..committers)
        .map(|_| {
            let (spool, next) = (spool.clone(), next.clone());
            let body = Bytes::from(vec![b'x'; octets]);
            tokio::spawn(async move {
                let (mut took, mut deliveries) = (Vec::new(), JoinSet::new());
                while begin.elapsed() < SPAN {
                    let begin = Instant::now();
                    let id = commit(&spool, next.fetch_add(1, Relaxed), body.clone(), way).await;
                    took.push(begin.elapsed());
                    if matches!(way, Way::Delivered) {
                        deliveries.spawn(record(spool.clone(), id));
                        if deliveries.len() > IN_FLIGHT {
                            deliveries.join_next().await.expect("is one").expect("ends");
                        }
                    }
                }
                deliveries.join_all().await;
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("ends"));
    }
    let (elapsed, cpu) = (begin.elapsed().as_secs_f64(), cpu_time().saturating_sub(cpu));
    took.sort_unstable();
    let work = spool.stats(SystemTime::now()).await.expect("reads").work;
    let flushes = work.commits + work.body_flushes + work.directory_flushes;
    #[expect(clippy::cast_precision_loss)]
    let (messages, flushes) = (took.len() as f64, flushes as f64);
    println!(
        "{:>9} {committers:>10} {:>10.0} {:>14.2} {:>11.1?} {:>10.2?} {:>10.2?}",
        format!("{way:?}").to_lowercase(),
        messages / elapsed,
        messages / flushes,
        cpu.div_f64(messages),
        took[took.len() / 2],
        took[took.len() * 99 / 100],
    );
    spool.close().await;
    std::fs::remove_dir_all(&path).expect("is ours");
}

async fn commit(spool: &Spool, number: u64, body: Bytes, way: Way) -> QueueId {
    let now = SystemTime::now();
    let entrance = match way {
        Way::Committed => Entrance::Due(now),
        Way::Delivered => Entrance::Leased,
    };
    let message = message(number, now, entrance);
    let mut writer = spool.body(message.envelope.id);
    writer.append(body).await.expect("is taken");
    spool.commit(message, writer).await.expect("is taken")
}

async fn record(spool: Spool, id: QueueId) {
    let outcome = Outcome::Delivered(After::Forget);
    let attempt = Attempt { place: 0, outcome, reply: None };
    let stands = spool.record(id, vec![attempt], SystemTime::now()).await.expect("is recorded");
    assert!(stands.is_none(), "nothing is left of it");
}

/// What this process has had of the processors.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("is after its beginning")
}

fn message(number: u64, now: SystemTime, entrance: Entrance) -> Message {
    Message {
        envelope: Envelope {
            id: QueueId::new(number).expect("is small"),
            received_at: now,
            expires_at: now + Duration::from_hours(5 * 24),
            reverse_path: b"noreply@example.com"[..].into(),
            sender: b"noreply@example.com"[..].into(),
            dsn: b""[..].into(),
            body: None,
            smtputf8: false,
            mode: Mode::Spool,
            upstream: "google".into(),
            origin: Origin {
                session_id: "06c8k2z0000".into(),
                listener: "smtp".into(),
                entry: format!("fleet-{}", number % 20).into(),
                credential: None,
                generation: "41-abcdef".into(),
                client: [10, 20, 0, 7].into(),
                helo: Some("app-7.example.com".into()),
                tls: None,
            },
        },
        recipients: vec![Recipient {
            path: b"someone@example.net"[..].into(),
            dsn: Box::default(),
        }],
        entrance,
        about: None,
    }
}
