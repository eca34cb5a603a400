use std::time::Duration;

use gatepost_smtp::{
    path::{ForwardPath, PATH_OCTETS_MAX, ReversePath},
    reply::LINE_OCTETS_MAX,
};

use super::*;
use crate::{
    duplicate::Fingerprint,
    entry::Mode,
    test_policy::{compile, moment},
};

const LISTENER: ListenerId = ListenerId::new(0);

/// One entry for 10.0.0.0/8; `more` are further lines of it.
fn ruleset(more: &str) -> Ruleset {
    let text = format!("[[entry]]\nid = \"billing\"\nnetworks = [\"10.0.0.0/8\"]\n{more}\n");
    compile(&text).unwrap_or_else(|errors| panic!("{errors}")).ruleset.with_revision(41)
}

fn allowed(more: &str) -> Ruleset {
    ruleset(&format!("senders = [\"example.com\"]\n{more}"))
}

/// What a plain session knows.
fn facts(ruleset: &Ruleset) -> MailFacts<'static> {
    MailFacts {
        login: None,
        now: moment(0),
        generation: ruleset.generation(),
        tls: Some(SessionTls::Plain),
        certificate: Some(&[]),
        helo: Some(b"app.internal"),
        sender: Some(reverse("<a@example.com>")),
        size: None,
    }
}

