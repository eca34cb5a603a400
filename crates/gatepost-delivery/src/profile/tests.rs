use bytes::BytesMut;
use gatepost_smtp::client;

use super::*;

const STAGES: [Stage; 4] = [Stage::Opening, Stage::Mail, Stage::Recipient, Stage::Data];

/// A reply in wire form, its lines separated by LF alone, as the client machine hears it.
fn heard(wire: &str) -> Reply {
    let mut wire = BytesMut::from(&*(wire.replace('\n', "\r\n") + "\r\n"));
    client::next_reply(&mut wire).expect("a reply").expect("a whole reply")
}

fn named(name: &str) -> Arc<Profile> {
    Profile::named(name).expect(name)
}

/// The name of the rule that a profile has for a reply.
fn rule(profile: &Profile, stage: Stage, wire: &str) -> Option<String> {
    let index = profile.rule(stage, &heard(wire));
    index.map(|index| profile.replies[index].name.to_string())
}

fn error(text: &str) -> String {
    Profile::parse(text, "my.toml").expect_err(text).to_string()
}

#[test]
fn every_profile_is_there_and_known_by_its_name() {
    let names: Vec<_> = built_in().iter().map(|profile| &*profile.name).collect();
    let known = [
        "generic",
        "google-relay",
        "m365-connector",
        "m365-auth",
        "sendgrid",
        "ses",
        "smartermail",
    ];
    assert_eq!(names, known);
    assert!(Profile::named("pigeon").is_none() && text("pigeon").is_none());
    for profile in built_in() {
        assert!(text(&profile.name).expect("its text").contains(&*profile.description));
    }
}

/// The defaults of the contract are those of the profile for any server.
#[test]
fn generic_is_what_the_contract_says() {
    let generic = Profile::generic();
    assert_eq!((generic.tls, generic.ip), (TlsMode::Required, IpVersion::Any));
    let limits = &generic.limits;
    assert_eq!((limits.max_connections.default, limits.max_recipients.default), (100, None));
    assert_eq!(limits.max_messages_per_connection.default, None);
    let spans = [&limits.idle_timeout, &limits.max_age, &limits.client_stall];
    assert_eq!(spans.map(|span| span.default.as_secs()), [30, 600, 10]);
    assert!(limits.recipient_rate.default.is_empty() && generic.ports.is_empty());
}

#[test]
fn profiles_say_what_their_providers_want() {
    let ses = named("ses");
    assert_eq!(ses.limits.idle_timeout.default.as_secs(), 8);
    assert_eq!((ses.limits.max_recipients.default, ses.auth.need), (Some(50), Need::Required));
    assert_eq!(ses.limits.max_connections.default, 100, "what it does not say is generic's");
    let connector = named("m365-connector");
    assert_eq!((connector.ip, connector.auth.need), (IpVersion::V4, Need::Never));
    assert_eq!(connector.limits.max_age.default.as_secs(), 15 * 60);
    let mailbox = named("m365-auth");
    assert_eq!((mailbox.ip, mailbox.limits.max_connections.default), (IpVersion::Any, 3));
    assert_eq!(*mailbox.limits.recipient_rate.default, ["10000/d".into()]);
    assert_eq!(mailbox.limits.max_age.default.as_secs(), 15 * 60, "what it extends");
}

#[test]
fn every_fact_has_its_source() {
    for profile in built_in() {
        let limits = &profile.limits;
        let sources = [
            &profile.auth.source,
            &profile.ehlo.source,
            &profile.mail_from.source,
            &limits.max_connections.source,
            &limits.max_messages_per_connection.source,
            &limits.idle_timeout.source,
            &limits.max_age.source,
            &limits.max_recipients.source,
            &limits.client_stall.source,
            &limits.recipient_rate.source,
        ];
        let ports = profile.ports.iter().map(|port| &port.source);
        let notes = profile.notes.iter().map(|note| &note.source);
        for source in sources.into_iter().chain(ports).chain(notes) {
            assert!(!source.trim().is_empty(), "{}: {sources:?}", profile.name);
        }
        for rule in &profile.replies {
            assert!(!rule.source.is_empty(), "{}: {} has no source", profile.name, rule.name);
        }
    }
}

#[test]
fn no_default_is_beyond_what_the_provider_bears() {
    fn within<T: PartialOrd>(limit: &Limit<T>) -> bool {
        limit.most.as_ref().is_none_or(|most| limit.default <= *most)
    }
    for profile in built_in() {
        let limits = &profile.limits;
        assert!(within(&limits.max_connections), "{}", profile.name);
        assert!(within(&limits.max_messages_per_connection), "{}", profile.name);
        assert!(within(&limits.max_recipients), "{}", profile.name);
        for span in [&limits.idle_timeout, &limits.max_age, &limits.client_stall] {
            assert!(within(span), "{}", profile.name);
        }
        assert!(profile.ports.iter().all(|port| !port.tls.is_empty()), "{}", profile.name);
    }
}

