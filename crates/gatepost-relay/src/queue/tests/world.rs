//! A spool in a directory of its own, an upstream, and a runner between them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use gatepost_delivery::{
    Access, IpVersion, NameServers, Patience, Profile, TlsPolicy, Upstream, UpstreamConfig,
};
use gatepost_spool::{
    Entrance, Envelope, Message, Mode, Origin, QueueId, Recipient, Recovery, Spool, SpoolOptions,
    StoredMessage,
};
use gatepost_stream::Clock;
use gatepost_testkit::ScriptedUpstream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::dsn::{BounceConfig, Bouncer, Bounces};
use crate::id::Ids;
use crate::mail_log::{MailLog, MailLogTarget, MailLogWriter};
use crate::outlet::Outlet;
use crate::queue::{Queue, QueueConfig, QueueParts};

/// Nothing here takes longer, unless it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// What has happened by now.
pub(super) const SOON: Duration = Duration::from_millis(5);
/// A time that is never over here.
pub(super) const LONG: Duration = Duration::from_hours(24);

pub(super) struct World {
    pub(super) queue: Queue,
    pub(super) spool: Spool,
    directory: tempfile::TempDir,
    runner: Option<JoinHandle<()>>,
    log: Option<MailLogWriter>,
}

/// What is different from test to test.
pub(super) struct Setting {
    pub(super) upstreams: Vec<UpstreamConfig>,
    pub(super) retry: Vec<Duration>,
    pub(super) expire_after: Duration,
    pub(super) bounces: Bounces,
    pub(super) upkeep_every: Duration,
    pub(super) final_reply_timeout: Duration,
}

impl Setting {
    pub(super) fn of(upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            upstreams,
            retry: vec![Duration::from_millis(50)],
            expire_after: LONG,
            bounces: Bounces::Keep,
            upkeep_every: Duration::from_millis(50),
            final_reply_timeout: Duration::from_secs(5),
        }
    }
}

impl World {
    /// Everything but a runner that runs.
    pub(super) fn new(setting: Setting) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
        let at = directory.path().join("spool");
        let (spool, _) = Spool::open(&at, options, SystemTime::now()).expect("opens");
        let target = MailLogTarget::File(directory.path().join("mail.jsonl"));
        let (mail_log, log) = MailLog::start(&target).expect("opens");
        let outlet = |config| Arc::new(Outlet::new(Upstream::new(config, Clock::start())));
        let notices = BounceConfig { bounces: setting.bounces, upstream: None };
        let hostname = "relay.test".into();
        let bouncer = Bouncer::new(notices, hostname, setting.expire_after, Arc::new(Ids::new()));
        let bouncer = Arc::new(bouncer);
        let parts = QueueParts {
            spool: spool.clone(),
            outlets: setting.upstreams.into_iter().map(outlet).collect(),
            mail_log,
            bouncer,
            config: QueueConfig { retry: setting.retry, expire_after: setting.expire_after },
            final_reply_timeout: setting.final_reply_timeout,
        };
        let queue = Queue::with_upkeep(parts, setting.upkeep_every);
        Self { queue, spool, directory, runner: None, log: Some(log) }
    }

    /// With a runner that runs.
    pub(super) fn start(setting: Setting) -> Self {
        let mut world = Self::new(setting);
        world.run();
        world
    }

    pub(super) fn run(&mut self) {
        let queue = self.queue.clone();
        let run = async move { queue.run(&Recovery::default()).await };
        self.runner = Some(tokio::spawn(run));
    }

    /// Puts a message into the spool, due now.
    pub(super) async fn put(&self, letter: Draft<'_>) -> QueueId {
        let message = letter.message();
        let mut body = self.spool.body(message.envelope.id);
        body.append(Bytes::copy_from_slice(letter.body)).await.expect("there is room");
        let id = self.spool.commit(message, body).await.expect("commits");
        self.queue.wake();
        id
    }

    pub(super) async fn show(&self, id: QueueId) -> Option<StoredMessage> {
        self.spool.show(id).await.expect("is readable")
    }

    /// Waits until nothing is in the spool.
    pub(super) async fn drained(&self) {
        self.until(async || self.messages().await == 0).await;
    }

    pub(super) async fn messages(&self) -> u64 {
        self.spool.stats(SystemTime::now()).await.expect("is readable").messages
    }

    /// Waits until a message stands so; brings it back.
    pub(super) async fn until_stored(
        &self,
        id: QueueId,
        stands: impl Fn(&StoredMessage) -> bool,
    ) -> StoredMessage {
        self.until(async || self.show(id).await.is_some_and(|message| stands(&message))).await;
        self.show(id).await.expect("was there")
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let wait = async {
            while !is_so().await {
                tokio::time::sleep(SOON).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let stats = self.spool.stats(SystemTime::now()).await;
            panic!("it never was so: {stats:#?}");
        }
    }

    /// Stops the runner in good order.
    pub(super) async fn stop(&mut self) {
        timeout(PATIENCE, self.queue.stop()).await.expect("stops");
        if let Some(runner) = self.runner.take() {
            timeout(PATIENCE, runner).await.expect("ends").expect("does not panic");
        }
    }

    /// Drops the runner where it is.
    pub(super) async fn cut(&mut self) {
        let runner = self.runner.take().expect("runs");
        runner.abort();
        assert!(runner.await.expect_err("was dropped").is_cancelled());
    }

    /// All events of the mail log. Ends it.
    pub(super) fn events(&mut self) -> Vec<serde_json::Value> {
        drop(self.log.take());
        let path = self.directory.path().join("mail.jsonl");
        let text = std::fs::read_to_string(path).expect("was written");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The file of a body that is too large for a row.
    pub(super) fn body_file(&self, id: QueueId) -> std::path::PathBuf {
        self.directory.path().join("spool/bodies").join(id.to_string())
    }
}

/// A message to be put into the spool.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    pub(super) number: u64,
    pub(super) upstream: &'a str,
    pub(super) entry: &'a str,
    pub(super) recipients: Vec<String>,
    /// What is asked for at RCPT.
    pub(super) dsn: &'a str,
    pub(super) body: &'a [u8],
    pub(super) received_at: SystemTime,
    pub(super) expires_at: SystemTime,
    pub(super) entrance: Option<Entrance>,
}

