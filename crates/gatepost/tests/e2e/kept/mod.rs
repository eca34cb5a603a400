//! Modes `hybrid` and `spool`, and what becomes of a message that is kept: whole gateways between real
//! clients and scripted upstreams.
//!
//! - `hybrid`: the upstream's word while there is one, and the spool when there is none.
//! - `stored`: mode `spool`, and notifications.
//! - `restart`: what outlives an end, a good one or a bad one.
//! - `commands`: `gatepost queue` beside a gateway that runs.
//! - `rounds`: mail that comes back, and copies too many.
//!
//! A test ends with what the mail log has said of each message, and with what is left in the spool.

mod commands;
mod hybrid;
mod restart;
mod rounds;
mod stored;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gatepost_spool::{Filter, Spool, SpoolOptions, Summary};
use gatepost_testkit::upstream::Message;
use gatepost_testkit::{ByteClient, ScriptedUpstream};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::harness::{Harness, POLICY, Settings, config_text};

/// What clients send, and what it is with dots in front of dots.
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.a dot\r\n..\r\n.\r\nend\r\n";
const STUFFED: &[u8] = b"Subject: x\r\n\r\n..a dot\r\n...\r\n..\r\nend\r\n";
/// Between attempts, in tests that wait for the next one.
const SOON: &str = "retry = [\"1s\"]";
const CHUNKING: [&str; 5] =
    ["PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING"];

/// A configuration with these lines in `[delivery]`, and these behind everything.
fn config(upstream: SocketAddr, delivery: &str, more: &str) -> String {
    let settings = Settings { tables: more.to_owned(), ..Settings::default() };
    config_text(upstream, &settings).replacen("mode = \"sync\"", delivery, 1)
}

/// A gateway in one mode that tries again soon.
fn gateway(upstream: SocketAddr, mode: &str) -> Harness {
    Harness::from_text(&config(upstream, &format!("mode = \"{mode}\"\n{SOON}"), ""))
}

/// One with two upstreams, `sink` and `other`, and this policy behind the entry of the tests.
fn forked(sink: SocketAddr, other: SocketAddr, policy: &str) -> Harness {
    let delivery = format!("mode = \"hybrid\"\nupstream = \"sink\"\n{SOON}");
    let more = format!("[[upstream]]\nname = \"other\"\nhosts = [\"{other}\"]\ntls = \"none\"\n");
    Harness::with_policy(&config(sink, &delivery, &more), &format!("{POLICY}{policy}"))
}

/// An address on which connections are refused, until an upstream takes its place. Nobody else gets
/// it while this is there.
struct Nobody(TcpSocket);

impl Nobody {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that another one may be bound there, too: the one that listens is asked.
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    /// The upstream is back.
    fn replace(&self) -> ScriptedUpstream {
        ScriptedUpstream::builder().at(self.addr()).start()
    }
}

/// How a client sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Command by command.
    Commands,
    /// MAIL, all RCPT and DATA in one write.
    Group,
    /// Two chunks behind RCPT, in the same write.
    Chunks,
}

const WAYS: [By; 3] = [By::Commands, By::Group, By::Chunks];

/// What a client has heard.
#[derive(Debug, Default)]
struct Heard {
    /// To each RCPT.
    recipients: Vec<String>,
    /// The last word on the message.
    end: String,
}

impl Heard {
    /// The id of a message that is kept.
    #[track_caller]
    fn id(&self) -> String {
        let id = self.end.strip_prefix("250 2.0.0 Ok: queued as ");
        id.unwrap_or_else(|| panic!("{self:?}")).trim_end().to_owned()
    }
}

/// What stands behind MAIL FROM: and RCPT TO:.
type Envelope<'a> = (&'a str, &'a [&'a str]);

const ONE: Envelope<'static> = ("<a@app.test>", &["<b@b.test>"]);

