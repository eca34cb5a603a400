//! The kinds of load: open loop beside closed loop, fleets, idle connections, sizes and chunks.

mod support;

use std::collections::{BTreeSet, HashSet};
use std::future;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_loadtest::figures::Figures;
use gatepost_loadtest::{
    Arrivals, ConnectionUse, Framing, Pace, Pipelining, Rate, SinkOptions, Source, SourceAddresses,
    SourceOptions, Summary,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, RwLock, mpsc};
use tokio::time;

use support::{RunningSink, in_time, loopback, source_options};

fn open_loop(rate: f64) -> Pace {
    Pace::Clock {
        rate: Rate::per_second(rate).unwrap(),
        arrivals: Arrivals::Even,
        backlog: NonZeroUsize::new(100_000).unwrap(),
    }
}

async fn run(options: SourceOptions) -> Summary {
    Source::new(options).unwrap().run(future::pending()).await
}

/// A server that hands everything on to a sink, and nothing back while the gate is shut.
async fn start_gate(sink: SocketAddr) -> (SocketAddr, Arc<RwLock<()>>) {
    let gate = Arc::new(RwLock::new(()));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let passage = Arc::clone(&gate);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(sink).await.unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (mut client_read, mut client_write) = client.into_split();
            let (mut server_read, mut server_write) = server.into_split();
            tokio::spawn(async move { copy(&mut client_read, &mut server_write).await });
            let gate = Arc::clone(&passage);
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(octets @ 1..) = server_read.read(&mut piece).await {
                    let _open = gate.read().await;
                    if client_write.write_all(&piece[..octets]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, gate)
}

/// Runs for two seconds against a server that says nothing for one of them.
async fn run_with_a_stall(pace: Pace) -> Summary {
    let sink = RunningSink::start(SinkOptions::default());
    let (address, gate) = start_gate(sink.address).await;
    let duration = Some(Duration::from_secs(2));
    let options =
        SourceOptions { pace, sessions: 1, messages: None, duration, ..source_options(address) };
    let stall = async {
        time::sleep(Duration::from_millis(500)).await;
        let _shut = gate.write().await;
        time::sleep(Duration::from_secs(1)).await;
    };
    let (summary, ()) = tokio::join!(run(options), stall);
    assert!(summary.all_accepted(), "{summary}");
    let counters = sink.stop().await;
    assert_eq!(counters.messages.load(Ordering::Relaxed), summary.messages.accepted);
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_shows_in_an_open_loop_and_not_in_a_closed_one() {
    in_time(async {
        let closed = run_with_a_stall(Pace::Answers).await;
        let latency = closed.latency_milliseconds.unwrap();
        assert!(latency.max >= 900.0, "{closed}");
        assert!(latency.p99 < 500.0, "one of many messages was slow: {closed}");
        assert_eq!((closed.feedback, closed.open_loop), ("closed", None));

        let open = run_with_a_stall(open_loop(100.0)).await;
        let latency = open.latency_milliseconds.unwrap();
        assert!(latency.p99 >= 800.0, "a hundred messages were due meanwhile: {open}");
        assert_eq!((open.feedback, open.messages.asked), ("open", 200));
        let schedule = open.open_loop.unwrap();
        assert!(schedule.behind_max_seconds >= 0.8, "{open}");
        assert!(schedule.backlog_max >= 50, "{open}");
        assert_eq!((schedule.scheduled, schedule.not_sent), (200, 0));
        let waiting = open.phases.iter().find(|phase| phase.phase == "waiting").unwrap();
        assert!(waiting.count == 200 && waiting.p99_us >= 500_000.0, "{open}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_backlog_cannot_hold_is_told_and_not_sent() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let (address, gate) = start_gate(sink.address).await;
        let pace = Pace::Clock {
            rate: Rate::per_second(10_000.0).unwrap(),
            arrivals: Arrivals::Poisson,
            backlog: NonZeroUsize::new(5).unwrap(),
        };
        let options =
            SourceOptions { pace, messages: Some(100), sessions: 2, ..source_options(address) };
        let shut = gate.write_owned().await;
        let source = Source::new(options).unwrap();
        let progress = source.progress();
        let running = tokio::spawn(source.run(future::pending()));
        // Two are under way, five wait, and the clock has gone on to the last one.
        while progress.snapshot().backlog != Some(5) {
            time::sleep(Duration::from_millis(1)).await;
        }
        time::sleep(Duration::from_millis(200)).await;
        drop(shut);
        let summary = running.await.unwrap();
        let schedule = summary.open_loop.unwrap();
        assert_eq!((schedule.scheduled, schedule.backlog_max), (100, 5));
        assert_eq!(summary.messages.accepted + schedule.not_sent, 100, "{summary}");
        assert_eq!(summary.messages.unfinished, schedule.not_sent);
        assert!(schedule.not_sent >= 50 && !summary.all_accepted(), "{summary}");
        assert!(summary.to_string().contains(" not sent"), "{summary}");
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn connections_end_after_their_messages() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let usage = ConnectionUse::PerMessages(NonZeroU32::new(7).unwrap());
        let options = SourceOptions {
            connection: usage,
            sessions: 1,
            messages: Some(50),
            ..source_options(sink.address)
        };
        let summary = run(options).await;
        assert!(summary.all_accepted(), "{summary}");
        assert_eq!(summary.connections, 8);
        assert_eq!(sink.stop().await.connections.load(Ordering::Relaxed), 8);
        let count = |name| summary.phases.iter().find(|phase| phase.phase == name).unwrap().count;
        assert_eq!((count("connect"), count("hello"), count("content")), (8, 8, 50));
        assert!(
            summary.phases.iter().all(|phase| phase.phase != "tls" && phase.phase != "waiting")
        );
        let message = summary.phases.last().unwrap();
        let parts: f64 = summary.phases.iter().rev().skip(1).map(sum).sum();
        assert!((parts - sum(message)).abs() < 0.02 * parts, "phases do not add up: {summary}");
    })
    .await;
}

#[expect(clippy::cast_precision_loss, reason = "fifty is not much")]
fn sum(phase: &gatepost_loadtest::PhaseLatency) -> f64 {
    phase.mean_us * phase.count as f64
}

#[tokio::test]
async fn idle_connections_stand_while_mail_flows() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let base = "127.0.0.20".parse().unwrap();
        let options = SourceOptions {
            idle: 100,
            source_addresses: Some(SourceAddresses::new(base, 2).unwrap()),
            ..source_options(sink.address)
        };
        let summary = run(options).await;
        assert!(summary.all_accepted(), "{summary}");
        let idle = summary.idle.as_ref().unwrap();
        assert_eq!((idle.asked, idle.opened, idle.at_beginning, idle.at_end), (100, 100, 100, 100));
        assert!(idle.accepts_per_second > 0.0 && idle.example.is_none());
        assert_eq!(summary.connections, 4, "of sessions alone");
        assert_eq!(sink.stop().await.connections.load(Ordering::Relaxed), 104);
    })
    .await;
}

