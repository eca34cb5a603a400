//! AUTH at upstreams: behind TLS, as who is configured, and never seen by anybody else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gatepost_testkit::ByteClient;
use gatepost_testkit::upstream::Login;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Harness, converse, fleet, send_message};
use crate::program::Program;
use crate::upstream_tls::{MESSAGE, World, at_rcpt, deliver, until};

const FAULTS: &str = "gatepost_configuration_faults_total{upstream=\"sink\",scope=\"upstream\"}";
const PASSWORD: &str = "correct horse battery staple";

/// An upstream with TLS and a password.
fn lines(mechanism: &str) -> String {
    format!(
        "ca_file = \"DIR/ca.pem\"\nauth = {{ mechanism = \"{mechanism}\", username = \"tim\", \
         password_file = \"DIR/password\" }}"
    )
}

fn login(mechanism: &'static str, username: &str, secret: &str, accepted: bool) -> Login {
    Login { mechanism, username: username.to_owned(), secret: secret.to_owned(), accepted }
}

#[tokio::test]
async fn a_password_is_said_behind_tls_once_for_each_connection() {
    let world = World::new();
    world.put("password", &format!("{PASSWORD}\n"));
    for (word, mechanism) in [("plain", "PLAIN"), ("login", "LOGIN")] {
        let upstream = world.upstream().account("tim", PASSWORD).start();
        let harness = world.gateway(&upstream, &lines(word));
        deliver(&harness).await;
        deliver(&harness).await;
        let connections = upstream.connections();
        assert_eq!(connections.len(), 1);
        assert!(connections[0].secured.is_some());
        assert_eq!(connections[0].logins, [login(mechanism, "tim", PASSWORD, true)]);
        assert_eq!(harness.metric(FAULTS).await, 0);
        upstream.stop().await;
    }
}

