//! Every profile at its provider's simulator: set up as the provider's page says, with real TLS,
//! certificates, passwords and tokens. What goes through arrives as it was sent and breaks no rule of
//! the provider; what the provider refuses, the application hears as the page says.

mod google_relay;
mod hammering;
mod m365_auth;
mod m365_connector;
mod sendgrid;
mod ses;
mod smartermail;

use std::fmt::Write as _;
use std::time::Duration;

use gatepost_loadtest::Received;
use gatepost_loadtest::simulate::{
    Account, Limit, Provider, Record, Rule, Simulator, SimulatorOptions,
};
use gatepost_testkit::ByteClient;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::harness::{Harness, Settings, config_text};

/// Longer than any of these tests takes, on a busy machine too.
const TEST_TIME: Duration = Duration::from_secs(20);
/// More messages than any of these tests sends: nobody has to fetch them meanwhile.
const MESSAGES_MAX: usize = 1000;

const APP: &str = "app@example.com";
const STRANGER: &str = "app@other.example";
/// With a dot to hide and an octet beyond ASCII: every provider offers 8BITMIME.
const MESSAGE: &[u8] =
    "From: App <app@example.com>\r\nSubject: hello\r\n\r\n..hidden\r\n\u{fc}\r\n".as_bytes();

/// The whole upstream has a fault that somebody must mend.
const RAISED: &str = "gatepost_configuration_fault{upstream=\"sink\"}";

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["127.0.0.1"]
senders = ["example.com", "other.example", "<>"]
"#;

/// What the page of client submission adds: the mailbox is the sender.
const MAILBOX_ROUTE: &str = r#"
[[route]]
id = "m365-mailbox"
sender_domains = ["example.com"]
recipient_domains = ["*"]
upstream = "sink"
rewrite_mail_from = "relay@example.com"
"#;

/// A provider, what it was given, and the files that an upstream at it is made of.
struct Setup {
    provider: Provider,
    simulator: Simulator,
    delivered: mpsc::Receiver<Received>,
    files: TempDir,
}

impl Setup {
    async fn start(provider: Provider) -> Self {
        Self::with(SimulatorOptions::new(provider)).await
    }

    async fn with(options: SimulatorOptions) -> Self {
        let provider = options.provider;
        let (deliver, delivered) = mpsc::channel(MESSAGES_MAX);
        let options = SimulatorOptions { deliver: Some(deliver), ..options };
        let simulator = Simulator::start(options).await.expect("starts on loopback");
        let setup = Self {
            provider,
            simulator,
            delivered,
            files: tempfile::tempdir().expect("a directory"),
        };
        setup.put("ca.pem", &setup.simulator.ca_pem().expect("a throw-away CA"));
        let identity = setup.simulator.client_certificate("relay.example.com").expect("a pair");
        setup.put("client.pem", &identity.certificate);
        setup.put("client.key", &identity.private_key);
        setup.put("secret", &Account::default_of(provider).password);
        setup
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).expect("writes");
    }

    /// A gateway whose upstream is set up by the provider's page, with further lines.
    fn gateway(&self, more: &str) -> Harness {
        self.gateway_with(&format!("{}{more}\n", page(self.provider)))
    }

    /// A gateway with these lines in its `[[upstream]]`.
    fn gateway_with(&self, lines: &str) -> Harness {
        let route = if self.provider == Provider::M365Auth { MAILBOX_ROUTE } else { "" };
        self.gateway_under(lines, &format!("{POLICY}{route}"))
    }

    /// `DIR` stands for the directory of the files, `TOKENS` for the token endpoint.
    fn gateway_under(&self, lines: &str, policy: &str) -> Harness {
        let tables = "[limits]\nmax_recipients = 2000".to_owned();
        let settings = Settings { upstream: "END".to_owned(), tables, ..Settings::default() };
        let lines = lines
            .replace("DIR", &self.files.path().display().to_string())
            .replace("TOKENS", &self.simulator.token_endpoint().unwrap_or_default());
        let text = config_text(self.simulator.local_addr(), &settings)
            .replace("relay.test", "relay.example.com")
            .replace("tls = \"none\"\nEND", &format!("ca_file = {:?}\n{lines}", self.ca_file()));
        Harness::with_policy(&text, policy)
    }

    fn ca_file(&self) -> String {
        self.files.path().join("ca.pem").display().to_string()
    }

    /// The next message that the provider has accepted.
    fn received(&mut self) -> Received {
        // It is handed on before it is accepted.
        self.delivered.try_recv().expect("a message")
    }

    fn record(&self) -> Record {
        self.simulator.record()
    }

    /// The provider's judgement: no rule was broken.
    async fn obeyed(self, harness: Harness) -> Record {
        drop(harness);
        let record = self.simulator.shutdown().await;
        assert_eq!(record.violations, [], "{record}");
        assert_eq!(record.tls_failed, 0, "{record}");
        record
    }
}

