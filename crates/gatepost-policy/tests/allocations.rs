//! What policy costs of the allocator: nothing for a connection, nothing for a transaction.

use std::{net::IpAddr, sync::Arc, time::Duration};

use gatepost_policy::{
    check::{self, Check, Greeting, MailFacts, RcptFacts, SessionTls},
    date::Moment,
    entry::Mode,
    listener::ListenerId,
    ruleset::Ruleset,
    site::{Site, UpstreamId},
    snapshot::Snapshot,
    usage::Use,
};
use gatepost_smtp::path::{ForwardPath, ReversePath};

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["10.20.0.0/16", "2001:db8:20::/48"]
senders = ["a.example", "*.a.example", "<>"]
recipients = ["b.example", "*.b.example"]
helo = ["*.internal"]
header_from = "allowed"
tls = "required"
client_certificate = ["*.internal"]
max_message_size = "25 MiB"
max_recipients = 100
max_connections = 200
message_rate = "600000/min"
recipient_rate = "500000/h"
not_before = 2026-01-01T00:00:00Z
expires = 2027-01-01T00:00:00Z

[[route]]
id = "elsewhere"
sender_domains = ["c.example"]
upstream = "ses"

[[route]]
id = "bulk"
entries = ["fleet"]
recipient_domains = ["*.b.example"]
upstream = "ses"
"#;

const HEADER: &[u8] =
    b"Subject: hello\r\nFrom: \"A, B\" <x@a.example>,\r\n =?utf-8?q?C?= <y@m.a.example>\r\nTo: z@b.example\r\n\r\n";

fn snapshot() -> Snapshot {
    let site = Site {
        hostname: "relay.example.com".into(),
        listeners: vec!["smtp".into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["google".into(), "ses".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 50 << 20,
        max_recipients: 1000,
    };
    let compiled = Ruleset::compile(POLICY, "policy.toml", &Arc::new(site));
    Snapshot::new(compiled.expect("a good policy").ruleset)
}

/// What a session asks of policy, from its greeting to the header section of its only message.
fn converse(snapshot: &Snapshot, client: IpAddr) {
    let now = Moment { unix_seconds: 1_780_272_000, uptime: Duration::from_secs(1) };
    let ruleset = snapshot.load();
    let Greeting::Allowed(entry) = check::greet(&ruleset, ListenerId::new(0), client, now) else {
        panic!("{client} is allowed");
    };
    let connection = check::connect(&entry).expect("there is room");
    let sender = ReversePath::split_from(b"<x@m.a.example>").expect("a path").0;
    let facts = MailFacts {
        login: None,
        now,
        generation: ruleset.generation(),
        tls: Some(SessionTls::Tls13),
        certificate: Some(&["app.internal"]),
        helo: Some(b"app.internal"),
        sender: Some(sender),
        size: Some(1000),
    };
    check::mail(&entry, &facts).expect("accepted");
    let mut way = None;
    for (recipient, named) in [&b"<1@s.b.example>"[..], b"<2@t.b.example>"].into_iter().zip(0..) {
        let recipient = ForwardPath::split_from(recipient).expect("a path").0;
        let (uptime, generation) = (now.uptime, facts.generation);
        let asked = RcptFacts { beside: None, uptime, generation, sender, recipient, named, way };
        way = Some(check::rcpt(&entry, ruleset.routes(), &asked).expect("accepted"));
    }
    check::header_from(&entry, facts.generation, HEADER).expect("accepted");
    for what in [Use::Connection, Use::Message] {
        entry.state().usage().count(what, client, now.unix_seconds);
    }
    drop(connection);
}

#[test]
fn a_session_that_is_accepted_allocates_nothing() {
    let snapshot = snapshot();
    let clients: [IpAddr; 2] =
        ["10.20.1.1", "2001:db8:20::1"].map(|a| a.parse().expect("an address"));
    // The first load of a thread registers the thread with arc-swap, and the first use by a host is
    // where its address is kept.
    for client in clients {
        converse(&snapshot, client);
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            for client in clients {
                converse(&snapshot, client);
            }
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The counter counts: a refusal is worded, and its words are allocated.
#[test]
fn a_refusal_is_counted() {
    let snapshot = snapshot();
    let now = Moment { unix_seconds: 0, uptime: Duration::ZERO };
    let ruleset = snapshot.load();
    let counted = allocation_counter::measure(|| {
        let client = IpAddr::from([203, 0, 113, 9]);
        let greeting = check::greet(&ruleset, ListenerId::new(0), client, now);
        assert!(
            matches!(greeting, Greeting::Refused(None, refusal) if refusal.check == Check::AllowList)
        );
    });
    assert!(counted.count_total > 0);
}
