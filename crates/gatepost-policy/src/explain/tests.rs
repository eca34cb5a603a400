use proptest::prelude::*;

use super::*;

const POLICY: &str = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16"]
description = "Billing fleet"
owner = "team-billing"
senders = ["billing.example.com", "<>"]

[[entry]]
id = "everyone"
networks = ["10.0.0.0/8"]
senders = []
"#;

fn ruleset(text: &str) -> Ruleset {
    let compiled = Ruleset::compile(text, "policy.toml", &["smtp"]).expect("a good policy");
    compiled.ruleset.with_revision(41)
}

fn explained(client: &str, sender: Option<&str>, recipients: &[&str]) -> (Explanation, String) {
    let path = sender.map(|s| ReversePath::split_from(s.as_bytes()).expect("a valid path").0);
    let forward: Vec<_> = recipients
        .iter()
        .map(|r| ForwardPath::split_from(r.as_bytes()).expect("a valid path").0)
        .collect();
    let ruleset = ruleset(POLICY);
    let question = Question {
        client: client.parse().expect("an address"),
        listener: ListenerId::new(0),
        hostname: "relay.example.com",
        sender: path,
        recipients: &forward,
    };
    (explain(&ruleset, &question), ruleset.generation().to_string())
}

#[test]
fn an_accepted_transaction_is_told_step_by_step() {
    let (explanation, generation) =
        explained("::ffff:10.20.1.1", Some("<a@billing.example.com>"), &["<b@c>", "<postmaster>"]);
    let told = format!(
        "\
generation {generation}
client     ::ffff:10.20.1.1 is IPv4-mapped: 10.20.1.1
listener   smtp
network    10.20.0.0/16 is the longest match
hidden     10.0.0.0/8 of entry everyone
entry      billing: Billing fleet (owner team-billing)
sender     <a@billing.example.com> matches billing.example.com
recipient  <b@c>: any recipient is allowed
recipient  <postmaster>: any recipient is allowed
verdict    accept"
    );
    assert_eq!(explanation.to_string(), told);
    assert_eq!(explanation.entry(), Some("billing"));
}

#[test]
fn what_is_missing_is_skipped() {
    let (explanation, generation) = explained("10.9.9.9", None, &[]);
    let told = format!(
        "\
generation {generation}
client     10.9.9.9
listener   smtp
network    10.0.0.0/8 is the longest match
entry      everyone
sender     skipped: not given
recipient  skipped: not given
verdict    accept"
    );
    assert_eq!(explanation.to_string(), told);
}

#[test]
fn a_refusal_ends_the_way() {
    let (explanation, generation) = explained("203.0.113.9", Some("<a@b>"), &["<b@c>"]);
    let told = format!(
        "\
generation {generation}
client     203.0.113.9
listener   smtp
network    refused: none around the client; it is refused with the greeting
verdict    reject: 554 5.7.1 relay.example.com: 203.0.113.9 is not on the allow-list"
    );
    assert_eq!(explanation.to_string(), told);

    let (explanation, generation) = explained("10.20.1.1", Some("<a@b>"), &["<b@c>"]);
    let told = explanation.to_string();
    assert!(
        told.contains("\nsender     refused: <a@b> matches none of [billing.example.com, <>]\n")
    );
    assert!(told.contains("\nrecipient  skipped: not reached\n"));
    assert!(told.ends_with(&format!("of entry billing (generation {generation})")));
}

#[test]
fn a_listener_that_does_not_exist_sees_nothing() {
    let ruleset = ruleset(POLICY);
    let question = Question {
        client: "10.20.1.1".parse().expect("an address"),
        listener: ListenerId::new(1),
        hostname: "relay.example.com",
        sender: None,
        recipients: &[],
    };
    let explanation = explain(&ruleset, &question);
    assert!(matches!(explanation.verdict(), Verdict::Reject(_)));
    assert!(explanation.steps()[1].detail.contains("no such listener"));
}

