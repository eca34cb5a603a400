//! Which hashes are taken, how credentials are compiled, and what they come to at the checks.

use std::time::Duration;

use gatepost_smtp::path::{ForwardPath, ReversePath};

use super::*;
use crate::{
    check::{self, Greeting, Login, MailFacts, RcptFacts, SessionTls},
    date::Moment,
    duplicate::Fingerprint,
    explain::{self, Explanation, Question},
    listener::ListenerId,
    report::PolicyErrors,
    ruleset::{Compiled, Ruleset},
    test_policy::{entry, moment, site, warnings},
};

const SMTP: ListenerId = ListenerId::new(0);
const SUBMISSION: ListenerId = ListenerId::new(1);

/// Of no password.
fn hash(parameters: &str) -> String {
    format!("$argon2id$v=19${parameters}$c2FsdHNhbHRzYWx0c2FsdA${}", "A".repeat(43))
}

fn good_hash() -> String {
    hash("m=19456,t=2,p=1")
}

/// A credential; `more` are further lines.
fn credential(id: &str, username: &str, more: &str) -> String {
    let hash = good_hash();
    format!(
        "[[credential]]\nid = {id:?}\nusername = {username:?}\npassword_hash = {hash:?}\n\
         senders = [\"example.com\"]\n{more}\n"
    )
}

/// Plain text on the first listener, entries may require AUTH on the third, anybody may use it on the
/// second.
fn auth_site() -> Arc<Site> {
    let auth = vec![AuthOffer::Nobody, AuthOffer::Everybody, AuthOffer::Required];
    Arc::new(Site { auth, ..(*site()).clone() })
}

fn compile(text: &str) -> Result<Compiled, PolicyErrors> {
    Ruleset::compile(text, "policy.toml", &auth_site())
}

fn ruleset(text: &str) -> Ruleset {
    compile(text).unwrap_or_else(|errors| panic!("{errors}")).ruleset
}

fn errors(text: &str) -> Vec<String> {
    compile(text).expect_err(text).errors().iter().map(ToString::to_string).collect()
}

fn reverse(path: &'static str) -> ReversePath<'static> {
    ReversePath::split_from(path.as_bytes()).expect(path).0
}

/// What is known at MAIL from <a@example.com> of a session that uses a credential.
fn facts<'a>(ruleset: &Ruleset, credential: Option<&'a Credential>) -> MailFacts<'a> {
    MailFacts {
        now: moment(0),
        generation: ruleset.generation(),
        tls: Some(SessionTls::Tls13),
        certificate: Some(&[]),
        login: Some(credential.map_or(Login::None, Login::As)),
        helo: Some(b"app"),
        sender: Some(reverse("<a@example.com>")),
        size: None,
    }
}

fn explained(ruleset: &Ruleset, client: &str, username: Option<&str>) -> Explanation {
    let question = Question {
        client: client.parse().expect(client),
        listener: SUBMISSION,
        facts: MailFacts { login: None, tls: None, ..facts(ruleset, None) },
        username,
        recipients: &[],
        header_from: &[],
    };
    explain::explain(ruleset, &question)
}

#[test]
fn a_hash_is_one_of_argon2id_that_can_be_afforded() {
    let most = hash("m=262144,t=20,p=16");
    for good in [&good_hash(), &hash("m=8,t=1,p=1"), &most] {
        assert!(good.parse::<PasswordHash>().is_ok_and(|hash| hash.as_str() == *good), "{good}");
    }
    let argon2i = good_hash().replace("argon2id", "argon2i");
    for (bad, error) in [
        (argon2i.as_str(), PasswordHashError::Algorithm),
        (&good_hash().replace("v=19", "v=16"), PasswordHashError::Algorithm),
        (&good_hash().replace("v=19$", ""), PasswordHashError::Algorithm),
        (&hash("m=262145,t=1,p=1"), PasswordHashError::Cost),
        (&hash("m=4294967295,t=1,p=1"), PasswordHashError::Cost),
        (&hash("m=19456,t=21,p=1"), PasswordHashError::Cost),
        (&hash("m=19456,t=2,p=17"), PasswordHashError::Cost),
        (&hash("m=99999999999,t=2,p=1"), PasswordHashError::Malformed),
        (&hash("m=31,t=2,p=4"), PasswordHashError::Malformed),
        (&hash("m=19456,t=0,p=1"), PasswordHashError::Malformed),
        (&hash("m=19456,t=2,p=0"), PasswordHashError::Malformed),
        (&hash("t=2,m=19456,p=1"), PasswordHashError::Malformed),
        (&hash("m=19456,t=2"), PasswordHashError::Malformed),
        (&hash("m=19456,t=2,p=1,data=AAAA"), PasswordHashError::Malformed),
        (&hash("m=19456,t=2,p"), PasswordHashError::Malformed),
        ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA", PasswordHashError::Malformed),
        ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAA", PasswordHashError::Malformed),
        ("secret", PasswordHashError::Malformed),
        ("", PasswordHashError::Malformed),
        ("$2y$10$abcdefghijklmnopqrstuv", PasswordHashError::Malformed),
    ] {
        assert_eq!(bad.parse::<PasswordHash>(), Err(error), "{bad}");
    }
}

