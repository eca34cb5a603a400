//! SMTP AUTH: who is let in by a password, who needs one beside an address, and what goes wrong.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gatepost_testkit::{ByteClient, ClientTls, ScriptedUpstream, ThrowAwayCa, Versions};
use tempfile::TempDir;

use crate::harness::{Harness, Settings, config_text, converse, send_message};

/// Of "secret", at the least cost there is: the tests are not optimised.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$WHwbVkQ5XzAMaltcqwxy+X9v0VxYTVTjS9BRTrowawM";
/// Of the same password with other salt.
const OTHER_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx1$WHwbVkQ5XzAMaltcqwxy+X9v0VxYTVTjS9BRTrowawM";

const FAILED: &str = "535 5.7.8 authentication failed";
const ATTEMPTS: &str = "gatepost_auth_attempts_total";

/// Clients at 127.0.0.1 are known to nobody; those of the entries are at other addresses.
fn policy() -> String {
    let entries = r#"
[[entry]]
id = "free"
networks = ["127.0.0.2"]
senders = ["app.test"]

[[entry]]
id = "both"
networks = ["127.0.0.3"]
senders = ["app.test", "crm.test"]
recipients = ["b.test"]
authentication = "required"

[[entry]]
id = "blocked"
networks = ["127.0.0.4"]
action = "deny"
"#;
    let crm = credential("crm", "crm-user", "max_connections = 2");
    entries.to_owned() + &crm + &credential("erp", "erp-user", "").replace("app.test", "erp.test")
}

fn credential(id: &str, username: &str, more: &str) -> String {
    format!(
        "[[credential]]\nid = {id:?}\nusername = {username:?}\npassword_hash = {HASH:?}\n\
         senders = [\"app.test\"]\nrecipients = [\"b.test\", \"c.test\"]\n{more}\n"
    )
}

/// A gateway that asks for passwords, and a client that trusts it.
struct Stage {
    harness: Harness,
    upstream: ScriptedUpstream,
    tls: ClientTls,
    _files: TempDir,
}

impl Stage {
    fn start(mode: &str) -> Self {
        Self::with(mode, "unknown_clients = \"authenticate\"", &policy())
    }

    fn with(mode: &str, listener: &str, policy: &str) -> Self {
        // Nobody waits a second here for what is counted anyway.
        Self::pausing(mode, listener, policy, Duration::from_millis(1))
    }

    fn pausing(mode: &str, listener: &str, policy: &str, pause: Duration) -> Self {
        let upstream = ScriptedUpstream::start();
        let files = tempfile::tempdir().expect("a directory");
        let ca = ThrowAwayCa::new();
        let issued = ca.issue(&["relay.test"]);
        let (certificate, key) = (files.path().join("relay.pem"), files.path().join("relay.key"));
        std::fs::write(&certificate, issued.certificate).expect("writes");
        std::fs::write(&key, issued.key).expect("writes");
        let mut lines = format!("tls = {mode:?}\n{listener}\n");
        let (certificate, key) = (certificate.display(), key.display());
        write!(lines, "certificate = \"{certificate}\"\nprivate_key = \"{key}\"")
            .expect("a String takes everything");
        let text = config_text(upstream.addr(), &Settings::default());
        let text = text.replacen("tls = \"none\"", &lines, 1);
        let harness = Harness::adjusted(&text, policy, |config| {
            config.session.auth_pause = pause;
        });
        Self { harness, upstream, tls: ClientTls::new(&ca, None, Versions::Both), _files: files }
    }

    /// A client behind TLS that has said EHLO, and what was offered to it.
    async fn client_from(&self, last: u8) -> (ByteClient, String) {
        let source = IpAddr::from([127, 0, 0, last]);
        let mut client = ByteClient::connect_from(source, self.harness.addr()).await;
        client.secure(&self.tls).await;
        client.expect("220").await;
        client.send_line("EHLO app.test").await;
        let offered = client.expect("250").await;
        (client, offered)
    }

