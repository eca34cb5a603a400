//! Twilio SendGrid.

use gatepost_loadtest::simulate::{Limit, Provider, Rule, SimulatorOptions};

use crate::client::{Client, auth_plain, trusting};
use crate::{in_time, limited, start, stop_blameless};

const ACCOUNT: (&str, &str) = ("apikey", "SG.simulated");
const TO: [&str; 1] = ["x@y.example"];

#[tokio::test]
async fn has_no_enhanced_status_codes() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::Sendgrid)).await;
        let (mut client, greeting) = Client::connect(simulator.local_addr()).await;
        assert!(greeting.starts_with("220 SG ESMTP service ready at "), "{greeting}");
        let offered = "250-smtp.sendgrid.net\n250-8BITMIME\n250-PIPELINING\n250-SIZE 31457280\n\
                       250-STARTTLS\n250-AUTH PLAIN LOGIN\n250 AUTH=PLAIN LOGIN";
        assert_eq!(client.say("EHLO relay.example.com").await, offered);
        let mut client = client.start_tls(&trusting(&simulator)).await;
        assert_eq!(client.say("EHLO relay.example.com").await, offered);
        let reply = client.mail("a@example.com", &TO).await;
        assert_eq!(reply, "550 Unauthenticated senders not allowed");
        let reply = client.say(&auth_plain("me", "SG.simulated")).await;
        assert_eq!(reply, "535 Authentication failed: Bad username / password");
        let reply = client.say(&auth_plain(ACCOUNT.0, ACCOUNT.1)).await;
        assert_eq!(reply, "235 Authentication successful");
        let reply = client.mail("a@other.example", &TO).await;
        assert_eq!(reply, "403 You are not authorized to send from that email address");
        assert_eq!(client.mail("a@example.com", &TO).await, "250 Ok: queued as simulated");
        let too_big = client.say("MAIL FROM:<a@example.com> SIZE=31457281").await;
        assert!(too_big.starts_with("552 "), "{too_big}");
        let record = stop_blameless(simulator).await;
        assert_eq!((record.messages, record.refused(Rule::Sender)), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_list_of_addresses_restricts_and_does_not_authenticate() {
    in_time(async {
        let options = SimulatorOptions {
            addresses: vec!["127.0.0.2/32".parse().unwrap()],
            ..SimulatorOptions::new(Provider::Sendgrid)
        };
        let simulator = start(options).await;
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        let reply = client.say(&auth_plain(ACCOUNT.0, ACCOUNT.1)).await;
        assert_eq!(reply, "451 Authentication failed: Could not authenticate");
        assert!(client.is_closed().await);
        let (mut listed, _) = Client::connect_from("127.0.0.2", simulator.local_addr()).await;
        listed.say("EHLO relay.example.com").await;
        let reply = listed.mail("a@example.com", &TO).await;
        assert_eq!(reply, "550 Unauthenticated senders not allowed");
        assert_eq!(stop_blameless(simulator).await.refused(Rule::Address), 1);
    })
    .await;
}

#[tokio::test]
async fn limits_messages_credits_and_recipients() {
    in_time(async {
        let limits = [
            (Limit::MessagesPerConnection, 2),
            (Limit::RecipientsPerHour, 4),
            (Limit::RecipientsPerDay, 3),
        ];
        let simulator = start(limited(Provider::Sendgrid, &limits)).await;
        let mut first = Client::logged_in(&simulator, ACCOUNT).await;
        let mut second = Client::logged_in(&simulator, ACCOUNT).await;
        for _ in 0..2 {
            assert!(first.mail("a@example.com", &TO).await.starts_with("250 "));
        }
        assert!(second.mail("a@example.com", &["x@y.example"; 2]).await.starts_with("250 "));
        let reply = second.mail("a@example.com", &TO).await;
        assert_eq!(reply, "452 Too many recipients received this hour");
        let mut third = Client::secured(&simulator, "relay.example.com").await;
        let reply = third.say(&auth_plain(ACCOUNT.0, ACCOUNT.1)).await;
        assert_eq!(reply, "451 Authentication failed: Maximum credits exceeded");
        assert!(third.is_closed().await);
        stop_blameless(simulator).await;
    })
    .await;
}
