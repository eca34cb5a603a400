use proptest::prelude::*;

use super::*;
use crate::{
    check::SessionTls,
    date::Moment,
    site::Site,
    test_policy::{self, compile, moment, policies},
};

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

[[entry]]
id = "blocked"
networks = ["10.20.99.0/24"]
action = "deny"

[[entry]]
id = "strict"
networks = ["10.30.0.0/16"]
senders = ["a.example"]
recipients = ["b.example"]
helo = ["*.internal"]
header_from = "allowed"
tls = "required"
max_connections = 5
max_recipients = 3
recipient_rate = "2/h"
message_rate = "10/min"
expires = 2030-01-01T00:00:00Z

[[route]]
id = "bulk"
entries = ["strict"]
upstream = "ses"
rewrite_mail_from = "*@bounces.example"
"#;

fn ruleset() -> Ruleset {
    compile(POLICY).expect("a good policy").ruleset.with_revision(41)
}

/// Nothing but the time is known.
fn nothing(ruleset: &Ruleset) -> MailFacts<'static> {
    MailFacts {
        login: None,
        now: moment(0),
        generation: ruleset.generation(),
        tls: None,
        certificate: None,
        helo: None,
        sender: None,
        size: None,
    }
}

fn reverse(path: &str) -> ReversePath<'_> {
    ReversePath::split_from(path.as_bytes()).expect("a valid path").0
}

fn forward(path: &str) -> ForwardPath<'_> {
    ForwardPath::split_from(path.as_bytes()).expect("a valid path").0
}

fn explained(client: &str, sender: Option<&str>, recipients: &[&str]) -> (Explanation, String) {
    let ruleset = ruleset();
    let facts = MailFacts { sender: sender.map(reverse), ..nothing(&ruleset) };
    let recipients: Vec<_> = recipients.iter().copied().map(forward).collect();
    let question = Question {
        username: None,
        client: client.parse().expect("an address"),
        listener: ListenerId::new(0),
        facts,
        recipients: &recipients,
        header_from: &[],
    };
    (explain(&ruleset, &question), ruleset.generation().to_string())
}

/// The words are those that the proxy would hear, whatever entry is around it.
#[test]
fn a_proxy_is_told_as_what_it_is() {
    let proxies = vec![Box::default(), ["10.20.0.5".parse().expect("a network")].into()];
    let site = Site { proxies, ..(*test_policy::site()).clone() };
    let ruleset = Ruleset::compile(POLICY, "policy.toml", &Arc::new(site)).expect("good").ruleset;
    let verdict = |listener| {
        let question = Question {
            username: None,
            client: [10, 20, 0, 5].into(),
            listener: ListenerId::new(listener),
            facts: nothing(&ruleset),
            recipients: &[],
            header_from: &[],
        };
        let explanation = explain(&ruleset, &question);
        let network = explanation.steps().iter().find(|step| step.name == "network");
        (explanation.verdict().to_string(), network.expect("it is told").detail.clone())
    };
    let (told, network) = verdict(1);
    let reply = "reject: 554 5.7.1 relay.example.com: 10.20.0.5 is the address of a proxy, and never a client";
    assert_eq!(told, reply);
    assert!(network.starts_with("not looked for: a proxy"), "{network}");
    assert_eq!(verdict(0).0, "accept", "it is none on the other listener");
}

/// Nobody who asks has the data; entries that do not look at it are told as they ever were.
#[test]
fn copies_are_told_of_where_they_count() {
    for (more, sender, told) in [
        ("", "<a@b.example>", None),
        ("duplicate_rate = \"10/min\"", "<a@b.example>", Some("not given")),
        ("duplicate_rate = \"10/min\"", "<>", Some("not reached")),
    ] {
        let text = format!(
            "[[entry]]\nid = \"a\"\nnetworks = [\"10.0.0.1\"]\nsenders = [\"*\"]\n{more}\n"
        );
        let ruleset = test_policy::compile(&text).expect("a good policy").ruleset;
        let question = Question {
            username: None,
            client: [10, 0, 0, 1].into(),
            listener: ListenerId::new(0),
            facts: MailFacts { sender: Some(reverse(sender)), ..nothing(&ruleset) },
            recipients: &[],
            header_from: &[],
        };
        let explanation = explain(&ruleset, &question);
        let step = explanation.steps().iter().find(|step| step.name == "duplicate_rate");
        assert_eq!(step.map(|step| &*step.detail), told, "{more} {sender}");
    }
}

