use std::fmt::Write as _;

use gatepost_smtp::path::ReversePath;
use proptest::prelude::*;

use super::*;
use crate::{
    check,
    site::Site,
    state::Connection,
    test_policy::{LISTENERS, compile, entry, moment, policies, site},
};

/// What is not met of a policy, as it is printed.
fn unmet(policy: &str) -> String {
    let ruleset = compile(policy).expect("a good policy").ruleset;
    ruleset.prove(moment(0)).map_or_else(|errors| errors.to_string(), |()| String::new())
}

/// The first line of that.
fn told(policy: &str) -> String {
    unmet(policy).lines().next().unwrap_or_default().to_owned()
}

const BILLING: &str = r#"
[[entry]]
id = "billing"
networks = ["10.20.0.0/16", "2001:db8:20::/48"]
senders = ["example.com", "<>"]
recipients = ["example.net"]
helo = ["*.internal"]
services = ["smtp"]

[[entry]]
id = "strict"
networks = ["10.30.0.0/16"]
senders = ["example.com"]
tls = "required-1.3"
client_certificate = ["app.internal"]
expires = 2027-01-01T00:00:00Z
expiry = "defer"

[[entry]]
id = "off"
enabled = false
networks = ["10.40.0.0/16"]
senders = []

[[route]]
id = "notes"
sender_domains = ["<>"]
upstream = "ses"
"#;

fn expect(keys: &str) -> String {
    format!("{BILLING}\n\n[[expect]]\n{keys}\n")
}

#[test]
fn the_example_of_the_contract_is_met() {
    let keys = "\
ip = \"10.20.1.1\"
from = \"noreply@example.com\"           # also rcpt, helo, tls, service, at
result = \"accept\"                      # reject | defer
upstream = \"google\"                    # optional, as is entry
";
    assert_eq!(unmet(&expect(keys)), "");
}

#[test]
fn every_key_counts() {
    for keys in [
        r#"ip = "10.20.1.1", result = "accept""#,
        r#"ip = "::ffff:10.20.1.1", result = "accept", entry = "billing""#,
        r#"ip = "2001:db8:20::1", result = "accept", entry = "billing""#,
        r#"ip = "10.20.1.1", from = "<a@example.com>", result = "accept", upstream = "google""#,
        r#"ip = "10.20.1.1", from = "<>", result = "accept", upstream = "ses""#,
        r#"ip = "10.20.1.1", from = "<>", rcpt = "b@example.net", result = "accept", upstream = "ses""#,
        r#"ip = "10.20.1.1", from = "a@example.com", rcpt = ["<b@example.net>", "c@example.net"], result = "accept""#,
        r#"ip = "10.20.1.1", from = "a@example.com", rcpt = ["b@example.net", "c@other.example"], result = "reject""#,
        r#"ip = "10.20.1.1", from = "a@other.example", result = "reject", entry = "billing", service = "smtp""#,
        r#"ip = "10.20.1.1", helo = "app.internal", result = "accept""#,
        r#"ip = "10.20.1.1", helo = "app", result = "reject""#,
        r#"ip = "10.20.1.1", service = "smtp", result = "accept""#,
        r#"ip = "10.20.1.1", service = "submission", result = "reject""#,
        r#"ip = "10.30.1.1", service = "submission", result = "accept""#,
        r#"ip = "10.30.1.1", tls = "1.3", result = "accept""#,
        r#"ip = "10.30.1.1", tls = true, result = "accept""#,
        r#"ip = "10.30.1.1", tls = "1.2", result = "reject""#,
        r#"ip = "10.30.1.1", tls = "none", result = "reject""#,
        r#"ip = "10.30.1.1", tls = false, result = "reject""#,
        r#"ip = "10.30.1.1", at = 2026-12-31T23:59:59Z, result = "accept""#,
        r#"ip = "10.30.1.1", at = 2027-01-01T00:00:00Z, result = "defer", entry = "strict""#,
        r#"ip = "10.50.1.1", result = "reject""#,
    ] {
        let policy = format!("expect = [{{{keys}}}]\n{BILLING}");
        assert_eq!(unmet(&policy), "", "{keys}");
        for (answer, other) in
            [("accept", "reject"), ("accept", "defer"), ("reject", "accept"), ("defer", "accept")]
        {
            let written = format!("result = \"{answer}\"");
            if keys.contains(&written) && !keys.contains("upstream") {
                let other = policy.replacen(&written, &format!("result = \"{other}\""), 1);
                let start = "policy.toml:1:11: expect: ";
                assert!(told(&other).starts_with(start), "{other}\n{}", told(&other));
            }
        }
    }
}

