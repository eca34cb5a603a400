use super::*;

const LISTENERS: [&str; 3] = ["smtp", "submission", "submissions"];

fn compile(text: &str) -> Result<Compiled, PolicyErrors> {
    Ruleset::compile(text, "policy.toml", &LISTENERS)
}

fn entry(id: &str, networks: &str, more: &str) -> String {
    format!("[[entry]]\nid = {id:?}\nnetworks = {networks}\nsenders = [\"example.com\"]\n{more}\n")
}

fn errors(text: &str) -> Vec<String> {
    let errors = compile(text).expect_err(text);
    errors.errors().iter().map(ToString::to_string).collect()
}

fn found(ruleset: &Ruleset, listener: usize, client: &str) -> Option<String> {
    let client = client.parse().expect("an address");
    ruleset.lookup(ListenerId::new(listener), client).map(|entry| entry.id().to_string())
}

#[test]
fn the_example_of_the_contract_is_read() {
    let text = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16", "2001:db8:20::/48", "10.31.7.4"]
description = "Billing fleet, eu-west"
owner = "team-billing"
enabled = true
services = ["smtp", "submission"]
senders = ["billing.example.com", "*.example.org", "noreply@example.com", "<>"]
acknowledge = "why a wide network is right here"
"#;
    let Compiled { ruleset, warnings } = compile(text).expect("a good policy");
    assert_eq!(warnings, Vec::<String>::new());
    let [entry] = ruleset.entries() else { panic!("one entry") };
    assert_eq!((&**entry.id(), entry.owner()), ("billing", Some("team-billing")));
    assert_eq!(entry.description(), Some("Billing fleet, eu-west"));
    assert_eq!(entry.acknowledge(), Some("why a wide network is right here"));
    assert_eq!(entry.services().map(|s| s.join(" ")).as_deref(), Some("smtp submission"));
    let senders: Vec<_> = entry.senders().iter().map(ToString::to_string).collect();
    assert_eq!(senders, ["billing.example.com", "*.example.org", "noreply@example.com", "<>"]);
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
    assert!(Arc::ptr_eq(&ruleset.views[1].table, &ruleset.views[2].table), "they see the same");
    assert!(!Arc::ptr_eq(&ruleset.views[0].table, &ruleset.views[1].table));
    assert_eq!(ruleset.listener("submission"), Some(ListenerId::new(1)));
    assert_eq!(ruleset.listener("nothing"), None);
    assert_eq!(ruleset.listener_name(ListenerId::new(2)), Some("submissions"));
}