/// Every rule has a reply as it was seen, and is the one for it wherever it may be said; an
/// inherited one may give way to a rule of the profile's own.
#[test]
fn every_example_is_understood_by_its_own_rule() {
    for (index, profile) in built_in().iter().enumerate() {
        let own: Vec<&str> = text(&profile.name)
            .expect("its text")
            .lines()
            .filter_map(|line| line.strip_prefix("name = "))
            .map(|name| name.trim_matches('"'))
            .collect();
        assert!(index == 0 || !own.is_empty(), "{}", profile.name);
        for rule in profile.replies.iter().filter(|rule| own.contains(&&*rule.name)) {
            let reply = heard(&rule.example);
            let stages = if rule.stage.is_empty() { &STAGES[..] } else { &rule.stage };
            for &stage in stages {
                let found = profile.rule(stage, &reply).map(|index| &*profile.replies[index].name);
                assert_eq!(found, Some(&*rule.name), "{} {stage:?} {reply}", profile.name);
            }
        }
    }
}

/// The same words of one provider mean nothing to another.
#[test]
fn a_reply_is_judged_by_code_and_text_and_stage() {
    let google = named("google-relay");
    let busy = "421 4.7.0 Try again later, closing connection.";
    let ehlo = "421-4.7.0 Try again later, closing connection. (EHLO)\n421 4.7.0 See https://x";
    assert_eq!(rule(&google, Stage::Opening, ehlo).as_deref(), Some("ehlo-refused"));
    assert_eq!(rule(&google, Stage::Opening, busy).as_deref(), Some("go-slower"));
    assert_eq!(rule(&google, Stage::Recipient, busy), None);
    assert_eq!(
        rule(&Profile::generic(), Stage::Opening, ehlo).as_deref(),
        Some("policy-limit"),
        "(EHLO) is Google's"
    );
    let ses = named("ses");
    assert_eq!(rule(&ses, Stage::Data, "454 THROTTLING failure: x").as_deref(), Some("rate"));
    assert_eq!(rule(&ses, Stage::Data, "454 something else"), None);
    assert_eq!(rule(&ses, Stage::Data, "554 Throttling failure: x"), None);
    let wrapped = "550-5.7.1 Invalid credentials for\n550 5.7.1 relay [203.0.113.9].";
    assert_eq!(
        rule(&google, Stage::Mail, wrapped).as_deref(),
        Some("invalid-credentials-for-relay"),
        "words go on in the next line"
    );
    let late = format!("550 {}Invalid credentials for relay", "x".repeat(2048));
    assert_eq!(rule(&google, Stage::Mail, &late), None, "what is looked at is bounded");
}

/// Only what no client can provoke for the others holds all of them up.
#[test]
fn a_sender_never_speaks_for_the_upstream() {
    for (name, stage, wire) in [
        ("sendgrid", Stage::Data, "403 You are not authorized to send from that email address"),
        ("ses", Stage::Data, "554 Message rejected: Email address is not verified."),
        ("ses", Stage::Data, "554 Access denied: User `a' is not authorized to perform `b' on c"),
        ("google-relay", Stage::Mail, "550 5.7.1 Invalid credentials for relay"),
        ("google-relay", Stage::Data, "550 5.4.5 Daily SMTP relay limit exceeded for user."),
        ("m365-connector", Stage::Recipient, "550 5.7.64 TenantAttribution; Relay Access Denied"),
        ("m365-auth", Stage::Data, "554 5.2.252 SendAsDenied; a@b not allowed to send as c@d"),
        ("generic", Stage::Recipient, "554 5.7.1 <a@b>: Relay access denied"),
        ("generic", Stage::Mail, "550 Authentication required for this sender"),
    ] {
        let profile = named(name);
        let index = profile.rule(stage, &heard(wire)).expect(wire);
        assert_eq!(profile.replies[index].scope, Scope::Envelope, "{name}: {wire}");
    }
}

#[test]
fn hosts_of_a_provider_are_known() {
    let ses = named("ses");
    assert!(ses.knows_host("email-smtp.eu-west-1.amazonaws.com"));
    assert!(ses.knows_host("EMAIL-SMTP-fips.us-east-1.amazonaws.com"));
    for other in
        ["ec2-1-2-3-4.compute.amazonaws.com", "email-smtp.amazonaws.com.example", "amazonaws.com"]
    {
        assert!(!ses.knows_host(other), "{other}");
    }
    assert!(named("m365-connector").knows_host("app-example.mail.protection.outlook.com"));
    assert!(!Profile::generic().knows_host("smtp-relay.gmail.com"));
}