#[test]
fn plain_text_shows_no_certificate() {
    let entry = entry("a", "[\"10.0.0.0/16\"]", "client_certificate = [\"app.internal\"]");
    let policy = |keys: &str| format!("{entry}[[expect]]\nip = \"10.0.0.1\"\n{keys}\n");
    assert_eq!(unmet(&policy("tls = \"none\"\nresult = \"reject\"")), "");
    for unknown in ["", "tls = \"1.3\"\n"] {
        assert_eq!(unmet(&policy(&format!("{unknown}result = \"accept\""))), "");
    }
}

#[test]
fn what_happens_instead_is_explained() {
    let keys = "ip = \"10.20.1.1\"\nfrom = \"a@other.example\"\nresult = \"accept\"";
    let policy = expect(keys);
    let generation = compile(&policy).expect("a good policy").ruleset.generation();
    let refused = format!(
        "<a@other.example> is not an allowed sender of entry billing (generation {generation})"
    );
    let expected = format!(
        "\
policy.toml:31:1: expect: 10.20.1.1 from <a@other.example> on listener smtp (all are asked unless service names one): accept was expected, but: reject: 550 5.7.1 {refused}
    generation      {generation}
    client          10.20.1.1
    listener        smtp
    network         10.20.0.0/16 is the longest match
    entry           billing
    max_connections no limit
    dates           always valid
    tls             skipped: not given
    certificate     skipped: not given
    helo            skipped: not given
    sender          refused: {refused}
    allowed         [example.com, <>]
    size            skipped: not reached
    message_rate    skipped: not reached
    recipient       skipped: not reached
    header_from     skipped: not reached
    verdict         reject: 550 5.7.1 {refused}"
    );
    assert_eq!(unmet(&policy), expected);
}

#[test]
fn the_difference_is_named() {
    for (keys, difference) in [
        (
            r#"ip = "10.20.1.1", result = "reject""#,
            "10.20.1.1 on listener smtp (all are asked unless service names one): reject was expected, but: accept",
        ),
        (
            r#"ip = "10.20.1.1", service = "smtp", result = "reject""#,
            "10.20.1.1: reject was expected, but: accept",
        ),
        (
            r#"ip = "10.20.1.1", from = "a@other.example", result = "reject", entry = "billing""#,
            "10.20.1.1 from <a@other.example> on listener submission (all are asked unless service names one): entry billing was expected, but it belongs to none",
        ),
        (
            r#"ip = "10.30.1.1", at = 2027-01-01T00:00:00Z, result = "accept""#,
            "10.30.1.1 at 2027-01-01T00:00:00Z on listener smtp (all are asked unless service names one): accept was expected, but: defer: 450 4.7.1 entry strict has \
             expired at 2027-01-01T00:00:00Z",
        ),
        (
            r#"ip = "10.20.1.1", result = "accept", entry = "strict""#,
            "10.20.1.1 on listener smtp (all are asked unless service names one): entry strict was expected, but it belongs to entry billing",
        ),
        (
            r#"ip = "10.40.1.1", result = "reject", entry = "off""#,
            "10.40.1.1 on listener smtp (all are asked unless service names one): entry off was expected, but it belongs to none",
        ),
        (
            r#"ip = "10.20.1.1", from = "a@example.com", result = "accept", upstream = "ses""#,
            "10.20.1.1 from <a@example.com> on listener smtp (all are asked unless service names one): upstream ses was expected, but it goes to google",
        ),
        (
            r#"ip = "10.20.1.1", from = "<>", rcpt = ["a@example.net", "b@example.net"], result = "accept", upstream = "google""#,
            "10.20.1.1 from <> to <a@example.net> and 1 more on listener smtp (all are asked unless service names one): upstream google was expected, but it goes to ses",
        ),
        (
            r#"ip = "10.20.1.1", result = "accept", upstream = "google""#,
            "10.20.1.1 on listener smtp (all are asked unless service names one): upstream google was expected, but only some of such messages take route notes; give from",
        ),
    ] {
        let told = told(&format!("expect = [{{{keys}}}]\n{BILLING}"));
        assert_eq!(told, format!("policy.toml:1:11: expect: {difference}"));
    }
}

