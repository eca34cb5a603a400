use super::*;
use crate::{
    site::UpstreamId,
    test_policy::{compile, entry, errors, found},
    usage::Use,
};

#[test]
fn the_example_of_the_contract_is_read() {
    let text = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16", "2001:db8:20::/48", "10.31.7.4"]
description = "Billing fleet, eu-west"
owner = "team-billing"
enabled = true
action = "allow"
services = ["smtp", "submission"]
senders = ["billing.example.com", "*.example.org", "noreply@example.com", "<>"]
recipients = ["*"]
helo = ["*.billing.internal"]
header_from = "off"
tls = "optional"
client_certificate = ["billing.internal"]
authentication = "bypass"
upstream = "google"
mode = "hybrid"
max_message_size = "25 MiB"
max_recipients = 100
max_connections = 200
message_rate = "600/min"
recipient_rate = "5000/h"
bare_newlines = "reject"
add_missing_headers = []
not_before = 2026-01-01T00:00:00Z
expires = 2027-01-01T00:00:00Z
expiry = "reject"
acknowledge = "why a wide network is right here"

[[route]]
id = "customer-a"
entries = ["billing"]
sender_domains = ["customer-a.example"]
recipient_domains = ["*"]
upstream = "ses"
mode = "spool"
rewrite_mail_from = "bounces@customer-a.example"
"#;
    let Compiled { ruleset, warnings } = compile(text).expect("a good policy");
    assert_eq!(warnings, []);
    let [entry] = ruleset.entries() else { panic!("one entry") };
    assert_eq!((&**entry.id(), entry.owner()), ("billing", Some("team-billing")));
    assert_eq!(entry.description(), Some("Billing fleet, eu-west"));
    assert_eq!(entry.acknowledge(), Some("why a wide network is right here"));
    assert_eq!(entry.services().map(|s| s.join(" ")).as_deref(), Some("smtp submission"));
    let senders: Vec<_> = entry.senders().iter().map(ToString::to_string).collect();
    assert_eq!(senders, ["billing.example.com", "*.example.org", "noreply@example.com", "<>"]);
    let terms = entry.terms();
    assert_eq!((terms.max_message_size, terms.max_recipients), (25 << 20, 100));
    assert_eq!((terms.max_connections, terms.upstream), (Some(200), Some(UpstreamId::new(0))));
    assert_eq!(terms.message_rate.map(|rate| rate.to_string()).as_deref(), Some("600/min"));
    let networks: Vec<_> = entry.networks().iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.20.0.0/16", "2001:db8:20::/48", "10.31.7.4/32"]);
    for client in ["10.20.1.1", "2001:db8:20::9", "10.31.7.4", "::ffff:10.31.7.4"] {
        assert_eq!(found(&ruleset, 0, client).as_deref(), Some("billing"), "{client}");
        assert_eq!(found(&ruleset, 1, client).as_deref(), Some("billing"), "{client}");
        assert_eq!(found(&ruleset, 2, client), None, "submissions is not named");
        assert_eq!(found(&ruleset, 3, client), None, "there is no such listener");
    }
    for client in ["10.31.7.5", "::10.31.7.4", "64:ff9b::10.31.7.4", "2002:a1f:704::", "::a1f:704"]
    {
        assert_eq!(found(&ruleset, 0, client), None, "{client}");
    }
}