#[tokio::test]
async fn idle_connections_alone_and_those_that_fall() {
    in_time(async {
        // The sink lets go of those who are silent, sooner than the run is over.
        let idle_timeout = Duration::from_millis(300);
        let sink = RunningSink::start(SinkOptions { idle_timeout, ..SinkOptions::default() });
        let options = SourceOptions {
            idle: 10,
            messages: Some(0),
            duration: Some(Duration::from_secs(1)),
            ..source_options(sink.address)
        };
        let summary = run(options).await;
        let idle = summary.idle.as_ref().unwrap();
        assert_eq!((idle.opened, idle.at_beginning, idle.at_end), (10, 10, 0), "{summary}");
        assert_eq!((summary.messages.asked, summary.connections), (0, 0));
        assert!(!summary.all_accepted() && summary.elapsed_seconds >= 1.0);
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn idle_connections_that_cannot_be_opened_say_why() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let address = sink.address;
        sink.stop().await;
        let options = SourceOptions {
            idle: 1000,
            messages: Some(0),
            duration: Some(Duration::from_millis(10)),
            ..source_options(address)
        };
        let summary = run(options).await;
        let idle = summary.idle.as_ref().unwrap();
        assert_eq!((idle.opened, idle.at_end), (0, 0));
        assert!(idle.example.as_ref().unwrap().starts_with("connect lost: "), "{summary}");
    })
    .await;
}

#[tokio::test]
async fn sizes_and_recipients_vary_and_numbers_do_not_repeat() {
    in_time(async {
        let (deliver, mut receiver) = mpsc::channel(300);
        let sink = RunningSink::start(SinkOptions { deliver: Some(deliver), ..Default::default() });
        let options = SourceOptions {
            sizes: "1k*80,4k*20".parse().unwrap(),
            recipients: "1-3".parse().unwrap(),
            pipelining: Pipelining::On,
            ..source_options(sink.address)
        };
        let summary = run(options).await;
        assert!(summary.all_accepted(), "{summary}");
        let (mut numbers, mut runs) = (BTreeSet::new(), HashSet::new());
        let (mut large, mut recipients) = (0, HashSet::new());
        for _ in 0..200 {
            let message = receiver.recv().await.unwrap();
            let text = String::from_utf8(message.content).unwrap();
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert!(numbers.insert(field("X-Loadtest-Number: ").to_owned()));
            runs.insert(field("X-Loadtest-Run: ").to_owned());
            large += u32::from(text.len() > 2000);
            recipients.insert(message.forward_paths.len());
        }
        assert_eq!(numbers.last().unwrap(), "00000000000000000199");
        assert_eq!((runs.len(), recipients), (1, HashSet::from([1, 2, 3])));
        assert!((20..70).contains(&large), "{large} of 200 are large");
        sink.stop().await;
    })
    .await;
}

/// A server with CHUNKING that keeps contents, and refuses the chunk that is longer than `most`.
async fn start_chunking(most: usize) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let contents = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = Arc::clone(&contents);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_chunks(stream, most, Arc::clone(&kept)));
        }
    });
    (address, contents)
}

