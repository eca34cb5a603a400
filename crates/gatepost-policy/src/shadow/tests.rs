use std::{net::IpAddr, time::Duration};

use gatepost_smtp::path::{ForwardPath, ReversePath};
use proptest::prelude::*;

use super::*;
use crate::{
    check::{self, Greeting, MailFacts, RcptFacts, SessionTls},
    date::Moment,
    entry::is_id,
    explain::{Question, explain},
    listener::ListenerId,
    ruleset::Ruleset,
    test_policy::{compile, entry, moment, policies},
    verdict::Verdict,
};

const DAY: i64 = 86_400;

/// What a client does.
#[derive(Clone, Copy, Debug)]
struct Client<'a> {
    address: &'a str,
    listener: usize,
    greeted: Moment,
    now: Moment,
    helo: &'a str,
    tls: SessionTls,
    certificate: &'a [&'a str],
    sender: &'a str,
    size: Option<u64>,
    /// Paths, and whether the upstream takes them.
    recipients: &'a [(&'a str, bool)],
}

const CLIENT: Client<'static> = Client {
    address: "10.20.1.1",
    listener: 0,
    greeted: Moment { unix_seconds: 1_780_272_000, uptime: Duration::ZERO },
    now: Moment { unix_seconds: 1_780_272_000, uptime: Duration::ZERO },
    helo: "app.internal",
    tls: SessionTls::Tls12,
    certificate: &["app.internal"],
    sender: "<a@example.com>",
    size: Some(2000),
    recipients: &[("<x@r.example>", true), ("<y@r.example>", true), ("<Postmaster>", true)],
};

fn ruleset(text: &str) -> Ruleset {
    compile(text).unwrap_or_else(|errors| panic!("{errors}")).ruleset
}

fn billing(more: &str) -> Ruleset {
    ruleset(&entry("billing", "[\"10.20.0.0/16\"]", more))
}

fn reverse(path: &str) -> ReversePath<'_> {
    ReversePath::split_from(path.as_bytes()).expect("a valid path").0
}

fn forward(path: &str) -> ForwardPath<'_> {
    ForwardPath::split_from(path.as_bytes()).expect("a valid path").0
}

impl<'a> Client<'a> {
    fn facts(&self, ruleset: &Ruleset) -> MailFacts<'a> {
        MailFacts {
            login: None,
            now: self.now,
            generation: ruleset.generation(),
            tls: Some(self.tls),
            certificate: Some(self.certificate),
            helo: Some(self.helo.as_bytes()),
            sender: Some(reverse(self.sender)),
            size: self.size,
        }
    }

    fn address(&self) -> IpAddr {
        self.address.parse().expect("an address")
    }

    /// What a session with it leaves behind.
    fn session(&self, active: &Ruleset) -> Envelope {
        let (listener, address) = (ListenerId::new(self.listener), self.address());
        let refused = |entry: Option<&_>, refusal| {
            let generation = active.generation();
            Envelope::at_greeting(listener, address, self.greeted, entry, generation, &refusal)
        };
        let entry = match check::greet(active, listener, address, self.greeted) {
            Greeting::Refused(entry, refusal) => return refused(entry.as_deref(), refusal),
            Greeting::Allowed(entry) => entry,
            Greeting::Authenticate => unreachable!("no listener of these tests asks for it"),
        };
        let _connection = match check::connect(&entry) {
            Ok(connection) => connection,
            Err(refusal) => return refused(Some(&entry), refusal),
        };
        let facts = self.facts(active);
        let mut envelope = Envelope::at_mail(listener, address, &entry, &facts);
        if let Err(refusal) = check::mail(&entry, &facts) {
            envelope.refuse(&refusal);
            return envelope;
        }
        let (mut named, mut way) = (0, None);
        for (recipient, stands) in self.recipients {
            let facts = RcptFacts {
                beside: None,
                uptime: self.now.uptime,
                generation: active.generation(),
                sender: reverse(self.sender),
                recipient: forward(recipient),
                named,
                way: way.filter(|_| named > 0),
            };
            let judged = check::rcpt(&entry, active.routes(), &facts);
            envelope.name(&facts, &judged);
            if let Ok(taken) = judged {
                way = Some(taken);
                named += u32::from(*stands);
            }
        }
        envelope
    }

    /// `from → to by check (recipients)`, for each flip.
    fn flips(&self, active: &Ruleset, candidate: &Ruleset) -> Vec<String> {
        let shown = |flip: Flip| {
            let check = flip.check.map_or("-", Check::name);
            format!("{} → {} by {check} ({})", flip.from, flip.to, flip.recipients)
        };
        compare(candidate, &self.session(active)).into_iter().map(shown).collect()
    }
}