#[test]
fn an_accepted_transaction_is_told_step_by_step() {
    let (explanation, generation) =
        explained("::ffff:10.20.1.1", Some("<a@billing.example.com>"), &["<b@c>", "<postmaster>"]);
    let told = format!(
        "\
generation      {generation}
client          ::ffff:10.20.1.1 is IPv4-mapped: 10.20.1.1
listener        smtp
network         10.20.0.0/16 is the longest match
hidden          10.0.0.0/8 of entry everyone
entry           billing: Billing fleet (owner team-billing)
max_connections no limit
dates           always valid
tls             skipped: not given
certificate     skipped: not given
helo            skipped: not given
sender          <a@billing.example.com> matches billing.example.com
size            skipped: not given
message_rate    no limit
recipient       <b@c>: any recipient is allowed
route           <b@c>: no route matches
upstream        google (the default), mode sync
recipient       <postmaster>: any recipient is allowed
route           <postmaster>: no route matches
upstream        google (the default), mode sync
header_from     skipped: not given
verdict         accept"
    );
    assert_eq!(explanation.to_string(), told);
    assert_eq!((explanation.entry(), explanation.upstream()), (Some("billing"), Some("google")));
}

#[test]
fn everything_that_can_be_known_is_told() {
    let ruleset = ruleset();
    let facts = MailFacts {
        tls: Some(SessionTls::Tls13),
        certificate: Some(&[]),
        helo: Some(b"app.internal"),
        sender: Some(reverse("<x@a.example>")),
        size: Some(1000),
        ..nothing(&ruleset)
    };
    let recipients =
        ["<b@b.example>", "<c@c.example>", "<d@b.example>", "<e@b.example>"].map(forward);
    let from = [Mailbox::parse(b"y@a.example"), Mailbox::parse(b"evil@b.example")]
        .map(|m| m.expect("a mailbox"));
    let client = "10.30.0.1".parse().expect("an address");
    let listener = ListenerId::new(1);
    let question = Question {
        username: None,
        client,
        listener,
        facts,
        recipients: &recipients,
        header_from: &from,
    };
    let explanation = explain(&ruleset, &question);
    let generation = ruleset.generation();
    let refused = format!(
        "<c@c.example> is not an allowed recipient of entry strict (generation {generation})"
    );
    let told = format!(
        "\
generation      {generation}
client          10.30.0.1
listener        submission
network         10.30.0.0/16 is the longest match
hidden          10.0.0.0/8 of entry everyone
entry           strict
max_connections at most 5
dates           valid until 2030-01-01T00:00:00Z
tls             TLS 1.3; required here
certificate     none is required
helo            app.internal matches *.internal
sender          <x@a.example> matches a.example
size            1000 octets; the limit is 50 MiB
message_rate    within 10/min
recipient       <b@b.example> matches b.example
route           <b@b.example> takes route bulk
upstream        ses (by the route), mode sync, MAIL FROM becomes <x@bounces.example>
recipient       refused: {refused}
allowed         [b.example]
recipient       <d@b.example> matches b.example
route           <d@b.example> takes route bulk
upstream        ses (by the route), mode sync, MAIL FROM becomes <x@bounces.example>
recipient       <e@b.example> matches b.example
route           <e@b.example> takes route bulk
recipient_rate  refused: entry strict may send 2/h recipients, retry in 1800 s
header_from     skipped: not reached
verdict         reject: 550 5.7.1 {refused}"
    );
    assert_eq!(explanation.to_string(), told);

    let question = Question { recipients: &recipients[..1], ..question };
    let explanation = explain(&ruleset, &question).to_string();
    let told = "\
header_from     <y@a.example> matches a.example
header_from     refused: <evil@b.example> is not an allowed sender in the From field of entry strict";
    assert!(explanation.contains(told), "{explanation}");
}

#[test]
fn what_is_kept_may_go_elsewhere() {
    let text = "[[entry]]\nid = \"fleet\"\nnetworks = [\"10.0.0.1\"]\nsenders = [\"a.example\"]\nmode = \"hybrid\"\n\
                [[route]]\nid = \"r\"\nrecipient_domains = [\"b.example\"]\nupstream = \"ses\"\n";
    let ruleset = compile(text).expect("a good policy").ruleset;
    let recipients = ["<a@c.example>", "<b@b.example>"].map(forward);
    let question = Question {
        username: None,
        client: "10.0.0.1".parse().expect("an address"),
        listener: ListenerId::new(0),
        facts: MailFacts { sender: Some(reverse("<x@a.example>")), ..nothing(&ruleset) },
        recipients: &recipients,
        header_from: &[],
    };
    let told = explain(&ruleset, &question).to_string();
    assert!(told.contains("google (the default), mode hybrid\n"), "{told}");
    let apart = "ses (by the route), mode hybrid, kept and sent apart from the first\n";
    assert!(told.contains(apart) && told.ends_with("verdict         accept"), "{told}");
}

