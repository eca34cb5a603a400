//! What a whole gateway does for a message: listener, policy, session, hand-over, pool, mail log.
//!
//! `gatepost_stream` is made for sockets of the kernel, so these rows have loopback under them. What is
//! counted is all that the gateway and its runtime do between two system calls; client and upstream
//! live on the same thread and are left out. One thread, so that the order of things is always the same.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use gatepost_benches::{
    dialogue::{self, EHLO, UPSTREAM_EHLO, UPSTREAM_GO_AHEAD, UPSTREAM_OK},
    instructions::counter::{Counter, Elsewhere},
    message::{Lines, message},
    policy,
};
use gatepost_delivery::{
    IpVersion, NameServers, Patience, Profile, TlsPolicy, Upstream, UpstreamConfig,
};
use gatepost_inbound::{
    Drain, Listener, ListenerConfig, ListenerTls, OnHiddenClients, ProxyProtocol, ReceivedStyle,
    Service, SessionConfig,
};
use gatepost_policy::{site::AuthOffer, snapshot::Snapshot};
use gatepost_relay::{MailLog, MailLogTarget, MailLogWriter, Relay, RelayConfig};
use gatepost_stream::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

const KIB: usize = 1024;
/// Nothing times out while it is counted.
const LONG: Duration = Duration::from_hours(1);
/// Messages that are counted together: what depends on chance, and on the time that passes, is little then.
const TIMES: u32 = 256;
const NAME: &str = "relay.example.com";
/// Where the mail log goes. It is written for each message, and the thread that writes is not counted.
const NOWHERE: &str = "/dev/null";