/// A policy that lets [`CLIENT`] pass, and one more line that does not.
#[test]
fn every_check_flips_in_both_directions() {
    for (line, word, check, recipients) in [
        ("action = \"deny\"", "reject", "action", 0),
        ("services = [\"submission\"]", "reject", "allow_list", 0),
        ("not_before = 2026-06-02T00:00:00Z", "reject", "dates", 0),
        ("expires = 2026-05-31T00:00:00Z", "reject", "dates", 0),
        ("expires = 2026-05-31T00:00:00Z\nexpiry = \"defer\"", "defer", "dates", 0),
        ("tls = \"required-1.3\"", "reject", "tls", 0),
        ("client_certificate = [\"other.internal\"]", "reject", "certificate", 0),
        ("helo = [\"other.internal\"]", "reject", "helo", 0),
        ("max_message_size = \"1 KiB\"", "reject", "size", 0),
        ("recipients = [\"x@r.example\"]", "reject", "recipient", 2),
        ("max_recipients = 1", "defer", "max_recipients", 2),
    ] {
        let (free, strict) = (billing(""), billing(line));
        let expected = format!("accept → {word} by {check} ({recipients})");
        assert_eq!(CLIENT.flips(&free, &strict), [expected], "{line}");
        let expected = format!("{word} → accept by {check} ({recipients})");
        assert_eq!(CLIENT.flips(&strict, &free), [expected], "{line}");
        assert_eq!(CLIENT.flips(&strict, &strict), <[&str; 0]>::default(), "{line}");
    }
    let other = ruleset(&entry("billing", "[\"10.20.0.0/16\"]", "").replace("example.com", "b.c"));
    assert_eq!(CLIENT.flips(&billing(""), &other), ["accept → reject by sender (0)"]);
    assert_eq!(CLIENT.flips(&other, &billing("")), ["reject → accept by sender (0)"]);
}

#[test]
fn who_is_known_to_one_of_them_only_flips() {
    let elsewhere = ruleset(&entry("billing", "[\"10.99.0.0/16\"]", ""));
    assert_eq!(CLIENT.flips(&billing(""), &elsewhere), ["accept → reject by allow_list (0)"]);
    let flips = compare(&billing(""), &CLIENT.session(&elsewhere));
    let [flip] = &flips[..] else { panic!("{flips:?}") };
    assert_eq!((flip.from, flip.to), (Word::Reject, Word::Accept));
    assert_eq!(flip.candidate_entry.as_deref(), Some("billing"));
    assert_eq!((&*flip.active, &*flip.candidate), ("reject by check allow_list", "accept"));
    let denied = ruleset(&format!(
        "{}[[entry]]\nid = \"wifi\"\nnetworks = [\"10.20.1.0/24\"]\naction = \"deny\"\n",
        entry("billing", "[\"10.20.0.0/16\"]", "")
    ));
    let flips = compare(&denied, &CLIENT.session(&billing("")));
    assert_eq!(flips[0].candidate_entry.as_deref(), Some("wifi"));
    assert!(flips[0].candidate.starts_with("554 5.7.1 relay.example.com: 10.20.1.1 is blocked"));
    // Refused by both, for whatever reason.
    assert_eq!(CLIENT.flips(&elsewhere, &denied), <[&str; 0]>::default());
}

