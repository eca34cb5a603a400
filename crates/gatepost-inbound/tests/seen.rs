//! Who comes, and how entries are used, through real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gatepost_inbound::{
    Drain, Listener, ListenerConfig, ListenerTls, OnHiddenClients, ProxyProtocol, ReceivedStyle,
    Service, SessionConfig,
};
use gatepost_policy::check::Check;
use gatepost_policy::entry::Mode;
use gatepost_policy::listener::ListenerId;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::site::{AuthOffer, Site, UpstreamId};
use gatepost_policy::snapshot::Snapshot;
use gatepost_policy::usage::UsageDelta;
use gatepost_relay::{MailLog, MailLogTarget, Relay, RelayConfig};
use gatepost_stream::Clock;
use gatepost_testkit::ByteClient;

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["127.0.0.0/30"]
senders = ["app.test"]
recipients = ["good.test"]
max_connections = 1

[[entry]]
id = "blocked"
networks = ["127.0.0.3"]
action = "deny"

[[entry]]
id = "old"
networks = ["127.0.0.4"]
senders = ["app.test"]
expires = 2020-01-01T00:00:00Z
"#;

struct Gate {
    service: Arc<Service>,
    policy: Arc<Snapshot>,
    listener: Arc<Listener>,
    address: SocketAddr,
}

impl Gate {
    fn start() -> Self {
        let site = Site {
            hostname: "relay.test".into(),
            listeners: vec!["smtp".into()],
            proxies: Vec::new(),
            auth: Vec::new(),
            upstreams: vec!["sink".into()],
            default_upstream: Some(UpstreamId::new(0)),
            default_mode: Mode::Sync,
            max_message_size: 1 << 20,
            max_recipients: 100,
        };
        let compiled = Ruleset::compile(POLICY, "policy.toml", &Arc::new(site));
        let policy = Arc::new(Snapshot::new(compiled.expect("a good policy").ruleset));
        let config = SessionConfig {
            hostname: "relay.test".into(),
            max_connections: 100,
            max_message_size: 1 << 20,
            errors_max: 10,
            received: ReceivedStyle::Full,
            command_timeout: Duration::from_mins(1),
            data_timeout: Duration::from_mins(1),
            proxy_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_mins(1),
            auth_pause: Duration::from_millis(1),
        };
        let (mail_log, _) = MailLog::start(&MailLogTarget::Off).expect("there is none");
        let limits = RelayConfig::usual("relay.test".into());
        let relay = Relay::new(limits, Vec::new(), mail_log, None, Arc::default());
        let service =
            Service::new(config, policy.clone(), relay, Clock::start(), Arc::new(Drain::default()));
        let service = Arc::new(service);
        let config = ListenerConfig {
            name: "smtp".into(),
            id: ListenerId::new(0),
            hidden_clients: OnHiddenClients::Warn,
            proxy_protocol: ProxyProtocol::Off,
            auth: AuthOffer::Nobody,
            max_connections: 100,
            max_connections_per_address: 10,
        };
        let listener = Listener::new(config, ListenerTls::None);
        let socket = gatepost_inbound::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(listener.clone().serve(socket, service.clone()));
        Self { service, policy, listener, address }
    }

    async fn client(&self, last: u8) -> ByteClient {
        ByteClient::connect_from(host(last), self.address).await
    }

    fn take(&self, id: &str) -> Option<UsageDelta> {
        self.policy.load().entry(id).expect("it is in the policy").state().usage().take()
    }

    fn publish(&self, text: &str) {
        let next = self.policy.load().recompile(text, "policy.toml").expect("a good policy");
        drop(self.policy.publish(next.ruleset.with_revision(1)));
    }
}

fn host(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

async fn converse(client: &mut ByteClient, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        client.send_line(line).await;
        client.expect(reply).await;
    }
}

/// Hits, refusals and addresses; nothing is accepted without an upstream.
fn told(delta: Option<UsageDelta>) -> (u64, u64, Vec<IpAddr>) {
    let delta = delta.expect("it was used");
    assert_eq!(delta.messages, 0);
    assert!(delta.last_seen > 1_700_000_000 && delta.first_seen <= delta.last_seen);
    (delta.hits, delta.refusals, delta.addresses)
}

