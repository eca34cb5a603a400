//! A gateway in this process, and clients that speak to it through real sockets.
//!
//! Everything runs on one thread: whoever has nothing to do lets all others go on, so a session is
//! the same every time. It is set up once; a session leaves nothing behind but an idle connection
//! of an upstream.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gatepost_delivery::{
    IpVersion, NameServers, Patience, Profile, TlsPolicy, Upstream, UpstreamConfig,
};
use gatepost_inbound::{
    Drain, Listener, ListenerConfig, ListenerTls, OnHiddenClients, ProxyProtocol, ReceivedStyle,
    Service, SessionConfig, bind,
};
use gatepost_policy::{
    entry::Mode,
    listener::ListenerId,
    ruleset::Ruleset,
    site::{AuthOffer, Site},
    snapshot::Snapshot,
};
use gatepost_relay::{MailLog, MailLogTarget, Relay, RelayConfig};
use gatepost_stream::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::yield_now,
    time::timeout,
};

use crate::{
    sink::{self, Arrival, Record},
    strict::{Newlines, Rules},
    upstream::Offer,
};

const LISTENER: &str = "smtp";
/// Longer than any answer takes on one machine: whoever waits as long waits for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// Turns of all others in which nothing has happened: a piece of work goes from a socket to a task
/// and from there to the next socket, and each is one turn.
const QUIET_TURNS: usize = 4;

/// Octets of a message of a client whose limit is there to be met.
const SIZE_OCTETS_MAX: usize = 600;
/// And of one whose message may grow on its way.
const SIZE_OCTETS_MAX_NORMALIZED: usize = 1 << 20;

const POLICY: &str = r#"
[[entry]]
id = "strict"
networks = ["127.1.0.0/16"]
senders = ["*", "<>"]
recipients = ["*"]
max_message_size = "600 B"
upstream = "everything"

[[entry]]
id = "normalizing"
networks = ["127.2.0.0/16"]
senders = ["*", "<>"]
recipients = ["*"]
bare_newlines = "normalize"
upstream = "everything"

[[entry]]
id = "plain"
networks = ["127.3.0.0/16"]
senders = ["*", "<>"]
recipients = ["*"]
max_message_size = "600 B"
upstream = "nothing"
"#;

/// Whose client it is: the entries of the policy.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// Bare newlines are faults; the upstream offers all that Gatepost knows.
    Strict = 1,
    /// Bare newlines are replaced.
    Normalizing = 2,
    /// The upstream offers nothing.
    Plain = 3,
}

/// When a client sends its next octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It waits for the 354 (RFC 2920 §3.1).
    Polite,
    /// It waits for nothing.
    Rude,
}

/// What a session has come to.
#[derive(Debug)]
pub struct Outcome {
    /// All that the client has heard.
    pub heard: Vec<u8>,
    /// What has arrived meanwhile.
    pub arrivals: Vec<Arrival>,
}

impl Entry {
    /// What a strict server would be set up to.
    pub const fn rules(self) -> Rules {
        let (size_octets_max, newlines, offer) = match self {
            Self::Strict => (SIZE_OCTETS_MAX, Newlines::Reject, Offer::Everything),
            Self::Normalizing => {
                (SIZE_OCTETS_MAX_NORMALIZED, Newlines::Normalize, Offer::Everything)
            }
            Self::Plain => (SIZE_OCTETS_MAX, Newlines::Reject, Offer::Nothing),
        };
        Rules { size_octets_max, newlines, offer }
    }
}

/// A gateway with its upstreams.
pub struct Gateway {
    runtime: Runtime,
    address: SocketAddr,
    upstreams: Vec<Arc<Upstream>>,
    record: Arc<Record>,
    sessions: u32,
}

impl Gateway {
    /// Binds, builds and starts all parts.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let record = Arc::new(Record::default());
        let (address, upstreams) = runtime.block_on(assemble(&record));
        Self { runtime, address, upstreams, record, sessions: 0 }
    }

    /// Sends a client's stream, `ends` saying where its pieces end, and brings back what came of it.
    /// At each of `pauses` (so many octets, and the replies to them) a polite client waits.
    pub fn session(
        &mut self,
        (entry, manners): (Entry, Manners),
        stream: &[u8],
        ends: impl IntoIterator<Item = usize>,
        pauses: &[(usize, usize)],
    ) -> Outcome {
        self.sessions = self.sessions.wrapping_add(1);
        // Not one after the other from one address: the kernel remembers ports for a minute.
        let [_, _, high, low] = self.sessions.to_be_bytes();
        let from = Ipv4Addr::new(127, entry as u8, high.max(1), low);
        let pauses = if manners == Manners::Polite { pauses } else { &[] };
        self.runtime.block_on(async {
            let mut client = Client::connect(from, self.address, &self.record).await;
            client.say(stream, ends, pauses).await;
            let heard = client.close().await;
            let is_busy = |upstream: &Arc<Upstream>| upstream.connections().0 > 0;
            let given_back = async {
                while self.upstreams.iter().any(is_busy) {
                    yield_now().await;
                }
            };
            timeout(PATIENCE, given_back).await.expect("a connection is never given back");
            Outcome { heard, arrivals: self.record.take() }
        })
    }
}