async fn take_chunks(stream: TcpStream, most: usize, contents: Arc<Mutex<Vec<Vec<u8>>>>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufStream::new(stream);
    let (mut content, mut line) = (Vec::new(), String::new());
    let mut reply = "220 chunks";
    loop {
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "QUIT\r\n" {
            return;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        reply = match words[..] {
            ["EHLO", _] => "250-chunks\r\n250-PIPELINING\r\n250 CHUNKING",
            ["BDAT", octets, ref last @ ..] => {
                let mut chunk = vec![0; octets.parse().unwrap()];
                stream.read_exact(&mut chunk).await.unwrap();
                content.append(&mut chunk);
                if content.len() > most {
                    "552 5.3.4 Too much"
                } else {
                    if last == ["LAST"] {
                        contents.lock().await.push(std::mem::take(&mut content));
                    }
                    "250 OK"
                }
            }
            ["RSET"] => {
                content.clear();
                "250 OK"
            }
            ["DATA"] => "503 5.5.1 BDAT, please",
            _ => "250 OK",
        };
    }
}

#[tokio::test]
async fn chunks_carry_the_content_as_it_is() {
    in_time(async {
        let (address, contents) = start_chunking(usize::MAX).await;
        for (pipelining, chunk_octets) in
            [(Pipelining::Off, 1000), (Pipelining::Off, 1 << 20), (Pipelining::On, 64)]
        {
            let framing = Framing::Bdat { chunk_octets };
            let options = SourceOptions { pipelining, framing, ..source_options(address) };
            let summary = run(SourceOptions { sizes: 10_000.into(), ..options }).await;
            assert!(summary.all_accepted(), "{summary}");
            assert!(summary.phases.iter().all(|phase| phase.phase != "data"));
            let contents = std::mem::take(&mut *contents.lock().await);
            assert_eq!(contents.len(), 200);
            for content in contents {
                let text = String::from_utf8(content).unwrap();
                assert_eq!(text.len(), 10_000);
                assert!(text.contains("\r\n./0") && !text.contains("\r\n.."), "no transparency");
                assert!(text.ends_with("\r\n") && !text.ends_with("\r\n.\r\n"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_chunk_refuses_the_message_and_the_session_goes_on() {
    in_time(async {
        let (address, contents) = start_chunking(5000).await;
        for pipelining in [Pipelining::Off, Pipelining::On] {
            let framing = Framing::Bdat { chunk_octets: 1000 };
            let sizes = "4k*50,8k*50".parse().unwrap();
            let options = SourceOptions { pipelining, framing, sizes, ..source_options(address) };
            let summary = run(options).await;
            let kept = std::mem::take(&mut *contents.lock().await).len() as u64;
            let messages = summary.messages;
            assert_eq!((messages.accepted, messages.refused), (kept, 200 - kept), "{summary}");
            assert!((50..150).contains(&kept), "{summary}");
            assert_eq!((summary.refusals.len(), summary.connections), (1, 4), "{summary}");
            assert_eq!(summary.refusals[0].cause, "552");
        }
    })
    .await;
}

#[tokio::test]
async fn chunking_that_is_not_offered_is_a_failure() {
    in_time(async {
        let address = support::start_scripted(|_| Some("250 OK")).await;
        let framing = Framing::Bdat { chunk_octets: 1000 };
        let options = SourceOptions { framing, messages: Some(1), ..source_options(address) };
        let summary = run(options).await;
        assert_eq!(summary.failures[0].example, "the server does not offer CHUNKING");
    })
    .await;
}

#[tokio::test]
async fn a_run_has_a_course() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let duration = Some(Duration::from_millis(1500));
        let options = SourceOptions {
            pace: open_loop(200.0),
            messages: None,
            duration,
            ..source_options(sink.address)
        };
        let summary = run(options).await;
        assert!(summary.all_accepted(), "{summary}");
        assert_eq!(summary.messages.asked, 300);
        assert!(summary.seconds.len() >= 2, "{:?}", summary.seconds);
        assert_eq!(summary.seconds.iter().map(|point| point.accepted).sum::<u64>(), 300);
        let curve = &summary.latency_curve;
        assert!(curve.len() > 10 && (curve[0].percentile - 50.0).abs() < 1e-9, "{curve:?}");
        assert!(curve.is_sorted_by(|a, b| a.milliseconds <= b.milliseconds));
        let figures = summary.figures("command".into(), "now".into(), "here".into());
        let json = serde_json::to_string(&figures).unwrap();
        serde_json::from_str::<Figures>(&json).unwrap();
        for section in &figures.sections {
            for table in &section.tables {
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{table:?}");
            }
            let points = section.plots.iter().flat_map(|plot| &plot.series).flat_map(|s| &s.points);
            assert!(points.clone().all(|(x, y)| x.is_finite() && y.is_finite()));
        }
        sink.stop().await;
    })
    .await;
}