#[test]
fn an_empty_policy_allows_nobody() {
    for text in ["", "# nothing\n", &entry("off", r#"["10.0.0.0/8"]"#, "enabled = false")] {
        let ruleset = compile(text).expect("a good policy").ruleset;
        assert!(ruleset.is_empty());
        assert_eq!(found(&ruleset, 0, "10.0.0.1"), None);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let text = r#"
[[entry]]
id = "billing"
networks = ["10.1.2.3/24", "10.0.0.0/8", "::ffff:10.0.0.0/104"]
senders = ["@example.com", "grün.example"]

[[entry]]
id = "Bad Id"
networks = []
senders = []
services = []

[[entry]]

[[entry]]
id = "off"
enabled = false
networks = ["10.0.0.0/0"]
senders = ["*"]
tls = "required"

[[route]]
id = "a"
"#;
    let errors = errors(text);
    let expected = [
        r#"4:13: entry billing: network "10.1.2.3/24": bits behind the prefix are set; write 10.1.2.0/24"#,
        r#"4:42: entry billing: network "::ffff:10.0.0.0/104": IPv4-mapped clients are known by their IPv4 address; write 10.0.0.0/8"#,
        r#"5:12: entry billing: sender "@example.com": a whole domain is written without the @"#,
        r#"5:28: entry billing: sender "grün.example": the domain must be written as its A-label"#,
        r#"8:6: entry: id "Bad Id" is not a slug"#,
        "9:12: entry: networks is missing or empty",
        "11:12: entry: services is empty",
        "13:1: entry: id is missing",
        "13:1: entry: networks is missing",
        "13:1: entry: senders is missing",
        "20:7: entry[3].tls: not built yet",
        "22:1: route: not built yet",
    ];
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(&format!("policy.toml:{start}")), "{error}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn disabled_entries_are_checked_for_form_only() {
    let wrong = entry("off", r#"["10.0.0.1/8"]"#, "enabled = false");
    assert_eq!(errors(&wrong).len(), 1);
    let everybody = entry("off", r#"["0.0.0.0/0"]"#, "enabled = false");
    assert_eq!(errors(&everybody).len(), 1);
    let public = entry("off", r#"["8.0.0.0/8"]"#, "enabled = false");
    assert!(compile(&public).is_ok());
}

#[test]
fn ids_are_unique() {
    let text =
        entry("a", r#"["10.1.0.0/16"]"#, "enabled = false") + &entry("a", r#"["10.2.0.0/16"]"#, "");
    assert_eq!(
        errors(&text),
        ["policy.toml:7:6: entry a: the id is used by an earlier entry; give each its own"]
    );
}

#[test]
fn one_network_of_two_entries_on_one_listener_is_refused() {
    let text = entry("a", r#"["10.1.0.0/16"]"#, "")
        + &entry("b", r#"["10.2.0.0/16", "10.1.0.0/16"]"#, "services = [\"submission\"]");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told =
        "policy.toml:6:1: entry b: network 10.1.0.0/16 on listener submission belongs to entry a";
    assert!(errors[0].starts_with(told), "{errors:?}");

    let everywhere = entry("a", r#"["10.1.0.0/16"]"#, "") + &entry("b", r#"["10.1.0.0/16"]"#, "");
    assert_eq!(compile(&everywhere).expect_err("a conflict").count(), 1, "once, not per listener");

    let apart = entry("a", r#"["10.1.0.0/16"]"#, "services = [\"smtp\"]")
        + &entry("b", r#"["10.1.0.0/16"]"#, "services = [\"submission\"]");
    let ruleset = compile(&apart).expect("different listeners").ruleset;
    assert_eq!(found(&ruleset, 0, "10.1.1.1").as_deref(), Some("a"));
    assert_eq!(found(&ruleset, 1, "10.1.1.1").as_deref(), Some("b"));
    assert_eq!(found(&ruleset, 2, "10.1.1.1"), None);

    let disabled =
        entry("a", r#"["10.1.0.0/16"]"#, "") + &entry("b", r#"["10.1.0.0/16"]"#, "enabled = false");
    assert!(compile(&disabled).is_ok());
}

#[test]
fn a_network_twice_in_one_entry_is_a_warning() {
    let text = entry("a", r#"["10.1.0.0/16", "10.1.0.0/16"]"#, "services = [\"smtp\", \"smtp\"]");
    let warnings = compile(&text).expect("a good policy").warnings;
    assert_eq!(
        warnings,
        ["policy.toml:1:1: entry a: network 10.1.0.0/16 is named twice; leave one out"]
    );
}

#[test]
fn an_unknown_service_is_a_warning() {
    let text = entry("a", r#"["10.1.0.0/16"]"#, "services = [\"smpt\", \"smtp\"]");
    let Compiled { ruleset, warnings } = compile(&text).expect("a good policy");
    let told = "policy.toml:5:13: entry a: service \"smpt\" is not a listener; known are smtp, submission, \
                submissions";
    assert_eq!(warnings, [told]);
    assert_eq!(found(&ruleset, 0, "10.1.1.1").as_deref(), Some("a"));
    assert_eq!(found(&ruleset, 1, "10.1.1.1"), None);
}

#[test]
fn wide_and_public_networks_must_be_acknowledged() {
    for (networks, senders) in [
        (r#"["10.0.0.0/7"]"#, "[]"),
        (r#"["8.0.0.0/23"]"#, "[]"),
        (r#"["2001:db8::/47"]"#, "[]"),
        (r#"["203.0.113.9"]"#, r#"["a.example", "*"]"#),
    ] {
        let text = format!("[[entry]]\nid = \"a\"\nnetworks = {networks}\nsenders = {senders}\n");
        let told = errors(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("policy.toml:3:13: entry a: network "), "{told:?}");
        assert!(told[0].contains("say in acknowledge why"), "{told:?}");
        assert_eq!(errors(&format!("{text}acknowledge = \" \"\n")).len(), 1, "blank is no reason");
        assert!(compile(&format!("{text}acknowledge = \"printers\"\n")).is_ok());
    }
}

#[test]
fn everybody_is_never_allowed_however_it_is_split() {
    let reason = "acknowledge = \"really\"";
    let halves = entry("low", r#"["0.0.0.0/1", "::/1"]"#, reason)
        + &entry("high", r#"["128.0.0.0/1"]"#, &format!("{reason}\nservices = [\"smtp\"]"));
    let told = errors(&halves);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("policy.toml: the networks of all enabled entries together"));
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

#[test]
fn what_entries_have_in_common_is_stored_once() {
    let more = "services = [\"smtp\"]";
    let text = entry("a", r#"["10.1.0.0/16"]"#, more) + &entry("b", r#"["10.2.0.0/16"]"#, more);
    let ruleset = compile(&text).expect("a good policy").ruleset;
    let [a, b] = ruleset.entries() else { panic!("two entries") };
    assert!(Arc::ptr_eq(&a.senders, &b.senders));
    assert!(a.services.as_ref().zip(b.services.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
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
