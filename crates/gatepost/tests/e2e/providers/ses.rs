//! Amazon SES: closes what is idle, and says at the end of the data what it could have said before.

use std::time::{Duration, Instant};

use super::*;

fn limited(limit: Limit, most: u64) -> SimulatorOptions {
    let limits = vec![(limit, Some(most))];
    SimulatorOptions { limits, ..SimulatorOptions::new(Provider::Ses) }
}

/// Its word on one sender is that application's, in its own words, and holds nobody else up.
#[tokio::test]
async fn a_sender_that_is_not_verified_hears_so() {
    in_time(async {
        let setup = Setup::start(Provider::Ses).await;
        let harness = setup.gateway("");
        let (mut bad, mut good) = (harness.client().await, harness.client().await);
        for round in 1..=3 {
            let reply = send(&mut bad, STRANGER).await;
            assert!(reply.starts_with("554 5."), "{reply}");
            assert!(reply.contains("Email address is not verified."), "{reply}");
            assert!(reply.ends_with(STRANGER), "{reply}");
            deliver(&mut good).await;
            assert_envelope_faults(&harness, round).await;
        }
        // The From field is looked at as well.
        let content = b"From: <b@other.example>\r\n\r\nx\r\n";
        let reply = send_content(&mut bad, APP, content).await;
        assert!(reply.starts_with("554 5.") && reply.ends_with("b@other.example"), "{reply}");
        let record = setup.obeyed(harness).await;
        assert_eq!((record.refused(Rule::Sender), record.connections), (4, 1));
    })
    .await;
}

/// Too fast is no fault of the set-up: the application hears it, and sends again.
#[tokio::test]
async fn throttling_is_the_clients_to_retry() {
    in_time(async {
        let setup = Setup::with(limited(Limit::RecipientsPerSecond, 1)).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        deliver(&mut client).await;
        let reply = send(&mut client, APP).await;
        assert!(reply.starts_with("454 4.0.0 Throttling failure: Maximum sending rate"), "{reply}");
        assert_no_faults(&harness).await;
        assert_eq!(setup.obeyed(harness).await.refused(Rule::RecipientRate), 1);
    })
    .await;
}

/// The same for a day's quota.
#[tokio::test]
async fn a_day_that_is_used_up_is_the_clients_to_retry() {
    in_time(async {
        let setup = Setup::with(limited(Limit::RecipientsPerDay, 1)).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        deliver(&mut client).await;
        let reply = send(&mut client, APP).await;
        assert!(reply.starts_with("454 4.0.0 Throttling failure: Daily message quota"), "{reply}");
        assert_no_faults(&harness).await;
        setup.obeyed(harness).await;
    })
    .await;
}

/// With `recipient_rate` nothing is sent for nothing. A rate is its number at once and as many again
/// in the first second, so that half of the provider's is never too much.
#[tokio::test]
async fn nothing_is_sent_above_the_rate() {
    const MESSAGES: u32 = 21;
    in_time(async {
        let setup = Setup::start(Provider::Ses).await;
        let harness = setup.gateway("recipient_rate = [\"7/s\", \"50000/d\"]");
        let mut client = harness.client().await;
        let began = Instant::now();
        let mut sent = 0;
        while sent < MESSAGES {
            let reply = send(&mut client, APP).await;
            if reply.starts_with("250 ") {
                sent += 1;
            } else {
                assert!(reply.starts_with("450 4.7.1 "), "{reply}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                // A client that is told to wait is not thrown out; it may come back, though.
                client = harness.client().await;
            }
        }
        assert!(
            began.elapsed() >= Duration::from_millis(1900),
            "seven at once, then seven a second"
        );
        assert_no_faults(&harness).await;
        let record = setup.obeyed(harness).await;
        assert_eq!((record.messages, record.connections), (MESSAGES.into(), 1));
        assert!(record.refusals.is_empty(), "{record}");
    })
    .await;
}

/// Amazon cuts a connection around the moment when it is wanted again: before, after, and in between.
#[tokio::test]
async fn an_idle_cut_costs_no_message() {
    const ROUNDS: u64 = 30;
    in_time(async {
        // Ten seconds become a tenth of one.
        let options = SimulatorOptions { hurry: 100, ..SimulatorOptions::new(Provider::Ses) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        for round in 0..ROUNDS {
            deliver(&mut client).await;
            tokio::time::sleep(Duration::from_millis(92 + round % 16)).await;
        }
        let record = setup.obeyed(harness).await;
        assert_eq!(record.messages, ROUNDS);
        assert!(record.refused(Rule::Idle) > 0, "it never came to it: {record}");
    })
    .await;
}

/// A client that stalls in the middle gives the connection back before Amazon takes it away.
#[tokio::test]
async fn a_client_that_stalls_is_not_cut_off_by_the_provider() {
    in_time(async {
        let options = SimulatorOptions { hurry: 5, ..SimulatorOptions::new(Provider::Ses) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("client_stall = \"1s\"\nidle_timeout = \"1s\"");
        let mut client = harness.client().await;
        for (line, reply) in
            [(format!("MAIL FROM:<{APP}>"), "250"), ("RCPT TO:<b@c.example>".into(), "250")]
        {
            client.send_line(&line).await;
            client.expect(reply).await;
        }
        tokio::time::sleep(Duration::from_millis(2300)).await;
        client.send_line("DATA").await;
        client.expect("451 4.4.2 ").await;
        deliver(&mut harness.client().await).await;
        assert_eq!(setup.obeyed(harness).await.refused(Rule::Idle), 0);
    })
    .await;
}

/// Credentials of another region, or those of the AWS user.
#[tokio::test]
async fn wrong_credentials_are_for_the_operator() {
    in_time(async {
        let setup = Setup::start(Provider::Ses).await;
        setup.put("secret", "wrong");
        let harness = setup.gateway("");
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.3.5 "), "{reply}");
        assert_eq!(harness.metric(RAISED).await, 1);
        assert_eq!(harness.metric(&faults("upstream")).await, 1);
        assert_eq!(setup.obeyed(harness).await.refused(Rule::Credentials), 1);
    })
    .await;
}
