use std::sync::Arc;

use crate::{
    ruleset::{Compiled, Ruleset},
    site::Site,
    test_policy::{compile, entry, errors, found, site},
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
[[credential]]
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
        r#"18:13: entry off: network "10.0.0.0/0": covers every address"#,
        "20:1: credential a: senders is missing",
        "20:1: credential a: username is missing",
        "20:1: credential a: password_hash is missing",
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
    let gone = entry("off", r#"["10.0.0.1"]"#, "enabled = false\nupstream = \"gone\"");
    let denied = "[[entry]]\nid = \"bad\"\nenabled = false\nnetworks = [\"10.0.0.2\"]\naction = \"deny\"\n\
                  services = [\"gone\"]\n";
    let warnings = compile(&(gone + denied)).expect("only warnings").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
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
    assert_eq!((warnings.len(), &*warnings[0].to_string()), (1, told));
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

/// An allow entry with one more line, and what is said of it. `…` stands for the line's text.
#[test]
fn each_key_says_what_is_wrong_and_how_it_is_mended() {
    for (line, column, told) in [
        ("action = \"block\"", 10, "action \"block\" is unknown; write \"allow\" or \"deny\""),
        ("recipients = [\"<>\"]", 15, "recipient \"<>\": no recipient is null; leave it out"),
        ("recipients = [\"@b\"]", 15, "recipient \"@b\": a whole domain is written without the @"),
        ("helo = [\"a@b\"]", 9, "helo \"a@b\": is not a name; write host.example.com"),
        ("header_from = \"on\"", 15, "header_from \"on\" is unknown; write \"off\" or \"allowed\""),
        ("tls = \"yes\"", 7, "tls \"yes\" is unknown; write \"optional\" or \"required\" or"),
        ("client_certificate = []", 22, "client_certificate is empty; name what must be in"),
        ("client_certificate = [\"<>\"]", 23, "client_certificate \"<>\": is not a name"),
        (
            "authentication = \"maybe\"",
            18,
            "authentication \"maybe\" is unknown; write \"bypass\" or \"required\"",
        ),
        ("upstream = \"gogle\"", 12, "there is no upstream \"gogle\"; known are google, ses"),
        (
            "mode = \"queue\"",
            8,
            "mode \"queue\" is unknown; write \"sync\" or \"hybrid\" or \"spool\"",
        ),
        ("max_message_size = \"25 MB\"", 20, "max_message_size \"25 MB\": expected a size, like"),
        ("max_message_size = \"0 B\"", 20, "max_message_size must not be zero; leave it out for"),
        (
            "max_recipients = 0",
            18,
            "max_recipients must not be zero; leave it out for the limit of",
        ),
        ("max_connections = 0", 19, "max_connections must not be zero; leave it out for no limit"),
        ("message_rate = \"600\"", 16, "message_rate \"600\": expected a rate, like \"600/min\""),
        ("recipient_rate = \"0/s\"", 18, "recipient_rate \"0/s\": expected a rate"),
        ("duplicate_rate = \"10\"", 18, "duplicate_rate \"10\": expected a rate"),
        ("bare_newlines = \"keep\"", 17, "bare_newlines \"keep\" is unknown; write \"reject\" or"),
        (
            "add_missing_headers = [\"to\"]",
            24,
            "add_missing_headers \"to\" is unknown; write \"message-id\"",
        ),
        ("not_before = 2026-01-01", 14, "not_before 2026-01-01: a date needs a time and an offset"),
        (
            "expires = 2026-01-01T00:00:00",
            11,
            "expires 2026-01-01T00:00:00: a date needs a time and",
        ),
        ("expiry = \"later\"", 10, "expiry \"later\" is unknown; write \"reject\" or \"defer\" or"),
    ] {
        let errors = errors(&entry("a", r#"["10.1.0.0/16"]"#, line));
        let told = format!("policy.toml:5:{column}: entry a: {told}");
        assert!(errors.len() == 1 && errors[0].starts_with(&told), "{told}\n{errors:#?}");
    }
    let dates = "not_before = 2027-01-01T00:00:00Z\nexpires = 2026-01-01T00:00:00Z";
    let told = "policy.toml:6:11: entry a: expires 2026-01-01T00:00:00Z is not after not_before";
    let errors = errors(&entry("a", r#"["10.1.0.0/16"]"#, dates));
    assert!(errors.len() == 1 && errors[0].starts_with(told), "{errors:?}");
}

#[test]
fn a_deny_entry_is_only_about_who() {
    let denied = |more: &str| {
        format!("[[entry]]\nid = \"bad\"\nnetworks = [\"8.0.0.0/7\"]\naction = \"deny\"\n{more}\n")
    };
    assert_eq!(compile(&denied("")).expect("a good policy").warnings, []);
    for line in [
        "senders = [\"*\"]",
        "recipients = []",
        "helo = []",
        "header_from = \"off\"",
        "tls = \"required\"",
        "client_certificate = []",
        "authentication = \"required\"",
        "upstream = \"x\"",
        "mode = \"spool\"",
        "max_message_size = \"x\"",
        "max_recipients = 0",
        "max_connections = 0",
        "message_rate = \"x\"",
        "recipient_rate = \"x\"",
        "duplicate_rate = \"x\"",
        "bare_newlines = \"x\"",
        "acknowledge = \"x\"",
        "add_missing_headers = []",
        "expiry = \"x\"",
    ] {
        let key = line.split(' ').next().expect("a key");
        let warnings =
            crate::test_policy::warnings(&compile(&denied(line)).expect("only a warning"));
        let told = format!(": entry bad: {key} means nothing on a deny entry; leave it out");
        assert!(warnings.len() == 1 && warnings[0].ends_with(&told), "{warnings:?}");
    }
    for key in ["not_before", "expires"] {
        let errors = errors(&denied(&format!("{key} = 2026-01-01T00:00:00Z")));
        let told = format!("entry bad: {key} on a deny entry could open what it blocks");
        assert!(errors.len() == 1 && errors[0].contains(&told), "{errors:?}");
    }
    let errors = errors(&denied("services = [\"smpt\"]"));
    assert!(
        errors.len() == 1 && errors[0].contains("service \"smpt\" is not a listener"),
        "{errors:?}"
    );
}

#[test]
fn routes_say_what_is_wrong_and_how_it_is_mended() {
    let fleet = entry("fleet", r#"["10.1.0.0/16"]"#, "");
    for (lines, told) in [
        ("id = \"r\"", "6:1: route r: it changes nothing; name an upstream, a mode or"),
        ("upstream = \"ses\"", "6:1: route: id is missing"),
        ("id = \"R\"\nupstream = \"ses\"", "7:6: route: id \"R\" is not a slug"),
        ("id = \"r\"\nupstream = \"x\"", "8:12: route r: there is no upstream \"x\"; known are"),
        ("id = \"r\"\nmode = \"Spool\"", "8:8: route r: mode \"Spool\" is unknown; write"),
        (
            "id = \"r\"\nupstream = \"ses\"\nentries = []",
            "9:11: route r: entries is empty, so nothing",
        ),
        (
            "id = \"r\"\nupstream = \"ses\"\nentries = [\"x\"]",
            "9:12: route r: there is no entry \"x\"",
        ),
        (
            "id = \"r\"\nupstream = \"ses\"\nsender_domains = [\"@x\"]",
            "9:19: route r: sender_domains \"@x\": a whole domain",
        ),
        (
            "id = \"r\"\nupstream = \"ses\"\nrecipient_domains = [\"<>\"]",
            "9:22: route r: recipient_domains \"<>\": no recipient is null",
        ),
        (
            "id = \"r\"\nrewrite_mail_from = \"*@\"",
            "8:21: route r: rewrite_mail_from \"*@\" is not a mailbox; write bounces@example.com",
        ),
    ] {
        let errors = errors(&format!("{fleet}[[route]]\n{lines}\n"));
        let told = format!("policy.toml:{told}");
        assert!(errors.len() == 1 && errors[0].starts_with(&told), "{told}\n{errors:#?}");
    }
    let twice = "[[route]]\nid = \"r\"\nupstream = \"ses\"\n".repeat(2);
    let errors = errors(&format!("{fleet}{twice}"));
    let told = "policy.toml:10:6: route r: the id is used by an earlier route; give each its own";
    assert_eq!(errors, [told]);
    let disabled = entry("off", r#"["10.2.0.0/16"]"#, "enabled = false");
    let route = "[[route]]\nid = \"r\"\nupstream = \"ses\"\nentries = [\"off\"]\n";
    assert!(compile(&format!("{route}{disabled}")).is_ok(), "routes may stand anywhere");
}

#[test]
fn without_a_default_everything_needs_an_upstream() {
    let site = Arc::new(Site { default_upstream: None, ..(*site()).clone() });
    let unrouted = |text: &str| {
        let compiled = Ruleset::compile(text, "policy.toml", &site);
        compiled.map_or_else(|errors| errors.to_string(), |_| String::new())
    };
    let fleet = entry("fleet", r#"["10.1.0.0/16"]"#, "");
    let told = "policy.toml:1:1: entry fleet: no upstream for some of its messages; name one here";
    let route = |lines: &str| format!("{fleet}[[route]]\nid = \"a\"\n{lines}\n");
    for text in [
        fleet.clone(),
        route("upstream = \"ses\"\nsender_domains = [\"a@example.com\"]"),
        route("upstream = \"ses\"\nsender_domains = [\"<>\", \"*.example.com\"]"),
        route(
            "mode = \"sync\"\nrecipient_domains = [\"a.test\"]\n[[route]]\nid = \"b\"\nupstream = \"ses\"",
        ),
        route("upstream = \"ses\"\nrecipient_domains = [\"*.example.com\"]"),
        route("mode = \"sync\"\n[[route]]\nid = \"b\"\nupstream = \"ses\""),
    ] {
        assert!(unrouted(&text).starts_with(told), "{text}\n{}", unrouted(&text));
    }
    for text in [
        entry("fleet", r#"["10.1.0.0/16"]"#, "upstream = \"ses\""),
        route("upstream = \"ses\""),
        route("upstream = \"ses\"\nsender_domains = [\"example.com\"]"),
        route("upstream = \"ses\"\nsender_domains = [\"*\"]"),
        route(
            "mode = \"sync\"\nsender_domains = [\"other.test\"]\n[[route]]\nid = \"b\"\nupstream = \"ses\"",
        ),
        fleet.replace("[\"example.com\"]", "[\"a.test\", \"b.test\", \"<>\"]")
            + "[[route]]\nid = \"a\"\nupstream = \"ses\"\nsender_domains = [\"a.test\", \"<>\"]\n\
               [[route]]\nid = \"b\"\nupstream = \"google\"\nsender_domains = [\"*.test\"]\n",
        fleet.replace("[\"example.com\"]", "[]"),
        route("upstream = \"ses\"\nsender_domains = [\"*\", \"<>\"]\nrecipient_domains = [\"*\"]"),
        route("upstream = \"ses\"\nentries = [\"fleet\"]"),
        "[[entry]]\nid = \"a\"\nnetworks = [\"10.0.0.1\"]\naction = \"deny\"\n".to_owned(),
    ] {
        assert_eq!(unrouted(&text), "", "{text}");
    }
}

/// Errors of a text of many parts are those of the text in one piece.
#[test]
fn parts_are_told_apart_by_nobody() {
    let filler = "#".repeat(100);
    let many: String = (0..3000_u32)
        .map(|n| {
            let networks = format!("[\"10.{}.{}.0/24\"]", n >> 8, n & 255);
            let more = match n {
                1000 => "helo = [\"a@b\"]",
                2000 => "max_recipients = \"no number\"",
                _ => &*filler,
            };
            entry(&format!("e{}", n.min(2998)), &networks, more)
        })
        .collect();
    let errors = errors(&many);
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[0].starts_with("policy.toml:5005:9: entry e1000: helo"), "{errors:#?}");
    assert!(
        errors[1].starts_with("policy.toml:10005:18: entry[2000].max_recipients: invalid type")
    );
    assert!(
        errors[2].starts_with("policy.toml:14997:6: entry e2998: the id is used"),
        "{errors:#?}"
    );
}

#[test]
fn what_entries_have_in_common_is_stored_once() {
    let more = "services = [\"smtp\"]";
    let text = entry("a", r#"["10.1.0.0/16"]"#, more) + &entry("b", r#"["10.2.0.0/16"]"#, more);
    let ruleset = compile(&text).expect("a good policy").ruleset;
    let [a, b] = ruleset.entries() else { panic!("two entries") };
    assert!(Arc::ptr_eq(&a.senders, &b.senders) && Arc::ptr_eq(&a.terms, &b.terms));
    assert!(a.services.as_ref().zip(b.services.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
}
