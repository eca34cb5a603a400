//! Twilio SendGrid: codes that are not what they look like, and an account that is soon locked.

use super::*;

/// Its 403 begins like "later" and is never anything else.
#[tokio::test]
async fn a_sender_that_is_not_verified_is_refused_for_good() {
    in_time(async {
        let setup = Setup::start(Provider::Sendgrid).await;
        let harness = setup.gateway("");
        let (mut bad, mut good) = (harness.client().await, harness.client().await);
        for round in 1..=3 {
            let reply = send(&mut bad, STRANGER).await;
            assert!(reply.starts_with("550 5.7.1 You are not authorized to send from"), "{reply}");
            deliver(&mut good).await;
            assert_envelope_faults(&harness, round).await;
        }
        let record = setup.obeyed(harness).await;
        assert_eq!((record.refused(Rule::Sender), record.connections), (3, 1));
    })
    .await;
}

/// A wrong key (535), and a right one from an address that is not on the list: 451, which looks as if it
/// passed.
#[tokio::test]
async fn a_key_that_is_refused_is_for_the_operator() {
    for (key, addresses, rule) in [
        ("SG.deleted", "127.0.0.0/8", Rule::Credentials),
        ("SG.simulated", "192.0.2.1/32", Rule::Address),
    ] {
        in_time(async {
            let addresses = vec![addresses.parse().expect("a network")];
            let options =
                SimulatorOptions { addresses, ..SimulatorOptions::new(Provider::Sendgrid) };
            let setup = Setup::with(options).await;
            setup.put("secret", key);
            let harness = setup.gateway("");
            let reply = send(&mut harness.client().await, APP).await;
            assert!(reply.starts_with("451 4.3.5 "), "{reply}");
            assert_eq!(harness.metric(RAISED).await, 1);
            assert_eq!(setup.obeyed(harness).await.refused(rule), 1);
        })
        .await;
    }
}

/// Credits that are used up show at the next login.
#[tokio::test]
async fn credits_that_are_used_up_are_for_the_operator() {
    in_time(async {
        let limits = vec![(Limit::RecipientsPerDay, Some(1))];
        let options = SimulatorOptions { limits, ..SimulatorOptions::new(Provider::Sendgrid) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("max_messages_per_connection = 1");
        deliver(&mut harness.client().await).await;
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.3.5 "), "{reply}");
        assert_eq!(harness.metric(RAISED).await, 1);
        setup.obeyed(harness).await;
    })
    .await;
}

/// A connection carries no more messages than the provider takes on it.
#[tokio::test]
async fn connections_are_renewed_in_time() {
    in_time(async {
        let limits = vec![(Limit::MessagesPerConnection, Some(3))];
        let options = SimulatorOptions { limits, ..SimulatorOptions::new(Provider::Sendgrid) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("max_messages_per_connection = 3");
        let mut client = harness.client().await;
        for _ in 0..10 {
            deliver(&mut client).await;
        }
        let record = setup.obeyed(harness).await;
        assert_eq!((record.connections, record.messages_on_one_connection), (4, 3));
        assert_eq!(record.tls_resumed, 3, "the handshakes after the first are short ones");
    })
    .await;
}

/// Where it takes fewer than its page says, that costs no message either.
#[tokio::test]
async fn a_connection_that_ends_earlier_costs_no_message() {
    in_time(async {
        let limits = vec![(Limit::MessagesPerConnection, Some(3))];
        let options = SimulatorOptions { limits, ..SimulatorOptions::new(Provider::Sendgrid) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        for _ in 0..10 {
            deliver(&mut client).await;
        }
        assert_eq!(setup.record().refused(Rule::MessagesPerConnection), 3);
        assert_no_faults(&harness).await;
    })
    .await;
}