#[test]
fn a_hash_is_not_shown() {
    let hash: PasswordHash = good_hash().parse().expect("a hash");
    let shown = format!("{hash:?}");
    assert!(shown.starts_with("$argon2id$… (") && shown.len() < 30, "{shown}");
    let other = masked(&good_hash().replace('A', "B"));
    assert!(other.starts_with("$argon2id$… (") && other != shown, "but told from another");
    assert!(masked("my secret password").starts_with("$?$… ("));
    let ruleset = ruleset(&credential("crm", "crm", ""));
    assert!(!format!("{ruleset:?}").contains("AAAA"));
    // Nor is what stands in its place, and may be the password.
    let number = credential("a", "crm", "").replace(&format!("{:?}", good_hash()), "4711");
    assert_eq!(
        errors(&number),
        ["policy.toml:4:17: credential[0].password_hash: it is not a string"]
    );
    let bare = credential("a", "crm", "").replace(&format!("{:?}", good_hash()), "hunter2");
    let told = errors(&bare).join("\n");
    assert!(told.starts_with("policy.toml:4:17:") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_credential_is_named_once_and_is_whole() {
    let hash = good_hash();
    for (text, told) in [
        (
            "[[credential]]\nid = \"a\"\nsenders = []\n".to_owned(),
            vec![
                "policy.toml:1:1: credential a: username is missing; name what a client calls itself in AUTH",
                "policy.toml:1:1: credential a: password_hash is missing; make one with: gatepost hash-password",
            ],
        ),
        (
            credential("a", "crm", "").replace(&hash, "hunter2"),
            vec!["policy.toml:4:17: credential a: password_hash: it is not of the form $argon2id$"],
        ),
        (
            credential("a", " crm", ""),
            vec!["policy.toml:3:12: credential a: username \" crm\" is not 1 to 255"],
        ),
        (
            credential("a", "", ""),
            vec!["policy.toml:3:12: credential a: username \"\" is not 1 to 255"],
        ),
        (
            credential("a", "crm", "networks = [\"10.0.0.1\"]"),
            vec!["policy.toml:6:1: credential[0].networks: unknown key `networks`"],
        ),
        (
            credential("a", "crm", "authentication = \"required\""),
            vec!["policy.toml:6:1: credential[0].authentication: unknown key `authentication`"],
        ),
        (
            credential("a", "crm", "") + &credential("a", "other", ""),
            vec![
                "policy.toml:8:6: credential a: the id is used by an earlier credential; give each its own",
            ],
        ),
        (
            credential("a", "crm", "enabled = false") + &entry("a", "[\"10.0.0.1\"]", ""),
            vec!["policy.toml:2:6: credential a: the id is used by an entry; give each its own"],
        ),
        (
            credential("a", "crm", "") + &credential("b", "crm", "services = [\"submissions\"]"),
            vec![
                "policy.toml:9:12: credential b: username \"crm\" on listener submissions belongs to credential a",
            ],
        ),
        (
            credential("A", "crm", "tls = \"maybe\""),
            vec![
                "policy.toml:2:6: credential: id \"A\" is not a slug",
                "policy.toml:6:7: credential: tls \"maybe\" is unknown",
            ],
        ),
    ] {
        let found = errors(&text);
        assert_eq!(found.len(), told.len(), "{text}\n{found:#?}");
        for (found, told) in found.iter().zip(&told) {
            assert!(found.starts_with(told), "{found}\n{told}");
            assert!(!found.contains("hunter2") && !found.contains("AAAA"), "{found}");
        }
    }
    let apart = credential("a", "crm", "services = [\"submission\"]")
        + &credential("b", "crm", "services = [\"submissions\"]")
        + &credential("c", "crm", "enabled = false");
    let ruleset = ruleset(&apart);
    let id = |listener| ruleset.credential_of(listener, b"crm").map(|it| it.id().to_string());
    assert_eq!(id(SMTP), None);
    assert_eq!(id(SUBMISSION).as_deref(), Some("a"));
    assert_eq!(id(ListenerId::new(2)).as_deref(), Some("b"));
    assert!(ruleset.credential_of(SUBMISSION, b"CRM").is_none(), "octet by octet");
    assert!(ruleset.credential("c").is_none() && ruleset.credentials().len() == 2);
}

#[test]
fn what_can_never_be_met_is_told() {
    let required = |services: &str| {
        let more = format!("authentication = \"required\"\nservices = {services}");
        entry("fleet", "[\"10.0.0.1\"]", &more) + &credential("crm", "crm", "")
    };
    let told = errors(&required("[\"smtp\"]"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("5:18: entry fleet: authentication \"required\" can never be met"),
        "{told:?}"
    );
    let told = warnings(&compile(&required("[\"smtp\", \"submissions\"]")).expect("one has TLS"));
    assert!(told.len() == 1 && told[0].contains("cannot be met on listener smtp"), "{told:?}");
    assert!(
        compile(&required("[\"submission\", \"submissions\"]")).expect("right").warnings.is_empty()
    );
    // A password that nobody has.
    for others in ["", &*credential("crm", "crm", "services = [\"submissions\"]")] {
        let more = "authentication = \"required\"\nservices = [\"submission\"]";
        let told =
            warnings(&compile(&(entry("fleet", "[\"10.0.0.1\"]", more) + others)).expect(more));
        assert!(
            told.len() == 1 && told[0].contains("entry fleet: authentication is \"required\", and")
        );
    }
    let useless = credential("crm", "crm", "services = [\"smtp\"]");
    let told = warnings(&compile(&useless).expect("a warning"));
    assert!(
        told.len() == 1 && told[0].contains("credential crm: AUTH is offered on none"),
        "{told:?}"
    );
}

#[test]
fn unknown_clients_are_greeted_where_they_may_authenticate() {
    let ruleset = ruleset(&(credential("crm", "crm", "") + &entry("fleet", "[\"10.0.0.1\"]", "")));
    let greet = |listener, client: &str| {
        check::greet(&ruleset, listener, client.parse().expect(client), moment(0))
    };
    assert!(matches!(greet(SMTP, "192.0.2.1"), Greeting::Refused(None, _)));
    assert!(matches!(greet(SUBMISSION, "192.0.2.1"), Greeting::Authenticate));
    assert!(matches!(greet(ListenerId::new(2), "192.0.2.1"), Greeting::Refused(None, _)));
    assert!(matches!(greet(SUBMISSION, "10.0.0.1"), Greeting::Allowed(_)));
    assert!(!ruleset.allows_nobody());
    let alone = |more| self::ruleset(&credential("crm", "crm", more)).allows_nobody();
    assert!(
        !alone("") && alone("services = [\"smtp\", \"submissions\"]") && alone("enabled = false")
    );
}

#[test]
fn both_must_allow_a_message() {
    let text = entry(
        "fleet",
        "[\"10.0.0.1\"]",
        "authentication = \"required\"\nservices = [\"submission\"]\nmessage_rate = \"3/min\"\n\
         recipients = [\"r.example\"]\nrecipient_rate = \"2/min\"",
    ) + &credential(
        "crm",
        "crm",
        "message_rate = \"1/min\"\nhelo = [\"crm\"]\nrecipients = [\"s.example\"]",
    ) + &credential("erp", "erp", "recipient_rate = \"1/min\"");
    let ruleset = ruleset(&text);
    let fleet = ruleset.entry("fleet").expect("there");
    let named = |name: &str| ruleset.credential(name).expect("there");
    let (crm, erp) = (named("crm"), named("erp"));
    let mail = |facts: &MailFacts<'_>| {
        check::mail(fleet, facts).map_err(|refusal| refusal.reply.to_string())
    };
    let told = mail(&facts(&ruleset, None)).expect_err("has not authenticated");
    assert!(told.starts_with("530 5.7.0 entry fleet must authenticate"), "{told}");
    let told = mail(&facts(&ruleset, Some(crm))).expect_err("another HELO name");
    assert!(told.contains("HELO name of entry crm"), "{told}");
    let as_crm = MailFacts { helo: Some(b"crm"), ..facts(&ruleset, Some(crm)) };
    let wrong = MailFacts { sender: Some(reverse("<a@b.example>")), ..as_crm };
    assert!(mail(&wrong).expect_err("wrong").contains("sender of entry fleet"));
    assert_eq!(mail(&as_crm), Ok(()));
    for _ in 0..5 {
        let told = mail(&as_crm).expect_err("one a minute");
        assert!(told.contains("entry crm may send 1/min messages"), "{told}");
    }
    // What crm has sent too much of was not taken from the others.
    assert_eq!(mail(&facts(&ruleset, Some(erp))), Ok(()));
    assert_eq!(mail(&facts(&ruleset, Some(erp))), Ok(()));
    assert!(
        mail(&facts(&ruleset, Some(erp)))
            .expect_err("three")
            .contains("entry fleet may send 3/min")
    );

    let rcpt = |credential: &Credential, path: &str| {
        let asked = RcptFacts {
            uptime: Duration::ZERO,
            generation: ruleset.generation(),
            sender: reverse("<a@example.com>"),
            recipient: ForwardPath::split_from(path.as_bytes()).expect("a path").0,
            named: 0,
            beside: credential.beside(fleet),
            way: None,
        };
        let judged = check::rcpt(fleet, ruleset.routes(), &asked);
        judged.map(|_| ()).map_err(|refusal| refusal.reply.to_string())
    };
    assert!(
        rcpt(crm, "<x@s.example>").expect_err("the entry").contains("recipient of entry fleet")
    );
    assert!(
        rcpt(crm, "<x@r.example>").expect_err("the credential").contains("recipient of entry crm")
    );
    assert_eq!(rcpt(erp, "<x@r.example>"), Ok(()));
    assert!(
        rcpt(erp, "<x@r.example>").expect_err("one a minute").contains("entry erp may send 1/min")
    );
    // Alone it is judged once.
    assert!(crm.beside(crm.entry()).is_none());
}

/// What one login sends again and again is not taken from the others of the entry.
#[test]
fn both_must_allow_a_copy() {
    let text = entry("fleet", "[\"10.0.0.1\"]", "duplicate_rate = \"3/min\"")
        + &credential("crm", "crm", "duplicate_rate = \"1/min\"")
        + &credential("erp", "erp", "");
    let ruleset = ruleset(&text);
    let fleet = ruleset.entry("fleet").expect("there");
    let copy = |name: &str| {
        let beside = ruleset.credential(name).and_then(|it| it.beside(fleet));
        let judged = check::duplicate(fleet, beside, Fingerprint::new(9), Duration::ZERO);
        judged.map_err(|refusal| refusal.reply.to_string())
    };
    assert_eq!(copy("crm"), Ok(()));
    for _ in 0..5 {
        assert!(copy("crm").expect_err("one a minute").contains("entry crm takes 1/min of it"));
    }
    assert_eq!(copy("erp"), Ok(()));
    assert_eq!(copy("erp"), Ok(()));
    assert!(copy("erp").expect_err("three").contains("4 times, entry fleet takes 3/min of it"));
    assert!(copy("crm").expect_err("the entry first").contains("5 times, entry fleet"));
}

#[test]
fn a_credential_goes_on_while_it_is_the_same() {
    let text = credential("crm", "crm", "message_rate = \"1/h\"");
    let old = ruleset(&text);
    let then = old.credential("crm").expect("there");
    assert_eq!(check::mail(then.entry(), &facts(&old, Some(then))), Ok(()));
    let renewed = |text: &str| {
        let next = old.recompile(text, "policy.toml").expect(text).ruleset;
        next.renewed(SUBMISSION, then).map(|now| {
            let now_uses = check::mail(now.entry(), &facts(&next, Some(now)));
            now_uses.expect_err("used up").check
        })
    };
    let rate = Some(check::Check::MessageRate);
    assert_eq!(renewed(&(text.clone() + "description = \"x\"\n")), rate);
    assert_eq!(renewed(&(credential("a", "x", "") + &text)), rate);
    let other_hash = hash("m=8,t=1,p=1");
    for gone in [
        String::new(),
        text.clone() + "enabled = false\n",
        text.clone() + "services = [\"submissions\"]\n",
        text.replace("username = \"crm\"", "username = \"erp\""),
        text.replace(&good_hash(), &other_hash),
    ] {
        assert_eq!(renewed(&gone), None, "{gone}");
    }
    // What was used up is not forgotten while it is gone.
    let without = old.recompile("", "policy.toml").expect("nothing").ruleset;
    let again = without.recompile(&text, "policy.toml").expect("as before").ruleset;
    let now = again.credential("crm").expect("there");
    assert!(check::mail(now.entry(), &facts(&again, Some(now))).is_err());
    assert!(again.states().any(|(id, _)| **id == *"crm"));
}

#[test]
fn a_name_that_nobody_has_always_meets_the_same_hash() {
    let all: String = (0..8).map(|n| credential(&format!("c{n}"), &format!("u{n}"), "")).collect();
    let ruleset = ruleset(&(all + &credential("plain", "plain", "services = [\"smtp\"]")));
    let decoy =
        |name: &str| ruleset.decoy(SUBMISSION, name.as_bytes()).map(|it| it.id().to_string());
    let met: std::collections::BTreeSet<_> =
        (0..100).map(|n| decoy(&format!("nobody{n}"))).collect();
    assert!(
        met.len() > 4 && !met.contains(&None) && !met.contains(&Some("plain".into())),
        "{met:?}"
    );
    assert_eq!(decoy("nobody"), decoy("nobody"));
    assert!(self::ruleset("").decoy(SUBMISSION, b"nobody").is_none());
}

#[test]
fn it_is_explained_by_the_checks_that_decide() {
    let text = entry(
        "fleet",
        "[\"10.0.0.1\"]",
        "authentication = \"required\"\nservices = [\"submission\"]",
    ) + &entry("free", "[\"10.0.0.2\"]", "")
        + &credential(
            "crm",
            "crm-user",
            "description = \"The old CRM\"\nsenders = [\"crm.example\"]",
        )
        .replacen("senders = [\"example.com\"]\n", "", 1);
    let ruleset = ruleset(&text);
    let unknown = explained(&ruleset, "192.0.2.1", None);
    assert_eq!(
        unknown.verdict().to_string(),
        "reject: 530 5.7.0 authentication required: send AUTH"
    );
    let shown = unknown.to_string();
    assert!(shown.contains("none around the client; it has to authenticate"), "{shown}");
    assert!(shown.contains("authentication  skipped: not given"), "{shown}");
    let failed = explained(&ruleset, "192.0.2.1", Some("nobody"));
    assert_eq!(failed.verdict().to_string(), "reject: 535 5.7.8 authentication failed");
    let known = explained(&ruleset, "192.0.2.1", Some("crm-user"));
    assert_eq!((known.entry(), known.credential()), (Some("crm"), Some("crm")));
    assert!(known.verdict().to_string().contains("sender of entry crm"), "{known}");
    assert!(known.to_string().contains("crm-user is credential crm"), "{known}");
    // Where nobody says, it is taken that the client can.
    let listed = explained(&ruleset, "10.0.0.1", None);
    assert_eq!(listed.verdict().to_string(), "accept");
    assert!(listed.to_string().contains("authentication  skipped: not given"), "{listed}");
    let both = explained(&ruleset, "10.0.0.1", Some("crm-user"));
    assert_eq!((both.entry(), both.credential()), (Some("fleet"), Some("crm")));
    assert!(both.verdict().to_string().contains("sender of entry crm"), "{both}");
    let free = explained(&ruleset, "10.0.0.2", None);
    assert!(!free.to_string().contains("authentication"), "{free}");
    let question = Question {
        client: "10.0.0.2".parse().expect("an address"),
        listener: SUBMISSION,
        facts: MailFacts { tls: Some(SessionTls::Plain), ..facts(&ruleset, None) },
        username: Some("crm-user"),
        recipients: &[],
        header_from: &[],
    };
    let plain = explain::explain(&ruleset, &question);
    assert!(plain.verdict().to_string().starts_with("reject: 538 5.7.11"), "{plain}");
    let question = Question { listener: ListenerId::new(2), ..question };
    let not_offered = explain::explain(&ruleset, &question);
    assert!(not_offered.verdict().to_string().starts_with("reject: 502 5.5.1"), "{not_offered}");
}

/// An unknown client is refused whatever the listener says to it first.
#[test]
fn expectations_go_on_without_a_login() {
    let text = entry(
        "fleet",
        "[\"10.0.0.1\"]",
        "authentication = \"required\"\nservices = [\"submission\"]",
    ) + &credential("crm", "crm", "")
        + "[[expect]]\nip = \"192.0.2.1\"\nfrom = \"a@example.com\"\nresult = \"reject\"\n\
           [[expect]]\nip = \"10.0.0.1\"\nfrom = \"a@example.com\"\nresult = \"accept\"\nentry = \"fleet\"\n";
    assert!(ruleset(&text).prove(moment(0)).is_ok());
}

#[test]
fn a_candidate_is_asked_with_the_name_that_was_used() {
    use crate::shadow::{Envelope, compare};
    let text = credential("crm", "crm", "");
    let active = ruleset(&text);
    let crm = active.credential("crm").expect("there");
    let client = "192.0.2.1".parse().expect("an address");
    let known = facts(&active, Some(crm));
    let envelope = Envelope::at_mail(SUBMISSION, client, crm.entry(), &known);
    let flips = |text: &str| -> Vec<String> {
        compare(&ruleset(text), &envelope).iter().map(|flip| flip.candidate.clone()).collect()
    };
    assert!(flips(&text).is_empty());
    assert_eq!(flips(""), ["535 5.7.8 authentication failed"]);
    let narrower = flips(&text.replace("example.com", "b.example"));
    assert!(narrower.len() == 1 && narrower[0].contains("sender of entry crm"), "{narrower:?}");
    let listed =
        entry("net", "[\"192.0.2.0/24\"]", "recipients = [\"*\"]\nacknowledge = \"a test\"");
    assert!(flips(&(listed.clone() + &text)).is_empty());
    assert_eq!(flips(&listed), ["535 5.7.8 authentication failed"]);
    let narrow = flips(&(listed + &text.replace("example.com", "b.example")));
    assert!(narrow.len() == 1 && narrow[0].contains("sender of entry crm"), "{narrow:?}");
    // Who has not authenticated is not asked why.
    let required = entry(
        "fleet",
        "[\"10.0.0.1\"]",
        "authentication = \"required\"\nservices = [\"submission\"]",
    );
    let free = ruleset(&entry("fleet", "[\"10.0.0.1\"]", ""));
    let fleet = free.entry("fleet").expect("there");
    let now = Moment { ..moment(0) };
    let silent = MailFacts { now, ..facts(&free, None) };
    let envelope = Envelope::at_mail(SUBMISSION, "10.0.0.1".parse().expect("one"), fleet, &silent);
    assert!(compare(&ruleset(&required), &envelope).is_empty());
    // Who was refused because of it is known not to have authenticated.
    let asked = ruleset(&required);
    let fleet = asked.entry("fleet").expect("there");
    let silent = facts(&asked, None);
    let mut envelope =
        Envelope::at_mail(SUBMISSION, "10.0.0.1".parse().expect("one"), fleet, &silent);
    envelope.refuse(&check::mail(fleet, &silent).expect_err("has not authenticated"));
    assert!(compare(&asked, &envelope).is_empty(), "the same policy says the same");
    assert_eq!(compare(&free, &envelope).len(), 1, "another one would have let it in");
}
