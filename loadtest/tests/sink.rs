//! The sink as a server: real sockets on loopback, a client that speaks octets.

mod support;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_loadtest::{Chunking, Received, SinkOptions, Verification};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time;

use support::{RunningSink, in_time};

const GROUP: &[u8] =
    b"MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\nRCPT TO:<z@y.test>\r\nDATA\r\n";

#[tokio::test]
async fn a_pipelined_group_is_answered_in_one_write() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let mut client = connect(&sink).await;
        let extensions = exchange(&mut client, b"EHLO c.test\r\n").await;
        for extension in
            ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
        {
            assert!(extensions.contains(extension), "{extensions}");
        }
        let replies = exchange(&mut client, GROUP).await;
        let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["250", "250", "250", "354"]);
        assert!(exchange(&mut client, b"x\r\n.\r\n").await.starts_with("250 "));
        // The end of one message, a whole empty one, and QUIT behind it.
        exchange(&mut client, GROUP).await;
        let replies = exchange(&mut client, &[b".\r\n", GROUP].concat()).await;
        assert_eq!(replies.lines().count(), 5);
        let replies = exchange(&mut client, b".\r\nQUIT\r\n").await;
        assert_eq!(replies, "250 2.0.0 OK\r\n221 2.0.0 Bye\r\n");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        let counters = sink.stop().await;
        assert_eq!(counters.connections.load(Ordering::Relaxed), 1);
        assert_eq!(counters.messages.load(Ordering::Relaxed), 3);
        assert_eq!(counters.recipients.load(Ordering::Relaxed), 6);
        assert_eq!(counters.octets.load(Ordering::Relaxed), 3);
    })
    .await;
}