/// Sends one message, and hears what there is to hear.
async fn send(client: &mut ByteClient, by: By, (sender, recipients): Envelope<'_>) -> Heard {
    let mut heard = Heard::default();
    let mut commands = vec![format!("MAIL FROM:{sender}")];
    commands.extend(recipients.iter().map(|path| format!("RCPT TO:{path}")));
    let last = match by {
        By::Commands | By::Group => "DATA\r\n".to_owned(),
        By::Chunks => {
            let (first, last) = CONTENT.split_at(20);
            let (first, last) = [first, last].map(String::from_utf8_lossy).into();
            format!("BDAT {}\r\n{first}BDAT {} LAST\r\n{last}", first.len(), last.len())
        }
    };
    if by != By::Commands {
        client.send(format!("{}\r\n{last}", commands.join("\r\n")).as_bytes()).await;
    }
    for (place, command) in commands.iter().enumerate() {
        if by == By::Commands {
            client.send_line(command).await;
        }
        if place == 0 {
            client.expect("250 2.1.0").await;
        } else {
            heard.recipients.push(client.read_reply().await);
        }
    }
    if by == By::Commands {
        client.send(last.as_bytes()).await;
    }
    heard.end = client.read_reply().await;
    if by == By::Chunks {
        let last = client.read_reply().await;
        // Behind a chunk that is refused, all others are.
        if heard.end.starts_with('2') {
            heard.end = last;
        }
    } else if heard.end.starts_with("354") {
        client.send(&[STUFFED, b".\r\n"].concat()).await;
        heard.end = client.read_reply().await;
    }
    heard
}

/// A client of its own sends one message.
async fn send_one(harness: &Harness, by: By, envelope: Envelope<'_>) -> Heard {
    send(&mut harness.client().await, by, envelope).await
}

/// All of a message has arrived, in one of the two forms that it may have.
#[track_caller]
fn assert_whole(message: &Message) {
    let content = message.after_received();
    assert!(content == STUFFED || content == CONTENT, "{}", message.text());
}

/// The recipients of messages that an upstream has accepted, as it has heard them.
fn delivered(upstream: &ScriptedUpstream) -> Vec<String> {
    let accepted = upstream.messages().into_iter().filter(Message::accepted);
    accepted.flat_map(|message| message.recipients).collect()
}

/// What the mail log says when a gateway has ended.
struct Story(Vec<Value>);

impl Story {
    fn of(directory: &Path) -> Self {
        let log = std::fs::read_to_string(directory.join("mail.jsonl")).unwrap_or_default();
        Self(log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
    }

    /// What was said of one message, each time: what, mode, upstream, attempt, and the recipients'
    /// local-parts.
    fn about(&self, id: &str) -> Vec<String> {
        self.0.iter().filter(|event| event["id"] == id).map(told).collect()
    }

    /// The only message that anything was said of.
    #[track_caller]
    fn one(&self) -> Vec<String> {
        let id = self.0[0]["id"].as_str().expect("an id");
        assert!(self.0.iter().all(|event| event["id"] == id), "{:?}", self.0);
        self.about(id)
    }
}

fn told(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    let paths = event["recipients"].as_array().cloned().unwrap_or_default();
    let paths = paths.iter().filter_map(|path| path.as_str()?.split('@').next());
    let paths: Vec<_> = paths.collect();
    let attempt = event["attempt"].as_u64().map_or("-".to_owned(), |attempt| attempt.to_string());
    let (r#type, mode, upstream) = (text("type"), text("mode"), text("upstream"));
    format!("{type} {mode} {upstream} {attempt} {}", paths.join(","))
}

/// Ends a gateway: what its mail log has said, and its directory.
async fn end(harness: Harness) -> (Story, TempDir) {
    let (_, directory) = harness.drain().await;
    (Story::of(directory.path()), directory)
}

/// What is left in the spool of a gateway that has ended.
async fn left(directory: &Path) -> Vec<Summary> {
    let options = SpoolOptions { free_space_floor: 1, ..SpoolOptions::default() };
    let opened = Spool::open(&directory.join("state/spool"), options, SystemTime::now());
    let spool = opened.expect("nobody has it").0;
    let page = spool.list(Filter::default(), None, 1000).await.expect("reads");
    spool.close().await;
    page.messages
}

/// Asks again and again until it is so.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let patience = tokio::time::Instant::now() + gatepost_testkit::PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < patience, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
