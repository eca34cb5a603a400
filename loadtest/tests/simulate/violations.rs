//! What is held against a client, and what the simulator hands on.

use gatepost_loadtest::Received;
use gatepost_loadtest::simulate::ViolationKind::{
    BareCr, BareLf, CredentialsInClear, EarlyTalk, ExtensionNotOffered, LineTooLong, Malformed,
    NoHelloAfterTls, Nul, OutOfSequence, Pipelined, PipelinedBehindStarttls, TooManyMessages,
};
use gatepost_loadtest::simulate::{Limit, Provider, Simulator, SimulatorOptions, ViolationKind};
use tokio::sync::mpsc;

use crate::client::{Client, auth_plain, trusting};
use crate::{in_time, limited, settled, start};

const MAIL: &str = "MAIL FROM:<a@example.com>";
const RCPT: &str = "RCPT TO:<x@y.example>";

fn kinds(simulator: &Simulator) -> Vec<ViolationKind> {
    simulator.record().violations.iter().map(|violation| violation.kind).collect()
}

/// A client in plain text that has said EHLO.
async fn greeted(simulator: &Simulator) -> Client {
    let (mut client, _) = Client::connect(simulator.local_addr()).await;
    client.say("EHLO example.com").await;
    client
}

#[tokio::test]
async fn lines_of_a_session() {
    in_time(async {
        for (provider, lines, kind) in [
            (Provider::Smartermail, &["WHAT"][..], Malformed),
            (Provider::Smartermail, &["MAIL FROM: <a@example.com>"], Malformed),
            (Provider::Smartermail, &[RCPT], OutOfSequence),
            (Provider::Smartermail, &[MAIL, MAIL], OutOfSequence),
            (Provider::Smartermail, &[MAIL, "DATA"], OutOfSequence),
            (Provider::Smartermail, &["MAIL FROM:<a@example.com> RET=HDRS"], ExtensionNotOffered),
            (Provider::Smartermail, &["MAIL FROM:<ä@example.com>"], ExtensionNotOffered),
            (Provider::Smartermail, &[MAIL, "RCPT TO:<x@y> NOTIFY=NEVER"], ExtensionNotOffered),
            (Provider::Smartermail, &["BDAT 0 LAST"], ExtensionNotOffered),
            (Provider::GoogleRelay, &["MAIL FROM:<> BODY=BINARYMIME"], ExtensionNotOffered),
            (Provider::GoogleRelay, &["BDAT 0 LAST"], OutOfSequence),
            (Provider::GoogleRelay, &["BDAT +5 LAST"], Malformed),
        ] {
            let simulator = start(SimulatorOptions::new(provider)).await;
            let mut client = greeted(&simulator).await;
            for line in lines {
                client.say(line).await;
            }
            assert_eq!(kinds(&simulator), [kind], "{lines:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn talk_without_waiting() {
    in_time(async {
        // No PIPELINING: MAIL is answered, and so is what came behind it.
        let simulator = start(SimulatorOptions::new(Provider::Smartermail)).await;
        let mut client = greeted(&simulator).await;
        client.send(format!("{MAIL}\r\n{RCPT}\r\n").as_bytes()).await;
        assert!(client.reply().await.starts_with("250 "));
        assert!(client.reply().await.starts_with("250 "));
        assert_eq!(kinds(&simulator), [Pipelined]);
        // PIPELINING: a group is fine, but DATA ends it.
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        let mut client = greeted(&simulator).await;
        client.send(format!("{MAIL}\r\n{RCPT}\r\nDATA\r\n").as_bytes()).await;
        for expected in ["250 ", "250 ", "354 "] {
            assert!(client.reply().await.starts_with(expected));
        }
        assert!(client.say("x\r\n.").await.starts_with("250 "));
        assert_eq!(kinds(&simulator), []);
        client.send(format!("{MAIL}\r\n{RCPT}\r\nDATA\r\nx\r\n.\r\n").as_bytes()).await;
        for expected in ["250 ", "250 ", "354 ", "250 "] {
            assert!(client.reply().await.starts_with(expected));
        }
        assert_eq!(kinds(&simulator), [Pipelined]);
    })
    .await;
}

#[tokio::test]
async fn talk_before_the_greeting() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::Ses)).await;
        // The greeting of this port waits for a handshake, so that early is early for certain.
        let tls = trusting(&simulator);
        let implicit = simulator.implicit_addr().unwrap();
        let mut client = Client::connect_tls_early(implicit, &tls, b"EHLO example.com\r\n").await;
        assert!(client.reply().await.starts_with("220 "));
        assert!(client.reply().await.starts_with("250-"));
        assert_eq!(kinds(&simulator), [EarlyTalk]);
    })
    .await;
}

