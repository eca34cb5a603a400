//! The source against the sink, and against servers that are not so kind.

mod support;

use std::future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_loadtest::{
    ConnectionUse, Hello, MessageCounts, Pipelining, Received, ReversePath, SinkCounters,
    SinkOptions, Source, SourceAddresses, SourceOptions, Summary, TargetScope,
};
use tokio::sync::mpsc;
use tokio::time;

use support::{RunningSink, in_time, source_options, start_scripted};

#[tokio::test]
async fn all_messages_arrive_over_kept_connections() {
    in_time(async {
        let (summary, counters) = run_to_sink(|_| {}).await;
        assert!(summary.all_accepted(), "{summary}");
        assert_eq!(summary.connections, 4);
        assert_eq!(counters.connections.load(Ordering::Relaxed), 4);
        assert!(summary.messages_per_second > 0.0 && summary.mib_per_second > 0.0);
        let latency = summary.latency_milliseconds.unwrap();
        let percentiles = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max];
        assert!(percentiles.is_sorted() && latency.p50 > 0.0, "{latency:?}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_per_message() {
    in_time(async {
        let change = |options: &mut SourceOptions| options.connection = ConnectionUse::PerMessage;
        let (summary, counters) = run_to_sink(change).await;
        assert!(summary.all_accepted(), "{summary}");
        assert_eq!(counters.connections.load(Ordering::Relaxed), 200);
    })
    .await;
}

#[tokio::test]
async fn pipelining_from_several_addresses() {
    in_time(async {
        let (summary, counters) = run_to_sink(|options| {
            options.pipelining = Pipelining::On;
            options.recipients = 3.into();
            let base = "127.0.0.2".parse().unwrap();
            options.source_addresses = Some(SourceAddresses::new(base, 3).unwrap());
        })
        .await;
        assert!(summary.all_accepted(), "{summary}");
        assert_eq!(counters.recipients.load(Ordering::Relaxed), 600);
    })
    .await;
}

#[tokio::test]
async fn helo_and_the_null_reverse_path() {
    in_time(async {
        let (summary, _) = run_to_sink(|options| {
            options.hello = Hello::Helo;
            options.from = ReversePath::Null;
        })
        .await;
        assert!(summary.all_accepted(), "{summary}");
    })
    .await;
}

#[tokio::test]
async fn the_message_is_what_was_asked_for() {
    in_time(async {
        let (deliver, mut receiver) = mpsc::channel(1);
        let sink = RunningSink::start(SinkOptions { deliver: Some(deliver), ..Default::default() });
        let options = SourceOptions {
            messages: Some(1),
            recipients: 2.into(),
            ..source_options(sink.address)
        };
        assert!(run(options).await.all_accepted());
        let Received { reverse_path, forward_paths, content } = receiver.recv().await.unwrap();
        assert_eq!(reverse_path, "app@example.com");
        assert_eq!(forward_paths, ["user@example.net", "user-2@example.net"]);
        let text = String::from_utf8(content).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        let fields: Vec<_> = header.lines().map(|line| line.split_once(": ").unwrap().0).collect();
        let own = ["X-Loadtest-Run", "X-Loadtest-Digest", "Message-ID", "X-Loadtest-Number"];
        assert_eq!(fields, [&["Date", "From", "To", "Subject"], &own[..]].concat());
        // The 14th line of the pattern begins with a dot, which goes out doubled.
        assert_eq!(text.len(), 2000 + 1);
        assert!(body.lines().nth(13).unwrap().starts_with("../"), "{body}");
        assert!(body.split_terminator("\r\n").all(|line| line.len() <= 78 + 1));
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn refusals_are_counted_by_code_and_the_session_goes_on() {
    in_time(async {
        for pipelining in [Pipelining::Off, Pipelining::On] {
            let sink = RunningSink::start(SinkOptions { size_max: 1000, ..Default::default() });
            let options = SourceOptions { pipelining, ..source_options(sink.address) };
            let summary = run(options).await;
            assert_eq!(summary.messages, counts(0, 200, 0), "{summary}");
            assert_eq!((summary.connections, summary.failures.len()), (4, 0));
            assert_eq!(summary.latency_milliseconds, None);
            let [row] = summary.refusals.as_slice() else { panic!("{summary}") };
            assert_eq!((row.stage.as_str(), row.cause.as_str(), row.count), ("MAIL", "552", 200));
            assert_eq!(row.example, "5.3.4 Message too big");
            sink.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_refused_recipient_refuses_the_message() {
    in_time(async {
        let address = start_scripted(|line| {
            Some(match line.split(' ').next().unwrap() {
                "EHLO" => "250-script\r\n250 PIPELINING",
                "RCPT" if line.contains("user-2@") => "550 5.1.1 Unknown user",
                "DATA" => "354 Go on",
                _ => "250 OK",
            })
        })
        .await;
        for pipelining in [Pipelining::Off, Pipelining::On] {
            let options =
                SourceOptions { pipelining, recipients: 3.into(), ..source_options(address) };
            let summary = run(options).await;
            assert_eq!(summary.messages, counts(0, 200, 0), "{summary}");
            assert_eq!((summary.refusals.len(), summary.refusals[0].cause.as_str()), (1, "550"));
            assert_eq!(summary.connections, 4);
        }
    })
    .await;
}

#[tokio::test]
async fn a_421_ends_the_connection_and_not_the_session() {
    in_time(async {
        let address = start_scripted(|line| match line.split(' ').next().unwrap() {
            "EHLO" => Some("250 script"),
            "MAIL" => Some("421 4.3.2 Going down"),
            _ => None,
        })
        .await;
        let summary = run(SourceOptions { messages: Some(20), ..source_options(address) }).await;
        assert_eq!(summary.messages, MessageCounts { asked: 20, ..counts(0, 20, 0) }, "{summary}");
        assert_eq!(summary.connections, 20);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let address = sink.address;
        sink.stop().await;
        let summary = run(source_options(address)).await;
        let unfinished = MessageCounts { unfinished: 160, ..counts(0, 0, 40) };
        assert_eq!(summary.messages, unfinished, "{summary}");
        assert_eq!(summary.failures[0].stage, "connect");
    })
    .await;
}

#[tokio::test]
async fn missing_extensions_and_lost_answers_are_failures() {
    in_time(async {
        let address = start_scripted(|line| match line.split(' ').next().unwrap() {
            "DATA" => Some("354 Go on"),
            "." => None,
            _ => Some("250 OK"),
        })
        .await;
        let options = SourceOptions { messages: Some(4), ..source_options(address) };
        let lost = run(options.clone()).await;
        assert_eq!((lost.messages.failed, lost.failures[0].cause.as_str()), (4, "lost"), "{lost}");
        assert_eq!(lost.failures[0].stage, "content");
        let summary = run(SourceOptions { pipelining: Pipelining::On, ..options }).await;
        assert_eq!(summary.failures[0].cause, "not offered", "{summary}");
    })
    .await;
}

#[tokio::test]
async fn silence_has_an_end_and_so_has_a_run() {
    in_time(async {
        let (deliver, mut receiver) = mpsc::channel(1);
        let sink = RunningSink::start(SinkOptions { deliver: Some(deliver), ..Default::default() });
        // Nobody reads the channel: one message is taken, the next ones wait for their answer.
        let reply_timeout = Duration::from_millis(300);
        let options =
            SourceOptions { messages: Some(4), reply_timeout, ..source_options(sink.address) };
        let summary = run(options.clone()).await;
        assert_eq!(summary.messages, MessageCounts { asked: 4, ..counts(1, 0, 3) }, "{summary}");
        assert_eq!(summary.failures[0].cause, "timed out");
        // Stopped from outside, with the channel full again.
        let patient = SourceOptions { reply_timeout: Duration::from_mins(1), ..options };
        let source = Source::new(patient).unwrap();
        let stopped = source.run(time::sleep(Duration::from_millis(50))).await;
        assert_eq!(stopped.messages.unfinished, 4, "{stopped}");
        receiver.close();
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn strangers_are_not_load_tested() {
    for stranger in ["192.0.2.1:25", "[2001:db8::1]:25", "0.0.0.0:25", "[::ffff:192.0.2.1]:25"] {
        let options = source_options(stranger.parse().unwrap());
        let error = Source::new(options.clone()).unwrap_err();
        assert!(error.to_string().contains("--allow-any-target"), "{error}");
        Source::new(SourceOptions { scope: TargetScope::Any, ..options }).unwrap();
    }
    for own in ["127.0.0.9:25", "[::1]:25", "[::ffff:127.0.0.1]:25"] {
        Source::new(source_options(own.parse().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let good = source_options("127.0.0.1:25".parse().unwrap());
    let ipv6 = Some(SourceAddresses::new("::1".parse().unwrap(), 1).unwrap());
    for bad in [
        SourceOptions { sessions: 0, ..good.clone() },
        SourceOptions { messages: Some(0), ..good.clone() },
        SourceOptions { recipients: 1001.into(), ..good.clone() },
        SourceOptions { sizes: 100.into(), ..good.clone() },
        SourceOptions { source_addresses: ipv6, ..good.clone() },
        SourceOptions { pipelining: Pipelining::On, hello: Hello::Helo, ..good.clone() },
    ] {
        Source::new(bad).unwrap_err();
    }
}

async fn run_to_sink(change: impl FnOnce(&mut SourceOptions)) -> (Summary, Arc<SinkCounters>) {
    let sink = RunningSink::start(SinkOptions::default());
    let mut options = source_options(sink.address);
    change(&mut options);
    let summary = run(options).await;
    let counters = sink.stop().await;
    assert_eq!(counters.messages.load(Ordering::Relaxed), summary.messages.accepted);
    (summary, counters)
}

async fn run(options: SourceOptions) -> Summary {
    Source::new(options).unwrap().run(future::pending()).await
}

fn counts(accepted: u64, refused: u64, failed: u64) -> MessageCounts {
    MessageCounts { asked: 200, accepted, refused, failed, unfinished: 0 }
}
