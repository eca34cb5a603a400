//! Client submission to Microsoft 365: one mailbox, a token, three connections.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;

const MAILBOX: &str = "relay@example.com";

fn token_fetches(result: &str) -> String {
    format!("gatepost_upstream_token_fetches_total{{upstream=\"sink\",result=\"{result}\"}}")
}

/// Without the 30 messages a minute, beyond which the simulator is as slow as Microsoft.
fn swift() -> SimulatorOptions {
    let limits = vec![(Limit::MessagesPerMinute, None)];
    SimulatorOptions { limits, ..SimulatorOptions::new(Provider::M365Auth) }
}

async fn twenty_clients(harness: &Harness, messages: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let mut client = harness.client().await;
        clients.spawn(async move {
            for _ in 0..messages {
                deliver(&mut client).await;
            }
        });
    }
    clients.join_all().await;
}

/// The mailbox may send on three connections, whoever sends through it.
#[tokio::test]
async fn twenty_clients_share_three_connections() {
    in_time(async {
        let setup = Setup::with(swift()).await;
        let harness = setup.gateway("");
        twenty_clients(&harness, 2).await;
        assert_eq!(setup.record().messages, 40);
        let record = setup.obeyed(harness).await;
        assert!(record.connections_at_once <= 3, "{record}");
        assert_eq!((record.tokens, record.refusals.len()), (1, 0), "{record}");
    })
    .await;
}

/// Connections that have carried fifty messages are replaced, and still there are no more than three
/// that send.
#[tokio::test]
async fn a_connection_that_is_replaced_is_none_too_many() {
    in_time(async {
        let setup = Setup::with(swift()).await;
        let harness = setup.gateway("");
        twenty_clients(&harness, 15).await;
        let record = setup.obeyed(harness).await;
        assert_eq!((record.messages, record.refused(Rule::Connections)), (300, 0), "{record}");
        assert!(record.messages_on_one_connection <= 50, "{record}");
    })
    .await;
}

/// A token that ends is replaced for the next connection, and the one that is open goes on.
#[tokio::test]
async fn a_token_that_ends_is_noticed_by_nobody() {
    for (lines, connections, tokens) in
        [("", 1..=1, 1..=1), ("max_messages_per_connection = 1", 24..=24, 2..=12)]
    {
        in_time(async {
            let token_lifetime = Duration::from_secs(1);
            let setup = Setup::with(SimulatorOptions { token_lifetime, ..swift() }).await;
            let harness = setup.gateway(lines);
            let mut client = harness.client().await;
            for _ in 0..24 {
                deliver(&mut client).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_no_faults(&harness).await;
            let record = setup.obeyed(harness).await;
            assert!(connections.contains(&record.connections), "{record}");
            assert!(tokens.contains(&record.tokens), "{} tokens: {record}", record.tokens);
            assert!(record.refusals.is_empty(), "{record}");
        })
        .await;
    }
}

/// A secret that is at its end: nobody loses mail, and the endpoint is left in peace.
#[tokio::test]
async fn a_wrong_client_secret_is_not_hammered() {
    in_time(async {
        let setup = Setup::start(Provider::M365Auth).await;
        setup.put("secret", "expired");
        let harness = setup.gateway("");
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.4.1 "), "{reply}");
        assert_eq!(harness.metric(RAISED).await, 1);
        for _ in 0..50 {
            let reply = send(&mut harness.client().await, APP).await;
            assert!(reply.starts_with("451 4.4.1 "), "{reply}");
        }
        let fetches = harness.metric(&token_fetches("failed")).await;
        assert!((1..=3).contains(&fetches), "{fetches}");
        assert_eq!(harness.metric(&token_fetches("fetched")).await, 0);
        let record = setup.obeyed(harness).await;
        assert_eq!((record.tokens, record.logins), (0, 0));
    })
    .await;
}

/// A new secret in the file is all that it takes, and what is counted goes on.
#[tokio::test]
async fn a_new_client_secret_is_taken_over() {
    in_time(async {
        let setup = Setup::start(Provider::M365Auth).await;
        setup.put("secret", "expired");
        let harness = setup.gateway("");
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.4.1 "), "{reply}");
        setup.put("secret", &Account::default_of(Provider::M365Auth).password);
        harness.gateway.reload().await.expect("no panic");
        deliver(&mut harness.client().await).await;
        assert_eq!(harness.metric(&token_fetches("failed")).await, 1);
        assert_eq!(harness.metric(&token_fetches("fetched")).await, 1);
        assert_eq!(harness.metric(RAISED).await, 0, "a message ends the alarm");
        setup.obeyed(harness).await;
    })
    .await;
}

/// Passwords are over, and that is for the operator to read.
#[tokio::test]
async fn a_password_is_refused_for_good() {
    in_time(async {
        let setup = Setup::start(Provider::M365Auth).await;
        let auth = "auth = { mechanism = \"login\", username = \"relay@example.com\", \
                    password_file = \"DIR/secret\" }";
        let harness = setup.gateway_with(&format!("profile = \"m365-auth\"\n{auth}"));
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.3.5 "), "{reply}");
        assert_eq!(harness.metric(RAISED).await, 1);
        assert_eq!(setup.obeyed(harness).await.refused(Rule::Mechanism), 1);
    })
    .await;
}

/// Without the route of the page, only the mailbox itself may be the sender.
#[tokio::test]
async fn another_sender_is_refused_and_holds_nobody_up() {
    in_time(async {
        let setup = Setup::start(Provider::M365Auth).await;
        let harness = setup.gateway_under(page(Provider::M365Auth), POLICY);
        let mut client = harness.client().await;
        for round in 1..=3 {
            let reply = send(&mut client, APP).await;
            assert!(reply.starts_with("550 5.7.60 "), "{reply}");
            let reply = send(&mut client, MAILBOX).await;
            assert!(reply.starts_with("250 "), "{reply}");
            assert_envelope_faults(&harness, round).await;
        }
        assert_eq!(setup.obeyed(harness).await.connections, 1);
    })
    .await;
}
