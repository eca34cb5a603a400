//! What a sink does wrong on purpose, as a client that speaks octets sees it.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_loadtest::{SinkOptions, SinkTotals, Troubles};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

use support::{RunningSink, in_time};

/// What a client says, one after the other.
const LINES: [&str; 5] =
    ["EHLO c.test\r\n", "MAIL FROM:<a@b.test>\r\n", "RCPT TO:<x@y.test>\r\n", "DATA\r\n", ".\r\n"];

fn faulty(faults: &[&str]) -> SinkOptions {
    let faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let troubles = Troubles::new(vec![], faults, 1).unwrap();
    SinkOptions { troubles, ..SinkOptions::default() }
}

/// What came in place of a reply.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Fin,
    Nothing,
    Octets(Vec<u8>),
    Reset,
}

struct Client(TcpStream);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// One write of the sink, or what else it does within `patience`.
    async fn hear(&mut self, patience: Duration) -> Heard {
        let mut input = vec![0; 4096];
        match time::timeout(patience, self.0.read(&mut input)).await {
            Err(_) => Heard::Nothing,
            Ok(Ok(0)) => Heard::Fin,
            Ok(Ok(octets)) => Heard::Octets(input[..octets].to_vec()),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => Heard::Reset,
            Ok(Err(error)) => panic!("{error}"),
        }
    }

    /// A reply's code.
    async fn code(&mut self) -> String {
        match self.hear(Duration::from_secs(10)).await {
            Heard::Octets(reply) => String::from_utf8_lossy(&reply[..3]).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).await.unwrap();
    }
}

/// The fault is at the reply to the line of this number, 0 for the greeting.
async fn reach(address: SocketAddr, place: usize) -> Client {
    let mut client = Client::connect(address).await;
    for line in &LINES[..place] {
        let code = client.code().await;
        assert!(code.starts_with(['2', '3']), "{code} before {line}");
        client.say(line).await;
    }
    client
}