impl Draft<'_> {
    /// One that is new, for one recipient.
    pub(super) fn new(number: u64) -> Self {
        let now = SystemTime::now();
        Self {
            number,
            upstream: "sink",
            entry: "fleet",
            recipients: vec!["r0@example.net".to_owned()],
            dsn: "",
            body: b"Received: by relay.test\r\nSubject: test\r\n\r\n..dot\r\n",
            received_at: now,
            expires_at: now + LONG,
            entrance: None,
        }
    }

    pub(super) fn to(mut self, recipients: &[&str]) -> Self {
        self.recipients = recipients.iter().map(|&it| it.to_owned()).collect();
        self
    }

    pub(super) fn message(&self) -> Message {
        let dsn = self.dsn.as_bytes();
        let recipient = |path: &String| Recipient { path: path.as_bytes().into(), dsn: dsn.into() };
        let sender: Arc<[u8]> = format!("s{}@example.com", self.number).into_bytes().into();
        Message {
            envelope: Envelope {
                id: QueueId::new(self.number).expect("is small"),
                received_at: self.received_at,
                expires_at: self.expires_at,
                reverse_path: sender.clone(),
                sender,
                dsn: b""[..].into(),
                body: None,
                smtputf8: false,
                mode: Mode::Spool,
                upstream: self.upstream.into(),
                origin: Origin {
                    session_id: "s".into(),
                    listener: "smtp".into(),
                    entry: self.entry.into(),
                    credential: None,
                    generation: "1-abcdef".into(),
                    client: [127, 0, 0, 1].into(),
                    helo: None,
                    tls: None,
                },
            },
            recipients: self.recipients.iter().map(recipient).collect(),
            entrance: self.entrance.unwrap_or(Entrance::Due(self.received_at)),
            about: None,
        }
    }
}

/// An upstream of that name, in plain text.
pub(super) fn upstream(name: &str, sink: &ScriptedUpstream) -> UpstreamConfig {
    upstream_at(name, &sink.addr().to_string())
}

pub(super) fn upstream_at(name: &str, address: &str) -> UpstreamConfig {
    UpstreamConfig {
        name: name.into(),
        profile: Profile::generic(),
        hosts: vec![address.parse().expect("an address")],
        ip: IpVersion::Any,
        name_servers: NameServers::System,
        tls: TlsPolicy::None,
        server_name: None,
        access: Arc::<Access>::default(),
        ehlo_name: "relay.test".into(),
        source_address: None,
        max_connections: 8,
        max_messages_per_connection: None,
        idle_timeout: PATIENCE,
        max_age: PATIENCE * 10,
        max_recipients: None,
        recipient_rates: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        client_stall: PATIENCE,
        patience: Patience::default(),
    }
}
