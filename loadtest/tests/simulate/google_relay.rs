//! The SMTP relay of Google Workspace.

use gatepost_loadtest::simulate::{Limit, Provider, Rule, SimulatorOptions};

use crate::client::{Client, auth_plain, trusting};
use crate::{in_time, limited, start, stop_blameless};

#[tokio::test]
async fn offers_auth_behind_tls_alone() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        let (mut client, greeting) = Client::connect(simulator.local_addr()).await;
        assert!(greeting.starts_with("220 smtp-relay.gmail.com ESMTP"), "{greeting}");
        assert_eq!(
            client.say("EHLO example.com").await,
            "250-smtp-relay.gmail.com at your service, [127.0.0.1]\n250-SIZE 157286400\n\
             250-8BITMIME\n250-STARTTLS\n250-ENHANCEDSTATUSCODES\n250-PIPELINING\n250-CHUNKING\n\
             250 SMTPUTF8"
        );
        let mut client = client.start_tls(&trusting(&simulator)).await;
        let reply = client.say("EHLO example.com").await;
        assert!(reply.contains("\n250-AUTH LOGIN PLAIN XOAUTH2 "), "{reply}");
        assert!(!reply.contains("STARTTLS") && !reply.contains("DSN"), "{reply}");
        let reply = client.say(&auth_plain("relay@example.com", "wrong")).await;
        assert!(reply.starts_with("535-5.7.8 ") && reply.contains("\n535 5.7.8 "), "{reply}");
        assert!(simulator.implicit_addr().is_some());
        stop_blameless(simulator).await;
    })
    .await;
}

#[tokio::test]
async fn closes_on_hosts_that_call_themselves_localhost() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        for name in ["localhost", "LOCALHOST", "[127.0.0.1]"] {
            let (mut client, _) = Client::connect(simulator.local_addr()).await;
            let reply = client.say(&format!("EHLO {name}")).await;
            let expected = "421-4.7.0 Try again later, closing connection. (EHLO)\n421 4.7.0 ";
            assert!(reply.starts_with(expected), "{reply}");
            assert!(client.is_closed().await);
        }
        assert_eq!(stop_blameless(simulator).await.refused(Rule::Hello), 3);
    })
    .await;
}

#[tokio::test]
async fn knows_tenants_by_address_and_domain_or_by_auth() {
    in_time(async {
        let options = SimulatorOptions {
            addresses: vec!["127.0.0.2/32".parse().unwrap()],
            ..SimulatorOptions::new(Provider::GoogleRelay)
        };
        let simulator = start(options).await;
        let address = simulator.local_addr();
        let to = ["x@y.example"];
        let (mut listed, _) = Client::connect_from("127.0.0.2", address).await;
        listed.say("EHLO relay.example.com").await;
        assert!(listed.mail("a@example.com", &to).await.starts_with("250 2.0.0 OK"));
        for sender in ["a@other.example", ""] {
            let reply = listed.mail(sender, &to).await;
            assert!(reply.starts_with("550-5.7.1 Invalid credentials for relay [127.0.0.2]."));
        }
        listed.say("EHLO example.com").await;
        assert!(
            listed.mail("", &to).await.starts_with("250 2.0.0 OK"),
            "the domain in EHLO will do"
        );
        let mut stranger = Client::secured(&simulator, "example.com").await;
        let reply = stranger.mail("a@example.com", &to).await;
        assert!(reply.starts_with("550-5.7.1 Invalid credentials for relay [127.0.0.1]."));
        let mut known = Client::logged_in(&simulator, ("relay@example.com", "simulated")).await;
        assert!(known.mail("a@example.com", &to).await.starts_with("250 2.0.0 OK"));
        let record = stop_blameless(simulator).await;
        assert_eq!((record.messages, record.refused(Rule::Relay)), (3, 3));
    })
    .await;
}

#[tokio::test]
async fn limits_recipients() {
    in_time(async {
        let limits = [(Limit::RecipientsPerTenMinutes, 103), (Limit::RecipientsPerDay, 102)];
        let simulator = start(limited(Provider::GoogleRelay, &limits)).await;
        let mut client = Client::secured(&simulator, "example.com").await;
        client.say("MAIL FROM:<a@example.com>").await;
        for _ in 0..100 {
            assert!(client.say("RCPT TO:<x@y.example>").await.starts_with("250 2.1.5 "));
        }
        let reply = client.say("RCPT TO:<x@y.example>").await;
        assert_eq!(reply, "452 4.5.3 Your message has too many recipients.");
        client.say("RSET").await;
        let reply = client.mail("a@example.com", &["x@y.example"; 3]).await;
        assert_eq!(reply, "550 5.4.5 Daily SMTP relay limit exceeded for user.");
        client.say("RSET").await;
        // Another user has a day to himself, but the customer has peaked.
        let reply = client.mail("b@example.com", &["x@y.example"; 1]).await;
        assert_eq!(reply, "450 4.2.1 Peak SMTP relay limit exceeded for customer.");
        let record = stop_blameless(simulator).await;
        assert_eq!((record.refused(Rule::RecipientRate), record.messages), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn takes_groups_and_chunks() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::GoogleRelay)).await;
        let mut client = Client::secured(&simulator, "example.com").await;
        let group = b"MAIL FROM:<a@example.com> BODY=8BITMIME SIZE=9\r\nRCPT TO:<x@y.example>\r\n\
                      BDAT 4\r\na\r\n.BDAT 5 LAST\r\n\r\nb\r\nMAIL FROM:<a@other.example>\r\n\
                      RCPT TO:<x@y.example>\r\n";
        client.say("EHLO relay.example.com").await;
        client.send(group).await;
        for expected in
            ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0", "550-5.7.1", "503 5.5.1"]
        {
            let reply = client.reply().await;
            assert!(reply.starts_with(expected), "{expected}: {reply}");
        }
        // RCPT behind a MAIL that was refused is what pipelining looks like.
        let record = stop_blameless(simulator).await;
        assert_eq!((record.messages, record.octets), (1, 9));
    })
    .await;
}
