use super::*;
use crate::{
    ruleset::Compiled,
    test_policy::{compile, entry, errors, found},
};

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
fn what_entries_have_in_common_is_stored_once() {
    let more = "services = [\"smtp\"]";
    let text = entry("a", r#"["10.1.0.0/16"]"#, more) + &entry("b", r#"["10.2.0.0/16"]"#, more);
    let ruleset = compile(&text).expect("a good policy").ruleset;
    let [a, b] = ruleset.entries() else { panic!("two entries") };
    assert!(Arc::ptr_eq(&a.senders, &b.senders));
    assert!(a.services.as_ref().zip(b.services.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
}
