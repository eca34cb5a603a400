//! TLS to upstreams: who is believed, what is shown, and what is never done in plain text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_testkit::upstream::{Builder, Connection};
use gatepost_testkit::{
    Action, ByteClient, Issued, ScriptedUpstream, ServerTls, ThrowAwayCa, Versions,
};
use tempfile::TempDir;

use crate::harness::{Harness, POLICY, Settings, config_text, converse, fleet, send_message};
use crate::program::Program;

const FAULTS: &str = "gatepost_configuration_faults_total{upstream=\"sink\",scope=\"upstream\"}";
pub(crate) const MESSAGE: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
/// A look each second, and two reads.
const PATIENCE: Duration = Duration::from_secs(10);

/// A CA with its file, and an upstream that it has certified as `smtp.test` and 127.0.0.1.
pub(crate) struct World {
    pub(crate) ca: ThrowAwayCa,
    pub(crate) tls: ServerTls,
    pub(crate) files: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::showing(|ca| ca.issue(&["smtp.test", "127.0.0.1"]))
    }

    /// One whose upstream shows another certificate.
    pub(crate) fn showing(issue: impl FnOnce(&ThrowAwayCa) -> Issued) -> Self {
        let ca = ThrowAwayCa::new();
        let tls = ServerTls::new(&ca, &issue(&ca), Versions::Both);
        let files = tempfile::tempdir().expect("a directory");
        std::fs::write(files.path().join("ca.pem"), ca.pem()).expect("writes");
        Self { ca, tls, files }
    }

    pub(crate) fn upstream(&self) -> Builder {
        ScriptedUpstream::builder().starttls(&self.tls)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Renamed into place, so that nobody reads half of it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let beside = self.path("beside");
        std::fs::write(&beside, text).expect("writes");
        std::fs::rename(beside, self.path(name)).expect("renames");
    }

    fn put_pair(&self, name: &str, Issued { certificate, key }: &Issued) {
        self.put(&format!("{name}.pem"), certificate);
        self.put(&format!("{name}.key"), key);
    }

    /// A configuration with these lines in the `[[upstream]]`, `DIR` standing for the directory.
    pub(crate) fn config(&self, upstream: &ScriptedUpstream, lines: &str) -> String {
        let settings = Settings { upstream: "END".to_owned(), ..Settings::default() };
        let lines = lines.replace("DIR", &self.files.path().display().to_string());
        config_text(upstream.addr(), &settings).replace("tls = \"none\"\nEND", &lines)
    }

    pub(crate) fn gateway(&self, upstream: &ScriptedUpstream, lines: &str) -> Harness {
        Harness::with_policy(&self.config(upstream, lines), POLICY)
    }
}

/// Delivers a message through a session of its own.
pub(crate) async fn deliver(harness: &Harness) {
    let reply = send_message(&mut harness.client().await, MESSAGE).await;
    assert!(reply.starts_with("250"), "{reply}");
}

/// What a client hears at its first RCPT.
pub(crate) async fn at_rcpt(harness: &Harness) -> String {
    let mut client = harness.client().await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250")]).await;
    client.send_line("RCPT TO:<b@b.test>").await;
    client.read_reply().await
}

