//! What a provider refuses for good is not tried again by every message: accounts are locked, and
//! addresses are banned, by whoever goes on knocking.

use super::*;

/// Of fifty messages: the first one, and a probe now and then.
const ATTEMPTS_MAX: u64 = 5;

const PASSWORD: &str = "auth = { mechanism = \"login\", username = \"relay@example.com\", \
                        password_file = \"DIR/secret\" }";

/// Fifty applications at the door of an upstream that wants none of it.
async fn knock(options: SimulatorOptions, secret: &str, lines: &str, rule: Rule) {
    let provider = options.provider;
    let setup = Setup::with(options).await;
    setup.put("secret", secret);
    let harness = setup.gateway_with(lines);
    for _ in 0..50 {
        let reply = send(&mut harness.client().await, APP).await;
        assert!(reply.starts_with("451 4."), "{provider}: {reply}");
    }
    assert_eq!(harness.metric(RAISED).await, 1, "{provider}");
    let record = setup.obeyed(harness).await;
    assert!((1..=ATTEMPTS_MAX).contains(&record.refused(rule)), "{provider}: {record}");
    assert_eq!(record.messages, 0, "{provider}");
}

#[tokio::test]
async fn nobody_is_hammered() {
    let simulator = SimulatorOptions::new;
    let nobody = vec!["192.0.2.1/32".parse().expect("a network")];
    let unlisted = SimulatorOptions { addresses: nobody, ..simulator(Provider::Sendgrid) };
    let localhost = page(Provider::GoogleRelay).replace("\"example.com\"", "\"localhost\"");
    let password = format!("profile = \"m365-auth\"\n{PASSWORD}");
    for (options, secret, lines, rule) in [
        (simulator(Provider::Ses), "wrong", page(Provider::Ses), Rule::Credentials),
        (simulator(Provider::Sendgrid), "SG.deleted", page(Provider::Sendgrid), Rule::Credentials),
        (unlisted, "SG.simulated", page(Provider::Sendgrid), Rule::Address),
        (simulator(Provider::GoogleRelay), "unused", &localhost, Rule::Hello),
        (simulator(Provider::M365Auth), "simulated", &password, Rule::Mechanism),
    ] {
        in_time(knock(options, secret, lines, rule)).await;
    }
}