#[tokio::test]
async fn a_password_that_is_refused_is_ours_to_mend() {
    let world = World::new();
    world.put("password", "wrong");
    let upstream = world.upstream().account("tim", PASSWORD).start();
    let harness = world.gateway(&upstream, &lines("plain"));
    let reply = at_rcpt(&harness).await;
    assert!(reply.starts_with("451 4.3.5 "), "{reply}");
    assert_eq!(harness.metric(FAULTS).await, 1);
    // Not now is something else than not ever.
    upstream.on("AUTH", "454 4.7.0 temporary authentication failure");
    let reply = at_rcpt(&harness).await;
    assert!(reply.starts_with("451 4.4.1 "), "{reply}");
    assert_eq!(harness.metric(FAULTS).await, 1);
    assert!(!upstream.lines().iter().any(|line| line.starts_with("MAIL")));
    upstream.stop().await;
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_not_tried() {
    let world = World::new();
    world.put("password", PASSWORD);
    let upstream = world.upstream().extensions_behind_tls(&["AUTH CRAM-MD5 GSSAPI"]).start();
    let harness = world.gateway(&upstream, &lines("plain"));
    let reply = at_rcpt(&harness).await;
    assert!(reply.starts_with("451 4.4.1 "), "{reply}");
    assert_eq!(harness.metric(FAULTS).await, 1);
    assert!(!upstream.lines().iter().any(|line| line.starts_with("AUTH")));
    upstream.stop().await;
}

#[tokio::test]
async fn a_password_never_goes_in_plain_text() {
    let world = World::new();
    world.put("password", PASSWORD);
    // It offers AUTH where it must not, and TLS it has none.
    let upstream = gatepost_testkit::ScriptedUpstream::builder()
        .extensions(&["AUTH PLAIN LOGIN"])
        .on("AUTH", gatepost_testkit::Action::Panic("no password in plain text".into()))
        .start();
    let harness = world.gateway(&upstream, &lines("plain"));
    let reply = at_rcpt(&harness).await;
    assert!(reply.starts_with("451 4.4.1 "), "{reply}");
    upstream.stop().await;
}

#[tokio::test]
async fn another_password_counts_from_the_next_connection_on() {
    let world = World::new();
    world.put("password", "first");
    let upstream = world.upstream().account("tim", "first").account("tim", "second").start();
    let harness = world.gateway(&upstream, &lines("plain"));
    deliver(&harness).await;
    // A file that cannot be used changes nothing.
    world.put("password", "");
    harness.gateway.reload().await.expect("no panic");
    deliver(&harness).await;
    assert_eq!(upstream.connections_opened(), 1);
    world.put("password", "second");
    harness.gateway.reload().await.expect("no panic");
    deliver(&harness).await;
    let logins = |number: usize| upstream.connections()[number].logins.clone();
    assert_eq!(upstream.connections_opened(), 2, "the idle one has the old identity");
    assert_eq!(logins(1), [login("PLAIN", "tim", "second", true)]);
    // Without a signal as well.
    world.put("password", "first");
    until("the file is watched", async || {
        deliver(&harness).await;
        upstream.connections_opened() == 3
    })
    .await;
    assert_eq!(logins(2), [login("PLAIN", "tim", "first", true)]);
    upstream.stop().await;
}

/// One transaction that is under way keeps what it began with, and its connection is not kept.
#[tokio::test]
async fn a_connection_that_is_busy_while_its_password_changes_is_not_kept() {
    let world = World::new();
    world.put("password", "first");
    let upstream = world.upstream().account("tim", "first").account("tim", "second").start();
    let harness = world.gateway(&upstream, &lines("plain"));
    let mut client = harness.client().await;
    let lines = [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250")];
    converse(&mut client, &lines).await;
    world.put("password", "second");
    harness.gateway.reload().await.expect("no panic");
    converse(&mut client, &[("DATA", "354")]).await;
    client.send(b"Subject: x\r\n\r\n.\r\n").await;
    client.expect("250").await;
    upstream.wait_for_open(0).await;
    deliver(&harness).await;
    assert_eq!(upstream.connections()[1].logins, [login("PLAIN", "tim", "second", true)]);
    upstream.stop().await;
}

/// Two customers at one provider: their mail never shares a connection.
#[tokio::test]
async fn upstreams_that_differ_in_their_login_alone_share_no_connection() {
    let world = World::new();
    world.put("password", "one");
    world.put("second", "two");
    let upstream = world.upstream().account("tim", "one").account("tom", "two").start();
    let second = format!(
        "[[upstream]]\nname = \"second\"\nhosts = [\"{}\"]\nca_file = \"DIR/ca.pem\"\n\
         auth = {{ mechanism = \"plain\", username = \"tom\", password_file = \"DIR/second\" }}\n",
        upstream.addr()
    );
    let second = second.replace("DIR", &world.files.path().display().to_string());
    let text =
        world.config(&upstream, &lines("plain")).replace("[policy]", &format!("{second}[policy]"));
    let policy = "[[entry]]\nid = \"one\"\nnetworks = [\"127.0.0.1\"]\nsenders = [\"app.test\"]\n\
                  upstream = \"sink\"\n[[entry]]\nid = \"two\"\nnetworks = [\"127.0.0.2\"]\n\
                  senders = [\"app.test\"]\nupstream = \"second\"\n";
    let harness = Harness::with_policy(&text, policy);
    for turn in 0..6 {
        let from = [127, 0, 0, 1 + turn % 2];
        let mut client = ByteClient::connect_from(from.into(), harness.addr()).await;
        client.expect("220").await;
        converse(&mut client, &[("EHLO app.test", "250")]).await;
        let reply = send_message(&mut client, format!("X-Turn: {turn}\r\n\r\n").as_bytes()).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let connections = upstream.connections();
    assert_eq!(connections.len(), 2);
    for message in upstream.wait_for_messages(6).await {
        let turn = message.text().split("X-Turn: ").nth(1).expect("its turn")[..1].to_owned();
        let is_first = turn.parse::<u8>().expect("a digit") % 2 == 0;
        let who = &connections[message.connection].logins[0].username;
        assert_eq!(who == "tim", is_first, "{turn} went as {who}");
    }
    upstream.stop().await;
}

/// A token endpoint on this machine that gives `tokens` in turn, and says how often it was asked.
async fn token_endpoint(tokens: &'static [&'static str]) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}/token", listener.local_addr().expect("bound"));
    let served = tokio::spawn(async move {
        for token in tokens {
            let (mut socket, _) = listener.accept().await.expect("accepted");
            let mut request = vec![0; 4096];
            let octets = socket.read(&mut request).await.expect("a request");
            let request = String::from_utf8_lossy(&request[..octets]).into_owned();
            assert!(request.contains("client_credentials"), "{request}");
            let body = format!(
                "{{\"access_token\":\"{token}\",\"expires_in\":3600,\"token_type\":\"Bearer\"}}"
            );
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    (url, served)
}

#[tokio::test]
async fn a_token_is_fetched_kept_and_fetched_anew_when_it_is_refused() {
    let world = World::new();
    world.put("secret", "client secret");
    let upstream = world.upstream().account("a@b.test", "second-token").start();
    let (url, served) = token_endpoint(&["first-token", "second-token"]).await;
    let harness = world.gateway(
        &upstream,
        &format!(
            "ca_file = \"DIR/ca.pem\"\nmax_messages_per_connection = 1\n\
             auth = {{ mechanism = \"xoauth2\", username = \"a@b.test\", token_endpoint = \"{url}\", \
             client_id = \"gatepost\", client_secret_file = \"DIR/secret\" }}"
        ),
    );
    // Nobody waits longer for it: the first connection is tried again with another token.
    deliver(&harness).await;
    deliver(&harness).await;
    served.await.expect("two tokens were fetched, for three connections");
    let logins: Vec<_> = upstream.connections().iter().map(|it| it.logins[0].clone()).collect();
    assert_eq!(
        logins,
        [
            login("XOAUTH2", "a@b.test", "first-token", false),
            login("XOAUTH2", "a@b.test", "second-token", true),
            login("XOAUTH2", "a@b.test", "second-token", true),
        ]
    );
    // The reason was asked for, and is not in what the client hears.
    assert!(upstream.connections()[0].lines.contains(&String::new()));
    upstream.stop().await;
}

/// The real program with its log as loud as can be: neither a good password nor a bad one is in it,
/// not even where the upstream repeats it.
#[tokio::test]
async fn no_log_has_a_password_in_it() {
    let world = World::new();
    world.put("password", PASSWORD);
    let upstream = world.upstream().account("tim", PASSWORD).start();
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let config =
        world.config(&upstream, &lines("login")).replace("[log]\n", "[log]\nlevel = \"trace\"\n");
    std::fs::write(directory.path().join("gatepost.toml"), config).expect("writes");
    std::fs::write(directory.path().join("policy.toml"), fleet("")).expect("writes");
    let mut program = Program::start_in(&directory);
    let mut client = ByteClient::connect(program.addr).await;
    client.expect("220").await;
    converse(&mut client, &[("EHLO app.test", "250")]).await;
    assert!(send_message(&mut client, MESSAGE).await.starts_with("250"));
    upstream.on("EHLO", "250-sink.test\n250-STARTTLS\n250 AUTH LOGIN");
    world.put("password", "hunter2-is-wrong");
    let encoded = BASE64.encode("hunter2-is-wrong");
    upstream.on("AUTH", format!("535 5.7.8 hunter2-is-wrong {encoded}"));
    program.signal("HUP");
    let mut log = Vec::new();
    collect(&program, &mut log, "keys reloaded").await;
    converse(
        &mut client,
        &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "451 4.3.5")],
    )
    .await;
    let warned = collect(&program, &mut log, "the upstream objects").await;
    assert!(warned.contains("a text that repeats the secret"), "{warned}");
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
    let mail_log =
        std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a mail log");
    log.extend(program.lines());
    let all = log.join("") + &mail_log;
    for secret in [PASSWORD, &BASE64.encode(PASSWORD), "hunter2", &encoded] {
        assert!(!all.contains(secret), "{secret} in\n{all}");
    }
    upstream.stop().await;
}

/// Waits for a line with these words, and keeps all that come until then.
async fn collect(program: &Program, log: &mut Vec<String>, words: &str) -> String {
    let seen = log.len();
    until(words, async || {
        log.extend(program.lines());
        log[seen..].iter().any(|line| line.contains(words))
    })
    .await;
    log[seen..].iter().find(|line| line.contains(words)).expect("it has come").clone()
}
