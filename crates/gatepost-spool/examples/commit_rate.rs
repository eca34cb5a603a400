//! How many messages of 4 KiB a second are committed, and how many flushes that takes.
//!
//! `cargo run --release -p gatepost-spool --example commit_rate [directory [octets]]`: the directory
//! decides which disk is measured. Each committer commits its next message when the last one is
//! acknowledged; the messages stay in the spool.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use gatepost_spool::{
    Entrance, Envelope, Message, Mode, Origin, QueueId, Recipient, Spool, SpoolOptions,
};

/// How long each number of committers is measured.
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let octets = arguments.next().and_then(|octets| octets.parse().ok()).unwrap_or(4096);
    println!("{octets} octets each, in {}", directory.display());
    println!(
        "{:>10} {:>12} {:>14} {:>12} {:>12}",
        "committers", "messages/s", "messages/flush", "p50", "p99"
    );
    for committers in [1, 8, 64, 256] {
        measure(&directory, octets, committers).await;
    }
}

async fn measure(directory: &std::path::Path, octets: usize, committers: usize) {
    let path = directory.join(format!("spool-rate-{}-{committers}", std::process::id()));
    let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
    let (spool, _) = Spool::open(&path, options, SystemTime::now()).expect("opens");
    let next = Arc::new(AtomicU64::new(1));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..committers)
        .map(|_| {
            let (spool, next) = (spool.clone(), next.clone());
            tokio::spawn(async move {
                let body = Bytes::from(vec![b'x'; octets]);
                let mut took = Vec::new();
                while begin.elapsed() < SPAN {
                    let message = message(next.fetch_add(1, Relaxed));
                    let begin = Instant::now();
                    let mut writer = spool.body(message.envelope.id);
                    writer.append(body.clone()).await.expect("is taken");
                    spool.commit(message, writer).await.expect("is taken");
                    took.push(begin.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("ends"));
    }
    let elapsed = begin.elapsed().as_secs_f64();
    took.sort_unstable();
    let work = spool.stats(SystemTime::now()).await.expect("reads").work;
    let flushes = work.commits + work.body_flushes + work.directory_flushes;
    #[expect(clippy::cast_precision_loss)]
    let (messages, flushes) = (took.len() as f64, flushes as f64);
    println!(
        "{committers:>10} {:>12.0} {:>14.2} {:>12.2?} {:>12.2?}",
        messages / elapsed,
        messages / flushes,
        took[took.len() / 2],
        took[took.len() * 99 / 100],
    );
    spool.close().await;
    std::fs::remove_dir_all(&path).expect("is ours");
}

fn message(number: u64) -> Message {
    let now = SystemTime::now();
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
        entrance: Entrance::Due(now),
        about: None,
    }
}