#[tokio::test]
async fn entries_count_their_clients() {
    let gate = Gate::start();
    let mut client = gate.client(1).await;
    client.expect("220").await;
    let mail = [("EHLO app.test", "250"), ("MAIL FROM:<a@app.test>", "250 2.1.0")];
    converse(&mut client, &mail).await;
    assert_eq!(told(gate.take("fleet")), (1, 0, vec![host(1)]));
    let recipients = [
        ("RCPT TO:<b@bad.test>", "550"),
        ("RCPT TO:<b@worse.test>", "550"),
        // There is no upstream in this test, and that is no fault of the client.
        ("RCPT TO:<b@good.test>", "451"),
        ("RSET", "250"),
        ("MAIL FROM:<a@other.test>", "550"),
    ];
    converse(&mut client, &recipients).await;
    assert_eq!(told(gate.take("fleet")), (0, 3, vec![]), "its address is known already");
    gate.client(2).await.expect("421").await;
    assert_eq!(told(gate.take("fleet")), (0, 1, vec![host(2)]), "one connection at a time");
    assert_eq!(gate.take("fleet"), None);
    assert!(gate.service.denied().clients(10).is_empty(), "all of them are known");
}

/// Once a session, at its first MAIL, accepted or not; strangers are nobody's clients.
#[tokio::test]
async fn a_session_shows_once_whose_it_is() {
    let gate = Gate::start();
    let seen = || {
        let survey = gate.listener.hidden_clients().judge(Duration::ZERO, |_| false);
        survey.addresses.iter().map(|it| (it.address, it.names, it.senders)).collect::<Vec<_>>()
    };
    let mut client = gate.client(1).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    assert_eq!(seen(), []);
    let refused = [("MAIL FROM:nonsense", "501"), ("MAIL FROM:<a@other.test>", "550")];
    converse(&mut client, &refused).await;
    assert_eq!(seen(), [(host(1), 1, 1)]);
    let again = [("EHLO other.test", "250"), ("MAIL FROM:<b@app.test>", "250"), ("QUIT", "221")];
    converse(&mut client, &again).await;
    assert_eq!(seen(), [(host(1), 1, 1)], "the session is known");
    client.expect_closed().await;
    let mut client = gate.client(1).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO APP.test", "250"), ("MAIL FROM:<>", "550")]).await;
    let mut stranger = gate.client(9).await;
    stranger.expect("554").await;
    converse(&mut stranger, &[("EHLO lost.test", "503"), ("MAIL FROM:<a@x.test>", "503")]).await;
    assert_eq!(seen(), [(host(1), 1, 1)]);
}

#[tokio::test]
async fn strangers_are_remembered_with_what_they_say() {
    let gate = Gate::start();
    for last in [9, 3, 9] {
        let mut client = gate.client(last).await;
        client.expect("554").await;
        let said = [("EHLO lost.test", "503"), ("MAIL FROM:<a@Lost.test>", "503"), ("QUIT", "221")];
        converse(&mut client, &said).await;
    }
    gate.client(4).await.expect("554").await;
    let clients = gate.service.denied().clients(10);
    let seen: Vec<_> = clients
        .iter()
        .map(|it| (it.address, it.count, it.check, it.entry.as_deref(), it.helo.as_deref()))
        .collect();
    let expected = [
        (host(9), 2, Check::AllowList, None, Some("lost.test")),
        (host(4), 1, Check::Dates, Some("old"), None),
        (host(3), 1, Check::Action, Some("blocked"), Some("lost.test")),
    ];
    assert_eq!(seen, expected);
    assert_eq!(clients[0].sender_domains, [Box::from("lost.test")]);
    assert_eq!(clients[0].listeners, [Box::from("smtp")]);
    // Entries that refuse are used by it.
    assert_eq!(told(gate.take("blocked")), (0, 1, vec![host(3)]));
    assert_eq!(told(gate.take("old")), (0, 1, vec![host(4)]));
    assert_eq!(gate.take("fleet"), None);
}

#[tokio::test]
async fn who_is_thrown_out_by_a_new_policy_is_remembered_too() {
    let gate = Gate::start();
    let mut client = gate.client(1).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    gate.publish("");
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "554"), ("MAIL FROM:<>", "503")]).await;
    let seen = gate.service.denied().client(host(1)).expect("it was refused");
    assert_eq!(
        (seen.count, seen.check, seen.helo.as_deref()),
        (1, Check::AllowList, Some("app.test"))
    );
    assert_eq!(seen.sender_domains, [Box::from("app.test"), Box::from("<>")]);
    let ruleset = gate.policy.load();
    let (id, state) = ruleset.states().next().expect("the entry is gone, its usage is not");
    assert_eq!((&**id, told(state.usage().take())), ("fleet", (1, 0, vec![host(1)])));
}
