use crate::test_policy::{compile, entry, errors};

/// A policy that expects nothing but that.
fn expect(keys: &str) -> String {
    format!("[[expect]]\n{keys}\n")
}

/// Keys of an expectation, and the error that they are. Those that lack both keys that are required
/// stand on the fourth line, behind those two.
const WRONG: &[(&str, &str)] = &[
    ("result = \"accept\"", "1:1: expect: ip is missing; give the address of a client"),
    (
        "ip = \"10.20.1.1\"",
        "1:1: expect: result is missing; write \"accept\", \"reject\" or \"defer\"",
    ),
    (
        "ip = \"10.20.0.0/16\"\nresult = \"accept\"",
        "2:6: expect: ip \"10.20.0.0/16\" is not the address of one client; write it like 10.20.1.1 or 2001:db8:20::1",
    ),
    (
        "ip = \"010.20.1.1\"\nresult = \"accept\"",
        "2:6: expect: ip \"010.20.1.1\" is not the address",
    ),
    ("ip = \"fe80::1%eth0\"\nresult = \"accept\"", "2:6: expect: ip \"fe80::1%eth0\" is not the"),
    (
        "ip = \"10.20.1.1\"\nresult = \"allow\"",
        "3:10: expect: result \"allow\" is unknown; write \"accept\" or \"reject\" or \"defer\"",
    ),
    (
        "from = \"example.com\"",
        "4:8: expect: from \"example.com\": the local-part of the path is not valid; write user@example.com, or <> for",
    ),
    ("from = \"\"", "4:8: expect: from \"\": write user@example.com, or <> for the null sender"),
    ("from = \"<a@b> SIZE=1\"", "4:8: expect: from \"<a@b> SIZE=1\": write user@example.com, or"),
    (
        "rcpt = \"a@b.example\"",
        "4:8: expect: rcpt is not looked at without from; give from too, \"<>\" for the null sender",
    ),
    (
        "from = \"<>\"\nrcpt = \"b.example\"",
        "5:8: expect: rcpt \"b.example\": the local-part of the path is not valid; write user@example.com",
    ),
    (
        "from = \"<>\"\nrcpt = [\"a@b.example\", \"\"]",
        "5:24: expect: rcpt \"\": the local-part of the path is not valid; write user@example.com",
    ),
    ("from = \"<>\"\nrcpt = []", "5:8: expect: rcpt is empty; name a recipient, or leave it out"),
    ("helo = \"\"", "4:8: expect: helo \"\" is not a name of 1 to 255 printable ASCII characters"),
    ("helo = \"grün\"", "4:8: expect: helo \"grün\" is not a name of 1 to 255"),
    ("tls = \"1.1\"", "4:7: expect: tls \"1.1\" is unknown; write \"none\" or \"1.2\" or \"1.3\""),
    (
        "service = \"smtps\"",
        "4:11: expect: service \"smtps\" is not a listener; known are smtp, submission, submissions",
    ),
    ("at = 2027-01-01", "4:6: expect: at 2027-01-01: a date needs a time and an offset, like"),
    (
        "upstream = \"sendgrid\"",
        "4:12: expect: there is no upstream \"sendgrid\"; known are google, ses",
    ),
    ("entry = \"nobody\"", "4:9: expect: there is no entry \"nobody\"; name one that there is"),
    (
        "sender = \"<>\"",
        "4:1: expect[0].sender: unknown key `sender`, expected one of `ip`, `from`",
    ),
    (
        "tls = 1.3",
        "4:7: expect[0].tls: invalid type: floating point `1.3`, expected a string, true or false",
    ),
    (
        "rcpt = 1",
        "4:8: expect[0].rcpt: invalid type: integer `1`, expected a string or a list of strings",
    ),
];

#[test]
fn what_is_wrong_is_told_with_its_place_and_its_mend() {
    let good = "ip = \"10.20.1.1\"\nresult = \"accept\"\n";
    for (keys, error) in WRONG {
        let has_both = keys.starts_with("ip") || keys.starts_with("result");
        let keys = if has_both { (*keys).to_owned() } else { format!("{good}{keys}") };
        let errors = errors(&expect(&keys));
        assert!(errors[0].starts_with(&format!("policy.toml:{error}")), "{keys}\n{errors:#?}");
        assert_eq!(errors.len(), 1, "{errors:#?}");
    }
    let refused = expect("ip = \"10.50.1.1\"\nresult = \"reject\"\nupstream = \"google\"");
    let told = "policy.toml:4:12: expect: upstream means nothing unless the result is \"accept\"; leave it out";
    assert_eq!(errors(&refused), [told]);
    let all = expect(
        "ip = 1\n[[expect]]\n[[expect]]\nip = \"x\"\nservice = \"y\"\nentry = \"z\"\nresult = \"w\"",
    );
    assert_eq!(errors(&all).len(), 1, "what is not well-formed hides its part");
    let all = all.replace("ip = 1\n", "");
    assert_eq!(errors(&all).len(), 7, "{:#?}", errors(&all));
}

/// What is warned of in a policy of an entry with dates and of an expectation.
fn warnings(more: &str, keys: &str) -> Vec<String> {
    let wide = entry("wide", "[\"10.0.0.0/12\"]", "");
    let dated = entry("dated", "[\"10.1.0.0/16\"]", more);
    let policy = format!("expect = [{{ip = \"10.1.0.1\", {keys}}}]\n{wide}{dated}");
    crate::test_policy::warnings(&compile(&policy).expect("a good policy"))
}

#[test]
fn what_time_will_break_is_warned_of() {
    let (from, until) = ("not_before = 2026-01-01T00:00:00Z", "expires = 2027-01-01T00:00:00Z");
    let accept = "result = \"accept\"";
    let expires = "policy.toml:1:11: expect: 10.1.0.1: give it at = …; once entry dated has expired it will not hold";
    let depends = "policy.toml:1:11: expect: 10.1.0.1: give it at = …; whether it holds depends on the dates of entry dated";
    let both = format!("{from}\n{until}");
    let deferred = format!("{until}\nexpiry = \"defer\"");
    for (dates, keys, warning) in [
        (until, accept, expires),
        (&both, accept, expires),
        (&deferred, accept, expires),
        (from, accept, depends),
        (until, "result = \"reject\"", depends),
    ] {
        assert_eq!(warnings(dates, keys), [warning], "{dates} {keys}");
    }
    let warned = format!("{until}\nexpiry = \"warn\"");
    let elsewhere = format!("{until}\nservices = [\"submission\"]");
    for (dates, keys) in [
        ("", accept),
        (until, "result = \"accept\", at = 2026-07-01T00:00:00Z"),
        (&warned, accept),
        (&elsewhere, "result = \"accept\", service = \"smtp\""),
    ] {
        assert_eq!(warnings(dates, keys), [""; 0], "{dates} {keys}");
    }
    assert_eq!(warnings(&elsewhere, accept), [expires], "every listener is asked");
    let narrower = entry("narrower", "[\"10.1.0.0/24\"]", "");
    let policy = format!(
        "{narrower}{}{}",
        entry("dated", "[\"10.1.0.0/16\"]", until),
        expect("ip = \"10.1.0.1\"\nresult = \"accept\"")
    );
    assert_eq!(compile(&policy).expect("a good policy").warnings, [], "another entry decides");
}