#[tokio::test]
async fn dots_that_are_not_the_end_arrive_octet_by_octet() {
    in_time(async {
        let (deliver, mut received) = mpsc::channel(1);
        let options = SinkOptions { deliver: Some(deliver), ..SinkOptions::default() };
        let sink = RunningSink::start(options);
        let mut client = connect(&sink).await;
        exchange(&mut client, b"EHLO c.test\r\n").await;
        exchange(&mut client, GROUP).await;
        let content = b"..\r\n.x\r\na\n.\nb\r\n.\nc\r.\r\nd\n.\r\n...\r\n";
        for octet in [content, b".\r\n".as_slice()].concat() {
            client.write_all(&[octet]).await.unwrap();
            time::sleep(Duration::from_micros(200)).await;
        }
        assert_eq!(exchange(&mut client, b"").await, "250 2.0.0 OK\r\n");
        let forward_paths = ["x@y.test", "z@y.test"].map(str::to_owned).to_vec();
        let expected =
            Received { reverse_path: "a@b.test".into(), forward_paths, content: content.to_vec() };
        assert_eq!(received.recv().await, Some(expected));
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn chunks_are_taken_where_they_are_offered() {
    in_time(async {
        let options = SinkOptions { chunking: Chunking::Offered, ..SinkOptions::default() };
        let sink = RunningSink::start(options);
        let mut client = connect(&sink).await;
        let extensions = exchange(&mut client, b"EHLO c.test\r\n").await;
        assert!(extensions.contains("250-CHUNKING\r\n"), "{extensions}");
        let group = b"MAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nBDAT 3\r\n.\r\nBDAT 2 LAST\r\nxy";
        let replies = exchange(&mut client, group).await;
        let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["250"; 4]);
        assert_eq!(sink.stop().await.octets.load(Ordering::Relaxed), 5);
    })
    .await;
}

#[tokio::test]
async fn what_was_sent_is_compared_with_what_came() {
    in_time(async {
        let options = SinkOptions {
            verification: Verification::On,
            chunking: Chunking::Offered,
            ..SinkOptions::default()
        };
        let sink = RunningSink::start(options);
        let mut client = connect(&sink).await;
        exchange(&mut client, b"EHLO c.test\r\n").await;
        let body = "..\r\n.\r\nx\r\n";
        // Numbers 0 to 4, of which 2 is changed, 3 comes twice and 1 not at all.
        for (number, digested) in [(0, body), (2, "other"), (3, body), (3, body), (4, body)] {
            let message = marked(number, digested) + body;
            exchange(&mut client, GROUP).await;
            let data = message.replace("\r\n.", "\r\n..") + ".\r\n";
            assert!(exchange(&mut client, data.as_bytes()).await.starts_with("250 "));
        }
        // The same in a chunk, of another run, and one without marks.
        let message = marked(0, body).replace("Run: 00", "Run: ff") + body;
        let chunk = format!("BDAT {} LAST\r\n{message}", message.len());
        let envelope = "MAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\n";
        exchange(&mut client, format!("{envelope}{chunk}").as_bytes()).await;
        exchange(&mut client, format!("{envelope}BDAT 2 LAST\r\n\r\n").as_bytes()).await;
        let progress = sink.progress.clone();
        sink.stop().await;
        let totals = progress.totals();
        assert!(!totals.all_well());
        let found = totals.verification.unwrap();
        assert_eq!((found.verified, found.changed, found.repeated), (5, 1, 1));
        assert_eq!((found.missing, found.unmarked, found.mangled), (1, 1, 0));
        let numbers = [&found.changed_examples, &found.repeated_examples, &found.missing_examples];
        assert_eq!(numbers.map(|examples| examples[0].number), [2, 3, 1]);
        assert_eq!(found.runs.len(), 2);
    })
    .await;
}

/// The header section of a message of run 0.
fn marked(number: u64, body: &str) -> String {
    let digest = Sha256::digest(body).iter().fold(String::new(), |mut digest, octet| {
        write!(digest, "{octet:02x}").unwrap();
        digest
    });
    format!(
        "X-Loadtest-Run: {:016x}\r\nX-Loadtest-Number: {number:020}\r\n\
         X-Loadtest-Digest: {digest}\r\n\r\n",
        0
    )
}

#[tokio::test]
async fn connections_past_the_limit_wait() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions { connections_max: 1, ..SinkOptions::default() });
        let mut first = connect(&sink).await;
        let mut second = TcpStream::connect(sink.address).await.unwrap();
        let greeting = exchange(&mut second, b"");
        tokio::pin!(greeting);
        time::timeout(Duration::from_millis(50), &mut greeting).await.unwrap_err();
        exchange(&mut first, b"QUIT\r\n").await;
        assert!(greeting.await.starts_with("220 "));
        assert_eq!(sink.stop().await.connections.load(Ordering::Relaxed), 2);
    })
    .await;
}

#[tokio::test]
async fn a_silent_client_is_dropped() {
    in_time(async {
        let idle_timeout = Duration::from_millis(30);
        let sink = RunningSink::start(SinkOptions { idle_timeout, ..SinkOptions::default() });
        let mut client = TcpStream::connect(sink.address).await.unwrap();
        let mut words = String::new();
        client.read_to_string(&mut words).await.unwrap();
        let codes: Vec<_> = words.lines().map(|line| &line[..4]).collect();
        assert_eq!(codes, ["220 ", "421 "]);
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn stopping_drops_connections_and_the_port() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let address = sink.address;
        let mut client = connect(&sink).await;
        sink.stop().await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        TcpStream::connect(address).await.unwrap_err();
    })
    .await;
}

/// Connects and takes the greeting.
async fn connect(sink: &RunningSink) -> TcpStream {
    let mut client = TcpStream::connect(sink.address).await.unwrap();
    client.set_nodelay(true).unwrap();
    assert!(exchange(&mut client, b"").await.starts_with("220 "));
    client
}

/// Writes once and reads once: what the sink answers in more than one write is not all there.
async fn exchange(client: &mut TcpStream, octets: &[u8]) -> String {
    client.write_all(octets).await.unwrap();
    let mut input = vec![0; 4096];
    let read = client.read(&mut input).await.unwrap();
    input.truncate(read);
    String::from_utf8(input).unwrap()
}
