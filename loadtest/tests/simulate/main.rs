//! The simulators as servers: real sockets and real TLS on loopback, and a client that speaks octets.
//!
//! A file per provider shows what it offers, refuses and limits; `violations` what is held against a
//! client that breaks the rules.

mod client;
mod google_relay;
mod m365_auth;
mod m365_connector;
mod sendgrid;
mod ses;
mod smartermail;
mod violations;

use std::future::Future;
use std::time::Duration;

use gatepost_loadtest::simulate::{Limit, Provider, Record, Simulator, SimulatorOptions};
use tokio::time;

/// Nothing here takes two seconds; a machine under load may need a few.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a test, but not for ever.
async fn in_time<T>(test: impl Future<Output = T>) -> T {
    time::timeout(TEST_TIMEOUT, test).await.expect("the test hangs")
}

async fn start(options: SimulatorOptions) -> Simulator {
    Simulator::start(options).await.unwrap()
}

/// A provider with other limits.
fn limited(provider: Provider, limits: &[(Limit, u64)]) -> SimulatorOptions {
    let limits = limits.iter().map(|&(limit, most)| (limit, Some(most))).collect();
    SimulatorOptions { limits, ..SimulatorOptions::new(provider) }
}

/// Stops a simulator whose clients have done nothing wrong.
async fn stop_blameless(simulator: Simulator) -> Record {
    let record = simulator.shutdown().await;
    assert_eq!(record.violations, []);
    record
}

/// Waits until the simulator has seen the end of all connections.
async fn settled(simulator: &Simulator) {
    while simulator.record().connections_open > 0 {
        time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_limit_that_the_provider_has_not_is_refused() {
    let options = limited(Provider::Ses, &[(Limit::MessagesPerMinute, 1)]);
    let error = Simulator::start(options).await.unwrap_err().to_string();
    assert!(error.starts_with("ses has no limit messages-per-minute; it has connections,"));
    assert!("postfix".parse::<Provider>().is_err());
    for provider in Provider::ALL {
        assert_eq!(provider.to_string().parse::<Provider>().unwrap(), provider);
    }
}
