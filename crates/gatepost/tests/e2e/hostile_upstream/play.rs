//! Rows, played: each with an upstream and a gateway of its own, many at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gatepost_delivery::Patience;
use gatepost_testkit::{ByteClient, ScriptedUpstream};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::wire::secret_in;
use super::{Fate, Grouping, Row, State};
use crate::harness::{Harness, POLICY, Settings, config_text, send_message};

/// Rows at once, of all tests that run beside each other: they wait more than they work, and so many of
/// them that a small machine is busy. Deadlines mean the same to each, however many tests run at a time.
static ROOM: Semaphore = Semaphore::const_new(40);
/// Every deadline in these tests: many times what a busy machine takes for a polite reply.
const DEADLINE: Duration = Duration::from_millis(1500);
/// By then the client has its answer. What drips goes on for much longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(6);
/// Messages that the upstream may have although it gave no answer.
const AMBIGUOUS: &str = "gatepost_deliveries_total{upstream=\"sink\",result=\"ambiguous\"}";
/// Connections that wait for the next message.
const IDLE: &str = "gatepost_upstream_connections{upstream=\"sink\",state=\"idle\"}";
/// Octets of a line of the mail log: a reply of 512 octets, and who, whom and when.
const LOG_LINE_OCTETS_MAX: usize = 1500;

const FIRST: &[&[u8]] = &[b"Subject: first\r\n\r\n", b"one\r\n.\r\n"];
const CHUNKS: [&[&[u8]]; 2] =
    [&[b"BDAT 18\r\nSubject:", b" first\r\n\r\n"], &[b"BDAT 5 LAST\r\none\r\n"]];
const SECOND: &[u8] = b"Subject: second\r\n\r\ntwo\r\n";