/// The upstream of a provider's page, at the simulator.
const fn page(provider: Provider) -> &'static str {
    match provider {
        Provider::GoogleRelay => {
            r#"
profile = "google-relay"
server_name = "smtp-relay.gmail.com"
ehlo_name = "example.com"
"#
        }
        Provider::M365Auth => {
            r#"
profile = "m365-auth"
server_name = "smtp.office365.com"
auth = { mechanism = "xoauth2", username = "relay@example.com", token_endpoint = "TOKENS", client_id = "00000000-0000-0000-0000-000000000001", client_secret_file = "DIR/secret", scope = "https://outlook.office365.com/.default" }
"#
        }
        Provider::M365Connector => {
            r#"
profile = "m365-connector"
ip = "4"
server_name = "example-com.mail.protection.outlook.com"
client_certificate = "DIR/client.pem"
client_key = "DIR/client.key"
"#
        }
        Provider::Sendgrid => {
            r#"
profile = "sendgrid"
server_name = "smtp.sendgrid.net"
auth = { mechanism = "plain", username = "apikey", password_file = "DIR/secret" }
"#
        }
        Provider::Ses => {
            r#"
profile = "ses"
server_name = "email-smtp.us-east-1.amazonaws.com"
auth = { mechanism = "plain", username = "AKIASIMULATED", password_file = "DIR/secret" }
"#
        }
        Provider::Smartermail => {
            r#"
profile = "smartermail"
server_name = "mail.example.com"
"#
        }
    }
}

fn faults(scope: &str) -> String {
    format!("gatepost_configuration_faults_total{{upstream=\"sink\",scope=\"{scope}\"}}")
}

/// Nothing is set up wrong, as far as anybody has said.
async fn assert_no_faults(harness: &Harness) {
    for scope in ["envelope", "connection", "upstream"] {
        assert_eq!(harness.metric(&faults(scope)).await, 0, "{scope}");
    }
    assert_eq!(harness.metric(RAISED).await, 0);
}

/// One that concerns a message, and nobody else's.
async fn assert_envelope_faults(harness: &Harness, count: u64) {
    assert_eq!(harness.metric(&faults("envelope")).await, count);
    assert_eq!(harness.metric(&faults("upstream")).await, 0);
    assert_eq!(harness.metric(RAISED).await, 0);
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(TEST_TIME, test).await.expect("the test ends in time");
}

/// Sends a message to one recipient; the last reply, or the first that is no yes.
async fn send(client: &mut ByteClient, sender: &str) -> String {
    send_content(client, sender, MESSAGE).await
}

async fn send_content(client: &mut ByteClient, sender: &str, content: &[u8]) -> String {
    let mail = format!("MAIL FROM:<{sender}> BODY=8BITMIME");
    for line in [&*mail, "RCPT TO:<b@elsewhere.example>", "DATA"] {
        client.send_line(line).await;
        let reply = client.read_reply().await;
        if !reply.starts_with(['2', '3']) {
            client.send_line("RSET").await;
            client.expect("250").await;
            return reply;
        }
    }
    client.send(content).await;
    client.send(b".\r\n").await;
    client.read_reply().await
}