#[test]
fn a_refusal_ends_the_way() {
    let (explanation, generation) = explained("203.0.113.9", Some("<a@b>"), &["<b@c>"]);
    let told = format!(
        "\
generation      {generation}
client          203.0.113.9
listener        smtp
network         refused: none around the client; it is refused with the greeting
verdict         reject: 554 5.7.1 relay.example.com: 203.0.113.9 is not on the allow-list"
    );
    assert_eq!(explanation.to_string(), told);

    let (explanation, generation) = explained("10.20.99.7", Some("<a@b>"), &["<b@c>"]);
    let told = format!(
        "\
generation      {generation}
client          10.20.99.7
listener        smtp
network         10.20.99.0/24 is the longest match
hidden          10.20.0.0/16 of entry billing
hidden          10.0.0.0/8 of entry everyone
entry           blocked
action          refused: relay.example.com: 10.20.99.7 is blocked by entry blocked
verdict         reject: 554 5.7.1 relay.example.com: 10.20.99.7 is blocked by entry blocked"
    );
    assert_eq!(explanation.to_string(), told);

    let (explanation, generation) = explained("10.20.1.1", Some("<a@b>"), &["<b@c>"]);
    let told = explanation.to_string();
    assert!(
        told.contains("\nsender          refused: <a@b> is not an allowed sender of entry billing")
    );
    assert!(told.contains("\nallowed         [billing.example.com, <>]\n"), "{told}");
    assert!(told.contains("\nmessage_rate    skipped: not reached\n"), "{told}");
    assert!(told.contains("\nrecipient       skipped: not reached\n"), "{told}");
    assert!(told.ends_with(&format!("of entry billing (generation {generation})")));
}

#[test]
fn a_listener_that_does_not_exist_sees_nothing() {
    let ruleset = ruleset();
    let question = Question {
        username: None,
        client: "10.20.1.1".parse().expect("an address"),
        listener: ListenerId::new(3),
        facts: nothing(&ruleset),
        recipients: &[],
        header_from: &[],
    };
    let explanation = explain(&ruleset, &question);
    assert!(matches!(explanation.verdict(), Verdict::Reject(_)));
    assert!(explanation.steps()[1].detail.contains("no such listener"));
}

#[test]
fn machines_read_json() {
    let (explanation, generation) = explained("10.20.1.1", Some("<>"), &["<b@c>"]);
    let json = serde_json::to_value(&explanation).expect("maps of strings");
    assert_eq!(json["generation"], generation);
    assert_eq!(json["entry"], "billing");
    assert_eq!(json["network"], "10.20.0.0/16");
    assert_eq!(json["upstream"], "google");
    assert_eq!(json["result"], "accept");
    let steps = json["steps"].as_array().expect("a list");
    let step = |name, outcome, detail| serde_json::json!({"name": name, "outcome": outcome, "detail": detail});
    assert_eq!(steps[0], step("client", "found", "10.20.1.1"));
    assert!(steps.contains(&step("sender", "passed", "<> matches <>")));
    assert!(steps.contains(&step("size", "skipped", "not given")));

    let (explanation, _) = explained("203.0.113.9", None, &[]);
    let json = serde_json::to_value(&explanation).expect("maps of strings");
    assert_eq!(json["result"], "reject");
    assert_eq!(json["entry"], serde_json::Value::Null);
    assert!(json["reply"].as_str().is_some_and(|reply| reply.starts_with("554 5.7.1 ")));
}