#[tokio::test]
async fn tls_that_is_not_taken_seriously() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        let mut client = greeted(&simulator).await;
        client.send(b"STARTTLS\r\nEHLO x\r\n").await;
        let reply = client.reply().await;
        assert_eq!(reply, "454 4.5.0 no commands allowed to pipeline after STARTTLS");
        assert_eq!(kinds(&simulator), [PipelinedBehindStarttls]);

        let simulator = start(SimulatorOptions::new(Provider::Ses)).await;
        let mut client = greeted(&simulator).await;
        let reply = client.say(&auth_plain("AKIASIMULATED", "simulated")).await;
        assert_eq!(reply, "530 Must issue a STARTTLS command first");
        let mut client = client.start_tls(&trusting(&simulator)).await;
        assert!(client.say(&auth_plain("AKIASIMULATED", "simulated")).await.starts_with("503 "));
        assert!(client.say(MAIL).await.starts_with("503 "));
        assert_eq!(kinds(&simulator), [CredentialsInClear, NoHelloAfterTls, NoHelloAfterTls]);
        let record = simulator.shutdown().await;
        assert_eq!(record.violations[0].detail, "AUTH", "credentials are not for the record");
    })
    .await;
}

#[tokio::test]
async fn content() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        let mut client = greeted(&simulator).await;
        let long = "x".repeat(1001);
        for (content, kind) in
            [("a\nb", BareLf), ("a\rb", BareCr), ("a\0b", Nul), (&long, LineTooLong)]
        {
            let before = kinds(&simulator).len();
            for line in [MAIL, RCPT, "DATA"] {
                client.say(line).await;
            }
            assert!(
                client.say(&format!("Subject: x\r\n\r\n{content}\r\n.")).await.starts_with("250 ")
            );
            assert_eq!(kinds(&simulator)[before..], [kind], "{}", content.escape_debug());
        }
        client.send(format!("NOOP {}\r\n", "x".repeat(1100)).as_bytes()).await;
        assert!(client.reply().await.starts_with("500 "));
        client.send(&[b'x'; 13_000]).await;
        assert!(client.reply().await.starts_with("500 "));
        assert!(client.is_closed().await);
        assert_eq!(kinds(&simulator)[4..], [LineTooLong, LineTooLong]);
    })
    .await;
}

#[tokio::test]
async fn too_many_messages_on_a_connection() {
    in_time(async {
        let options = limited(Provider::Sendgrid, &[(Limit::MessagesPerConnection, 1)]);
        let simulator = start(options).await;
        let mut client = Client::logged_in(&simulator, ("apikey", "SG.simulated")).await;
        assert!(client.mail("a@example.com", &["x@y.example"]).await.starts_with("250 "));
        let reply = client.say(MAIL).await;
        assert_eq!(reply, "421 Too many messages on this connection");
        assert!(client.is_closed().await);
        assert_eq!(kinds(&simulator), [TooManyMessages]);
    })
    .await;
}

#[tokio::test]
async fn messages_are_handed_on_and_connections_are_counted() {
    in_time(async {
        let (deliver, mut messages) = mpsc::channel(10);
        let options = SimulatorOptions {
            deliver: Some(deliver),
            ..SimulatorOptions::new(Provider::GoogleRelay)
        };
        let simulator = start(options).await;
        let mut client = greeted(&simulator).await;
        client.mail("a@example.com", &["x@y.example", "z@y.example"]).await;
        let expected = Received {
            reverse_path: "a@example.com".to_owned(),
            forward_paths: vec!["x@y.example".to_owned(), "z@y.example".to_owned()],
            content: b"Subject: x\r\n\r\nx\r\n".to_vec(),
        };
        assert_eq!(messages.recv().await.unwrap(), expected);
        let record = simulator.record();
        assert_eq!((record.messages, record.recipients, record.octets), (1, 2, 17));
        assert_eq!((record.connections_open, record.lost_connections), (1, 0));
        drop(client);
        settled(&simulator).await;
        assert_eq!(simulator.shutdown().await.lost_connections, 1);
    })
    .await;
}