#[test]
fn another_upstream_flips_and_is_named() {
    let (default, by_entry) = (billing(""), billing("upstream = \"ses\""));
    assert_eq!(CLIENT.flips(&default, &by_entry), ["accept → elsewhere by - (3)"]);
    let flips = compare(&by_entry, &CLIENT.session(&default));
    assert_eq!(flips[0].upstream.as_deref(), Some("ses"));
    assert_eq!((&*flips[0].active, &*flips[0].candidate), ("accept, to google", "accept, to ses"));
    assert_eq!(CLIENT.flips(&by_entry, &by_entry), <[&str; 0]>::default());

    // What leads apart is deferred, as in a session.
    let route = "[[route]]\nid = \"r\"\nrecipient_domains = [\"r.example\"]\nupstream = \"ses\"\n";
    let apart = ruleset(&format!("{}{route}", entry("billing", "[\"10.20.0.0/16\"]", "")));
    let expected = ["accept → elsewhere by - (2)", "accept → defer by route (1)"];
    assert_eq!(CLIENT.flips(&default, &apart), expected);
    // If the upstream has refused those before it, the third is the first that stands.
    let recipients = CLIENT.recipients.iter().map(|(path, _)| (*path, *path == "<Postmaster>"));
    let recipients: Vec<_> = recipients.collect();
    let client = Client { recipients: &recipients, ..CLIENT };
    assert_eq!(client.flips(&default, &apart), ["accept → elsewhere by - (2)"]);
    // Where messages are kept, what leads apart is accepted, and the first way stays the first.
    let kept = route.replace("upstream", "mode = \"spool\"\nupstream");
    let kept =
        ruleset(&format!("{}{kept}", entry("billing", "[\"10.20.0.0/16\"]", "mode = \"hybrid\"")));
    assert_eq!(CLIENT.flips(&default, &kept), ["accept → elsewhere by - (2)"]);
}

#[test]
fn what_was_used_up_does_not_matter() {
    let limits = "message_rate = \"1/d\"\nrecipient_rate = \"1/d\"\nmax_connections = 1";
    let (free, limited) = (billing(""), billing(limits));
    for _ in 0..3 {
        assert_eq!(CLIENT.flips(&free, &limited), <[&str; 0]>::default(), "nothing is used up");
    }
    assert!(check::mail(&limited.entries()[0], &CLIENT.facts(&limited)).is_ok());
    assert_eq!(CLIENT.flips(&free, &limited), <[&str; 0]>::default(), "used up, and it is equal");
    // One message of the day is gone, and there is no other.
    assert_eq!(CLIENT.flips(&limited, &free), <[&str; 0]>::default());
    assert!(!CLIENT.session(&limited).is_comparable());
    let connection = check::connect(&limited.entries()[0]);
    assert_eq!(CLIENT.flips(&free, &limited), <[&str; 0]>::default(), "the connections are full");
    assert!(!CLIENT.session(&limited).is_comparable());
    assert_eq!(CLIENT.flips(&limited, &billing("action = \"deny\"")), <[&str; 0]>::default());
    drop(connection);

    // Of the recipients, those that a rate has refused are left out, and the others are not.
    let one = billing("recipient_rate = \"1/d\"");
    let deaf = billing("recipients = []");
    assert_eq!(CLIENT.flips(&one, &deaf), ["accept → reject by recipient (1)"]);
}

#[test]
fn dates_are_those_of_the_envelope() {
    let (free, late) = (billing(""), billing("expires = 2026-06-03T00:00:00Z"));
    for (days, is_flip) in [(0, false), (1, false), (2, true)] {
        let now = moment(days * DAY);
        let client = Client { greeted: now, now, ..CLIENT };
        assert_eq!(!client.flips(&free, &late).is_empty(), is_flip, "{days}");
    }
    // A session that is open when its entry ends is refused at MAIL, where a new one is not greeted.
    let client = Client { now: moment(2 * DAY), ..CLIENT };
    assert_eq!(client.session(&late).refused.map(|it| it.word), Some(Word::Reject));
    assert_eq!(client.flips(&late, &late), <[&str; 0]>::default());
    // A greeting tells nothing of MAIL, but for the dates.
    let defer = billing("expires = 2026-05-01T00:00:00Z\nexpiry = \"defer\"\ntls = \"required\"");
    let reject = billing("expires = 2026-05-01T00:00:00Z");
    assert_eq!(CLIENT.flips(&reject, &defer), ["reject → defer by dates (0)"]);
    let other = billing("tls = \"required-1.3\"");
    assert_eq!(CLIENT.flips(&reject, &other), ["reject → accept by dates (0)"]);
}