#[test]
fn machines_read_json() {
    let (explanation, generation) = explained("10.20.1.1", Some("<>"), &[]);
    let json = serde_json::to_value(&explanation).expect("maps of strings");
    let expected = serde_json::json!({
        "generation": generation,
        "entry": "billing",
        "network": "10.20.0.0/16",
        "steps": [
            {"name": "client", "outcome": "found", "detail": "10.20.1.1"},
            {"name": "listener", "outcome": "found", "detail": "smtp"},
            {"name": "network", "outcome": "passed", "detail": "10.20.0.0/16 is the longest match"},
            {"name": "hidden", "outcome": "found", "detail": "10.0.0.0/8 of entry everyone"},
            {"name": "entry", "outcome": "found", "detail": "billing: Billing fleet (owner team-billing)"},
            {"name": "sender", "outcome": "passed", "detail": "<> matches <>"},
            {"name": "recipient", "outcome": "skipped", "detail": "not given"},
        ],
        "result": "accept",
    });
    assert_eq!(json, expected);

    let (explanation, _) = explained("203.0.113.9", None, &[]);
    let json = serde_json::to_value(&explanation).expect("maps of strings");
    assert_eq!(json["result"], "reject");
    assert_eq!(json["entry"], serde_json::Value::Null);
    assert!(json["reply"].as_str().is_some_and(|reply| reply.starts_with("554 5.7.1 ")));
}

/// A policy of nested networks below 10.0.0.0/8 and fd00::/16, each once.
fn policy() -> impl Strategy<Value = String> {
    let network = (0_u8..4, 9_u8..=32, any::<bool>()).prop_map(|(bits, length, ipv4)| {
        let network = if ipv4 {
            let address = std::net::Ipv4Addr::new(10, bits * 64, bits * 64, bits);
            ipnet::IpNet::new(address.into(), length)
        } else {
            let bits = u16::from(bits) << 14;
            let address = std::net::Ipv6Addr::new(0xfd00, bits, bits, 0, 0, 0, 0, bits);
            ipnet::IpNet::new(address.into(), length * 4)
        };
        network.expect("the length fits").trunc().to_string()
    });
    let senders =
        prop::sample::subsequence(vec!["*", "<>", "a.example", "*.a.example", "u@b"], 0..4);
    prop::collection::btree_map(network, senders, 0..12).prop_map(|entries| {
        let entry = |(index, (network, senders)): (usize, (&String, &Vec<&str>))| {
            let services = if index % 3 == 0 { "services = [\"smtp\"]" } else { "" };
            format!(
                "[[entry]]\nid = \"e{index}\"\nnetworks = [{network:?}]\nsenders = {senders:?}\n{services}\n"
            )
        };
        entries.iter().enumerate().map(entry).collect()
    })
}

proptest! {
    #[test]
    fn explain_and_decision_agree(
        text in policy(),
        client in prop::sample::select(vec![
            "10.0.0.0", "10.64.64.1", "10.192.192.3", "::ffff:10.64.64.1", "11.0.0.1",
            "fd00::", "fd00:4000:4000::4000", "fd00:c000:c000::1", "fe80::1",
        ]),
        sender in prop::option::of(prop::sample::select(vec!["<>", "<x@a.example>", "<x@b.a.example>", "<u@b>"])),
        listener in 0_usize..3,
    ) {
        let compiled = Ruleset::compile(&text, "policy.toml", &["smtp", "submission"]);
        let ruleset = compiled.expect("a good policy").ruleset;
        let client = client.parse().expect("an address");
        let listener = ListenerId::new(listener);
        let sender = sender.map(|s| ReversePath::split_from(s.as_bytes()).expect("a path").0);
        let question = Question { client, listener, hostname: "h", sender, recipients: &[] };
        let explanation = explain(&ruleset, &question);

        let (decision, entry) = match check::greet(&ruleset, listener, client, "h") {
            Greeting::Refused(reply) => (Verdict::Reject(reply), None),
            Greeting::Allowed(entry) => {
                let generation = ruleset.generation();
                let judged = sender.map(|path| check::sender(&entry, generation, &path));
                (judged.unwrap_or(Verdict::Accept), Some(entry))
            }
        };
        prop_assert_eq!(explanation.verdict(), &decision);
        prop_assert_eq!(explanation.entry(), entry.as_ref().map(|entry| &**entry.id()));
        let around = ruleset.networks_around(listener, client);
        prop_assert_eq!(around.first().map(|(_, entry)| *entry), entry.as_ref());
        prop_assert_eq!(explanation.network, around.first().map(|(network, _)| *network));
        let refused = explanation.steps().iter().any(|step| step.outcome == Outcome::Refused);
        prop_assert_eq!(refused, decision != Verdict::Accept);
    }
}
