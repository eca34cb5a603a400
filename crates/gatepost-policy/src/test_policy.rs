//! Policies for the tests of this crate.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use proptest::prelude::*;

use crate::{
    date::Moment,
    entry::Mode,
    listener::ListenerId,
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
    site::{AuthOffer, Site, UpstreamId},
};

pub(crate) const LISTENERS: [&str; 3] = ["smtp", "submission", "submissions"];

/// Two upstreams, of which the first is the default. All listeners have TLS.
pub(crate) fn site() -> Arc<Site> {
    Arc::new(Site {
        hostname: "relay.example.com".into(),
        listeners: LISTENERS.map(Into::into).to_vec(),
        proxies: Vec::new(),
        auth: vec![AuthOffer::Required; LISTENERS.len()],
        upstreams: vec!["google".into(), "ses".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 50 * 1024 * 1024,
        max_recipients: 1000,
    })
}

pub(crate) fn compile(text: &str) -> Result<Compiled, PolicyErrors> {
    Ruleset::compile(text, "policy.toml", &site())
}

/// An entry of five lines; `more` is the fifth.
pub(crate) fn entry(id: &str, networks: &str, more: &str) -> String {
    format!("[[entry]]\nid = {id:?}\nnetworks = {networks}\nsenders = [\"example.com\"]\n{more}\n")
}

/// So many seconds after 2026-06-01T00:00:00Z.
pub(crate) fn moment(seconds: i64) -> Moment {
    Moment { unix_seconds: 1_780_272_000 + seconds, uptime: Duration::ZERO }
}

/// What a policy is refused for.
pub(crate) fn errors(text: &str) -> Vec<String> {
    let errors = compile(text).expect_err(text);
    errors.errors().iter().map(ToString::to_string).collect()
}

/// The id of the entry that serves a client.
pub(crate) fn found(ruleset: &Ruleset, listener: usize, client: &str) -> Option<String> {
    let client = client.parse().expect("an address");
    ruleset.lookup(ListenerId::new(listener), client).map(|entry| entry.id().to_string())
}

/// Policies of nested networks below 10.0.0.0/8 and fd00::/16, each once, with terms of all kinds.
/// What its author should know, a line each.
pub(crate) fn warnings(compiled: &Compiled) -> Vec<String> {
    compiled.warnings.iter().map(ToString::to_string).collect()
}

pub(crate) fn policies() -> impl Strategy<Value = String> {
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
        prop::sample::subsequence(vec!["*", "<>", "a.example", "*.a.example", "u@b"], 1..4);
    let terms = prop::sample::subsequence(
        vec![
            "services = [\"smtp\"]",
            "recipients = [\"r.example\", \"*.r.example\"]",
            "helo = [\"*.internal\"]",
            "tls = \"required-1.3\"",
            "client_certificate = [\"app.internal\"]",
            "upstream = \"ses\"",
            "max_message_size = \"1 KiB\"",
            "max_recipients = 2",
            "max_connections = 1",
            "message_rate = \"2/min\"",
            "recipient_rate = \"3/min\"",
            "duplicate_rate = \"2/min\"",
            "header_from = \"allowed\"",
            "not_before = 2026-05-31T00:00:00Z",
            "expires = 2026-06-02T00:00:00Z",
            "expiry = \"defer\"",
        ],
        0..5,
    );
    let routes = prop::collection::vec(
        prop::sample::subsequence(
            vec![
                "sender_domains = [\"a.example\"]",
                "recipient_domains = [\"r.example\"]",
                "entries = [\"e0\"]",
                "upstream = \"ses\"",
                "rewrite_mail_from = \"*@bounces.example\"",
            ],
            0..4,
        ),
        0..3,
    );
    let entries = prop::collection::btree_map(network, (senders, terms), 1..8);
    (entries, routes).prop_map(|(entries, routes)| {
        let mut text = String::new();
        for (index, (network, (senders, terms))) in entries.iter().enumerate() {
            let head = format!("[[entry]]\nid = \"e{index}\"\nnetworks = [{network:?}]");
            let body = if index % 5 == 4 {
                "action = \"deny\"".to_owned()
            } else {
                format!("senders = {senders:?}\n{}", terms.join("\n"))
            };
            writeln!(text, "{head}\n{body}").expect("a String takes all");
        }
        for (index, lines) in routes.iter().enumerate() {
            let lines = lines.join("\n");
            writeln!(text, "[[route]]\nid = \"r{index}\"\nmode = \"sync\"\n{lines}")
                .expect("a String takes all");
        }
        text
    })
}
