//! The SMTP relay of Google Workspace: it goes by the address, EHLO and MAIL FROM.

use super::*;

/// Its 421 says "later" and never ends: whoever runs the gateway has to change the name.
#[tokio::test]
async fn a_name_that_every_machine_has_is_refused() {
    in_time(async {
        let setup = Setup::start(Provider::GoogleRelay).await;
        // A loopback upstream may be told so, and only that.
        let lines = page(Provider::GoogleRelay).replace("\"example.com\"", "\"localhost\"");
        let harness = setup.gateway_with(&lines);
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4.3.5 "), "{reply}");
        assert_eq!(harness.metric(RAISED).await, 1);
        assert_eq!(harness.metric(&faults("upstream")).await, 1);
        let record = setup.obeyed(harness).await;
        assert_eq!((record.refused(Rule::Hello), record.tls_handshakes), (1, 0));
    })
    .await;
}

/// Whose mail is this? Google cannot tell, and an application loses nothing by it.
#[tokio::test]
async fn mail_that_google_cannot_attribute_waits() {
    let foreign_name =
        page(Provider::GoogleRelay).replace("\"example.com\"", "\"relay.other.example\"");
    for (sender, others) in [(STRANGER, true), ("", true), (APP, false)] {
        in_time(async {
            let mut options = SimulatorOptions::new(Provider::GoogleRelay);
            if !others {
                // The Admin console has another address than ours.
                options.addresses = vec!["192.0.2.1/32".parse().expect("a network")];
            }
            let setup = Setup::with(options).await;
            let harness = setup.gateway_with(&foreign_name);
            let mut client = harness.client().await;
            let reply = send(&mut client, sender).await;
            // Google's words name the address of the gateway: they are for its log.
            assert!(reply.starts_with("451 4.3.5 the relay's upstream"), "{reply}");
            assert_envelope_faults(&harness, 1).await;
            if others {
                deliver(&mut client).await;
            }
            let record = setup.obeyed(harness).await;
            assert_eq!((record.refused(Rule::Relay), record.messages), (1, others.into()));
        })
        .await;
    }
}

/// A sender that has used up its day is told "later", not "never".
#[tokio::test]
async fn the_daily_limit_of_a_sender_is_its_own() {
    in_time(async {
        let limits = vec![(Limit::RecipientsPerDay, Some(1))];
        let options = SimulatorOptions { limits, ..SimulatorOptions::new(Provider::GoogleRelay) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        deliver(&mut client).await;
        let reply = send(&mut client, APP).await;
        assert!(reply.starts_with("450 4.4.5 Daily SMTP relay limit exceeded for user"), "{reply}");
        let reply = send(&mut client, "second@example.com").await;
        assert!(reply.starts_with("250 "), "{reply}");
        assert_no_faults(&harness).await;
        setup.obeyed(harness).await;
    })
    .await;
}
