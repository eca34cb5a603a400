//! SMTP AUTH client submission of Microsoft 365, and its token endpoint.

use std::time::Duration;

use gatepost_loadtest::simulate::{Limit, Provider, Rule, Simulator, SimulatorOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use crate::client::{Client, auth_plain, auth_xoauth2};
use crate::{in_time, limited, start, stop_blameless};

const MAILBOX: &str = "relay@example.com";
const FORM: &str = "grant_type=client_credentials&client_id=00000000-0000-0000-0000-000000000001&\
                    client_secret=simulated&scope=https%3A%2F%2Foutlook.office365.com%2F.default";

/// Asks for a token; status and body of the answer.
async fn ask(simulator: &Simulator, form: &str, field: &str) -> (u16, serde_json::Value) {
    let endpoint = simulator.token_endpoint().unwrap();
    let (address, path) = endpoint.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{field}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

async fn token(simulator: &Simulator) -> String {
    let (status, answer) = ask(simulator, FORM, "").await;
    assert_eq!((status, &answer["token_type"]), (200, &"Bearer".into()), "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn logged_in(simulator: &Simulator) -> Client {
    let mut client = Client::secured(simulator, "relay.example.com").await;
    let reply = client.say(&auth_xoauth2(MAILBOX, &token(simulator).await)).await;
    assert_eq!(reply, "235 2.7.0 Authentication successful");
    client
}

#[tokio::test]
async fn takes_tokens_for_their_time_and_no_passwords() {
    in_time(async {
        let options = SimulatorOptions {
            token_lifetime: Duration::from_millis(300),
            ..SimulatorOptions::new(Provider::M365Auth)
        };
        let simulator = start(options).await;
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        let reply = client.say("EHLO relay.example.com").await;
        assert!(reply.contains("\n250-AUTH LOGIN XOAUTH2\n"), "{reply}");
        let reply = client.say("MAIL FROM:<relay@example.com>").await;
        assert!(reply.starts_with("530 5.7.57 Client not authenticated"), "{reply}");
        let reply = client.say(&auth_plain(MAILBOX, "simulated")).await;
        assert!(reply.starts_with("550 5.7.30 Basic authentication is not supported"), "{reply}");
        let token = token(&simulator).await;
        let refused = "535 5.7.3 Authentication unsuccessful [SIMULATED.outlook.com]";
        assert_eq!(client.say(&auth_xoauth2("a@example.com", &token)).await, refused);
        assert_eq!(client.say(&auth_xoauth2(MAILBOX, "other")).await, refused);
        time::sleep(Duration::from_millis(310)).await;
        assert_eq!(client.say(&auth_xoauth2(MAILBOX, &token)).await, refused, "it has expired");
        let mut client = logged_in(&simulator).await;
        let reply = client.mail("a@example.com", &["x@y.example"]).await;
        assert!(reply.starts_with("550 5.7.60 SMTP; Client does not have permissions"), "{reply}");
        assert!(client.mail(MAILBOX, &["x@y.example"]).await.starts_with("250 2.6.0 "));
        let record = stop_blameless(simulator).await;
        assert_eq!((record.tokens, record.logins), (2, 1));
        assert_eq!((record.refused(Rule::Credentials), record.refused(Rule::Mechanism)), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn hands_out_tokens_to_its_client_alone() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::M365Auth)).await;
        for (form, status, error) in [
            (FORM.replace("simulated", "wrong"), 401, "invalid_client"),
            (FORM.replace("000001", "000002"), 400, "unauthorized_client"),
            (FORM.replace("client_credentials", "password"), 400, "unsupported_grant_type"),
            (FORM.replace("%2F.default", ""), 400, "invalid_scope"),
        ] {
            let (found, answer) = ask(&simulator, &form, "").await;
            assert_eq!((found, &answer["error"]), (status, &error.into()), "{form}");
        }
        let form = "grant_type=client_credentials&scope=x/.default";
        let field = "Authorization: Basic \
                     MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAxOnNpbXVsYXRlZA==\r\n";
        let (status, answer) = ask(&simulator, form, field).await;
        assert_eq!((status, &answer["expires_in"]), (200, &3600.into()), "{answer}");
        assert_eq!(stop_blameless(simulator).await.tokens, 1);
    })
    .await;
}

#[tokio::test]
async fn lets_three_connections_send() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::M365Auth)).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(logged_in(&simulator).await);
        }
        for (position, client) in clients.iter_mut().enumerate() {
            let reply = client.mail(MAILBOX, &["x@y.example"]).await;
            let expected = if position < 3 { "250 2.6.0 " } else { "432 4.3.2 Concurrent " };
            assert!(reply.starts_with(expected), "{position}: {reply}");
        }
        assert_eq!(stop_blameless(simulator).await.refused(Rule::Connections), 1);
    })
    .await;
}

#[tokio::test]
async fn delays_what_is_too_much_a_minute_and_ends_the_day() {
    in_time(async {
        let limits = [(Limit::MessagesPerMinute, 1), (Limit::RecipientsPerDay, 2)];
        let options = SimulatorOptions { hurry: 200, ..limited(Provider::M365Auth, &limits) };
        let simulator = start(options).await;
        let mut client = logged_in(&simulator).await;
        let started = Instant::now();
        for _ in 0..2 {
            assert!(client.mail(MAILBOX, &["x@y.example"]).await.starts_with("250 2.6.0 "));
        }
        assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
        let reply = client.mail(MAILBOX, &["x@y.example"]).await;
        assert!(reply.starts_with("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuota"));
        stop_blameless(simulator).await;
    })
    .await;
}
