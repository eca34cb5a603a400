//! A gateway in this process, on loopback, in front of a scripted upstream.

use std::fmt::Write as _;
use std::net::SocketAddr;

use gatepost::config::Config;
use gatepost::gateway::{Drained, Gateway};
use gatepost_policy::ruleset::Ruleset;
use gatepost_testkit::ByteClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Who may do what in these tests.
pub(crate) const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["127.0.0.1", "::1"]
senders = ["app.test", "*.app.test", "<>"]

[[entry]]
id = "mute"
networks = ["127.0.0.3"]
senders = []
"#;

/// A gateway and the files it lives on.
pub(crate) struct Harness {
    pub(crate) gateway: Gateway,
    pub(crate) directory: TempDir,
}

/// What differs from test to test.
#[derive(Default)]
pub(crate) struct Settings {
    /// Lines of the one `[[listener]]`, the one `[[upstream]]`, and of the file's other tables.
    pub(crate) listener: String,
    pub(crate) upstream: String,
    pub(crate) tables: String,
    /// A policy other than [`POLICY`].
    pub(crate) policy: Option<String>,
}

impl Harness {
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        Self::with(upstream, &Settings::default())
    }

    pub(crate) fn with(upstream: SocketAddr, settings: &Settings) -> Self {
        let policy = settings.policy.as_deref().unwrap_or(POLICY);
        Self::with_policy(&config_text(upstream, settings), policy)
    }

    pub(crate) fn from_text(text: &str) -> Self {
        Self::with_policy(text, POLICY)
    }

    /// The entry for 127.0.0.1, with further lines.
    pub(crate) fn with_entry(upstream: SocketAddr, more: &str) -> Self {
        let policy = Some(fleet(more));
        Self::with(upstream, &Settings { policy, ..Settings::default() })
    }

    pub(crate) fn with_policy(text: &str, policy: &str) -> Self {
        Self::adjusted(text, policy, |_| {})
    }

    /// `adjust` changes what no key of the file says.
    pub(crate) fn adjusted(text: &str, policy: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::in_directory(directory, (text, policy), adjust)
    }

    /// The same, with all of its files there.
    pub(crate) fn in_directory(
        directory: TempDir,
        (text, policy): (&str, &str),
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let path = directory.path().join("gatepost.toml");
        let mut config = Config::from_text(text, &path, std::iter::empty())
            .unwrap_or_else(|errors| panic!("the test's own config: {errors:?}"));
        // How much room the disk of whoever tests has is no matter of a test.
        config.spool.options.free_space_floor = 1;
        adjust(&mut config);
        std::fs::write(directory.path().join("policy.toml"), policy).expect("writes");
        let compiled = Ruleset::compile(policy, "policy.toml", &config.site)
            .unwrap_or_else(|errors| panic!("the test's own policy: {errors}"));
        let start = || Gateway::start(config, compiled.ruleset).expect("starts on loopback");
        // To open a spool is to wait for the disk, and other gateways of the test should not have to.
        let gateway = match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => start(),
            _ => tokio::task::block_in_place(start),
        };
        Self { gateway, directory }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.gateway.addresses()[0].1
    }

    /// A client that has been greeted and has said EHLO.
    pub(crate) async fn client(&self) -> ByteClient {
        let mut client = ByteClient::connect(self.addr()).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        client.expect("250").await;
        client
    }

    /// The text of the metrics page.
    pub(crate) async fn metrics(&self) -> String {
        get(self.gateway.metrics_address().expect("metrics are on"), "/metrics").await
    }

    /// One sample of the metrics page; zero if it is not there.
    pub(crate) async fn metric(&self, sample: &str) -> u64 {
        let page = self.metrics().await;
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a count"))
    }

    pub(crate) fn write_policy(&self, text: &str) {
        std::fs::write(self.directory.path().join("policy.toml"), text).expect("writes");
    }

    pub(crate) fn mail_log(&self) -> std::path::PathBuf {
        self.directory.path().join("mail.jsonl")
    }

    pub(crate) async fn drain(self) -> (Drained, TempDir) {
        (self.gateway.drain().await, self.directory)
    }
}

/// An entry for 127.0.0.1; `more` are further lines of it, or of what follows it.
pub(crate) fn fleet(more: &str) -> String {
    format!(
        "[[entry]]\nid = \"fleet\"\nnetworks = [\"127.0.0.1\"]\nsenders = [\"app.test\"]\n{more}\n"
    )
}

pub(crate) fn config_text(upstream: SocketAddr, settings: &Settings) -> String {
    let Settings { listener, upstream: upstream_lines, tables, .. } = settings;
    let mut text = format!(
        r#"
hostname = "relay.test"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:0"]
tls = "none"
{listener}
[[upstream]]
name = "sink"
hosts = ["{upstream}"]
tls = "none"
{upstream_lines}
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
[log]
mail = "mail.jsonl"
[metrics]
bind = "127.0.0.1:0"
"#
    );
    writeln!(text, "{tables}").expect("a String takes everything");
    text
}

/// The body of a page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("the page is served");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    socket.read_to_string(&mut response).await.expect("received");
    response.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// What a client says before its data, and the replies it should hear.
pub(crate) const ENVELOPE: [(&str, &str); 3] =
    [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250"), ("DATA", "354")];

/// Says lines one by one, each followed by the reply that begins so.
pub(crate) async fn converse(client: &mut ByteClient, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        client.send_line(line).await;
        client.expect(reply).await;
    }
}

/// The whole of a message, from MAIL to the last reply.
pub(crate) async fn send_message(client: &mut ByteClient, content: &[u8]) -> String {
    converse(client, &ENVELOPE).await;
    client.send(content).await;
    client.send(b".\r\n").await;
    client.read_reply().await
}