#[test]
fn the_longest_match_wins_among_what_the_listener_sees() {
    let text = [
        entry("wide", r#"["10.0.0.0/8"]"#, ""),
        entry("narrow", r#"["10.1.0.0/16"]"#, "services = [\"smtp\"]"),
        entry("off", r#"["10.1.1.0/24", "10.0.0.0/8"]"#, "enabled = false"),
    ]
    .concat();
    let ruleset = compile(&text).expect("a good policy").ruleset;
    assert_eq!(found(&ruleset, 0, "10.1.1.1").as_deref(), Some("narrow"));
    assert_eq!(found(&ruleset, 1, "10.1.1.1").as_deref(), Some("wide"));
    assert_eq!(found(&ruleset, 0, "10.2.0.1").as_deref(), Some("wide"));
    assert_eq!(ruleset.entries().len(), 2);
    let around: Vec<_> = ruleset
        .networks_around(ListenerId::new(0), "::ffff:10.1.1.1".parse().expect("an address"))
        .iter()
        .map(|(network, entry)| format!("{network} {}", entry.id()))
        .collect();
    assert_eq!(around, ["10.1.0.0/16 narrow", "10.0.0.0/8 wide"]);
    assert_eq!(ruleset.listener("submission"), Some(ListenerId::new(1)));
    assert_eq!(ruleset.listener("nothing"), None);
    assert_eq!(ruleset.listener_name(ListenerId::new(2)), Some("submissions"));
}

#[test]
fn an_empty_policy_allows_nobody() {
    let denied = "[[entry]]\nid = \"a\"\nnetworks = [\"10.0.0.0/8\"]\naction = \"deny\"\n";
    for text in ["", "# nothing\n", denied, &entry("off", r#"["10.0.0.0/8"]"#, "enabled = false")] {
        let ruleset = compile(text).expect("a good policy").ruleset;
        assert!(ruleset.allows_nobody(), "{text}");
    }
    let ruleset = compile(&entry("on", r#"["10.0.0.0/8"]"#, "")).expect("a good policy").ruleset;
    assert!(!ruleset.allows_nobody());
}

#[test]
fn denied_networks_neither_open_nor_fill_the_world() {
    let denied = r#"
[[entry]]
id = "all"
networks = ["0.0.0.0/1", "128.0.0.0/1"]
action = "deny"
"#;
    assert!(compile(denied).is_ok(), "who is refused anyway may be refused by name");
    let holes = format!(
        "{denied}{}{}",
        entry("low", r#"["0.0.0.0/2", "64.0.0.0/2"]"#, "acknowledge = \"x\""),
        entry("high", r#"["128.0.0.0/2", "192.0.0.0/2"]"#, "acknowledge = \"x\""),
    );
    assert!(errors(&holes)[0].contains("all of IPv4"), "holes do not help");
}

#[test]
fn what_clients_have_used_up_survives_by_id() {
    let text = |rate: &str| {
        entry("a", r#"["10.1.0.0/16"]"#, &format!("message_rate = {rate:?}\nmax_connections = 1"))
            + &entry("b", r#"["10.2.0.0/16"]"#, "")
    };
    let old = compile(&text("1/d")).expect("a good policy").ruleset;
    let connection = old.entries()[0].connect().expect("the first");
    let again = old.recompile(&text("1/d"), "policy.toml").expect("a good policy").ruleset;
    assert!(Arc::ptr_eq(old.entries()[0].state(), again.entries()[0].state()));
    assert!(again.entries()[0].connect().is_none(), "the old connection counts");
    let kept = again.entries()[0].adopt(connection);
    assert_eq!(again.entries()[0].state().connections(), 1);
    let moved = again.entries()[1].adopt(kept);
    let counts = |ruleset: &Ruleset| [0, 1].map(|n| ruleset.entries()[n].state().connections());
    assert_eq!(counts(&again), [0, 1]);
    drop(moved);
    assert_eq!(counts(&again), [0, 0]);
    // An id that is gone or disabled for a while has not forgotten either.
    let open = again.entries()[0].connect().expect("the first again");
    let disabled = text("1/d").replacen("message_rate", "enabled = false\nmessage_rate", 1);
    let without = again.recompile(&disabled, "policy.toml").expect("a good policy").ruleset;
    let still = without.recompile("", "policy.toml").expect("a good policy").ruleset;
    let back = still.recompile(&text("1/d"), "policy.toml").expect("a good policy").ruleset;
    assert!(Arc::ptr_eq(old.entries()[0].state(), back.entries()[0].state()));
    assert!(back.entries()[0].connect().is_none(), "a connection is still open");
    drop(open);
    let afresh = compile(&text("1/d")).expect("a good policy").ruleset;
    assert!(!Arc::ptr_eq(old.entries()[0].state(), afresh.entries()[0].state()));
}

#[test]
fn usage_is_kept_until_it_is_taken() {
    let both = entry("a", r#"["10.1.0.0/16"]"#, "") + &entry("b", r#"["10.2.0.0/16"]"#, "");
    let old = compile(&both).expect("a good policy").ruleset;
    old.entries()[0].state().usage().count(Use::Connection, [10, 1, 0, 1].into(), 100);
    let next = |ruleset: &Ruleset, text: &str| {
        ruleset.recompile(text, "policy.toml").expect("a good policy").ruleset
    };
    let ids = |ruleset: &Ruleset| {
        ruleset.states().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(&old), "a b");
    let only = entry("b", r#"["10.2.0.0/16"]"#, "");
    let (gone, still) = (next(&old, &only), next(&next(&old, ""), ""));
    assert_eq!((ids(&gone).as_str(), ids(&still).as_str()), ("b a", "a"), "b was not used");
    let (_, left) = gone.states().last().expect("it was used");
    assert_eq!(left.usage().take().map(|delta| delta.hits), Some(1));
    assert_eq!(ids(&next(&gone, &only)), "b", "nothing is left of it");
    assert_eq!(ids(&next(&still, &both)), "a b");
}

#[test]
fn entries_are_found_by_id() {
    let text: String = (0..500_u32)
        .map(|n| entry(&format!("e{n}"), &format!("[\"10.{}.{}.0/24\"]", n >> 8, n & 255), ""))
        .collect();
    let ruleset = compile(&text).expect("a good policy").ruleset;
    for n in [0, 1, 77, 499] {
        let id = format!("e{n}");
        assert_eq!(ruleset.entry(&id).map(|entry| &**entry.id()), Some(id.as_str()));
    }
    assert!(ruleset.entry("e500").is_none() && ruleset.entry("").is_none());
}

#[test]
fn everybody_is_never_allowed_however_it_is_split() {
    let reason = "acknowledge = \"really\"";
    let halves = entry("low", r#"["0.0.0.0/1", "::/1"]"#, reason)
        + &entry("high", r#"["128.0.0.0/1"]"#, &format!("{reason}\nservices = [\"smtp\"]"));
    let told = errors(&halves);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("policy.toml: the networks of all allow entries together"));
    assert!(told[0].contains("all of IPv4"), "{told:?}");
    let both = halves + &entry("six", r#"["8000::/1"]"#, reason);
    assert_eq!(errors(&both).len(), 2);
    let zero = entry("all", r#"["0.0.0.0/0", "::/0", "::ffff:0:0/96"]"#, reason);
    let told = errors(&zero);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|error| error.contains("open relay")), "{told:?}");
}

#[test]
fn the_generation_is_revision_and_content() {
    let one = compile("").expect("a good policy").ruleset.with_revision(41);
    assert_eq!(one.generation().to_string(), "41-e3b0c4");
    let other = compile("# another text").expect("a good policy").ruleset.with_revision(41);
    assert_ne!(one.generation().number(), other.generation().number());
}

#[test]
fn a_ruleset_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Ruleset>();
}

/// Not a benchmark: it fails when something in the compiler becomes quadratic.
#[test]
fn many_entries_compile() {
    let text: String = (0..20_000_u32)
        .map(|n| entry(&format!("e{n}"), &format!("[\"10.{}.{}.0/24\"]", n >> 8, n & 255), ""))
        .collect();
    let ruleset = compile(&text).expect("a good policy").ruleset;
    assert_eq!(found(&ruleset, 2, "10.78.31.7").as_deref(), Some("e19999"));
}