    async fn client(&self) -> ByteClient {
        self.client_from(1).await.0
    }

    async fn attempts(&self, result: &str) -> u64 {
        let sample = format!("{ATTEMPTS}{{listener=\"smtp\",result=\"{result}\"}}");
        self.harness.metric(&sample).await
    }

    /// Ends it, and returns its mail log.
    async fn end(self) -> String {
        self.upstream.stop().await;
        let (_, directory) = self.harness.drain().await;
        std::fs::read_to_string(directory.path().join("mail.jsonl")).expect("a log")
    }
}

fn plain(username: &str, password: &str) -> String {
    BASE64.encode(format!("\0{username}\0{password}"))
}

fn auth_plain(username: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", plain(username, password))
}

async fn log_in(client: &mut ByteClient, username: &str) {
    converse(client, &[(&auth_plain(username, "secret"), "235 2.7.0")]).await;
}

#[tokio::test]
async fn a_password_lets_a_client_in_and_its_credential_says_what_it_may() {
    let stage = Stage::start("implicit");
    let crm = plain("crm-user", "secret");
    let (user, password) = (BASE64.encode("crm-user"), BASE64.encode("secret"));
    for dialogue in [
        vec![(format!("AUTH PLAIN {crm}"), "235 2.7.0 authenticated")],
        vec![("auth plain".to_owned(), "334 "), (crm.clone(), "235 2.7.0")],
        vec![
            ("AUTH LOGIN".to_owned(), "334 VXNlcm5hbWU6"),
            (user.clone(), "334 UGFzc3dvcmQ6"),
            (password.clone(), "235 2.7.0"),
        ],
        vec![(format!("AUTH LOGIN {user}"), "334 UGFzc3dvcmQ6"), (password, "235 2.7.0")],
    ] {
        let (mut client, offered) = stage.client_from(1).await;
        assert!(offered.ends_with("\n250 AUTH PLAIN LOGIN"), "{offered}");
        for (line, reply) in dialogue {
            converse(&mut client, &[(&line, reply)]).await;
        }
        converse(
            &mut client,
            &[
                (
                    "MAIL FROM:<a@other.test>",
                    "550 5.7.1 <a@other.test> is not an allowed sender of entry crm",
                ),
                ("MAIL FROM:<a@app.test> AUTH=a+40app.test", "250"),
                (
                    "RCPT TO:<x@d.test>",
                    "550 5.7.1 <x@d.test> is not an allowed recipient of entry crm",
                ),
                ("RSET", "250"),
            ],
        )
        .await;
        let reply = send_message(&mut client, b"Subject: x\r\n\r\nbody\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
        converse(&mut client, &[("QUIT", "221")]).await;
        client.expect_closed().await;
    }
    let message = &stage.upstream.wait_for_messages(4).await[0];
    assert!(message.text().contains(" by relay.test with ESMTPSA id "), "{}", message.text());
    let upstream = stage.upstream.lines().join("\n");
    assert!(!upstream.contains("AUTH"), "nobody's business upstream: {upstream}");
    assert_eq!(stage.attempts("ok").await, 4);
    let challenged = "gatepost_connections_total{listener=\"smtp\",result=\"challenged\"}";
    assert_eq!(stage.harness.metric(challenged).await, 4);
    let crm = stage.harness.gateway.policy().load().credential("crm").expect("there").clone();
    assert_eq!(crm.entry().state().connections(), 0, "all were given back");
    let log = stage.end().await;
    let delivery = log.lines().find(|line| line.contains("\"Delivery\"")).expect("delivered");
    assert!(delivery.contains("\"entry\":\"crm\",\"credential\":\"crm\""), "{delivery}");
    assert!(!log.contains("crm-user"), "{log}");
}

#[tokio::test]
async fn a_failure_tells_nothing_and_costs_one_of_three() {
    let stage = Stage::start("implicit");
    for (name, password) in
        [("crm-user", "Secret"), ("hunter2", "secret"), ("crm-user", ""), ("crm", "secret")]
    {
        let mut client = stage.client().await;
        client.send_line(&auth_plain(name, password)).await;
        assert_eq!(client.read_reply().await, FAILED, "{name}");
        log_in(&mut client, "crm-user").await;
    }
    let other = BASE64.encode("erp-user\0crm-user\0secret");
    let mut client = stage.client().await;
    for (line, reply) in [
        (format!("AUTH PLAIN {other}"), FAILED),
        ("AUTH CRAM-MD5".to_owned(), "504 5.5.4"),
        ("AUTH".to_owned(), "501 5.5.4"),
        ("AUTH PLAIN =".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN %%%".to_owned(), "501 5.5.2"),
        ("AUTH PLAIN".to_owned(), "334 "),
        ("*".to_owned(), "501 5.7.0"),
        ("AUTH LOGIN".to_owned(), "334 "),
        ("Y3JtLXVzZXI".to_owned(), "501 5.5.2"),
        ("MAIL FROM:<a@app.test>".to_owned(), "530 5.7.0"),
        (auth_plain("crm-user", "secret"), "235 2.7.0"),
    ] {
        converse(&mut client, &[(&line, reply)]).await;
    }
    let mut client = stage.client().await;
    let wrong = auth_plain("crm-user", "wrong");
    converse(&mut client, &[(&wrong, FAILED), (&wrong, FAILED), (&wrong, FAILED)]).await;
    client.expect("421 4.7.0").await;
    client.expect_closed().await;
    assert_eq!((stage.attempts("failed").await, stage.attempts("aborted").await), (8, 4));
    let log = stage.end().await;
    let failed: Vec<_> = log.lines().filter(|line| line.contains("AUTH failed")).collect();
    assert_eq!(failed.len(), 1, "one line a minute and address: {log}");
    assert!(failed[0].contains("wrong password; refusals since the last line: 1"), "{}", failed[0]);
    assert!(failed[0].contains("\"entry\":null,\"credential\":\"crm\""), "{}", failed[0]);
    assert!(failed[0].contains("\"reply\":\"535 5.7.8 authentication failed\""), "{}", failed[0]);
}

#[tokio::test]
async fn a_failure_is_answered_late_and_the_next_later() {
    let pause = Duration::from_millis(100);
    let listener = "unknown_clients = \"authenticate\"";
    let stage = Stage::pausing("implicit", listener, &policy(), pause);
    let wrong = auth_plain("crm-user", "wrong");
    // In sessions of their own: it is the address that is remembered.
    for pauses in [1, 2, 4, 8, 8] {
        let mut client = stage.client().await;
        let begun = std::time::Instant::now();
        converse(&mut client, &[(&wrong, FAILED)]).await;
        assert!(begun.elapsed() >= pause * pauses, "{pauses}: {:?}", begun.elapsed());
    }
    let mut client = stage.client().await;
    let begun = std::time::Instant::now();
    log_in(&mut client, "crm-user").await;
    assert!(begun.elapsed() < pause * 8, "who knows the password does not wait");
    stage.end().await;
}

/// A client that sends its password where its name belongs finds it in no log.
#[tokio::test]
async fn a_name_that_nobody_has_is_not_written_down() {
    let stage = Stage::start("implicit");
    let mut client = stage.client().await;
    converse(&mut client, &[(&auth_plain("hunter2", "hunter2"), FAILED)]).await;
    let log = stage.end().await;
    assert!(log.contains("AUTH failed, unknown username"), "{log}");
    assert!(!log.contains("hunter2") && !log.contains("\"credential\""), "{log}");
}

#[tokio::test]
async fn ten_failures_of_an_address_are_enough() {
    let stage = Stage::start("implicit");
    let wrong = auth_plain("crm-user", "wrong");
    for _ in 0..5 {
        let mut client = stage.client().await;
        converse(&mut client, &[(&wrong, FAILED), (&wrong, FAILED)]).await;
    }
    let mut client = stage.client().await;
    let right = auth_plain("crm-user", "secret");
    converse(&mut client, &[(&right, "454 4.7.0 too many failures"), (&wrong, "454 4.7.0")]).await;
    assert_eq!((stage.attempts("failed").await, stage.attempts("limited").await), (10, 2));
    // Others are others.
    let (mut client, _) = stage.client_from(9).await;
    log_in(&mut client, "crm-user").await;
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_asked_for_in_plain_text() {
    let stage = Stage::start("starttls");
    let mut client = ByteClient::connect(stage.harness.addr()).await;
    client.expect("220").await;
    converse(&mut client, &[(&auth_plain("crm-user", "secret"), "503 5.5.1 send EHLO first")])
        .await;
    client.send_line("EHLO app.test").await;
    let offered = client.read_reply().await;
    assert!(offered.ends_with("\n250 STARTTLS") && !offered.contains("AUTH"), "{offered}");
    converse(
        &mut client,
        &[
            (&auth_plain("crm-user", "secret"), "538 5.7.11"),
            ("AUTH LOGIN", "538 5.7.11"),
            ("AUTH NONSENSE", "538 5.7.11"),
            ("MAIL FROM:<a@app.test>", "530 5.7.0"),
            ("RCPT TO:<b@b.test>", "530 5.7.0"),
            ("VRFY a", "530 5.7.0"),
            ("NOOP", "250"),
            ("RSET", "250"),
            ("STARTTLS", "220"),
        ],
    )
    .await;
    client.secure(&stage.tls).await;
    converse(&mut client, &[(&auth_plain("crm-user", "secret"), "503 5.5.1 send EHLO first")])
        .await;
    client.send_line("EHLO app.test").await;
    let offered = client.read_reply().await;
    assert!(
        offered.ends_with("\n250 AUTH PLAIN LOGIN") && !offered.contains("STARTTLS"),
        "{offered}"
    );
    converse(&mut client, &[("STARTTLS", "503 5.5.1 TLS is in use")]).await;
    log_in(&mut client, "crm-user").await;
    let reply = send_message(&mut client, b"\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(stage.attempts("ok").await, 1);
    stage.end().await;
}

#[tokio::test]
async fn auth_has_its_place_and_is_used_once() {
    let stage = Stage::start("implicit");
    let mut client = stage.client().await;
    log_in(&mut client, "crm-user").await;
    converse(
        &mut client,
        &[
            (&auth_plain("erp-user", "secret"), "503 5.5.1 authenticated already"),
            ("MAIL FROM:<a@app.test>", "250"),
            (&auth_plain("erp-user", "secret"), "503 5.5.1 a transaction is open"),
            ("RSET", "250"),
        ],
    )
    .await;
    // RSET and EHLO end transactions, and no login (RFC 4954 §4).
    client.send_line("EHLO app.test").await;
    let offered = client.read_reply().await;
    assert!(!offered.contains("AUTH"), "{offered}");
    converse(
        &mut client,
        &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250"), ("QUIT", "221")],
    )
    .await;
    stage.end().await;
}

#[tokio::test]
async fn auth_is_offered_where_it_is_of_use() {
    let stage = Stage::with("implicit", "", &policy());
    let (mut client, offered) = stage.client_from(2).await;
    assert!(!offered.contains("AUTH"), "{offered}");
    converse(
        &mut client,
        &[
            ("AUTH LOGIN", "502 5.5.1"),
            ("MAIL FROM:<a@app.test> AUTH=<>", "555 5.5.4"),
            ("MAIL FROM:<a@app.test>", "250"),
            ("QUIT", "221"),
        ],
    )
    .await;
    let (_, offered) = stage.client_from(3).await;
    assert!(offered.contains("AUTH PLAIN LOGIN"), "{offered}");
    let mut client = ByteClient::connect(stage.harness.addr()).await;
    client.secure(&stage.tls).await;
    client.expect("554 5.7.1 relay.test: 127.0.0.1 is not on the allow-list").await;
    stage.end().await;

    let stage = Stage::start("implicit");
    for (last, is_greeted) in [(2, true), (4, false)] {
        let source = IpAddr::from([127, 0, 0, last]);
        let mut client = ByteClient::connect_from(source, stage.harness.addr()).await;
        client.secure(&stage.tls).await;
        if is_greeted {
            client.expect("220").await;
            // An address is enough, and a credential that is used all the same binds.
            converse(
                &mut client,
                &[("EHLO a", "250"), ("MAIL FROM:<a@app.test>", "250"), ("RSET", "250")],
            )
            .await;
            log_in(&mut client, "erp-user").await;
            converse(
                &mut client,
                &[(
                    "MAIL FROM:<a@app.test>",
                    "550 5.7.1 <a@app.test> is not an allowed sender of entry erp",
                )],
            )
            .await;
        } else {
            client.expect("554 5.7.1 relay.test: 127.0.0.4 is blocked").await;
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn an_entry_may_ask_for_a_password_and_both_must_allow() {
    let stage = Stage::with("implicit", "", &policy());
    let (mut client, _) = stage.client_from(3).await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "530 5.7.0 entry both must authenticate")])
        .await;
    log_in(&mut client, "crm-user").await;
    converse(
        &mut client,
        &[
            (
                "MAIL FROM:<a@erp.test>",
                "550 5.7.1 <a@erp.test> is not an allowed sender of entry both",
            ),
            (
                "MAIL FROM:<a@crm.test>",
                "550 5.7.1 <a@crm.test> is not an allowed sender of entry crm",
            ),
            ("MAIL FROM:<a@app.test>", "250"),
            (
                "RCPT TO:<x@c.test>",
                "550 5.7.1 <x@c.test> is not an allowed recipient of entry both",
            ),
            ("RSET", "250"),
        ],
    )
    .await;
    let reply = send_message(&mut client, b"\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    let states = |id: &str| {
        let ruleset = stage.harness.gateway.policy().load();
        let credential = ruleset.credential(id).map(|it| it.entry().state().connections());
        credential.or_else(|| ruleset.entry(id).map(|it| it.state().connections()))
    };
    assert_eq!((states("both"), states("crm")), (Some(1), Some(1)));
    // The limit of the credential counts wherever it is used.
    let (mut second, _) = stage.client_from(3).await;
    log_in(&mut second, "crm-user").await;
    let (mut third, _) = stage.client_from(3).await;
    converse(&mut third, &[(&auth_plain("crm-user", "secret"), "421 4.7.0 entry crm may have 2")])
        .await;
    third.expect_closed().await;
    let log = stage.end().await;
    let delivery = log.lines().find(|line| line.contains("\"Delivery\"")).expect("delivered");
    assert!(delivery.contains("\"entry\":\"both\",\"credential\":\"crm\""), "{delivery}");
}

/// The terms of both hold for the data too.
#[tokio::test]
async fn data_is_judged_by_both() {
    let policy = policy()
        .replace("max_connections = 2", "max_message_size = \"1 KiB\"\nheader_from = \"allowed\"");
    let stage = Stage::with("implicit", "", &policy);
    let (mut client, _) = stage.client_from(3).await;
    log_in(&mut client, "crm-user").await;
    let large = [b"From: a@app.test\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(100)].concat();
    for (content, told) in [
        (&large[..], "552 5.3.4 the message is larger than the 1 KiB that entry crm"),
        (
            b"From: a@crm.test\r\n\r\n",
            "550 5.7.1 <a@crm.test> is not an allowed sender in the From field of entry crm",
        ),
        (b"From: a@app.test\r\n\r\n", "250"),
    ] {
        let reply = send_message(&mut client, content).await;
        assert!(reply.starts_with(told), "{reply}");
    }
    converse(&mut client, &[("MAIL FROM:<a@app.test> SIZE=2000", "552 5.3.4")]).await;
    stage.end().await;
}

/// And for how often it comes: what one login sends in a loop is not taken from the entry.
#[tokio::test]
async fn copies_are_judged_by_both() {
    let policy = policy().replace("max_connections = 2", "duplicate_rate = \"1/h\"");
    let stage = Stage::with("implicit", "", &policy);
    let (mut client, _) = stage.client_from(3).await;
    log_in(&mut client, "crm-user").await;
    for told in ["250", "450 4.7.1 the same message 2 times, entry crm takes 1/h of it"] {
        let reply = send_message(&mut client, b"x\r\n").await;
        assert!(reply.starts_with(told), "{reply}");
    }
    stage.end().await;
}

#[tokio::test]
async fn lines_of_auth_may_be_long_and_not_longer() {
    let stage = Stage::start("implicit");
    let mut client = stage.client().await;
    for (line, reply) in [
        (format!("AUTH PLAIN {}", "A".repeat(12_288 - 13)), "501 5.5.2"),
        (format!("AUTH PLAIN {}", "A".repeat(12_288 - 12)), "500 5.5.2 line too long"),
        (format!("NOOP {}", "A".repeat(5000)), "500 5.5.2 line too long"),
        ("AUTH PLAIN".to_owned(), "334 "),
        ("A".repeat(12_288), "500 5.5.2 line too long"),
        ("NOOP".to_owned(), "250"),
        ("AUTH PLAIN".to_owned(), "334 "),
        (plain("crm-user", &"p".repeat(1025)), FAILED),
        (auth_plain("crm-user", "secret"), "235"),
    ] {
        converse(&mut client, &[(&line, reply)]).await;
    }
    stage.end().await;
}

/// RFC 4954 §4: what comes before the reply to AUTH was sent by somebody who did not wait for it.
#[tokio::test]
async fn what_is_sent_behind_auth_is_not_heard() {
    let stage = Stage::start("implicit");
    let right = auth_plain("crm-user", "secret");
    for input in [
        format!("{right}\r\nMAIL FROM:<a@app.test>\r\n"),
        format!("AUTH PLAIN\r\n{}\r\n", plain("crm-user", "secret")),
        "AUTH LOGIN\r\n\r\n".to_owned(),
    ] {
        let mut client = stage.client().await;
        client.send(format!("NOOP\r\n{input}").as_bytes()).await;
        client.expect("250").await;
        client.expect("503 5.5.0 wait for the reply to AUTH").await;
        client.expect_closed().await;
    }
    assert_eq!((stage.attempts("ok").await, stage.attempts("aborted").await), (0, 3));
    stage.end().await;
}

#[tokio::test]
async fn a_credential_that_goes_ends_its_sessions_at_their_next_message() {
    for edit in [
        |text: &str| {
            text.replace("username = \"crm-user\"", "enabled = false\nusername = \"crm-user\"")
        },
        |text: &str| text.replace("[[credential]]\nid = \"crm\"", "[[credential]]\nid = \"gone\""),
        |text: &str| text.replacen(HASH, OTHER_HASH, 1),
        |text: &str| text.replace("max_connections = 2", "description = \"as before\""),
    ] {
        let stage = Stage::start("implicit");
        let (mut listed, _) = stage.client_from(3).await;
        let mut unknown = stage.client().await;
        for client in [&mut listed, &mut unknown] {
            log_in(client, "crm-user").await;
            converse(client, &[("MAIL FROM:<a@app.test>", "250"), ("RSET", "250")]).await;
        }
        let edited = edit(&policy());
        assert_ne!(edited, policy());
        stage.harness.write_policy(&edited);
        stage.harness.gateway.reload().await.expect("no panic");
        let goes_on = edited.contains("as before");
        for client in [&mut listed, &mut unknown] {
            if goes_on {
                converse(client, &[("MAIL FROM:<a@app.test>", "250"), ("QUIT", "221")]).await;
                continue;
            }
            converse(
                client,
                &[
                    ("NOOP", "250"),
                    ("MAIL FROM:<a@app.test>", "554 5.7.1 relay.test: credential crm is not valid"),
                    ("MAIL FROM:<a@app.test>", "503 5.5.1"),
                    ("QUIT", "221"),
                ],
            )
            .await;
        }
        stage.end().await;
    }
}

/// Who becomes known while it is there has an entry, and stays bound by what it has used.
#[tokio::test]
async fn a_client_may_come_onto_the_list_and_leave_it() {
    let stage = Stage::start("implicit");
    let mut client = stage.client().await;
    log_in(&mut client, "crm-user").await;
    let listed = policy()
        + "[[entry]]\nid = \"new\"\nnetworks = [\"127.0.0.1\"]\nsenders = [\"app.test\", \"new.test\"]\n";
    for (text, told) in [
        (listed, "550 5.7.1 <a@new.test> is not an allowed sender of entry crm"),
        (policy(), "550 5.7.1 <a@new.test> is not an allowed sender of entry crm"),
    ] {
        stage.harness.write_policy(&text);
        stage.harness.gateway.reload().await.expect("no panic");
        converse(
            &mut client,
            &[("MAIL FROM:<a@new.test>", told), ("MAIL FROM:<a@app.test>", "250"), ("RSET", "250")],
        )
        .await;
        // Beside an entry or alone, it is one of the credential's connections.
        let ruleset = stage.harness.gateway.policy().load().clone();
        assert_eq!(ruleset.credential("crm").expect("there").entry().state().connections(), 1);
        let new = ruleset.entry("new").map(|entry| entry.state().connections());
        assert!(matches!(new, None | Some(1)), "{new:?}");
    }
    // One that is known, and does not have to authenticate, is not asked to when it no longer is.
    let (mut free, _) = stage.client_from(2).await;
    stage.harness.write_policy(&policy().replace("127.0.0.2", "127.0.0.22"));
    stage.harness.gateway.reload().await.expect("no panic");
    converse(&mut free, &[("MAIL FROM:<a@app.test>", "554 5.7.1 relay.test: 127.0.0.2 is not on")])
        .await;
    stage.end().await;
}

#[tokio::test]
async fn who_has_not_authenticated_takes_a_strangers_seat() {
    let listener =
        "unknown_clients = \"authenticate\"\nmax_connections = 30\nmax_connections_per_address = 2";
    let stage = Stage::with("starttls", listener, &policy());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = ByteClient::connect(stage.harness.addr()).await;
        client.expect("220").await;
        clients.push(client);
    }
    let mut third = ByteClient::connect(stage.harness.addr()).await;
    third.expect("421 4.7.0 too many connections").await;
    third.expect_closed().await;
    // A seat comes back when its client is known.
    let first = &mut clients[0];
    converse(first, &[("EHLO a", "250"), ("STARTTLS", "220")]).await;
    first.secure(&stage.tls).await;
    converse(first, &[("EHLO a", "250")]).await;
    log_in(first, "crm-user").await;
    let mut again = ByteClient::connect(stage.harness.addr()).await;
    again.expect("220").await;
    stage.end().await;
}

#[tokio::test]
async fn a_client_that_nobody_knows_is_written_down_when_it_wants_to_send() {
    let stage = Stage::start("implicit");
    let mut client = stage.client().await;
    converse(
        &mut client,
        &[("MAIL FROM:<a@forgotten.test>", "530 5.7.0"), ("MAIL FROM:<>", "530")],
    )
    .await;
    let verdicts =
        "gatepost_verdicts_total{listener=\"smtp\",check=\"authentication\",verdict=\"reject\"}";
    assert_eq!(stage.harness.metric(verdicts).await, 2);
    let log = stage.end().await;
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("refused by check authentication") && log.contains("\"entry\":null"),
        "{log}"
    );
}

/// Who proves who it is does not come "by one address": an office may, and so may an entry that asks.
#[tokio::test]
async fn clients_that_authenticate_hide_behind_no_address() {
    let listener = "unknown_clients = \"authenticate\"\nhidden_clients = \"refuse\"";
    let policy = policy().replace("max_connections = 2", "");
    let stage = Stage::with("implicit", listener, &policy);
    // More names and senders than a NAT needs to be found out.
    for (last, number) in [1, 3].into_iter().flat_map(|last| (0..24).map(move |n| (last, n))) {
        let (mut client, _) = stage.client_from(last).await;
        let mail = format!("MAIL FROM:<a{number}@app.test>");
        converse(&mut client, &[(&format!("EHLO host{number}.test"), "250")]).await;
        if last == 3 {
            converse(&mut client, &[(&mail, "530 5.7.0")]).await;
        }
        log_in(&mut client, "crm-user").await;
        converse(&mut client, &[(&mail, "250"), ("QUIT", "221")]).await;
    }
    assert_eq!(stage.harness.gateway.self_test().look()[0].1.clients, 0);
    let (_, offered) = stage.client_from(3).await;
    assert!(offered.contains("AUTH"), "{offered}");
    stage.end().await;
}

/// An address that was found out is not refused any more when it has to prove who it is.
#[tokio::test]
async fn an_address_of_many_is_let_in_to_prove_who_it_is() {
    let open = policy().replace("authentication = \"required\"", "");
    let stage = Stage::with("implicit", "hidden_clients = \"refuse\"", &open);
    for number in 0..24 {
        let (mut client, _) = stage.client_from(3).await;
        converse(
            &mut client,
            &[
                (&format!("EHLO host{number}.test"), "250"),
                (&format!("MAIL FROM:<a{number}@app.test>"), "250"),
                ("QUIT", "221"),
            ],
        )
        .await;
    }
    assert_eq!(stage.harness.gateway.self_test().look()[0].1.found().count(), 1);
    let source = IpAddr::from([127, 0, 0, 3]);
    let mut client = ByteClient::connect_from(source, stage.harness.addr()).await;
    client.secure(&stage.tls).await;
    client.expect("554 5.7.1 relay.test: 127.0.0.3 stands for many clients").await;
    stage.harness.write_policy(&policy());
    stage.harness.gateway.reload().await.expect("no panic");
    let (mut client, _) = stage.client_from(3).await;
    log_in(&mut client, "crm-user").await;
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "250"), ("QUIT", "221")]).await;
    stage.end().await;
}