#[test]
fn an_upstream_without_a_recipient_is_that_of_every_recipient() {
    let policy = |from: &str, upstream: &str, route: &str, more: &str| {
        let entry = entry("a", "[\"10.0.0.0/16\"]", more);
        format!(
            "{entry}[[route]]\nid = \"r\"\nmode = \"sync\"\n{route}\n\
             [[expect]]\nip = \"10.0.0.1\"\n{from}\nresult = \"accept\"\nupstream = \"{upstream}\"\n"
        )
    };
    let (from, some) = ("from = \"x@example.com\"", "recipient_domains = [\"b.example\"]");
    let to_ses = "recipient_domains = [\"b.example\"]\nupstream = \"ses\"";
    for (from, upstream, route, more) in [
        (from, "ses", "recipient_domains = [\"b.example\", \"*\"]\nupstream = \"ses\"", ""),
        // The route makes no difference to this entry, to this sender, or to where it goes.
        ("", "google", to_ses, "upstream = \"google\""),
        (from, "google", &format!("{to_ses}\nsender_domains = [\"c.example\"]"), ""),
        (from, "google", some, ""),
        ("", "google", some, ""),
    ] {
        assert_eq!(unmet(&policy(from, upstream, route, more)), "", "{route}");
    }
    for (from, missing) in [(from, "rcpt"), ("", "from and rcpt")] {
        for upstream in ["google", "ses"] {
            let told = told(&policy(from, upstream, to_ses, ""));
            let end = format!("but only some of such messages take route r; give {missing}");
            assert!(told.ends_with(&end), "{told}");
        }
    }
}

#[test]
fn many_are_placed_and_counted() {
    let mut policy = BILLING.to_owned();
    for index in 0..250 {
        let answer = if index % 2 == 0 { "reject" } else { "accept" };
        write!(policy, "# ä\n  [[expect]]\nip = \"10.20.0.{index}\"\nresult = \"{answer}\"\n")
            .expect("a String takes all");
    }
    let ruleset = compile(&policy).expect("a good policy").ruleset;
    let errors = ruleset.prove(moment(0)).expect_err("half of them are not met");
    assert_eq!((errors.errors().len(), errors.count()), (100, 125));
    for (error, index) in errors.errors().iter().zip(0_usize..) {
        let position = Position { line: 30 + index * 8, column: 3 };
        assert_eq!(error.position(), Some(position));
        assert!(error.message().starts_with(&format!("10.20.0.{} on listener smtp ", index * 2)));
    }
    assert!(errors.to_string().ends_with("\nand 25 more"));
    assert_eq!((errors.errors()[0].origin(), errors.errors()[0].key()), ("policy.toml", "expect"));
}

#[test]
fn an_explanation_is_told_as_far_as_anybody_reads() {
    let recipients: Vec<_> = (0..500).map(|n| format!("r{n}@example.net")).collect();
    let keys =
        format!("ip = \"10.20.1.1\"\nfrom = \"<>\"\nrcpt = {recipients:?}\nresult = \"reject\"");
    let ruleset = compile(&expect(&keys)).expect("a good policy").ruleset;
    let errors = ruleset.prove(moment(0)).expect_err("all are allowed");
    let details = errors.errors()[0].details();
    assert_eq!(details.len(), LINES_MAX + 1);
    assert!(details[LINES_MAX - 1].contains("@example.net>"), "{details:#?}");
    let whole = 13 + 500 * 3 + 2;
    assert_eq!(details[LINES_MAX], format!("and {} more lines", whole - LINES_MAX));
}

#[test]
fn lines_of_others_stay_lines() {
    let policy = r#"
[[entry]]
id = "a"
networks = ["10.0.0.0/16"]
description = "first\nsecond \u001b[31m"
senders = []

[[expect]]
ip = "10.0.0.1"
result = "reject"
"#;
    let printed = unmet(policy);
    assert!(printed.contains("\n    entry           a: first\\nsecond \\u{1b}[31m\n"), "{printed}");
}

