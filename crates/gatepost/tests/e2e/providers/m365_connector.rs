//! A connector of Microsoft 365: it goes by the client certificate, else by the address.

use std::time::{Duration, Instant};

use super::*;

const ACCESS_DENIED: &str = "451 4.3.5 the relay's upstream is not set up right";

/// A connector that names a certificate, and no address.
fn by_certificate() -> SimulatorOptions {
    let addresses = vec!["192.0.2.1/32".parse().expect("a network")];
    SimulatorOptions { addresses, ..SimulatorOptions::new(Provider::M365Connector) }
}

fn without_certificate() -> String {
    let lines = page(Provider::M365Connector).lines();
    lines.filter(|line| !line.starts_with("client_")).collect::<Vec<_>>().join("\n")
}

/// No certificate, half of its chain, or one that was renewed under another name: 5.7.64 for all. It
/// is permanent to Microsoft and ours to mend, so that nobody loses mail by it.
#[tokio::test]
async fn whom_no_connector_knows_waits() {
    for case in ["none", "half a chain", "another name"] {
        in_time(async {
            let setup = Setup::with(by_certificate()).await;
            let certificate = |name| setup.simulator.client_certificate(name).expect("a pair");
            let mut lines = page(Provider::M365Connector).to_owned();
            match case {
                "none" => lines = without_certificate(),
                "half a chain" => {
                    let pair = certificate("relay.example.com");
                    let end = "-----END CERTIFICATE-----\n";
                    let (first, _) = pair.certificate.split_once("-----END").expect("PEM");
                    setup.put("client.pem", &format!("{first}{end}"));
                    setup.put("client.key", &pair.private_key);
                }
                _ => {
                    let pair = certificate("relay.other.example");
                    setup.put("client.pem", &pair.certificate);
                    setup.put("client.key", &pair.private_key);
                }
            }
            let harness = setup.gateway_with(&lines);
            let mut client = harness.client().await;
            let reply = send(&mut client, APP).await;
            assert!(reply.starts_with(ACCESS_DENIED), "{case}: {reply}");
            assert_envelope_faults(&harness, 1).await;
            assert_eq!(setup.obeyed(harness).await.refused(Rule::Relay), 1, "{case}");
        })
        .await;
    }
}

/// A certificate of ours speaks for bounces and for other domains too.
#[tokio::test]
async fn a_certificate_is_enough() {
    in_time(async {
        let setup = Setup::with(by_certificate()).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        for sender in [APP, "", STRANGER] {
            let reply = send(&mut client, sender).await;
            assert!(reply.starts_with("250 "), "{sender}: {reply}");
        }
        assert_no_faults(&harness).await;
        setup.obeyed(harness).await;
    })
    .await;
}

/// An address speaks for the accepted domains, and not for the null sender.
#[tokio::test]
async fn an_address_is_enough_for_accepted_domains_alone() {
    in_time(async {
        let setup = Setup::start(Provider::M365Connector).await;
        let harness = setup.gateway_with(&without_certificate());
        let mut client = harness.client().await;
        for (sender, heard) in
            [(APP, "250 "), ("", ACCESS_DENIED), (STRANGER, ACCESS_DENIED), (APP, "250 ")]
        {
            let reply = send(&mut client, sender).await;
            assert!(reply.starts_with(heard), "{sender}: {reply}");
        }
        assert_envelope_faults(&harness, 2).await;
        assert_eq!(setup.obeyed(harness).await.connections, 1);
    })
    .await;
}

#[tokio::test]
async fn a_busy_server_is_the_clients_to_retry() {
    in_time(async {
        let limits = vec![(Limit::MessagesPerMinute, Some(1))];
        let options = SimulatorOptions { limits, ..SimulatorOptions::new(Provider::M365Connector) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("");
        let mut client = harness.client().await;
        deliver(&mut client).await;
        let reply = send(&mut client, APP).await;
        assert!(reply.starts_with("451 4.7.500 Server busy."), "{reply}");
        assert_no_faults(&harness).await;
        assert_eq!(setup.obeyed(harness).await.refused(Rule::MessageRate), 1);
    })
    .await;
}

/// Microsoft ends a session after 20:55 minutes, whatever it does; it is renewed before.
#[tokio::test]
async fn a_session_is_renewed_before_its_end() {
    in_time(async {
        // 20:55 minutes become 2.5 seconds.
        let options =
            SimulatorOptions { hurry: 500, ..SimulatorOptions::new(Provider::M365Connector) };
        let setup = Setup::with(options).await;
        let harness = setup.gateway("max_age = \"2s\"\nmax_messages_per_connection = 10000");
        let mut client = harness.client().await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(3200) {
            deliver(&mut client).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let record = setup.obeyed(harness).await;
        assert_eq!((record.connections, record.refused(Rule::SessionAge)), (2, 0), "{record}");
        assert!(record.refusals.is_empty(), "{record}");
    })
    .await;
}
