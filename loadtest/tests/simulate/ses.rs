//! Amazon SES.

use std::time::Duration;

use gatepost_loadtest::simulate::{Limit, Provider, Rule, SimulatorOptions};
use tokio::time::Instant;

use crate::client::{Client, auth_plain, trusting};
use crate::{in_time, limited, settled, start, stop_blameless};

const ACCOUNT: (&str, &str) = ("AKIASIMULATED", "simulated");

#[tokio::test]
async fn offers_no_more_than_it_is_known_for() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::Ses)).await;
        let (mut client, greeting) = Client::connect(simulator.local_addr()).await;
        assert!(greeting.starts_with("220 email-smtp.amazonaws.com ESMTP"), "{greeting}");
        assert_eq!(
            client.say("EHLO relay.example.com").await,
            "250-email-smtp.amazonaws.com\n250-8BITMIME\n250-STARTTLS\n250-AUTH PLAIN LOGIN\n250 Ok"
        );
        let mut client = client.start_tls(&trusting(&simulator)).await;
        assert_eq!(
            client.say("EHLO relay.example.com").await,
            "250-email-smtp.amazonaws.com\n250-8BITMIME\n250-AUTH PLAIN LOGIN\n250 Ok"
        );
        assert_eq!(client.say("QUIT").await, "221 Bye");
        assert!(client.is_closed().await);
        let record = stop_blameless(simulator).await;
        assert_eq!((record.connections, record.tls_handshakes, record.lost_connections), (1, 1, 0));
    })
    .await;
}

#[tokio::test]
async fn demands_tls_then_auth_then_an_identity() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::Ses)).await;
        let (mut client, _) = Client::connect(simulator.local_addr()).await;
        client.say("EHLO relay.example.com").await;
        let mail = "MAIL FROM:<a@example.com>";
        assert_eq!(client.say(mail).await, "530 Must issue a STARTTLS command first");
        let mut client = client.start_tls(&trusting(&simulator)).await;
        client.say("EHLO relay.example.com").await;
        assert_eq!(client.say(mail).await, "530 Authentication required");
        let wrong = auth_plain("AKIASIMULATED", "wrong");
        assert_eq!(client.say(&wrong).await, "535 Authentication Credentials Invalid");
        assert_eq!(client.say("AUTH LOGIN").await, "334 VXNlcm5hbWU6");
        assert_eq!(client.say("QUtJQVNJTVVMQVRFRA==").await, "334 UGFzc3dvcmQ6");
        assert_eq!(client.say("c2ltdWxhdGVk").await, "235 Authentication successful.");
        assert_eq!(client.say("MAIL FROM:<>").await, "501 Invalid MAIL FROM address provided");
        let reply = client.mail("a@other.example", &["x@y.example"]).await;
        assert_eq!(
            reply,
            "554 Message rejected: Email address is not verified. The following identities failed \
             the check in region US-EAST-1: a@other.example"
        );
        client.say(mail).await;
        client.say("RCPT TO:<x@y.example>").await;
        client.say("DATA").await;
        let reply = client.say("From: <b@other.example>\r\n\r\nx\r\n.").await;
        assert!(reply.ends_with(": b@other.example"), "the From field is judged too: {reply}");
        assert!(client.mail("a@sub.example.com", &["x@y.example"]).await.starts_with("250 Ok "));
        let record = stop_blameless(simulator).await;
        assert_eq!((record.logins, record.messages, record.refused(Rule::Sender)), (1, 1, 2));
    })
    .await;
}

#[tokio::test]
async fn limits_recipients_a_message_and_a_second() {
    in_time(async {
        let limits = [(Limit::RecipientsPerSecond, 3), (Limit::RecipientsPerDay, 6)];
        let options = SimulatorOptions { hurry: 2, ..limited(Provider::Ses, &limits) };
        let simulator = start(options).await;
        let mut client = Client::logged_in(&simulator, ACCOUNT).await;
        client.say("MAIL FROM:<a@example.com>").await;
        for _ in 0..50 {
            assert_eq!(client.say("RCPT TO:<x@y.example>").await, "250 Ok");
        }
        assert_eq!(client.say("RCPT TO:<x@y.example>").await, "452 Too many recipients");
        client.say("RSET").await;
        assert!(client.mail("a@example.com", &["x@y.example"; 2]).await.starts_with("250 Ok"));
        // Told after the data, when all of it has been sent.
        assert_eq!(
            client.mail("a@example.com", &["x@y.example"; 2]).await,
            "454 Throttling failure: Maximum sending rate exceeded"
        );
        let throttled = Instant::now();
        while !client.mail("a@example.com", &["x@y.example"; 3]).await.starts_with("250") {
            assert!(throttled.elapsed() < Duration::from_secs(5), "the window does not slide");
        }
        let daily = loop {
            let reply = client.mail("a@example.com", &["x@y.example"; 2]).await;
            if reply != "454 Throttling failure: Maximum sending rate exceeded" {
                break reply;
            }
        };
        assert_eq!(daily, "454 Throttling failure: Daily message quota exceeded");
        let record = stop_blameless(simulator).await;
        assert_eq!((record.messages, record.recipients), (2, 5));
        assert_eq!(record.refused(Rule::RecipientsPerMessage), 1);
        assert!(record.refused(Rule::RecipientRate) >= 2);
    })
    .await;
}

#[tokio::test]
async fn cuts_what_is_idle() {
    in_time(async {
        let options = SimulatorOptions { hurry: 50, ..SimulatorOptions::new(Provider::Ses) };
        let simulator = start(options).await;
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        let idle = Instant::now();
        assert_eq!(client.reply().await, "451 4.4.2 Timeout waiting for data from client.");
        assert!(idle.elapsed() >= Duration::from_millis(190), "{:?}", idle.elapsed());
        assert!(client.is_closed().await);
        let record = stop_blameless(simulator).await;
        assert_eq!((record.refused(Rule::Idle), record.lost_connections), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn begins_tls_at_once_on_its_other_port_and_resumes_it() {
    in_time(async {
        let limits = [(Limit::Connections, 1)];
        let simulator = start(limited(Provider::Ses, &limits)).await;
        let tls = trusting(&simulator);
        let implicit = simulator.implicit_addr().unwrap();
        for _ in 0..2 {
            let (mut client, greeting) = Client::connect_tls(implicit, &tls).await;
            assert!(greeting.starts_with("220 "), "{greeting}");
            let reply = client.say("EHLO relay.example.com").await;
            assert!(!reply.contains("STARTTLS"), "{reply}");
            let (_, refusal) = Client::connect(simulator.local_addr()).await;
            assert_eq!(refusal, "421 Too many concurrent SMTP connections");
            client.say("QUIT").await;
            assert!(client.is_closed().await);
            drop(client);
            settled(&simulator).await;
        }
        let record = stop_blameless(simulator).await;
        assert_eq!((record.tls_handshakes, record.tls_resumed), (2, 1));
        assert_eq!((record.connections_at_once, record.refused(Rule::Connections)), (2, 2));
    })
    .await;
}