fn reverse(path: &'static str) -> ReversePath<'static> {
    ReversePath::split_from(path.as_bytes()).expect("a valid path").0
}

fn forward(path: &'static str) -> ForwardPath<'static> {
    ForwardPath::split_from(path.as_bytes()).expect("a valid path").0
}

/// `check: reply`, or `ok`.
fn shown<T>(judged: Result<T, Refusal>) -> String {
    judged.map_or_else(
        |Refusal { check, reply }| format!("{}: {reply}", check.name()),
        |_| "ok".to_owned(),
    )
}

fn at_mail(ruleset: &Ruleset, facts: &MailFacts<'_>) -> String {
    shown(mail(&ruleset.entries()[0], facts))
}

fn greeted(ruleset: &Ruleset, client: &str, now: Moment) -> String {
    match greet(ruleset, LISTENER, client.parse().expect("an address"), now) {
        Greeting::Allowed(entry) => format!("ok: {}", entry.id()),
        Greeting::Authenticate => "authenticate".to_owned(),
        Greeting::Refused(_, refusal) => shown::<()>(Err(refusal)),
    }
}

#[test]
fn strangers_are_told_their_address() {
    for client in ["203.0.113.9", "::ffff:203.0.113.9"] {
        let told = "allow_list: 554 5.7.1 relay.example.com: 203.0.113.9 is not on the allow-list";
        assert_eq!(greeted(&allowed(""), client, moment(0)), told);
    }
}

#[test]
fn an_address_that_stands_for_many_is_told_what_to_do() {
    let refusal =
        hides_clients("relay.example.com", "::ffff:10.0.0.1".parse().expect("an address"));
    let told = "hidden_clients: 554 5.7.1 relay.example.com: 10.0.0.1 stands for many clients (a NAT or a \
                proxy); connect directly, or have the address of the client passed on";
    assert_eq!(shown::<()>(Err(refusal)), told);
}

#[test]
fn listed_clients_meet_their_entry() {
    for client in ["10.1.2.3", "::ffff:10.1.2.3"] {
        assert_eq!(greeted(&allowed(""), client, moment(0)), "ok: billing");
    }
}

#[test]
fn denied_clients_are_told_by_which_entry() {
    let denied = ruleset("action = \"deny\"");
    let told = "action: 554 5.7.1 relay.example.com: 10.1.2.3 is blocked by entry billing";
    assert_eq!(greeted(&denied, "10.1.2.3", moment(0)), told);
}

/// `moment(0)` is 2026-06-01.
#[test]
fn dates_decide_at_the_greeting_and_at_mail() {
    const DAY: i64 = 86_400;
    let early = "not_before = 2026-07-01T00:00:00Z\n";
    let late = "expires = 2026-06-02T00:00:00Z\n";
    let not_yet = "entry billing is not valid before 2026-07-01T00:00:00Z";
    let expired = "entry billing has expired at 2026-06-02T00:00:00Z";
    let greeting = |text: &str| format!("dates: 554 5.7.1 relay.example.com: {text}");
    for (more, days, greeted_with, judged) in [
        (early.to_owned(), 29, greeting(not_yet), format!("dates: 554 5.7.1 {not_yet}")),
        (early.to_owned(), 30, "ok: billing".to_owned(), "ok".to_owned()),
        (late.to_owned(), 0, "ok: billing".to_owned(), "ok".to_owned()),
        (late.to_owned(), 1, greeting(expired), format!("dates: 554 5.7.1 {expired}")),
        (
            format!("{late}expiry = \"defer\""),
            1,
            "ok: billing".to_owned(),
            format!("dates: 450 4.7.1 {expired}"),
        ),
        (format!("{late}expiry = \"warn\""), 1, "ok: billing".to_owned(), "ok".to_owned()),
        (
            format!("{early}expires = 2026-08-01T00:00:00Z\nexpiry = \"warn\""),
            0,
            greeting(not_yet),
            format!("dates: 554 5.7.1 {not_yet}"),
        ),
    ] {
        let ruleset = allowed(&more);
        let now = moment(days * DAY);
        assert_eq!(greeted(&ruleset, "10.1.2.3", now), greeted_with, "{more}");
        assert_eq!(at_mail(&ruleset, &MailFacts { now, ..facts(&ruleset) }), judged, "{more}");
    }
}

#[test]
fn an_entry_has_so_many_connections() {
    let ruleset = allowed("max_connections = 2");
    let entry = &ruleset.entries()[0];
    let open = [connect(entry), connect(entry)];
    assert!(open.iter().all(Result::is_ok));
    let told = "max_connections: 421 4.7.0 entry billing may have 2 connections, try again later";
    assert_eq!(shown(connect(entry)), told);
    drop(open);
    assert_eq!(shown(connect(entry)), "ok");
}

#[test]
fn a_wrong_sender_is_told_entry_and_generation() {
    let ruleset = allowed("");
    let wrong = MailFacts { sender: Some(reverse("<a@b.example>")), ..facts(&ruleset) };
    let generation = ruleset.generation();
    let told = format!(
        "sender: 550 5.7.1 <a@b.example> is not an allowed sender of entry billing (generation {generation})"
    );
    assert_eq!(at_mail(&ruleset, &wrong), told);
    assert!(told.contains("(generation 41-"));
}

#[test]
fn the_null_reverse_path_is_judged_too() {
    for (senders, is_allowed) in
        [("[\"<>\"]", true), ("[\"*\", \"<>\"]", true), ("[\"*\"]", false), ("[]", false)]
    {
        let ruleset = ruleset(&format!("senders = {senders}"));
        let null = MailFacts { sender: Some(ReversePath::Null), ..facts(&ruleset) };
        let told = at_mail(&ruleset, &null);
        let refused = "sender: 550 5.7.1 <> is not an allowed sender of entry billing";
        assert!(if is_allowed { told == "ok" } else { told.starts_with(refused) }, "{told}");
    }
}

#[test]
fn tls_and_certificates_refuse_plain_sessions() {
    let required = allowed("tls = \"required\"");
    assert_eq!(at_mail(&required, &facts(&required)), "tls: 530 5.7.0 entry billing must use TLS");
    let encrypted = MailFacts { tls: Some(SessionTls::Tls12), ..facts(&required) };
    assert_eq!(at_mail(&required, &encrypted), "ok");

    let newest = allowed("tls = \"required-1.3\"");
    let told = "tls: 530 5.7.0 entry billing must use TLS 1.3";
    assert_eq!(at_mail(&newest, &facts(&newest)), told);
    assert_eq!(at_mail(&newest, &encrypted), told);
    let encrypted = MailFacts { tls: Some(SessionTls::Tls13), ..encrypted };
    assert_eq!(at_mail(&newest, &encrypted), "ok");

    let certified = allowed("client_certificate = [\"*.billing.internal\"]");
    let told = "certificate: 530 5.7.0 entry billing must use TLS with a client certificate";
    assert_eq!(at_mail(&certified, &facts(&certified)), told);
    let shows = |names| MailFacts { certificate: Some(names), ..encrypted };
    assert_eq!(at_mail(&certified, &shows(&["other", "a.billing.INTERNAL"])), "ok");
    let told = at_mail(&certified, &shows(&["billing.internal"]));
    assert!(told.starts_with("certificate: 550 5.7.1 no name in the certificate"), "{told}");
}

#[test]
fn helo_is_a_name_that_is_allowed() {
    let ruleset = allowed("helo = [\"*.internal\", \"[10.0.0.1]\"]");
    let says = |helo| at_mail(&ruleset, &MailFacts { helo: Some(helo), ..facts(&ruleset) });
    assert_eq!(says(b"a.INTERNAL"), "ok");
    assert_eq!(says(b"[10.0.0.1]"), "ok");
    assert!(says(b"internal").starts_with(
        "helo: 550 5.7.1 internal is not an allowed HELO name of entry billing (generation 41-"
    ));
}

#[test]
fn the_size_is_the_entrys_or_the_gateways() {
    let declares = |ruleset: &Ruleset, size| {
        at_mail(ruleset, &MailFacts { size: Some(size), ..facts(ruleset) })
    };
    let own = allowed("max_message_size = \"1 KiB\"");
    assert_eq!(declares(&own, 1024), "ok");
    let told = "size: 552 5.3.4 the message is larger than the 1 KiB that entry billing may send";
    assert_eq!(declares(&own, 1025), told);
    let common = allowed("");
    assert_eq!(declares(&common, 50 << 20), "ok");
    assert!(declares(&common, (50 << 20) + 1).starts_with("size: 552 5.3.4 "));
}

#[test]
fn a_message_costs_one_only_if_it_is_accepted() {
    let ruleset = allowed("message_rate = \"2/min\"");
    let after = |seconds| {
        let now = Moment { uptime: Duration::from_secs(seconds), ..moment(0) };
        MailFacts { now, ..facts(&ruleset) }
    };
    let wrong = MailFacts { sender: Some(ReversePath::Null), ..after(0) };
    for _ in 0..5 {
        assert!(at_mail(&ruleset, &wrong).starts_with("sender: "));
    }
    assert_eq!(at_mail(&ruleset, &after(0)), "ok");
    assert_eq!(at_mail(&ruleset, &after(0)), "ok");
    let told = "message_rate: 450 4.7.1 entry billing may send 2/min messages, retry in 30 s";
    assert_eq!(at_mail(&ruleset, &after(0)), told);
    assert!(at_mail(&ruleset, &after(29)).ends_with("retry in 1 s"));
    assert_eq!(at_mail(&ruleset, &after(30)), "ok");
}

/// Checks that are all refused are told in the contract's order.
#[test]
fn the_order_at_mail_is_that_of_the_contract() {
    let ruleset = allowed(
        "expires = 2026-01-01T00:00:00Z\nexpiry = \"defer\"\ntls = \"required\"\nclient_certificate = [\"a\"]\n\
         authentication = \"required\"\nhelo = [\"b\"]\nmax_message_size = \"1 B\"\nmessage_rate = \"1/d\"\n\
         [[credential]]\nid = \"crm\"\nusername = \"crm\"\nsenders = [\"*\"]\npassword_hash = \
         \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
    );
    let crm = ruleset.credential("crm").expect("there");
    let mut facts = MailFacts {
        login: Some(Login::None),
        sender: Some(ReversePath::Null),
        size: Some(2),
        ..facts(&ruleset)
    };
    let mut order = Vec::new();
    loop {
        let told = at_mail(&ruleset, &facts);
        let Some((check, _)) = told.split_once(": ") else { break };
        order.push(check.to_owned());
        match check {
            "dates" => facts.now = moment(-365 * 86_400),
            "tls" => facts.tls = Some(SessionTls::Tls13),
            "certificate" => facts.certificate = Some(&["a"]),
            "authentication" => facts.login = Some(Login::As(crm)),
            "helo" => facts.helo = Some(b"b"),
            "sender" => {
                facts.sender = Some(reverse("<a@example.com>"));
                // So that what comes behind the size has something to refuse.
                let one = MailFacts { size: None, ..facts };
                assert_eq!(at_mail(&ruleset, &one), "ok");
            }
            "size" => facts.size = None,
            _ => break,
        }
    }
    assert_eq!(order, Check::AT_MAIL.map(Check::name));
}

#[test]
fn what_is_not_known_is_refused() {
    let required = "tls = \"required\"\nclient_certificate = [\"a\"]\nhelo = [\"b\"]";
    let asks_for_auth = allowed("authentication = \"required\"");
    assert!(at_mail(&asks_for_auth, &facts(&asks_for_auth)).contains("451 4.3.0"));
    let ruleset = allowed(required);
    let known = MailFacts {
        tls: Some(SessionTls::Tls13),
        certificate: Some(&["a"]),
        helo: Some(b"b"),
        ..facts(&ruleset)
    };
    assert_eq!(at_mail(&ruleset, &known), "ok");
    for unknown in [
        MailFacts { tls: None, ..known },
        MailFacts { certificate: None, ..known },
        MailFacts { helo: None, ..known },
        MailFacts { sender: None, ..known },
    ] {
        assert!(at_mail(&ruleset, &unknown).contains("451 4.3.0"));
    }
}

fn at_rcpt(ruleset: &Ruleset, recipient: &'static str, named: u32) -> String {
    let facts = RcptFacts {
        beside: None,
        uptime: Duration::ZERO,
        generation: ruleset.generation(),
        sender: reverse("<a@example.com>"),
        recipient: forward(recipient),
        named,
        way: None,
    };
    shown(rcpt(&ruleset.entries()[0], ruleset.routes(), &facts))
}

#[test]
fn recipients_are_those_that_are_allowed() {
    let ruleset = allowed("recipients = [\"b.example\", \"root@c.example\"]");
    assert_eq!(at_rcpt(&ruleset, "<any@B.example>", 0), "ok");
    assert_eq!(at_rcpt(&ruleset, "<root@c.example>", 0), "ok");
    let told = at_rcpt(&ruleset, "<other@c.example>", 0);
    let expected = "recipient: 550 5.7.1 <other@c.example> is not an allowed recipient of entry billing (generation 41-";
    assert!(told.starts_with(expected), "{told}");
    assert!(at_rcpt(&ruleset, "<postmaster>", 0).starts_with("recipient: 550 5.7.1 <postmaster>"));
    assert_eq!(at_rcpt(&allowed("recipients = [\"*\"]"), "<postmaster>", 0), "ok");
    assert_eq!(at_rcpt(&allowed(""), "<postmaster>", 0), "ok");
    assert!(at_rcpt(&allowed("recipients = []"), "<a@b>", 0).starts_with("recipient: 550"));
}

#[test]
fn recipients_are_counted_and_cost_before_they_go_upstream() {
    let ruleset =
        allowed("max_recipients = 2\nrecipient_rate = \"1/h\"\nrecipients = [\"b.example\"]");
    let told = "max_recipients: 452 4.5.3 too many recipients, entry billing may name 2; send the others separately";
    assert_eq!(at_rcpt(&ruleset, "<a@b.example>", 2), told);
    assert!(at_rcpt(&ruleset, "<a@c.example>", 2).starts_with("recipient: 550"));
    assert_eq!(at_rcpt(&ruleset, "<a@b.example>", 1), "ok", "what was refused has cost nothing");
    let told = "recipient_rate: 450 4.7.1 entry billing may send 1/h recipients, retry in 3600 s";
    assert_eq!(at_rcpt(&ruleset, "<a@b.example>", 1), told);
}

/// Of recipients on two ways, one without a mode: the first is named, then the second.
fn apart(default: Mode, mode: &str, named: [&'static str; 2]) -> String {
    let text = format!(
        "[[entry]]\nid = \"billing\"\nnetworks = [\"10.0.0.0/8\"]\nsenders = [\"example.com\"]\n\
         [[route]]\nid = \"r\"\nrecipient_domains = [\"b.example\"]\nupstream = \"ses\"\n{mode}\n"
    );
    let site = Site { default_mode: default, ..(*crate::test_policy::site()).clone() };
    let ruleset = Ruleset::compile(&text, "policy.toml", &Arc::new(site)).expect("good").ruleset;
    let (mut way, mut told) = (None, String::new());
    for (index, recipient) in named.into_iter().enumerate() {
        let facts = RcptFacts {
            uptime: Duration::ZERO,
            generation: ruleset.generation(),
            sender: reverse("<a@example.com>"),
            recipient: forward(recipient),
            named: index as u32,
            beside: None,
            way,
        };
        let judged = rcpt(&ruleset.entries()[0], ruleset.routes(), &facts);
        way = way.or(judged.as_ref().ok().copied());
        told = shown(judged);
    }
    told
}

#[test]
fn only_what_nobody_keeps_is_refused_for_going_elsewhere() {
    let refused = "route: 452 4.5.3 this recipient goes to another upstream, send it separately";
    let (here, there) = ("<a@c.example>", "<a@b.example>");
    for (default, mode, named, expected) in [
        (Mode::Sync, "", [here, there], refused),
        (Mode::Sync, "", [there, here], refused),
        (Mode::Hybrid, "", [here, there], "ok"),
        (Mode::Spool, "", [there, here], "ok"),
        // The mode of the recipient that comes later decides, whatever that of the first is.
        (Mode::Sync, "mode = \"spool\"", [here, there], "ok"),
        (Mode::Sync, "mode = \"spool\"", [there, here], refused),
        (Mode::Hybrid, "mode = \"sync\"", [here, there], refused),
        (Mode::Hybrid, "mode = \"sync\"", [there, here], "ok"),
        (Mode::Sync, "", [there, there], "ok"),
    ] {
        assert_eq!(apart(default, mode, named), expected, "{default:?}, {mode}, {named:?}");
    }
}

#[test]
fn the_from_field_is_held_against_the_senders() {
    let ruleset = allowed("header_from = \"allowed\"");
    let judge = |section: &str| {
        shown(header_from(&ruleset.entries()[0], ruleset.generation(), section.as_bytes()))
    };
    assert_eq!(
        judge("Subject: x\r\nFrom: \"Billing\" <a@EXAMPLE.com>,\r\n b@example.com\r\n\r\n"),
        "ok"
    );
    let told = judge("From: a@example.com, evil@b.example\r\n\r\n");
    let expected = "header_from: 550 5.7.1 <evil@b.example> is not an allowed sender in the From field of entry billing";
    assert!(told.starts_with(expected), "{told}");
    for section in [
        "Subject: x\r\n\r\n",
        "From: a@example.com\r\nFrom: a@example.com\r\n\r\n",
        "From: a@example.com (\r\n\r\n",
        "From: a@example.com\r\nno field\r\n\r\n",
    ] {
        let told = judge(section);
        assert!(told.starts_with("header_from: 550 5.7.1 "), "{told}");
        assert!(told.contains("entry billing"), "{told}");
    }
    let off = allowed("");
    let ok = header_from(&off.entries()[0], off.generation(), b"From: evil@b.example\r\n\r\n");
    assert_eq!(shown(ok), "ok");
}

#[test]
fn the_same_message_is_deferred_when_it_comes_too_often() {
    let at_end = |ruleset: &Ruleset, message, seconds| {
        let (entry, uptime) = (&ruleset.entries()[0], Duration::from_secs(seconds));
        shown(duplicate(entry, None, Fingerprint::new(message), uptime))
    };
    let text = |more: &str| {
        format!(
            "[[entry]]\nid = \"billing\"\nnetworks = [\"10.0.0.0/8\"]\nsenders = [\"*\"]\n{more}"
        )
    };
    let old = ruleset("senders = [\"*\"]\nduplicate_rate = \"2/min\"");
    assert_eq!(at_end(&old, 1, 5), "ok");
    assert_eq!(at_end(&old, 1, 5), "ok");
    let told = "duplicate_rate: 450 4.7.1 the same message 3 times, entry billing takes 2/min of it, \
                retry in 30 s";
    assert_eq!(at_end(&old, 1, 5), told);
    assert_eq!(at_end(&old, 2, 5), "ok", "another message");
    // Neither a reload nor another rate makes it forget.
    let next =
        old.recompile(&text("duplicate_rate = \"1/h\""), "policy.toml").expect("good").ruleset;
    assert!(at_end(&next, 1, 6).starts_with("duplicate_rate: 450 4.7.1 the same message 4 times"));
    let gone = next.recompile(&text("enabled = false"), "policy.toml").expect("good").ruleset;
    let back =
        gone.recompile(&text("duplicate_rate = \"1/h\""), "policy.toml").expect("good").ruleset;
    assert!(at_end(&back, 1, 6).starts_with("duplicate_rate: "));
    let off = back.recompile(&text(""), "policy.toml").expect("good").ruleset;
    assert_eq!(at_end(&off, 1, 6), "ok");
}

#[test]
fn the_end_of_a_refusal_is_not_cut_off() {
    let path = format!("<{}é@b>", "ü".repeat((PATH_OCTETS_MAX - 4) / 2));
    let (path, _) = ReversePath::split_from(path.as_bytes()).expect("a valid path");
    let ruleset = allowed("");
    let facts = MailFacts { sender: Some(path), ..facts(&ruleset) };
    let refusal = mail(&ruleset.entries()[0], &facts).expect_err("a refusal");
    let mut line = bytes::BytesMut::default();
    let octets = refusal.reply.encode(&mut line);
    assert!(octets <= LINE_OCTETS_MAX, "{octets}");
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("...> is not an allowed sender of entry billing"), "{line}");
    assert!(line.ends_with(")\r\n"), "{line}");
}