/// Plays all rows; those that fail are named.
pub(super) async fn play(rows: impl IntoIterator<Item = Row>) {
    let (mut playing, mut names, mut failures) = (JoinSet::new(), HashMap::new(), Vec::new());
    for row in rows {
        let name = row.name();
        names.insert(playing.spawn(play_one(row)).id(), name);
    }
    while let Some(ended) = playing.join_next_with_id().await {
        let Err(failure) = ended else { continue };
        let name = &names[&failure.id()];
        let panic = failure.into_panic();
        let what = panic.downcast::<String>().map_or_else(|_| String::new(), |what| *what);
        failures.push(format!("== {name}\n{what}"));
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
}

async fn play_one(row: Row) {
    // Before anything is timed.
    let _room = ROOM.acquire().await.expect("it is never closed");
    let (event, nth) = row.event();
    let world = row.wire.world();
    let mut extensions = vec!["8BITMIME", "ENHANCEDSTATUSCODES"];
    if row.grouping == Grouping::Pipelining {
        extensions.push("PIPELINING");
    }
    if row.state.is_in_chunks() {
        extensions.push("CHUNKING");
    }
    let upstream = ScriptedUpstream::builder().extensions(&extensions).on_nth(
        event,
        nth,
        row.state.action(row.moves.clone()),
    );
    let upstream = row.wire.protect(upstream, world.as_ref()).start();
    let harness = adjusted(&row.wire.config(&upstream, world.as_ref()));
    let mut client = harness.client().await;

    let began = Instant::now();
    let heard = first_message(&mut client, &row, &upstream).await;
    assert!(row.hears.iter().any(|hears| heard.starts_with(hears)), "the client heard {heard:?}");
    client.send_line("RSET").await;
    client.expect("250").await;
    if matches!(row.state, State::Rset | State::Idle) {
        upstream.wait_for_moves(row.moves.len() + usize::from(row.state == State::Idle)).await;
    }
    if row.fate == Fate::Kept {
        wait_for_idle(&harness).await;
    }
    if row.fate == Fate::Last {
        upstream.wait_for_open(0).await;
        assert_eq!((upstream.connections_opened(), upstream.messages().len()), (1, 0));
    } else {
        let second = send_message(&mut client, SECOND).await;
        assert!(second.starts_with("250"), "the next message: {second}");
        upstream.wait_for_open(1).await;
        check_connections(&row, &upstream);
        check_messages(&heard, &upstream);
    }
    assert!(began.elapsed() < ANSWERED_WITHIN, "after {:?}", began.elapsed());
    check_secrets(&upstream);
    assert_eq!(harness.metric(AMBIGUOUS).await, u64::from(row.is_ambiguous), "ambiguous");
    client.close();
    let log = harness.mail_log();
    let (_, _directory) = harness.drain().await;
    check_log(&row, &std::fs::read_to_string(log).expect("a mail log"));
    upstream.stop().await;
}

/// A gateway that waits for nothing longer than [`DEADLINE`].
pub(super) fn impatient(upstream: &ScriptedUpstream) -> Harness {
    adjusted(&config_text(upstream.addr(), &Settings::default()))
}

fn adjusted(text: &str) -> Harness {
    // Nobody uses its spool, and more than a thousand of them would wait for the disk all the same.
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    Harness::in_directory(memory.expect("a directory"), (text, POLICY), |config| {
        let upstream = &mut config.upstreams[0];
        upstream.connect_timeout = DEADLINE;
        upstream.patience = Patience { reply: DEADLINE, reused_reply: DEADLINE, closing: DEADLINE };
        config.relay.final_reply_timeout = DEADLINE;
    })
}

/// Nobody waits for the answer to RSET; the connection is back a little later than the client's reply.
async fn wait_for_idle(harness: &Harness) {
    let began = Instant::now();
    while harness.metric(IDLE).await == 0 {
        assert!(began.elapsed() < ANSWERED_WITHIN, "the connection does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a message up to its end, or to the command that is refused: that command and its reply.
async fn first_message(client: &mut ByteClient, row: &Row, upstream: &ScriptedUpstream) -> String {
    client.send_line("MAIL FROM:<a@app.test>").await;
    client.expect("250").await;
    client.send_line("RCPT TO:<b@b.test>").await;
    let reply = client.read_reply().await;
    if row.state == State::Rset || !reply.starts_with("25") {
        return format!("RCPT {reply}");
    }
    if row.state.is_in_chunks() {
        send_in_two(client, CHUNKS[0], row, upstream).await;
        let reply = client.read_reply().await;
        if !reply.starts_with("250") {
            return format!("BDAT {reply}");
        }
        send_in_two(client, CHUNKS[1], row, upstream).await;
        return format!("LAST {}", client.read_reply().await);
    }
    client.send_line("DATA").await;
    let reply = client.read_reply().await;
    if !reply.starts_with("354") {
        return format!("DATA {reply}");
    }
    send_in_two(client, FIRST, row, upstream).await;
    format!(". {}", client.read_reply().await)
}

/// Sends content. If the upstream acts in the middle of it, it has acted before the second piece.
async fn send_in_two(
    client: &mut ByteClient,
    pieces: &[&[u8]],
    row: &Row,
    upstream: &ScriptedUpstream,
) {
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 && matches!(row.state, State::Body | State::InChunk) {
            upstream.wait_for_moves(row.moves.len()).await;
        }
        client.send(piece).await;
    }
}

/// The connection on which it happened is not used again.
fn check_connections(row: &Row, upstream: &ScriptedUpstream) {
    let connections = upstream.connections();
    let second = upstream.messages().pop().expect("the second message").connection;
    if row.fate == Fate::Kept {
        assert_eq!(
            (connections.len(), second),
            (1, 0),
            "connections, and that of the second message"
        );
        return;
    }
    assert_eq!((connections.len(), second), (2, 1), "connections, and that of the second message");
    let begun = connections[0].lines.iter().filter(|line| line.starts_with("MAIL")).count();
    let may_begin = if row.state.is_behind() { 2 } else { 1 };
    assert!(begun <= may_begin, "{}", connections[0]);
    // Who speaks in the middle never gets the rest.
    if row.state == State::Body && !row.is_ambiguous {
        assert!(connections[0].unfinished_octets.is_some(), "{}", connections[0]);
    }
}

/// The upstream has what the client was told it has.
fn check_messages(heard: &str, upstream: &ScriptedUpstream) {
    let messages = upstream.messages();
    let has = |text: &str| messages.iter().any(|it| it.accepted() && it.text().contains(text));
    assert!(has("Subject: second"));
    let promised = heard.starts_with(". 250") || heard.starts_with("LAST 250");
    assert!(!promised || has("Subject: first"), "{heard} to a message that is not there");
}

/// Nobody hears who we are who has not shown who they are.
fn check_secrets(upstream: &ScriptedUpstream) {
    for connection in upstream.connections() {
        let before_tls: Vec<_> = match &connection.secured {
            Some(_) => connection.lines.split(|line| line == "STARTTLS").collect(),
            None => vec![&connection.lines[..], &[]],
        };
        if let [before_tls, _] = before_tls[..] {
            assert!(!before_tls.iter().any(|line| line.starts_with("AUTH")), "{connection}");
        }
        if connection.secured.is_none() {
            assert_eq!(secret_in(&connection.received()), None, "{connection}");
        }
    }
}

fn check_log(row: &Row, log: &str) {
    assert_eq!(secret_in(log.as_bytes()), None, "{log}");
    let printable = |octet: u8| octet == b'\n' || (b' '..=b'~').contains(&octet);
    assert!(log.bytes().all(printable), "{log:?}");
    let mut reasons = Vec::new();
    for line in log.lines() {
        assert!(line.len() < LOG_LINE_OCTETS_MAX, "{line}");
        let event: Value = serde_json::from_str(line).expect("JSON");
        reasons.extend(event["reason"].as_str().map(str::to_owned));
    }
    if let Some(reason) = row.reason {
        assert!(reasons.iter().any(|it| it.starts_with(reason)), "{reason:?} is not in {log}");
    }
}
