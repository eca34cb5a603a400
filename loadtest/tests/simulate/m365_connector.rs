//! A connector of Microsoft 365.

use std::time::Duration;

use gatepost_loadtest::KeyedCertificate;
use gatepost_loadtest::simulate::{Limit, Provider, Rule, Simulator, SimulatorOptions};

use tokio::time::Instant;

use crate::client::{Client, showing};
use crate::{in_time, limited, start, stop_blameless};

const OUTSIDE: [&str; 1] = ["x@y.example"];

/// Connects from an address that is not listed, with a certificate.
async fn certified(simulator: &Simulator, pair: Option<&KeyedCertificate>) -> Client {
    let (mut client, _) = Client::connect(simulator.local_addr()).await;
    client.say("EHLO relay.example.com").await;
    let mut client = client.start_tls(&showing(simulator, pair)).await;
    client.say("EHLO relay.example.com").await;
    client
}

fn unlisted() -> SimulatorOptions {
    SimulatorOptions { addresses: Vec::new(), ..SimulatorOptions::new(Provider::M365Connector) }
}

#[tokio::test]
async fn offers_the_most_of_all() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::M365Connector)).await;
        let (mut client, greeting) = Client::connect(simulator.local_addr()).await;
        assert!(greeting.contains("Microsoft ESMTP MAIL Service"), "{greeting}");
        assert_eq!(
            client.say("EHLO relay.example.com").await,
            "250-SIMULATED.outlook.office365.com Hello [127.0.0.1]\n250-SIZE 157286400\n\
             250-PIPELINING\n250-DSN\n250-ENHANCEDSTATUSCODES\n250-STARTTLS\n250-8BITMIME\n\
             250-BINARYMIME\n250-CHUNKING\n250 SMTPUTF8"
        );
        assert_eq!(simulator.implicit_addr(), None);
        assert_eq!(simulator.token_endpoint(), None);
        stop_blameless(simulator).await;
    })
    .await;
}

#[tokio::test]
async fn attributes_by_certificate_with_its_whole_chain() {
    in_time(async {
        let simulator = start(unlisted()).await;
        let denied = "550 5.7.64 TenantAttribution; Relay Access Denied [SIMULATED.outlook.com]";
        let pair = simulator.client_certificate("relay.example.com").unwrap();
        let mut client = certified(&simulator, Some(&pair)).await;
        for sender in ["a@example.com", "a@other.example", ""] {
            let reply = client.mail(sender, &OUTSIDE).await;
            assert!(reply.starts_with("250 2.6.0 "), "{sender}: {reply}");
        }
        // Without the intermediate nobody can tell who has signed it.
        let end = pair.certificate.find("-----END CERTIFICATE-----\n").unwrap();
        let leaf = &pair.certificate[..end + "-----END CERTIFICATE-----\n".len()];
        let half = KeyedCertificate { certificate: leaf.to_owned(), ..pair.clone() };
        let mut client = certified(&simulator, Some(&half)).await;
        assert_eq!(client.mail("a@example.com", &OUTSIDE).await, denied);
        let renamed = simulator.client_certificate("relay.new.example").unwrap();
        let mut client = certified(&simulator, Some(&renamed)).await;
        assert_eq!(client.mail("a@example.com", &OUTSIDE).await, denied);
        let mut client = certified(&simulator, None).await;
        assert_eq!(client.mail("a@example.com", &OUTSIDE).await, denied);
        let record = stop_blameless(simulator).await;
        assert_eq!((record.messages, record.refused(Rule::Relay)), (3, 3));
    })
    .await;
}

#[tokio::test]
async fn a_resumed_session_is_still_its_certificate() {
    in_time(async {
        let simulator = start(unlisted()).await;
        let pair = simulator.client_certificate("relay.example.com").unwrap();
        let tls = showing(&simulator, Some(&pair));
        for _ in 0..2 {
            let (mut client, _) = Client::connect(simulator.local_addr()).await;
            client.say("EHLO relay.example.com").await;
            let mut client = client.start_tls(&tls).await;
            client.say("EHLO relay.example.com").await;
            assert!(client.mail("", &OUTSIDE).await.starts_with("250 "));
        }
        assert_eq!(stop_blameless(simulator).await.tls_resumed, 1);
    })
    .await;
}

#[tokio::test]
async fn attributes_by_address_but_not_the_null_reverse_path() {
    in_time(async {
        let simulator = start(SimulatorOptions::new(Provider::M365Connector)).await;
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        assert!(client.mail("a@example.com", &OUTSIDE).await.starts_with("250 2.6.0 "));
        for sender in ["", "a@other.example"] {
            let reply = client.mail(sender, &OUTSIDE).await;
            assert!(reply.starts_with("550 5.7.64 TenantAttribution"), "{sender}: {reply}");
            client.say("RSET").await;
        }
        // Mail to the tenant itself needs no connector.
        assert!(client.mail("a@other.example", &["x@example.com"]).await.starts_with("250 2.6.0 "));
        let (mut plain, _) = Client::connect(simulator.local_addr()).await;
        plain.say("EHLO relay.example.com").await;
        let reply = plain.mail("a@example.com", &OUTSIDE).await;
        assert_eq!(reply, "451 5.7.3 STARTTLS is required to send mail");
        stop_blameless(simulator).await;
    })
    .await;
}

#[tokio::test]
async fn throttles() {
    in_time(async {
        let limits = [(Limit::MessagesPerMinute, 1)];
        let simulator = start(limited(Provider::M365Connector, &limits)).await;
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        assert!(client.mail("a@example.com", &OUTSIDE).await.starts_with("250 2.6.0 "));
        let reply = client.mail("a@example.com", &OUTSIDE).await;
        assert!(reply.starts_with("451 4.7.500 Server busy."), "{reply}");
        assert_eq!(stop_blameless(simulator).await.refused(Rule::MessageRate), 1);
    })
    .await;
}

#[tokio::test]
async fn ends_a_session_that_is_old_however_busy_it_is() {
    in_time(async {
        let options =
            SimulatorOptions { hurry: 5000, ..SimulatorOptions::new(Provider::M365Connector) };
        let simulator = start(options).await;
        let started = Instant::now();
        let mut client = Client::secured(&simulator, "relay.example.com").await;
        let end = loop {
            let reply = client.say("NOOP").await;
            if !reply.starts_with("250 ") {
                break reply;
            }
        };
        assert!(
            end.starts_with("421 4.4.1 Connection timed out. Total session duration:"),
            "{end}"
        );
        assert!(started.elapsed() >= Duration::from_millis(251), "{:?}", started.elapsed());
        assert_eq!(stop_blameless(simulator).await.refused(Rule::SessionAge), 1);
    })
    .await;
}