/// The pause of a failure is over when service is: nobody is cut off in it.
#[tokio::test]
async fn who_waits_after_a_failure_is_told_when_service_ends() {
    let listener = "unknown_clients = \"authenticate\"";
    let stage = Stage::pausing("implicit", listener, &policy(), Duration::from_mins(2));
    let mut client = stage.client().await;
    client.send_line(&auth_plain("crm-user", "wrong")).await;
    while stage.attempts("failed").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = std::time::Instant::now();
    let heard = async {
        client.expect(FAILED).await;
        client.expect("421 4.3.2").await;
        client.expect_closed().await;
    };
    tokio::join!(stage.end(), heard);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Nothing is kept of a client that goes away, and a wrong password counts although nobody hears so.
#[tokio::test]
async fn a_login_that_is_abandoned_is_counted_and_holds_nothing() {
    let stage = Stage::start("implicit");
    let wrong = auth_plain("crm-user", "wrong");
    for (line, result, count) in
        [("AUTH PLAIN", "aborted", 1), (&*wrong, "failed", 1), (&*wrong, "failed", 2)]
    {
        let mut client = stage.client().await;
        client.send_line(line).await;
        client.reset();
        while stage.attempts(result).await < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut client = stage.client().await;
    client.send_line(&auth_plain("crm-user", "secret")).await;
    client.reset();
    while stage.attempts("ok").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = std::time::Instant::now();
    stage.end().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody is left to wait for");
}