/// What a session does with a question: it connects, says MAIL and each RCPT, and sends a From.
/// The first refusal is its verdict.
fn session(ruleset: &Ruleset, question: &Question<'_>) -> (Verdict, Option<Arc<Entry>>) {
    let Question { client, listener, facts, .. } = *question;
    let entry = match check::greet(ruleset, listener, client, facts.now) {
        Greeting::Refused(entry, refusal) => return (Verdict::of_refusal(refusal.reply), entry),
        Greeting::Allowed(entry) => entry,
        Greeting::Authenticate => unreachable!("no listener of these tests asks for it"),
    };
    let conversation = || {
        let _connection = check::connect(&entry)?;
        check::mail(&entry, &facts)?;
        let (mut refused, mut named, mut way) = (None, 0, None);
        for recipient in question.recipients {
            let asked = RcptFacts {
                beside: None,
                uptime: facts.now.uptime,
                generation: facts.generation,
                sender: facts.sender.expect("a session knows it"),
                recipient: *recipient,
                named,
                way,
            };
            match check::rcpt(&entry, ruleset.routes(), &asked) {
                Ok(taken) => {
                    named += 1;
                    way = way.or(Some(taken));
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        refused.map_or(Ok(()), Err)?;
        question
            .header_from
            .iter()
            .try_for_each(|mailbox| check::header_mailbox(&entry, facts.generation, mailbox))
    };
    let verdict: Result<(), Refusal> = conversation();
    let verdict = verdict.map_or_else(|r| Verdict::of_refusal(r.reply), |()| Verdict::Accept);
    (verdict, Some(entry))
}

proptest! {
    /// Several messages one after the other: rates fill up, and explain sees it coming each time. To
    /// explain afresh is to explain a ruleset that nobody has used.
    #[test]
    fn explain_and_the_session_never_disagree(
        text in policies(),
        client in prop::sample::select(vec![
            "10.0.0.0", "10.64.64.1", "10.192.192.3", "::ffff:10.64.64.1", "11.0.0.1",
            "fd00::", "fd00:4000:4000::4000", "fd00:c000:c000::1", "fe80::1",
        ]),
        sender in prop::sample::select(vec!["<>", "<x@a.example>", "<x@b.a.example>", "<u@b>"]),
        recipients in prop::collection::vec(
            prop::sample::select(vec!["<a@r.example>", "<b@s.r.example>", "<c@other>", "<postmaster>"]), 0..5),
        from in prop::collection::vec(prop::sample::select(vec!["x@a.example", "evil@c.example"]), 0..2),
        helo in prop::sample::select(vec!["app.internal", "app"]),
        tls in prop::sample::select(vec![SessionTls::Plain, SessionTls::Tls12, SessionTls::Tls13]),
        certificate in prop::sample::select(vec![&["app.internal"][..], &["other"], &[]]),
        size in prop::option::of(prop::sample::select(vec![1000, 2000, 100 << 20])),
        listener in 0_usize..4,
        day in -2_i64..3,
        others_connected in any::<bool>(),
        seconds in prop::collection::vec(0_u64..40, 1..5),
    ) {
        let ruleset = compile(&text).map_err(|e| TestCaseError::fail(e.to_string()))?.ruleset;
        let unused = compile(&text).expect("it was good before").ruleset;
        let recipients: Vec<_> = recipients.into_iter().map(forward).collect();
        let from: Vec<_> = from.iter().map(|m| Mailbox::parse(m.as_bytes()).expect("a mailbox")).collect();
        let others: Vec<_> = ruleset.entries().iter().filter(|_| others_connected).map(|e| e.connect()).collect();
        let mut uptime = std::time::Duration::ZERO;
        for pause in seconds {
            uptime += std::time::Duration::from_secs(pause);
            let question = Question { username: None,
                client: client.parse().expect("an address"),
                listener: ListenerId::new(listener),
                facts: MailFacts { login: None,
                    now: Moment { uptime, ..moment(day * 86_400) },
                    generation: ruleset.generation(),
                    tls: Some(tls),
                    certificate: Some(certificate),
                    helo: Some(helo.as_bytes()),
                    sender: Some(reverse(sender)),
                    size,
                },
                recipients: &recipients,
                header_from: &from,
            };
            prop_assert_eq!(explain_afresh(&ruleset, &question), explain(&unused, &question));
            let explanation = explain(&ruleset, &question);
            let (verdict, entry) = session(&ruleset, &question);
            prop_assert_eq!(explanation.verdict(), &verdict, "{}\n{}", explanation, text);
            prop_assert_eq!(explanation.entry(), entry.as_ref().map(|entry| &**entry.id()));
            let around = ruleset.networks_around(question.listener, question.client);
            prop_assert_eq!(around.first().map(|(_, e)| e.id()), entry.as_ref().map(|e| e.id()));
            prop_assert_eq!(explanation.network(), around.first().map(|(network, _)| *network));
            let refused = explanation.steps().iter().any(|step| step.outcome == Outcome::Refused);
            prop_assert_eq!(refused, verdict != Verdict::Accept);
        }
        drop(others);
    }
}