async fn assemble(record: &Arc<Record>) -> (SocketAddr, Vec<Arc<Upstream>>) {
    let clock = Clock::start();
    let mut upstreams = Vec::new();
    for (name, offer) in [("everything", Offer::Everything), ("nothing", Offer::Nothing)] {
        let sink = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
        let address = sink.local_addr().expect("it is bound");
        tokio::spawn(sink::serve(sink, offer, record.clone()));
        upstreams.push(Upstream::new(upstream_config(name, address), clock.clone()));
    }
    let site = Site {
        hostname: "relay.test".into(),
        listeners: vec![LISTENER.into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: upstreams.iter().map(|it| it.config().name.clone()).collect(),
        default_upstream: None,
        default_mode: Mode::Sync,
        max_message_size: SIZE_OCTETS_MAX_NORMALIZED as u64,
        max_recipients: u32::MAX,
    };
    let compiled = Ruleset::compile(POLICY, "policy.toml", &Arc::new(site));
    let policy = Arc::new(Snapshot::new(compiled.expect("the policy above").ruleset));
    let (mail_log, _) = MailLog::start(&MailLogTarget::Off).expect("there is none");
    let usual = RelayConfig::usual("relay.example".into());
    let limits = RelayConfig { final_reply_timeout: PATIENCE, received_max: u32::MAX, ..usual };
    let relay = Relay::new(limits, upstreams.clone(), mail_log, None, Arc::default());
    let service = Service::new(session_config(), policy, relay, clock, Arc::new(Drain::default()));
    let listener = ListenerConfig {
        name: LISTENER.into(),
        id: ListenerId::new(0),
        proxy_protocol: ProxyProtocol::Off,
        hidden_clients: OnHiddenClients::Off,
        auth: AuthOffer::Nobody,
        max_connections: 100,
        max_connections_per_address: 100,
    };
    let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    let address = socket.local_addr().expect("it is bound");
    let listener = Listener::new(listener, ListenerTls::None);
    tokio::spawn(listener.serve(socket, Arc::new(service)));
    (address, upstreams)
}

/// No limit of time or number is ever met: what is looked at is what is said.
fn session_config() -> SessionConfig {
    SessionConfig {
        hostname: "relay.test".into(),
        max_connections: 100,
        max_message_size: SIZE_OCTETS_MAX_NORMALIZED as u64,
        errors_max: u32::MAX,
        received: ReceivedStyle::Full,
        command_timeout: PATIENCE * 2,
        data_timeout: PATIENCE * 2,
        proxy_timeout: PATIENCE,
        tls_timeout: PATIENCE,
        session_timeout: PATIENCE * 4,
        auth_pause: Duration::ZERO,
    }
}

fn upstream_config(name: &str, address: SocketAddr) -> UpstreamConfig {
    UpstreamConfig {
        name: name.into(),
        profile: Profile::generic(),
        hosts: vec![address.to_string().parse().expect("an address")],
        ip: IpVersion::Any,
        name_servers: NameServers::System,
        tls: TlsPolicy::None,
        server_name: None,
        access: Arc::default(),
        ehlo_name: "relay.test".into(),
        source_address: None,
        max_connections: 2,
        max_messages_per_connection: None,
        idle_timeout: Duration::MAX,
        max_age: Duration::MAX,
        max_recipients: None,
        recipient_rates: Vec::new(),
        connect_timeout: PATIENCE,
        client_stall: PATIENCE * 2,
        patience: Patience::default(),
    }
}

struct Client<'a> {
    socket: TcpStream,
    record: &'a Record,
    heard: Vec<u8>,
    is_closed: bool,
}

impl<'a> Client<'a> {
    async fn connect(from: Ipv4Addr, to: SocketAddr, record: &'a Record) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of loopback");
        let socket = socket.connect(to).await.expect("somebody listens");
        socket.set_nodelay(true).expect("a fresh socket");
        Self { socket, record, heard: Vec::new(), is_closed: false }
    }

    /// Sends piece by piece, as long as somebody reads.
    async fn say(
        &mut self,
        stream: &[u8],
        ends: impl IntoIterator<Item = usize>,
        pauses: &[(usize, usize)],
    ) {
        let mut pauses = pauses.iter().peekable();
        let mut start = 0;
        for end in ends {
            while let Some((pause, replies)) = pauses.next_if(|(pause, _)| *pause <= end) {
                self.send(&stream[start..*pause]).await;
                self.await_replies(*replies).await;
                start = *pause;
            }
            self.send(&stream[start..end]).await;
            start = end;
        }
    }

    async fn send(&mut self, piece: &[u8]) {
        if piece.is_empty() || self.is_closed {
            return;
        }
        self.is_closed |= self.socket.write_all(piece).await.is_err();
        self.settle().await;
    }

    /// Lets all others go on until nothing happens any more.
    async fn settle(&mut self) {
        let (mut quiet, mut events) = (0, usize::MAX);
        while quiet < QUIET_TURNS && !self.is_closed {
            yield_now().await;
            let heard = self.heard.len();
            if let Ok(0) = self.socket.try_read_buf(&mut self.heard) {
                self.is_closed = true;
            }
            let happened = self.heard.len() > heard || self.record.events() != events;
            events = self.record.events();
            quiet = if happened { 0 } else { quiet + 1 };
        }
    }

    async fn await_replies(&mut self, replies: usize) {
        while !self.is_closed && replies_in(&self.heard) < replies {
            let heard = timeout(PATIENCE, self.socket.read_buf(&mut self.heard)).await;
            self.is_closed = !matches!(heard.expect("a reply"), Ok(1..));
        }
    }

    /// Has nothing more to say, and hears what is said to that.
    async fn close(mut self) -> Vec<u8> {
        // Whoever has closed already is not told.
        let _ = self.socket.shutdown().await;
        let rest = timeout(PATIENCE, self.socket.read_to_end(&mut self.heard)).await;
        // A reset behind the last reply takes nothing of it away.
        let _ = rest.expect("the end of the session");
        self.heard
    }
}

fn replies_in(heard: &[u8]) -> usize {
    let is_last = |line: &&[u8]| line.get(3) == Some(&b' ') && line.ends_with(b"\n");
    heard.split_inclusive(|octet| *octet == b'\n').filter(is_last).count()
}
