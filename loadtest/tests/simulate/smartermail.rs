//! A SmarterMail server.

use gatepost_loadtest::simulate::{Provider, Rule, SimulatorOptions};

use crate::client::Client;
use crate::{in_time, start, stop_blameless};

const OUTSIDE: [&str; 1] = ["x@y.example"];

#[tokio::test]
async fn relays_for_listed_addresses_and_for_users() {
    in_time(async {
        let options = SimulatorOptions {
            addresses: vec!["127.0.0.2/32".parse().unwrap()],
            ..SimulatorOptions::new(Provider::Smartermail)
        };
        let simulator = start(options).await;
        let (mut listed, _) = Client::connect_from("127.0.0.2", simulator.local_addr()).await;
        let offered = listed.say("EHLO relay.example.com").await;
        assert!(offered.starts_with("250-mail.example.com Hello [127.0.0.2]\n"), "{offered}");
        assert!(offered.contains("\n250-AUTH LOGIN PLAIN CRAM-MD5\n250-STARTTLS\n"), "{offered}");
        assert_eq!(listed.mail("a@anything.example", &OUTSIDE).await, "250 OK");
        let mut other = Client::secured(&simulator, "relay.example.com").await;
        assert_eq!(
            other.say("MAIL FROM:<a@example.com>").await,
            "250 OK <a@example.com> Sender ok"
        );
        assert_eq!(
            other.say("RCPT TO:<x@y.example>").await,
            "550 Authentication is required for relay"
        );
        assert_eq!(other.say("RCPT TO:<x@example.com>").await, "250 OK Recipient ok");
        let mut user = Client::logged_in(&simulator, ("relay@example.com", "simulated")).await;
        assert_eq!(user.mail("a@example.com", &OUTSIDE).await, "250 OK");
        assert_eq!(
            user.mail("a@other.example", &OUTSIDE).await,
            "550 From domain must match authenticated domain"
        );
        let record = stop_blameless(simulator).await;
        assert_eq!((record.refused(Rule::Relay), record.refused(Rule::Sender)), (1, 1));
    })
    .await;
}