#[test]
fn a_long_list_is_kept_by_its_first_and_its_last() {
    let paths: Vec<_> = (0..150).map(|number| format!("<{number}@r.example>")).collect();
    let recipients: Vec<_> = paths.iter().map(|path| (&**path, true)).collect();
    let client = Client { recipients: &recipients, ..CLIENT };
    let envelope = client.session(&billing(""));
    assert_eq!(envelope.recipients.len(), 100);
    assert_eq!(&*envelope.recipients[99].octets, b"149@r.example");
    for (most, flips) in [(150, 0), (149, 1), (98, 2)] {
        let candidate = billing(&format!("max_recipients = {most}"));
        let found = compare(&candidate, &envelope);
        assert_eq!(found.iter().map(|flip| flip.recipients).sum::<u32>(), flips, "{most}");
    }
    let long: Vec<_> =
        (0..100).map(|number| format!("<{number}{}@r.example>", "a".repeat(900))).collect();
    let recipients: Vec<_> = long.iter().map(|path| (&**path, true)).collect();
    let envelope = Client { recipients: &recipients, ..CLIENT }.session(&billing(""));
    let octets: usize = envelope.recipients.iter().map(|it| it.octets.len()).sum();
    assert!((15_000..17_500).contains(&octets), "{octets}");
    assert!(envelope.recipients.last().is_some_and(|it| it.octets.starts_with(b"99")));
}

/// The recipients that the candidate takes and refuses are counted as it would count them.
#[test]
fn the_number_of_recipients_is_the_candidates() {
    let active = billing("recipients = [\"r.example\"]\nmax_recipients = 3");
    let candidate = billing("recipients = [\"r.example\", \"s.example\"]\nmax_recipients = 3");
    let recipients = [
        ("<a@s.example>", true),
        ("<b@s.example>", true),
        ("<c@r.example>", true),
        ("<d@r.example>", true),
    ];
    let client = Client { recipients: &recipients, ..CLIENT };
    let expected = ["reject → accept by recipient (2)", "accept → defer by max_recipients (1)"];
    assert_eq!(client.flips(&active, &candidate), expected);
    let expected = ["accept → reject by recipient (2)", "defer → accept by max_recipients (1)"];
    assert_eq!(client.flips(&candidate, &active), expected);
}

fn recorded(tally: &mut Tally, client: &Client<'_>, active: &Ruleset, candidate: &Ruleset) {
    let envelope = client.session(active);
    tally.record(&envelope, compare(candidate, &envelope));
}