#[test]
fn a_ruleset_is_proven_for_a_moment() {
    let policy = expect("ip = \"10.30.1.1\"\nresult = \"accept\"");
    let compiled = compile(&policy).expect("a good policy");
    let year = 365 * 86_400;
    assert_eq!(compiled.ruleset.prove(moment(year)).expect_err("it has expired").count(), 1);
    let compiled = compiled.proven(moment(0)).expect("it is valid");
    assert!(compiled.proven(moment(year)).is_err());
    assert!(
        compile(BILLING).expect("a good policy").proven(moment(year)).is_ok(),
        "it expects nothing"
    );
}

/// Two entries of the same client, each on a listener of its own.
const TWO_LISTENERS: &str = r#"
[[entry]]
id = "strict"
networks = ["10.0.0.0/16"]
services = ["smtp"]
senders = ["example.com"]

[[entry]]
id = "loose"
networks = ["10.0.0.0/16"]
services = ["submission"]
senders = ["example.com", "other.example"]
upstream = "ses"
"#;

#[test]
fn without_a_service_every_listener_is_asked() {
    for (keys, difference) in [
        (r#"from = "a@example.com", result = "accept""#, None),
        (
            r#"from = "a@other.example", result = "reject""#,
            Some(("submission", "reject was expected, but: accept")),
        ),
        (r#"from = "a@other.example", result = "reject", service = "smtp""#, None),
        (r#"from = "a@other.example", result = "accept", service = "submission""#, None),
        (
            r#"from = "a@other.example", result = "accept""#,
            Some(("smtp", "accept was expected, but: reject: 550 5.7.1 <a@other.example> is not")),
        ),
        (
            r#"from = "a@example.com", result = "accept", upstream = "google""#,
            Some(("submission", "upstream google was expected, but it goes to ses")),
        ),
        (
            r#"from = "a@example.com", result = "accept", entry = "strict""#,
            Some(("submission", "entry strict was expected, but it belongs to entry loose")),
        ),
        (
            r#"from = "a@example.com", result = "defer""#,
            Some(("smtp", "defer was expected, but: accept")),
        ),
    ] {
        let told = told(&format!("expect = [{{ip = \"10.0.0.1\", {keys}}}]\n{TWO_LISTENERS}"));
        let Some((listener, difference)) = difference else {
            assert_eq!(told, "", "{keys}");
            continue;
        };
        let named = format!(" on listener {listener} (all are asked unless service names one): ");
        let (_, found) = told.split_once(&named).unwrap_or_else(|| panic!("{keys}: {told}"));
        assert!(found.starts_with(difference), "{told}");
    }
    let stranger =
        told(&format!("{TWO_LISTENERS}[[expect]]\nip = \"10.9.0.1\"\nresult = \"accept\"\n"));
    assert!(
        stranger.contains("smtp (all are asked unless service names one): accept was"),
        "{stranger}"
    );
}

#[test]
fn one_listener_is_not_named() {
    let site = Site { listeners: vec!["smtp".into()], ..(*site()).clone() };
    for (answer, message) in [
        ("accept", ""),
        ("reject", "policy.toml:1:11: expect: 10.20.1.1: reject was expected, but: accept"),
    ] {
        let policy = format!("expect = [{{ip = \"10.20.1.1\", result = \"{answer}\"}}]\n{BILLING}");
        let compiled = Ruleset::compile(&policy, "policy.toml", &Arc::new(site.clone()));
        let proven = compiled.and_then(|compiled| compiled.proven(moment(0)));
        let told = proven.map_or_else(|errors| errors.to_string(), |_| String::new());
        assert_eq!(told.lines().next().unwrap_or_default(), message);
    }
}

#[test]
fn what_clients_have_used_up_does_not_matter() {
    let limits = "max_connections = 1\nmessage_rate = \"1/d\"\nrecipient_rate = \"1/d\"";
    let policy = entry("a", "[\"10.0.0.0/16\"]", limits)
        + "[[expect]]\nip = \"10.0.0.1\"\nfrom = \"x@example.com\"\nrcpt = \"y@example.net\"\nresult = \"accept\"\n";
    let ruleset = compile(&policy).expect("a good policy").ruleset;
    let connection = use_up(&ruleset);
    let next = ruleset.recompile(&policy, "policy.toml").expect("a good policy").ruleset;
    assert!(next.prove(moment(0)).is_ok());
    let (answer, more) = ("result = \"accept\"", "result = \"defer\"\n");
    let deferred =
        ruleset.recompile(&policy.replace(answer, more), "policy.toml").expect("a good policy");
    let errors = deferred.ruleset.prove(moment(0)).expect_err("it is accepted");
    assert!(errors.to_string().contains("\n    max_connections at most 1\n"), "{errors}");
    let two = policy.replace("\"y@example.net\"", "[\"y@example.net\", \"z@example.net\"]");
    let two = compile(&two.replace(answer, more)).expect("a good policy");
    assert!(two.proven(moment(0)).is_ok(), "more at once than the rate allows");
    drop(connection);
}

/// Takes all that entries allow. The connections are open as long as what is returned.
fn use_up(ruleset: &Ruleset) -> Vec<Connection> {
    let now = moment(0).uptime;
    let mut open = Vec::new();
    for entry in ruleset.entries() {
        open.extend(std::iter::from_fn(|| check::connect(entry).ok()).take(5));
        for (rate, state) in [
            (entry.terms().message_rate, &entry.state().messages),
            (entry.terms().recipient_rate, &entry.state().recipients),
        ] {
            while rate.is_some_and(|rate| state.take(rate, now).is_ok()) {}
        }
    }
    open
}

/// What an expectation may say of a session.
fn questions() -> impl Strategy<Value = String> {
    let clients = prop::sample::select(vec![
        "10.0.0.0",
        "10.64.64.1",
        "10.192.192.3",
        "::ffff:10.64.64.1",
        "11.0.0.1",
        "fd00::",
        "fd00:4000:4000::4000",
        "fd00:c000:c000::1",
        "fe80::1",
    ]);
    let paths = prop::option::of((
        prop::sample::select(vec!["<>", "x@a.example", "<x@b.a.example>", "u@b"]),
        prop::collection::vec(
            prop::sample::select(vec!["a@r.example", "<b@s.r.example>", "c@other", "postmaster"]),
            0..5,
        ),
    ));
    let more = (
        prop::sample::select(vec!["", "helo = \"app.internal\"\n", "helo = \"app\"\n"]),
        prop::sample::select(vec!["", "tls = \"none\"\n", "tls = \"1.2\"\n", "tls = \"1.3\"\n"]),
        prop::option::of(0_u8..5),
    );
    (clients, paths, more).prop_map(|(client, paths, (helo, tls, day))| {
        let mut text = format!("[[expect]]\nip = \"{client}\"\n{helo}{tls}");
        if let Some((from, rcpt)) = paths {
            writeln!(text, "from = \"{from}\"").expect("a String takes all");
            match &*rcpt {
                [] => {}
                [one] => writeln!(text, "rcpt = {one:?}").expect("a String takes all"),
                more => writeln!(text, "rcpt = {more:?}").expect("a String takes all"),
            }
        }
        if let Some(day) = day {
            writeln!(text, "at = 2026-06-0{}T00:00:00Z", day + 1).expect("a String takes all");
        }
        text
    })
}

proptest! {
    /// What `explain` says while nothing is used is what may be expected, whatever is used since then.
    #[test]
    fn what_is_explained_is_met_and_nothing_else_is(
        text in policies(),
        question in questions(),
        service in prop::sample::select(LISTENERS.to_vec()),
    ) {
        let question = format!("{question}service = {service:?}\n");
        let written = |answer: &str| format!("{text}{question}result = \"{answer}\"\n");
        let compiled = |text: &str| compile(text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")));
        let before = compiled(&written("accept"))?.ruleset;
        let [(_, asked)] = &*before.expectations.placed else { panic!("one expectation") };
        let listener = asked.listener.expect("it is named");
        let explanation = asked.explain(&before, listener, moment(0));
        let verdict = explanation.verdict().name();
        let entry = explanation.entry().map_or_else(String::new, |id| format!("entry = {id:?}\n"));
        let upstream = match (explanation.upstream(), verdict) {
            (Some(name), "accept") => format!("upstream = {name:?}\n"),
            _ => String::new(),
        };
        let open = use_up(&before);
        for answer in ["accept", "defer", "reject"] {
            let text = written(answer) + &entry + if answer == "accept" { &upstream } else { "" };
            let next = before.recompile(&text, "policy.toml");
            let next = next.map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            let proven = next.ruleset.prove(moment(0));
            if answer == verdict {
                prop_assert!(proven.is_ok(), "{}\n{}", proven.unwrap_err(), text);
                continue;
            }
            let errors = proven.expect_err(&text);
            let told = format!("{answer} was expected, but: {verdict}");
            prop_assert!(errors.errors()[0].message().contains(&told), "{}", errors);
            prop_assert!(errors.errors()[0].details().iter().any(|line| line.starts_with("verdict  ")));
        }
        for (right, wrong) in [(&entry, "entry = \"e0\"\n"), (&upstream, "upstream = \"ses\"\n")] {
            if !right.is_empty() && right != wrong {
                let next = compiled(&(written(verdict) + wrong))?;
                prop_assert!(next.proven(moment(0)).is_err(), "{} is not {}", wrong, right);
            }
        }
        drop(open);
    }

    /// Without a service, an expectation says as much as one for each listener.
    #[test]
    fn all_listeners_are_asked(
        text in policies(),
        more in prop::sample::subsequence(vec![0, 1, 2], 0..=3),
        question in questions(),
        answer in prop::sample::select(vec!["accept", "defer", "reject"]),
        expects in prop::sample::select(vec!["", "entry = \"e0\"\n", "upstream = \"ses\"\n"]),
    ) {
        let expects = if answer == "accept" { expects } else { "" };
        // Each listener may have an entry that no other sees.
        let own = more.iter().map(|&listener| {
            let services = format!("services = [{:?}]", LISTENERS[listener]);
            entry(&format!("own{listener}"), "[\"10.64.64.0/23\", \"11.0.0.0/24\"]", &services)
        });
        let text = own.collect::<String>() + &text;
        let ruleset = |service: &str| {
            let text = format!("{text}{question}result = \"{answer}\"\n{expects}{service}");
            compile(&text).map(|compiled| compiled.ruleset)
        };
        let whole = ruleset("");
        // The networks of two entries may be the same.
        prop_assume!(whole.is_ok());
        let whole = whole.expect("it is good");
        let client = whole.expectations.placed[0].1.client;
        let mut met = Vec::new();
        for (index, service) in LISTENERS.iter().enumerate() {
            let is_known = whole.lookup(ListenerId::new(index), client).is_some();
            let one = ruleset(&format!("service = {service:?}\n")).expect("as good");
            met.push((is_known, one.prove(moment(0)).is_ok()));
        }
        let expected = if answer == "accept" && met.iter().any(|(is_known, _)| *is_known) {
            met.iter().all(|(is_known, is_met)| *is_met || !is_known)
        } else {
            met.iter().all(|(_, is_met)| *is_met)
        };
        prop_assert_eq!(whole.prove(moment(0)).is_ok(), expected, "{:?}", met);
    }

    /// What is said of every recipient, or every sender, is true of each.
    #[test]
    fn the_upstream_of_all_is_that_of_each(text in policies()) {
        let ruleset = compile(&text).map_err(|e| TestCaseError::fail(e.to_string()))?.ruleset;
        let senders = ["<>", "<x@a.example>", "<x@b.a.example>", "<u@b>"]
            .map(|path| ReversePath::split_from(path.as_bytes()).expect("a path").0);
        let recipients = ["<a@r.example>", "<b@s.r.example>", "<c@other>", "<postmaster>"]
            .map(|path| ForwardPath::split_from(path.as_bytes()).expect("a path").0);
        let routes = ruleset.routes();
        for entry in ruleset.entries() {
            let of_all = routes.upstream_of_all(entry, None).ok();
            for sender in &senders {
                let of_sender = routes.upstream_of_all(entry, Some(sender)).ok();
                prop_assert!(of_all.is_none() || of_all == of_sender);
                for recipient in &recipients {
                    let way = routes.way(entry, sender, recipient).map(|way| way.upstream);
                    prop_assert!(of_sender.is_none_or(|all| all == way), "{}", text);
                }
            }
        }
    }
}
