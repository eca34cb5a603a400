//! A relay with a spool in a directory of its own, and what is in both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use gatepost_delivery::{
    IpVersion, NameServers, Patience, Profile, RecipientRate, TlsPolicy, Upstream, UpstreamConfig,
};
use gatepost_relay::{Bounces, Ids, MailLog, MailLogTarget, MailLogWriter, Relay, RelayConfig};
use gatepost_spool::{
    Filter, LIST_MAX, QueueId, RecipientState, Recovery, Spool, SpoolOptions, Standing,
};
use gatepost_stream::Clock;
use gatepost_testkit::ScriptedUpstream;
use tempfile::TempDir;

use crate::counts::Counts;

/// One source of ids, as in one process: relays of these tests may share a spool.
static IDS: LazyLock<Arc<Ids>> = LazyLock::new(Arc::default);
/// More than a busy machine takes for a polite reply.
const PATIENT: Duration = Duration::from_secs(10);
/// When the queue tries a message again that its hand-over has tried, more or less.
const FIRST_RETRY: Duration = Duration::from_mins(1);

/// What is special about a relay.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) answer_within: Duration,
    pub(crate) final_reply_timeout: Duration,
    /// For every reply but the final one.
    pub(crate) reply: Duration,
    pub(crate) received_max: u32,
    pub(crate) max_recipients: Option<u32>,
    pub(crate) rates: Vec<RecipientRate>,
    pub(crate) bounces: Bounces,
    pub(crate) mail_log: MailLogTarget,
    /// Upstreams beside the first one.
    pub(crate) others: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            answer_within: PATIENT,
            final_reply_timeout: PATIENT,
            reply: PATIENT,
            received_max: 5,
            max_recipients: None,
            rates: Vec::new(),
            bounces: Bounces::Dsn,
            mail_log: MailLogTarget::Off,
            others: 2,
        }
    }
}

/// A directory with a spool.
pub(crate) struct Store {
    pub(crate) directory: TempDir,
    pub(crate) spool: Spool,
}

/// Whether a spool takes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Full,
    Plenty,
}

impl Store {
    pub(crate) fn open(room: Room) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (spool, _) = open(&directory.path().join("spool"), room);
        Self { directory, spool }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("spool")
    }

    /// How many files there are for bodies.
    pub(crate) fn body_files(&self) -> usize {
        std::fs::read_dir(self.path().join("bodies")).expect("is there").count()
    }

    /// The spool as it would be found if the process were killed now.
    pub(crate) fn crashed(&self) -> (TempDir, Spool, Recovery) {
        let copy = tempfile::tempdir().expect("a directory");
        let path = copy.path().join("spool");
        std::fs::create_dir_all(path.join("bodies")).expect("a directory");
        for folder in ["", "bodies"] {
            for file in std::fs::read_dir(self.path().join(folder)).expect("is there") {
                let file = file.expect("is there");
                let name = file.file_name();
                // The memory that connections share does not outlive them.
                if file.path().is_file() && name != "spool.db-shm" {
                    std::fs::copy(file.path(), path.join(folder).join(name)).expect("is copied");
                }
            }
        }
        let (spool, recovery) = open(&path, Room::Plenty);
        (copy, spool, recovery)
    }
}

fn open(path: &Path, room: Room) -> (Spool, Recovery) {
    let options = SpoolOptions {
        free_space_floor: if room == Room::Full { u64::MAX } else { 0 },
        // So small that messages of tests are larger.
        body_memory_each: 8 * 1024,
        ..SpoolOptions::default()
    };
    Spool::open(path, options, SystemTime::now()).expect("opens")
}

/// A relay whose first upstream, `sink`, is at an address; nobody is at home at the others.
pub(crate) struct World {
    pub(crate) relay: Arc<Relay>,
    pub(crate) counts: Counts,
    pub(crate) spool: Option<Spool>,
    /// Dropping it writes down what was logged.
    pub(crate) log: MailLogWriter,
}

impl World {
    pub(crate) fn new(addr: SocketAddr, setting: &Setting, spool: Option<&Spool>) -> Self {
        let counts = Counts::default();
        let clock = Clock::start();
        let names =
            (0..setting.others).map(|number| (format!("other-{number}"), unreachable_addr()));
        let upstreams = std::iter::once(("sink".to_owned(), addr)).chain(names);
        let upstreams = upstreams
            .map(|(name, addr)| Upstream::new(upstream(&name, addr, setting), clock.clone()));
        let config = RelayConfig {
            final_reply_timeout: setting.final_reply_timeout,
            answer_within: setting.answer_within,
            received_max: setting.received_max,
            bounces: gatepost_relay::BounceConfig { bounces: setting.bounces, upstream: None },
            ..RelayConfig::usual("relay.test".into())
        };
        let (mail_log, log) = MailLog::start(&setting.mail_log).expect("opens");
        let relay = counts.of(|| {
            let ids = Arc::clone(&IDS);
            Relay::new(config, upstreams.collect(), mail_log, spool.cloned(), ids)
        });
        Self { relay, counts, spool: spool.cloned(), log }
    }