#[test]
fn a_report_counts_envelopes_and_has_the_last_samples() {
    let (active, candidate) = (billing(""), billing("helo = [\"*.internal\"]"));
    let mut tally = Tally::new(&candidate, moment(0));
    for helo in ["a", "b", "app.internal", "c", "d", "e", "f\u{1b}"] {
        recorded(&mut tally, &Client { helo, ..CLIENT }, &active, &candidate);
    }
    recorded(&mut tally, &Client { address: "::ffff:203.0.113.9", ..CLIENT }, &active, &candidate);
    let report = tally.report(7);
    assert_eq!((report.envelopes, report.same, report.dropped), (8, 2, 7));
    assert_eq!(report.candidate, candidate.generation().to_string());
    assert_eq!(report.since_unix_seconds, moment(0).unix_seconds);
    let [flip] = &report.flips[..] else { panic!("{report:?}") };
    assert_eq!((&*flip.entry, flip.from, flip.to), ("billing", Word::Accept, Word::Reject));
    assert_eq!(flip.count, 6);
    let helo: Vec<_> = flip.samples.iter().map(|sample| sample.helo.as_deref()).collect();
    assert_eq!(helo, [Some("b"), Some("c"), Some("d"), Some("e"), Some("f\u{1b}")]);
    let sample = &flip.samples[0];
    assert_eq!((&*sample.listener, sample.client), ("smtp", CLIENT.address()));
    assert_eq!((sample.sender.as_deref(), &sample.recipient), (Some("a@example.com"), &None));
    assert_eq!((&*sample.active, sample.check.as_deref()), ("accept", Some("helo")));
    assert!(sample.candidate.starts_with("550 5.7.1 b is not an allowed HELO name"));

    let json = serde_json::to_string(&report).expect("maps and lists");
    assert!(json.contains(r#""entry":"billing","from":"accept","to":"reject","count":6"#));
    assert_eq!(serde_json::from_str::<ShadowReport>(&json).expect("the same"), report);
}

#[test]
fn clients_without_an_entry_are_counted_together() {
    assert!(!is_id(UNKNOWN) && !is_id(OTHER));
    let (active, candidate) = (ruleset(""), billing(""));
    let mut tally = Tally::new(&candidate, moment(0));
    recorded(&mut tally, &CLIENT, &active, &candidate);
    let report = tally.report(0);
    assert_eq!((&*report.flips[0].entry, report.flips[0].count), (UNKNOWN, 1));
    assert_eq!(report.flips[0].samples[0].candidate_entry.as_deref(), Some("billing"));
}

#[test]
fn a_tally_is_bounded() {
    let candidate = billing("action = \"deny\"");
    let mut tally = Tally::new(&candidate, moment(0));
    for number in 0..1200 {
        let id = format!("e{number}");
        let active = ruleset(&entry(&id, "[\"10.20.0.0/16\"]", ""));
        // More than one kind keeps of its own.
        for _ in 0..6 {
            recorded(&mut tally, &CLIENT, &active, &candidate);
        }
    }
    let report = tally.report(0);
    assert_eq!(report.flips.len(), 1001);
    assert_eq!((&*report.flips[0].entry, report.flips[0].count), (OTHER, 200 * 6));
    assert_eq!(report.flips.iter().map(|flip| flip.count).sum::<u64>(), 7200);
    let samples: usize = report.flips.iter().map(|flip| flip.samples.len()).sum();
    assert!((500..=1000).contains(&samples), "{samples}");
    let have_some = report.flips.iter().filter(|flip| !flip.samples.is_empty()).count();
    assert!(have_some > 500, "the first do not take all: {have_some}");
}

fn class(verdict: &Verdict) -> Word {
    match verdict {
        Verdict::Accept => Word::Accept,
        Verdict::Defer(_) => Word::Defer,
        Verdict::Reject(_) => Word::Reject,
    }
}

/// The same policy without what is counted over time.
fn uncounted(text: &str) -> String {
    let is_counted = |line: &&str| line.starts_with("max_connections") || line.contains("_rate = ");
    text.lines().filter(|line| !is_counted(line)).flat_map(|line| [line, "\n"]).collect()
}

prop_compose! {
    /// A client of which all is known, and its recipients.
    fn clients()(
        address in prop::sample::select(vec![
            "10.0.0.0", "10.64.64.1", "10.192.192.3", "::ffff:10.64.64.1", "11.0.0.1",
            "fd00::", "fd00:4000:4000::4000", "fd00:c000:c000::1", "fe80::1",
        ]),
        listener in 0_usize..4,
        (greeted, later) in (-2_i64..3, 0_i64..3),
        uptime in 0_u64..100,
        helo in prop::sample::select(vec!["app.internal", "app"]),
        tls in prop::sample::select(vec![SessionTls::Plain, SessionTls::Tls12, SessionTls::Tls13]),
        certificate in prop::sample::select(vec![&["app.internal"][..], &["other"], &[]]),
        sender in prop::sample::select(vec!["<>", "<x@a.example>", "<x@b.a.example>", "<u@b>"]),
        size in prop::option::of(prop::sample::select(vec![1000, 2000, 100 << 20])),
    ) -> Client<'static> {
        let now = |days: i64| Moment { uptime: Duration::from_secs(uptime), ..moment(days * DAY) };
        Client {
            address, listener, greeted: now(greeted), now: now(greeted + later), helo, tls,
            certificate, sender, size, recipients: &[],
        }
    }
}

fn recipients(most: usize) -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    let paths = vec!["<a@r.example>", "<b@s.r.example>", "<c@other>", "<postmaster>"];
    prop::collection::vec((prop::sample::select(paths), any::<bool>()), 0..=most)
}