#[test]
fn an_own_profile_says_what_is_different() {
    let text = r#"
extends = "ses"
description = "SES of the shop"
[limits.idle_timeout]
default = "5s"
[[reply]]
name = "ours"
codes = [454]
text = ["maintenance"]
means = "throttled"
scope = "upstream"
pause = "1m 30s"
[[reply]]
name = "rate"
codes = [454]
text = ["Throttling failure"]
means = "retry"
scope = "connection"
"#;
    let own = Profile::parse(text, "etc/shop.toml").expect("is right");
    assert_eq!((&*own.name, &*own.description), ("etc/shop.toml", "SES of the shop"));
    assert_eq!(
        (own.limits.idle_timeout.default.as_secs(), own.limits.idle_timeout.most),
        (5, None)
    );
    assert_eq!(own.limits.max_recipients.default, Some(50));
    assert_eq!(&*own.replies[0].name, "ours");
    assert_eq!(own.replies[0].pause, Some(Duration::from_secs(90)));
    let means = |wire| own.replies[own.rule(Stage::Data, &heard(wire)).expect(wire)].means;
    assert_eq!(
        means("454 Throttling failure: x"),
        Means::Retry,
        "it replaces the rule of the name"
    );
    assert_eq!(means("454 Throttling failure: Daily message quota exceeded"), Means::Retry);
    assert_eq!(means("421 Too many concurrent SMTP connections"), Means::Throttled);
    assert_eq!(own.replies.iter().filter(|rule| &*rule.name == "rate").count(), 1);
    let empty = Profile::parse("", "empty.toml").expect("generic has it all");
    assert_eq!(empty.limits.max_connections.default, 100);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    const RULE: &str =
        "[[reply]]\nname = \"a\"\ncodes = [550]\nmeans = \"refused\"\nscope = \"envelope\"\n";
    Profile::parse(RULE, "my.toml").expect("the rule is right");
    let with = |from: &str, to: &str| error(&RULE.replace(from, to));
    for (error, told) in [
        (error("tsl = \"none\""), "my.toml:1:1: unknown key `tsl`"),
        (
            error("\nextends = \"sess\""),
            "my.toml:2:11: extends: \"sess\" is unknown; write one of generic, g",
        ),
        (error("ip = \"5\""), "my.toml:1:6: unknown variant `5`"),
        (error("[limits.max_age]\nmost = \"1h\""), "my.toml:1:1: missing key `default`"),
        (error("[limits.max_age]\ndefault = \"0s\""), "my.toml:1:1: must not be zero"),
        (error("[limits.max_recipients]\ndefault = 0"), "my.toml:1:1: must not be zero"),
        (error("[limits.max_age]\ndefault = \"soon\""), "my.toml:2:11: "),
        (with("refused", "never"), "my.toml:4:9: unknown variant `never`"),
        (
            with("[550]", "[250]"),
            "my.toml:1:1: reply \"a\": codes: write at least one, each 400 to 599",
        ),
        (with("[550]", "[]"), "my.toml:1:1: reply \"a\": codes: write at least one"),
        (with("[550]", "[450]"), "my.toml:1:1: reply \"a\": answer: what will not pass by itself"),
        (
            with("refused", "retry"),
            "my.toml:1:1: reply \"a\": answer: what will pass is told with a 4xx",
        ),
        (
            with("refused", "configuration-fault"),
            "my.toml:1:1: reply \"a\": say: a configuration-fault",
        ),
        (with("envelope", "upstream"), "my.toml:1:1: reply \"a\": scope: what is refused"),
        (error(&format!("{RULE}pause = \"1s\"")), "my.toml:1:1: reply \"a\": pause: one envelope"),
        (
            error(&format!("{RULE}text = [\"\"]")),
            "my.toml:1:1: reply \"a\": text: must not be empty",
        ),
        (error(&format!("{RULE}status = \"5.7\"")), "my.toml:6:10: expected a status"),
        (
            error(&format!("{RULE}answer = \"550 4.7.1\"")),
            "my.toml:6:10: expected a code and a status",
        ),
        (error(&format!("{RULE}{RULE}")), "my.toml:6:1: reply \"a\": an earlier one has the name"),
    ] {
        assert!(error.starts_with(told), "{error}\n{told}");
    }
    let answered = RULE
        .replace("refused", "quota")
        .replace("envelope\"", "upstream\"\nanswer = \"451 4.3.5\"");
    assert!(error(&answered).contains("answer: is for scope"), "{}", error(&answered));
}
