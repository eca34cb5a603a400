//! Commands without end: valid ones that bring no mail, and wrong ones.

use std::net::SocketAddr;

use gatepost_testkit::ScriptedUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Harness, Settings, send_message};
use crate::program::Program;

/// How a flood ends: after so many replies, the one to EHLO among them, with this one.
struct Flood {
    line: &'static str,
    replies: usize,
    last: &'static str,
}

const NO_MAIL: &str = "421 4.7.0 too many commands and no mail";
const ERRORS: &str = "421 4.7.0 too many errors";
const FLOODS: [Flood; 9] = [
    Flood { line: "NOOP", replies: 1000, last: NO_MAIL },
    Flood { line: "RSET", replies: 1000, last: NO_MAIL },
    Flood { line: "VRFY x", replies: 1000, last: NO_MAIL },
    Flood { line: "HELP", replies: 1000, last: NO_MAIL },
    Flood { line: "EHLO x", replies: 1000, last: NO_MAIL },
    // Two replies each; EHLO and the RSETs are counted.
    Flood { line: "MAIL FROM:<a@app.test>\r\nRSET", replies: 1999, last: NO_MAIL },
    Flood { line: "NONSENSE", replies: 21, last: ERRORS },
    Flood { line: "EXPN x", replies: 21, last: ERRORS },
    Flood { line: "MAIL FROM:<a@other.test>", replies: 21, last: ERRORS },
];
const FLOOD_COMMANDS: usize = 100_000;
/// What the process may grow by while nine floods run at once.
const FLOOD_GROWTH_MAX_KIB: u64 = 8 * 1024;

/// A hundred thousand of each, nine floods at once: each ends early, and nothing is piled up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_commands_ends_early_and_takes_no_memory() {
    let upstream = ScriptedUpstream::start();
    let program = Program::start(upstream.addr(), &Settings::default());
    program.client().await;
    let before = program.peak_memory_kib();
    let mut floods = JoinSet::new();
    for Flood { line, replies, last } in FLOODS {
        let address = program.addr;
        floods.spawn(async move {
            let said = flood(address, format!("{line}\r\n").repeat(FLOOD_COMMANDS)).await;
            let said: Vec<&str> =
                said.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).collect();
            assert_eq!(said.last().copied(), Some(last), "{line}");
            // Between the greeting and the word of farewell.
            assert_eq!(said.len() - 2, replies, "{line}");
        });
    }
    while let Some(flood) = floods.join_next().await {
        flood.expect("no panic");
    }
    let grown = program.peak_memory_kib() - before;
    assert!(grown < FLOOD_GROWTH_MAX_KIB, "the gateway grew by {grown} KiB");
    program.client().await;
    assert!(upstream.lines().is_empty());
    upstream.stop().await;
}

/// Sends commands behind an EHLO and reads all replies, for as long as the gateway lets it.
async fn flood(address: SocketAddr, commands: String) -> String {
    let socket = TcpStream::connect(address).await.expect("connects");
    let (mut from, mut to) = socket.into_split();
    let sent = tokio::spawn(async move {
        let _ = to.write_all(b"EHLO app.test\r\n").await;
        let _ = to.write_all(commands.as_bytes()).await;
    });
    let mut said = Vec::new();
    // A reset at the end is one, too: what was said before it is here.
    let _ = from.read_to_end(&mut said).await;
    sent.abort();
    String::from_utf8(said).expect("ASCII")
}

/// A client that asks often whether its connection lives is no flood, as long as it brings mail.
#[tokio::test]
async fn a_message_makes_up_for_what_was_said_before_it() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::start(upstream.addr());
    let mut client = harness.client().await;
    for _ in 0..3 {
        client.send("NOOP\r\n".repeat(900).as_bytes()).await;
        for _ in 0..900 {
            client.expect("250 2.0.0").await;
        }
        assert!(send_message(&mut client, b"x\r\n").await.starts_with("250"));
    }
    client.send("NOOP\r\n".repeat(1000).as_bytes()).await;
    for _ in 0..1000 {
        client.expect("250 2.0.0").await;
    }
    client.expect(NO_MAIL).await;
    client.expect_closed().await;
    upstream.stop().await;
}