proptest! {
    /// Whatever was used up, and whatever the upstream says.
    #[test]
    fn a_policy_never_flips_itself(
        text in policies(),
        sessions in prop::collection::vec((clients(), recipients(5)), 1..5),
        others_connected in any::<bool>(),
    ) {
        let (active, candidate) = (ruleset(&text), ruleset(&text));
        let others: Vec<_> =
            active.entries().iter().filter(|_| others_connected).map(|e| e.connect()).collect();
        for (client, recipients) in sessions {
            let client = Client { recipients: &recipients, ..client };
            let envelope = client.session(&active);
            for again in [&active, &candidate] {
                prop_assert_eq!(compare(again, &envelope), vec![], "{}\n{:?}", text, envelope);
            }
        }
        drop(others);
    }

    /// What the candidate would say is what `explain` says of it, if it is asked the same.
    #[test]
    fn a_comparison_and_explain_never_disagree(
        (active, candidate) in (policies(), policies()),
        client in clients(),
        recipients in recipients(1),
    ) {
        let (active, text) = (ruleset(&uncounted(&active)), uncounted(&candidate));
        let candidate = ruleset(&text);
        let client = Client { recipients: &recipients, ..client };
        let envelope = client.session(&active);
        let (known, paths) = match (&envelope.mail, envelope.refused) {
            (None, _) => {
                let facts = client.facts(&candidate);
                let nothing = MailFacts { now: client.greeted, sender: None, size: None, helo: None,
                    tls: None, certificate: None, ..facts };
                (nothing, vec![])
            }
            (Some(_), Some(_)) => (client.facts(&candidate), vec![]),
            (Some(_), None) => {
                (client.facts(&candidate), recipients.iter().map(|(path, _)| forward(path)).collect())
            }
        };
        let question = Question { username: None,
            client: client.address(),
            listener: ListenerId::new(client.listener),
            facts: known,
            recipients: &paths,
            header_from: &[],
        };
        let explanation = explain(&candidate, &question);
        let first = envelope.recipients.first().map(|recipient| recipient.said);
        let refused = envelope.refused.or(first.and_then(Result::err));
        let said = refused.map_or(Word::Accept, |refused| refused.word);
        let way = first.and_then(Result::ok).and_then(|way| active.site().upstream_name(way));
        let flips = compare(&candidate, &envelope);
        prop_assert!(flips.len() < 2, "{:?}", flips);
        let Some(flip) = flips.first() else {
            prop_assert_eq!(class(explanation.verdict()), said, "{}", explanation);
            prop_assert_eq!(explanation.upstream(), way.map(|name| &**name));
            return Ok(());
        };
        let to = if flip.to == Word::Elsewhere { Word::Accept } else { flip.to };
        prop_assert_eq!(class(explanation.verdict()), to, "{}", explanation);
        prop_assert_eq!(explanation.entry(), flip.candidate_entry.as_deref());
        if flip.to == Word::Elsewhere {
            prop_assert_eq!(explanation.upstream(), flip.upstream.as_deref());
            prop_assert_ne!(explanation.upstream(), way.map(|name| &**name));
        }
        // MAIL that the candidate refuses was accepted, whatever its recipient was told then.
        let at_mail = flip.recipient.is_none() && envelope.refused.is_none();
        prop_assert_eq!(flip.from, if at_mail { Word::Accept } else { said });
    }
}