fn secured(connection: &Connection) -> &gatepost_testkit::upstream::Secured {
    connection.secured.as_ref().expect("TLS")
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lines that an upstream heard beside those of an opening.
fn mail_lines(upstream: &ScriptedUpstream) -> Vec<String> {
    let mut lines = upstream.lines();
    lines.retain(|line| !line.starts_with("EHLO") && line != "STARTTLS" && line != "QUIT");
    lines
}

#[tokio::test]
async fn mail_goes_over_tls_to_whom_the_file_vouches_for() {
    let world = World::new();
    for (upstream, lines) in [
        (world.upstream().start(), ""),
        (world.upstream().start(), "tls = \"required\"\nserver_name = \"smtp.test\"\n"),
        (
            ScriptedUpstream::builder().implicit_tls(&world.tls).start(),
            "tls = \"implicit\"\nserver_name = \"smtp.test\"\n",
        ),
    ] {
        let harness = world.gateway(&upstream, &format!("{lines}ca_file = \"DIR/ca.pem\""));
        deliver(&harness).await;
        let message = &upstream.wait_for_messages(1).await[0];
        assert_eq!(message.after_received(), MESSAGE);
        let connections = upstream.connections();
        let expected = (!lines.is_empty()).then(|| "smtp.test".to_owned());
        assert_eq!(secured(&connections[0]).server_name, expected, "{lines}");
        assert!(secured(&connections[0]).is_tls13);
        // The envelope is not to be seen on the wire, nor is anything but the way into TLS.
        assert_eq!(harness.metric(FAULTS).await, 0);
        upstream.stop().await;
    }
}

#[tokio::test]
async fn whoever_is_not_whom_we_want_gets_nothing() {
    let stranger = ThrowAwayCa::new();
    for (what, world) in [
        ("another CA", World::showing(|_| stranger.issue(&["smtp.test", "127.0.0.1"]))),
        ("another name", World::showing(|ca| ca.issue(&["other.test", "127.0.0.2"]))),
        ("expired", World::showing(|ca| ca.issue_until(&["smtp.test", "127.0.0.1"], 2001))),
    ] {
        for (upstream, lines) in [
            (world.upstream().start(), "tls = \"required\"\n"),
            (ScriptedUpstream::builder().implicit_tls(&world.tls).start(), "tls = \"implicit\"\n"),
        ] {
            let harness = world.gateway(&upstream, &format!("{lines}ca_file = \"DIR/ca.pem\""));
            let reply = at_rcpt(&harness).await;
            assert!(reply.starts_with("451 4.4.1 "), "{what}: {reply}");
            assert_eq!(harness.metric(FAULTS).await, 1, "{what}: somebody has to look");
            assert_eq!(mail_lines(&upstream), [""; 0], "{what}");
            upstream.stop().await;
        }
    }
}

#[tokio::test]
async fn an_offer_without_starttls_is_refused_where_tls_is_required() {
    let world = World::new();
    for upstream in [
        // Taken out of the offer by somebody on the way; refused by the upstream itself.
        ScriptedUpstream::start(),
        world.upstream().on("STARTTLS", "454 4.7.0 TLS not available").start(),
    ] {
        let required = world.gateway(&upstream, "ca_file = \"DIR/ca.pem\"");
        assert!(at_rcpt(&required).await.starts_with("451 4.4.1 "));
        assert_eq!(required.metric(FAULTS).await, 1);
        assert_eq!((mail_lines(&upstream), upstream.messages().len()), (Vec::new(), 0));
        let opportunistic = world.gateway(&upstream, "tls = \"opportunistic\"");
        deliver(&opportunistic).await;
        let message = &upstream.wait_for_messages(1).await[0];
        assert!(upstream.connections()[message.connection].secured.is_none());
        upstream.stop().await;
    }
    // Where there is some, it is used, whoever it is.
    let stranger = World::showing(|ca| ca.issue(&["other.test"]));
    let upstream = stranger.upstream().start();
    deliver(&world.gateway(&upstream, "tls = \"opportunistic\"")).await;
    assert!(upstream.connections()[0].secured.is_some());
    upstream.stop().await;
}

/// Somebody on the line speaks behind the 220, in the same segment or later.
#[tokio::test]
async fn what_is_injected_behind_220_is_fatal_and_believed_in_nothing() {
    let world = World::new();
    let ehlo = "250-sink.test\n250-CHUNKING\n250 SMTPUTF8";
    for action in [
        Action::TwoReplies("220 2.0.0 go".into(), ehlo.into()),
        Action::Raw(b"220 2.0.0 go\r\n250-sink".to_vec()),
        Action::ReplyThenRaw("220 2.0.0 go".into(), b"250 sink.test\r\n".to_vec()),
    ] {
        let upstream = world.upstream().on("STARTTLS", action.clone()).start();
        let harness = world.gateway(&upstream, "ca_file = \"DIR/ca.pem\"");
        let reply = at_rcpt(&harness).await;
        assert!(reply.starts_with("451 4.4.1 "), "{reply}");
        upstream.wait_for_open(0).await;
        assert_eq!(upstream.lines(), ["EHLO relay.test", "STARTTLS"], "{action:?}");
        upstream.stop().await;
    }
}

#[tokio::test]
async fn what_was_offered_before_tls_is_forgotten() {
    let world = World::new();
    let upstream = world
        .upstream()
        .extensions(&["PIPELINING", "SIZE 1", "8BITMIME", "SMTPUTF8", "CHUNKING"])
        .extensions_behind_tls(&[])
        .start();
    let harness = world.gateway(&upstream, "ca_file = \"DIR/ca.pem\"");
    let mut client = harness.client().await;
    let lines =
        [("MAIL FROM:<a@app.test> BODY=8BITMIME SIZE=100", "250"), ("RCPT TO:<b@b.test>", "250")];
    converse(&mut client, &lines).await;
    client.send(b"BDAT 20 LAST\r\nSubject: x\r\n\r\nbody\r\n").await;
    client.expect("250").await;
    assert_eq!(
        mail_lines(&upstream),
        ["MAIL FROM:<a@app.test>", "RCPT TO:<b@b.test>", "DATA"],
        "no parameter, and no chunk"
    );
    upstream.stop().await;
}

/// The one that a chain of two leads to a root: an upstream that knows the root alone can verify it.
fn with_intermediate(ca: &ThrowAwayCa) -> Issued {
    let intermediate = ca.intermediate();
    let Issued { certificate, key } = intermediate.issue(&["relay.test"]);
    Issued { certificate: certificate + &intermediate.pem(), key }
}

#[tokio::test]
async fn our_certificate_is_shown_with_its_chain_and_replaced_without_a_restart() {
    let world = World::new();
    let upstream = world.upstream().start();
    let first = with_intermediate(&world.ca);
    world.put_pair("relay", &first);
    let harness = world.gateway(
        &upstream,
        "ca_file = \"DIR/ca.pem\"\nclient_certificate = \"DIR/relay.pem\"\n\
         client_key = \"DIR/relay.key\"",
    );
    deliver(&harness).await;
    deliver(&harness).await;
    let shown = |connection: usize| {
        let connections = upstream.connections();
        let certificates = &secured(&connections[connection]).client_certificates;
        (certificates[0].clone(), certificates.len())
    };
    assert_eq!(upstream.connections_opened(), 1, "it is reused");
    assert_eq!(shown(0), (first.der(), 2));
    let expiry = format!(
        "gatepost_tls_cert_expiry_timestamp_seconds{{upstream=\"sink\",name=\"{}\"}}",
        world.path("relay.pem").display()
    );
    let until_when = harness.metrics().await;
    assert!(until_when.lines().any(|line| line.starts_with(&expiry)), "{until_when}");

    // Half of a pair is not taken over: the old one stays in use.
    let second = world.ca.issue(&["relay.test"]);
    world.put("relay.pem", &second.certificate);
    harness.gateway.reload().await.expect("no panic");
    deliver(&harness).await;
    assert_eq!(upstream.connections_opened(), 1);
    world.put("relay.key", &second.key);
    harness.gateway.reload().await.expect("no panic");
    deliver(&harness).await;
    assert_eq!(upstream.connections_opened(), 2, "the idle one has the old identity");
    assert_eq!(shown(1), (second.der(), 1));
    assert!(!secured(&upstream.connections()[1]).resumed, "a session of another identity");

    // Without a signal as well, when the files have changed.
    world.put_pair("relay", &first);
    until("the files are watched", async || {
        deliver(&harness).await;
        upstream.connections_opened() == 3
    })
    .await;
    assert_eq!(shown(2).0, first.der());
    upstream.stop().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_our_certificate_is_a_fault_of_the_setup() {
    let world = World::new();
    let upstream = world.upstream().start();
    world.put_pair("relay", &ThrowAwayCa::new().issue(&["relay.test"]));
    let harness = world.gateway(
        &upstream,
        "ca_file = \"DIR/ca.pem\"\nclient_certificate = \"DIR/relay.pem\"\n\
         client_key = \"DIR/relay.key\"",
    );
    let reply = at_rcpt(&harness).await;
    assert!(reply.starts_with("451 4.4.1 "), "{reply}");
    assert_eq!(harness.metric(FAULTS).await, 1);
    upstream.stop().await;
}

#[tokio::test]
async fn a_session_of_before_goes_on() {
    let world = World::new();
    let upstream = world.upstream().start();
    let harness =
        world.gateway(&upstream, "ca_file = \"DIR/ca.pem\"\nmax_messages_per_connection = 1");
    for _ in 0..3 {
        deliver(&harness).await;
    }
    let resumed: Vec<_> = upstream.connections().iter().map(|it| secured(it).resumed).collect();
    assert_eq!(resumed, [false, true, true]);
    upstream.stop().await;
}

#[tokio::test]
async fn other_roots_are_other_connections() {
    let world = World::new();
    let upstream = world.upstream().start();
    let harness = world.gateway(&upstream, "ca_file = \"DIR/ca.pem\"");
    deliver(&harness).await;
    world.put("ca.pem", &ThrowAwayCa::new().pem());
    harness.gateway.reload().await.expect("no panic");
    assert!(at_rcpt(&harness).await.starts_with("451 4.4.1 "), "the idle one is not used");
    world.put("ca.pem", "broken");
    harness.gateway.reload().await.expect("no panic");
    world.put("ca.pem", &world.ca.pem());
    harness.gateway.reload().await.expect("no panic");
    deliver(&harness).await;
    upstream.stop().await;
}

/// The real program, with roots where those of a machine are looked for.
#[tokio::test]
async fn without_a_file_the_roots_of_this_machine_count() {
    let world = World::new();
    let upstream = world.upstream().start();
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    std::fs::write(directory.path().join("gatepost.toml"), world.config(&upstream, ""))
        .expect("writes");
    std::fs::write(directory.path().join("policy.toml"), fleet("")).expect("writes");
    let stranger = world.path("stranger.pem");
    std::fs::write(&stranger, ThrowAwayCa::new().pem()).expect("writes");
    for (roots, reply) in [(world.path("ca.pem"), "250 "), (stranger, "451 4.4.1 ")] {
        let program = Program::start_with_variable(&directory, ("SSL_CERT_FILE", roots.as_path()));
        let mut client = ByteClient::connect(program.addr).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250"), ("MAIL FROM:<a@app.test>", "250")]).await;
        converse(&mut client, &[("RCPT TO:<b@b.test>", reply)]).await;
        program.end();
    }
    upstream.stop().await;
}

#[test]
fn a_file_that_cannot_be_used_is_told_before_anything_starts() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name);
    let config = config_text(([127, 0, 0, 1], 9).into(), &Settings::default())
        .replace("tls = \"none\"\n\n[policy]", "ca_file = \"ca.pem\"\n[policy]");
    std::fs::write(place("gatepost.toml"), config).expect("writes");
    std::fs::write(place("policy.toml"), POLICY).expect("writes");
    let command = |name: &str| run(name, &place("gatepost.toml"));
    for name in ["check", "run"] {
        let (code, told) = command(name);
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("ca.pem: cannot be read: No such file"), "{told}");
    }
    std::fs::write(place("ca.pem"), "no PEM").expect("writes");
    let (code, told) = command("check");
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("ca.pem: no certificate is in it; it must be PEM with"), "{told}");
    std::fs::write(place("ca.pem"), ThrowAwayCa::new().pem()).expect("writes");
    assert_eq!(command("check").0, Some(0));
}

fn run(command: &str, config: &Path) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args([command, "--config"])
        .arg(config)
        .output()
        .expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