    /// Everything that the spool has.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        match &self.spool {
            Some(spool) => rows(spool, Filter::default()).await,
            None => Vec::new(),
        }
    }
}

/// Where nobody listens. Port 1 is nobody's on a machine that runs tests.
pub(crate) fn unreachable_addr() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

fn upstream(name: &str, addr: SocketAddr, setting: &Setting) -> UpstreamConfig {
    let is_first = name == "sink";
    UpstreamConfig {
        name: name.into(),
        profile: Profile::generic(),
        hosts: vec![addr.to_string().parse().expect("an address")],
        ip: IpVersion::Any,
        name_servers: NameServers::System,
        tls: TlsPolicy::None,
        server_name: None,
        access: Arc::default(),
        ehlo_name: "relay.test".into(),
        source_address: None,
        max_connections: 10,
        max_messages_per_connection: None,
        idle_timeout: PATIENT,
        max_age: PATIENT,
        max_recipients: setting.max_recipients.filter(|_| is_first),
        recipient_rates: if is_first { setting.rates.clone() } else { Vec::new() },
        connect_timeout: PATIENT.min(setting.reply * 2),
        client_stall: PATIENT,
        patience: Patience {
            reply: setting.reply,
            reused_reply: setting.reply,
            closing: setting.reply,
        },
    }
}

/// A message as the spool has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: QueueId,
    pub(crate) upstream: String,
    pub(crate) reverse_path: String,
    pub(crate) standing: Standing,
    pub(crate) due: Due,
    pub(crate) attempts: u32,
    pub(crate) recipients: Vec<(String, RecipientState)>,
    pub(crate) body: Vec<u8>,
}

/// When a message is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// At once.
    Now,
    /// In a while, as something that was tried.
    Later,
}

impl Row {
    /// Those for whom nothing is decided.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &str> {
        self.of(RecipientState::Pending)
    }

    pub(crate) fn of(&self, state: RecipientState) -> impl Iterator<Item = &str> {
        self.recipients.iter().filter(move |(_, it)| *it == state).map(|(path, _)| &**path)
    }
}

/// Everything in the spool that passes, with its recipients and bodies.
pub(crate) async fn rows(spool: &Spool, filter: Filter) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = spool.list(filter.clone(), after, LIST_MAX).await.expect("is readable");
        for summary in page.messages {
            // It may be gone by now.
            rows.extend(row(spool, summary.id).await);
        }
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

async fn row(spool: &Spool, id: QueueId) -> Option<Row> {
    let message = spool.show(id).await.expect("is readable")?;
    let mut body = Vec::new();
    let mut reader = spool.read_body(id).await.expect("is readable")?;
    while let Some(octets) = reader.next().await.expect("is whole") {
        body.extend_from_slice(&octets);
    }
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    // Whatever the jitter: nothing that was tried is due within a third of the schedule.
    let soon = SystemTime::now() + FIRST_RETRY / 3;
    Some(Row {
        id,
        upstream: message.envelope.upstream.to_string(),
        reverse_path: text(&message.envelope.reverse_path),
        standing: message.standing,
        due: if message.due_at < soon { Due::Now } else { Due::Later },
        attempts: message.attempts,
        recipients: message
            .recipients
            .iter()
            .map(|it| (text(&it.recipient.path), it.state))
            .collect(),
        body,
    })
}

/// A message that an upstream has taken responsibility for.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) recipients: Vec<String>,
    pub(crate) content: Vec<u8>,
}

/// Everything that an upstream has accepted.
pub(crate) fn delivered(upstream: &ScriptedUpstream) -> Vec<Delivered> {
    let messages =
        upstream.messages().into_iter().filter(gatepost_testkit::upstream::Message::accepted);
    messages
        .map(|message| Delivered {
            recipients: message.recipients.iter().map(|line| path_in(line)).collect(),
            content: message.content.bytes,
        })
        .collect()
}

/// What stands between the brackets.
fn path_in(line: &str) -> String {
    let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    path.expect("a path in brackets").0.to_owned()
}