pub(crate) fn rows(counter: &mut Counter<'_>) {
    if !counter.wants("gateway/") {
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (gateway, _writer) = runtime.block_on(start());
    for (name, recipients, octets, times) in [
        ("gateway/1 recipient, 4 KiB", 1, 4 * KIB, TIMES),
        ("gateway/10 recipients, 4 KiB", 10, 4 * KIB, TIMES),
        ("gateway/1 recipient, 1 MiB", 1, KIB * KIB, 16),
    ] {
        let mut client = elsewhere(&runtime, Client::greeted(gateway));
        let (commands, message) = (dialogue::envelope(recipients), message(Lines::Text, octets));
        counter.row(name, times, || {
            elsewhere(&runtime, client.transact(&commands, &message, recipients));
        });
    }
    let (commands, message) = (dialogue::envelope(1), message(Lines::Text, 4 * KIB));
    counter.row("gateway/a session of one message", TIMES, || {
        elsewhere(&runtime, async {
            let mut client = Client::greeted(gateway).await;
            client.transact(&commands, &message, 1).await;
            client.say(b"QUIT\r\n", 1).await;
            client.ended().await;
        });
    });
}

fn elsewhere<T>(runtime: &Runtime, task: impl Future<Output = T>) -> T {
    runtime.block_on(Elsewhere::new(task))
}

/// A gateway before an upstream.
async fn start() -> (SocketAddr, MailLogWriter) {
    let clock = Clock::start();
    let upstream = Upstream::new(upstream_config(serve_upstream().await), clock.clone());
    let target = MailLogTarget::File(NOWHERE.into());
    let (mail_log, writer) = MailLog::start(&target).expect("the device is there");
    let relay =
        Relay::new(RelayConfig::usual(NAME.into()), vec![upstream], mail_log, None, Arc::default());
    let snapshot = Arc::new(Snapshot::new(policy::of_loopback()));
    let drain = Arc::new(Drain::default());
    let service = Arc::new(Service::new(session_config(), snapshot, relay, clock, drain));
    let config = ListenerConfig {
        name: "smtp".into(),
        id: policy::LISTENER,
        hidden_clients: OnHiddenClients::Warn,
        proxy_protocol: ProxyProtocol::Off,
        auth: AuthOffer::Nobody,
        max_connections: 100,
        max_connections_per_address: 100,
    };
    let socket = gatepost_inbound::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
    let address = socket.local_addr().expect("it is bound");
    tokio::spawn(Listener::new(config, ListenerTls::None).serve(socket, service));
    (address, writer)
}

fn session_config() -> SessionConfig {
    SessionConfig {
        hostname: NAME.into(),
        max_connections: 100,
        max_message_size: 25 * 1024 * 1024,
        errors_max: 10,
        received: ReceivedStyle::Full,
        command_timeout: LONG,
        data_timeout: LONG,
        proxy_timeout: LONG,
        tls_timeout: LONG,
        session_timeout: LONG,
        auth_pause: Duration::from_secs(1),
    }
}

fn upstream_config(address: SocketAddr) -> UpstreamConfig {
    UpstreamConfig {
        name: "upstream".into(),
        hosts: vec![address.to_string().parse().expect("an address")],
        profile: Profile::generic(),
        ip: IpVersion::Any,
        name_servers: NameServers::System,
        tls: TlsPolicy::None,
        server_name: None,
        access: Arc::default(),
        recipient_rates: Vec::new(),
        patience: Patience::default(),
        ehlo_name: NAME.into(),
        source_address: None,
        max_connections: 100,
        max_messages_per_connection: None,
        idle_timeout: LONG,
        max_age: LONG,
        max_recipients: None,
        connect_timeout: LONG,
        client_stall: LONG,
    }
}

/// A client that pipelines.
struct Client {
    socket: TcpStream,
    heard: BytesMut,
}

impl Client {
    async fn greeted(gateway: SocketAddr) -> Self {
        let socket = TcpStream::connect(gateway).await.expect("loopback");
        socket.set_nodelay(true).expect("a TCP socket");
        let mut client = Self { socket, heard: BytesMut::with_capacity(64 * KIB) };
        client.say(b"", 1).await;
        client.say(&[EHLO, b"\r\n"].concat(), 1).await;
        client
    }

    async fn transact(&mut self, commands: &[u8], message: &[u8], recipients: usize) {
        // MAIL, RCPT by RCPT, and DATA.
        self.say(commands, recipients + 2).await;
        self.say(message, 1).await;
    }

    /// Says something, and waits for so many replies that are good.
    async fn say(&mut self, octets: &[u8], replies: usize) {
        self.socket.write_all(octets).await.expect("the gateway reads");
        let mut owed = replies;
        while owed > 0 {
            let Some(feed) = self.heard.iter().position(|&octet| octet == b'\n') else {
                let read = self.socket.read_buf(&mut self.heard).await;
                assert!(read.expect("the gateway answers") > 0, "the gateway stays");
                continue;
            };
            let line = self.heard.split_to(feed + 1);
            assert!(matches!(line[0], b'2' | b'3'), "{line:?}");
            owed -= usize::from(line[3] == b' ');
        }
    }

    async fn ended(mut self) {
        let read = self.socket.read_buf(&mut self.heard).await;
        assert_eq!(read.expect("no reset"), 0, "the session is over");
    }
}

/// An upstream that says yes to everything, and tells 354 to DATA.
async fn serve_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(Elsewhere::new(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(Elsewhere::new(answer(socket)));
        }
    }));
    address
}

async fn answer(mut socket: TcpStream) {
    let (mut heard, mut is_data) = (BytesMut::with_capacity(KIB * KIB), false);
    let mut said = b"220 mx.upstream.example ESMTP\r\n".to_vec();
    loop {
        if !said.is_empty() {
            socket.write_all(&said).await.expect("the gateway reads");
            said.clear();
        }
        heard.reserve(64 * KIB);
        if socket.read_buf(&mut heard).await.is_ok_and(|octets| octets == 0) {
            return;
        }
        hear(&mut heard, &mut is_data, &mut said);
    }
}

/// Takes what is whole, and says what is owed for it.
fn hear(heard: &mut BytesMut, is_data: &mut bool, said: &mut Vec<u8>) {
    loop {
        if *is_data {
            // Nothing follows a message here before it is answered.
            if !heard.ends_with(b"\r\n.\r\n") {
                // The beginning of the end may be among the last octets.
                heard.advance(heard.len().saturating_sub(b"\r\n.\r".len()));
                return;
            }
            heard.clear();
            *is_data = false;
            said.extend_from_slice(UPSTREAM_OK);
        }
        let Some(feed) = heard.iter().position(|&octet| octet == b'\n') else { return };
        let line = heard.split_to(feed + 1);
        *is_data = line.starts_with(b"DATA");
        said.extend_from_slice(match &line[..4] {
            b"DATA" => UPSTREAM_GO_AHEAD,
            b"EHLO" => UPSTREAM_EHLO,
            _ => UPSTREAM_OK,
        });
    }
}