async fn deliver(client: &mut ByteClient) {
    let reply = send(client, APP).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// What is behind the trace field that a relay puts in front (RFC 5321 §4.4).
fn after_received(content: &[u8]) -> &[u8] {
    assert!(content.starts_with(b"Received: "), "{}", content.escape_ascii());
    let is_end = |window: &[u8]| window.starts_with(b"\r\n") && !matches!(window[2], b' ' | b'\t');
    let end = content.windows(3).position(is_end).expect("more than one field");
    &content[end + 2..]
}

/// Several sessions of an application, one connection to the provider, every octet as it was.
#[tokio::test]
async fn every_provider_takes_what_its_page_sets_up() {
    for provider in Provider::ALL {
        in_time(async {
            let mut setup = Setup::start(provider).await;
            let harness = setup.gateway("");
            for _ in 0..2 {
                let mut client = harness.client().await;
                for _ in 0..3 {
                    deliver(&mut client).await;
                    let received = setup.received();
                    assert_eq!(after_received(&received.content), MESSAGE, "{provider}");
                    let is_mailbox = provider == Provider::M365Auth;
                    let sender = if is_mailbox { "relay@example.com" } else { APP };
                    assert_eq!(received.reverse_path, sender);
                    assert_eq!(received.forward_paths, ["b@elsewhere.example"]);
                }
            }
            assert_no_faults(&harness).await;
            let record = setup.obeyed(harness).await;
            let wants_login =
                matches!(provider, Provider::M365Auth | Provider::Sendgrid | Provider::Ses);
            assert_eq!((record.messages, record.connections), (6, 1), "{provider}: {record}");
            assert_eq!(record.tls_handshakes, 1, "{provider}");
            assert_eq!(record.logins, u64::from(wants_login), "{provider}");
            assert!(record.refusals.is_empty(), "{provider}: {record}");
        })
        .await;
    }
}

/// Bounces go where they are taken; elsewhere the application hears for good that they are not.
#[tokio::test]
async fn the_null_sender_fares_as_documented() {
    for (provider, heard) in [
        (Provider::GoogleRelay, "250 "),
        (Provider::M365Auth, "550 5.7.60 "),
        (Provider::M365Connector, "250 "),
        (Provider::Sendgrid, "550 5.7.1 "),
        (Provider::Ses, "550 5.1.7 "),
        (Provider::Smartermail, "250 "),
    ] {
        in_time(async {
            let setup = Setup::start(provider).await;
            let harness = setup.gateway("");
            let mut client = harness.client().await;
            let reply = send(&mut client, "").await;
            assert!(reply.starts_with(heard), "{provider}: {reply}");
            // It was one message; the next one is on the same connection.
            deliver(&mut client).await;
            assert_eq!(harness.metric(RAISED).await, 0, "{provider}");
            assert_eq!(setup.obeyed(harness).await.connections, 1, "{provider}");
        })
        .await;
    }
}

/// A group in one segment, with one recipient more than the provider takes. What it does not offer,
/// PIPELINING at Amazon and SmarterMail, is not used; what is too much for it is said here.
#[tokio::test]
async fn a_group_has_no_more_recipients_than_the_provider_takes() {
    for (provider, most) in [
        (Provider::GoogleRelay, 100),
        (Provider::M365Auth, 500),
        (Provider::M365Connector, 500),
        (Provider::Sendgrid, 1000),
        (Provider::Ses, 50),
        (Provider::Smartermail, 200),
    ] {
        in_time(async {
            let mut setup = Setup::start(provider).await;
            let harness = setup.gateway("");
            let mut client = harness.client().await;
            let mut group = format!("MAIL FROM:<{APP}> BODY=8BITMIME\r\n");
            for index in 0..=most {
                write!(group, "RCPT TO:<b{index}@elsewhere.example>\r\n").expect("a String");
            }
            group += "DATA\r\n";
            client.send(group.as_bytes()).await;
            for _ in 0..=most {
                client.expect("250 ").await;
            }
            client.expect("452 4.5.3 ").await;
            client.expect("354 ").await;
            client.send(MESSAGE).await;
            client.send(b".\r\n").await;
            client.expect("250 ").await;
            assert_eq!(setup.received().forward_paths.len(), most, "{provider}");
            let record = setup.obeyed(harness).await;
            assert_eq!(record.refused(Rule::RecipientsPerMessage), 0, "{provider}");
        })
        .await;
    }
}