#[tokio::test]
async fn each_kind_is_what_it_says_at_each_phase() {
    in_time(async {
        let phases = ["connect", "ehlo", "mail", "rcpt", "data", "dot"];
        for (place, phase) in phases.into_iter().enumerate() {
            for kind in ["451", "close", "reset", "silence", "garbage"] {
                let sink = RunningSink::start(faulty(&[&format!("{phase}={kind}@100%")]));
                let mut client = reach(sink.address, place).await;
                let patience = if kind == "silence" { 50 } else { 10_000 };
                let heard = client.hear(Duration::from_millis(patience)).await;
                match (kind, &heard) {
                    ("451", Heard::Octets(reply)) => assert!(reply.starts_with(b"451 4.3.0 ")),
                    ("garbage", Heard::Octets(reply)) => {
                        assert!(!reply[0].is_ascii_digit() && reply.ends_with(b"\r\n"));
                    }
                    ("close", Heard::Fin)
                    | ("reset", Heard::Reset)
                    | ("silence", Heard::Nothing) => {}
                    _ => panic!("{phase}={kind}: {heard:?}"),
                }
                let progress = sink.progress.clone();
                let counters = sink.stop().await;
                assert_eq!(counters.messages.load(Ordering::Relaxed), 0, "{phase}={kind}");
                assert_eq!(counters.faulted.load(Ordering::Relaxed), 1);
                assert_eq!(counters.refused.load(Ordering::Relaxed), 0, "faults count apart");
                let row = &progress.totals().faults[0];
                assert_eq!((row.phase.as_str(), row.kind.as_str()), (phase, kind));
                assert_eq!((row.played, row.replies), (1, 1));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn replies_before_a_fault_arrive_and_input_behind_it_breaks_nothing() {
    in_time(async {
        let sink = RunningSink::start(faulty(&["rcpt=close@100%"]));
        let mut client = reach(sink.address, 1).await;
        assert_eq!(client.code().await, "250");
        // What nobody reads any more must not turn the FIN into a RST.
        let behind = "x".repeat(100_000);
        client.say(&format!("{}{}{behind}", LINES[1], LINES[2])).await;
        assert_eq!(client.code().await, "250");
        assert_eq!(client.hear(Duration::from_secs(10)).await, Heard::Fin);
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_goes_on_after_a_refusal_and_ends_after_421() {
    in_time(async {
        let sink = RunningSink::start(faulty(&["data=452@100%"]));
        let mut client = reach(sink.address, 4).await;
        assert_eq!(client.code().await, "452");
        client.say(LINES[1]).await;
        assert_eq!(client.code().await, "250", "a new transaction");
        sink.stop().await;
        for (fault, place) in [("mail=421@100%", 2), ("connect=554@100%", 0)] {
            let sink = RunningSink::start(faulty(&[fault]));
            let mut client = reach(sink.address, place).await;
            assert_eq!(client.code().await, fault[fault.len() - 8..][..3]);
            assert_eq!(client.hear(Duration::from_secs(10)).await, Heard::Fin);
            sink.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn silence_ends_with_the_patience_of_the_sink() {
    in_time(async {
        let idle_timeout = Duration::from_millis(50);
        let options = SinkOptions { idle_timeout, ..faulty(&["ehlo=silence@100%"]) };
        let sink = RunningSink::start(options);
        let mut client = reach(sink.address, 1).await;
        // Talking on does not make it longer.
        client.say("NOOP\r\n").await;
        let heard = client.hear(Duration::from_secs(10)).await;
        assert!(matches!(heard, Heard::Fin), "{heard:?}");
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_delay_is_waited_for() {
    in_time(async {
        let delays = vec!["dot=200ms".parse().unwrap()];
        let troubles = Troubles::new(delays, vec![], 0).unwrap();
        let sink = RunningSink::start(SinkOptions { troubles, ..SinkOptions::default() });
        let started = time::Instant::now();
        let mut client = reach(sink.address, 5).await;
        assert_eq!(client.code().await, "250");
        assert!(started.elapsed() >= Duration::from_millis(200));
        assert_eq!(sink.stop().await.messages.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn the_same_seed_fails_the_same_messages() {
    in_time(async {
        let (first, second) = (percentages(7, 1).await, percentages(7, 1).await);
        assert_eq!(first, second);
        // The same replies on four connections at once: others are hit, but no more and no fewer.
        assert_eq!(percentages(7, 4).await.1, first.1);
        assert_ne!(percentages(8, 1).await.0, first.0);
        assert!(first.1.iter().all(|&(played, replies)| played > 0 && played < replies));
    })
    .await;
}

/// Sends 400 recipients over some connections. Returns all codes in the order of each connection, and
/// of each fault how often it was played and out of how many replies.
async fn percentages(seed: u64, connections: usize) -> (Vec<String>, Vec<(u64, u64)>) {
    let faults = ["rcpt=451@10%", "rcpt=550@2.5%"].map(|fault| fault.parse().unwrap());
    let troubles = Troubles::new(vec![], faults.into(), seed).unwrap();
    let sink = RunningSink::start(SinkOptions { troubles, ..SinkOptions::default() });
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(send_recipients(sink.address, 400 / connections)))
        .collect();
    let mut codes = Vec::new();
    for client in clients {
        codes.extend(client.await.unwrap());
    }
    let SinkTotals { faults, faulted, .. } = sink.progress.totals();
    let counts: Vec<_> = faults.iter().map(|row| (row.played, row.replies)).collect();
    let refused = codes.iter().filter(|code| *code != "250").count() as u64;
    assert_eq!((refused, faulted), (counts.iter().map(|(played, _)| played).sum(), refused));
    sink.stop().await;
    (codes, counts)
}

async fn send_recipients(address: SocketAddr, count: usize) -> Vec<String> {
    let mut client = reach(address, 2).await;
    assert_eq!(client.code().await, "250");
    let mut codes = Vec::new();
    for _ in 0..count {
        client.say(LINES[2]).await;
        codes.push(client.code().await);
    }
    codes
}
