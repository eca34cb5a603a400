//! Dialogues of an opening, and every way in which one ends.

use super::*;
use crate::client::SECRET_OCTETS_MAX;

const PLAIN: Login<'static> =
    Login { mechanism: Mechanism::Plain, username: "tim", secret: b"tanstaaftanstaaf" };
const XOAUTH2: Login<'static> =
    Login { mechanism: Mechanism::XOauth2, username: "a@b.test", secret: b"ya29.token" };

fn plan(tls: TlsPolicy, login: Option<Login<'_>>) -> Plan<'_> {
    Plan { ehlo_name: "relay.test", tls, login }
}

/// One line for each thing that happens: `S:` what the upstream says, `C:` what we say.
fn play(plan: Plan<'_>, replies: &[&str]) -> (Vec<String>, Option<Result<Ready, OpeningFault>>) {
    let mut opening = Opening::new(plan);
    let (mut said, mut out) = (Vec::new(), BytesMut::new());
    for reply in replies {
        let (code, text) = reply.split_at(3);
        let code = code.parse().expect("a code");
        let reply = Reply::plain(code, text.trim_start().to_owned());
        let opened = opening.handle(&reply, &mut out);
        if let Opened::Handshake(_) = opened {
            assert!(out.is_empty(), "nothing goes between 220 and the handshake");
            said.push("TLS".to_owned());
        }
        opening = match opened {
            Opened::More(next) => next,
            Opened::Handshake(handshake) => handshake.done(&mut out),
            Opened::Ready(ready) => return (said, Some(Ok(ready))),
            Opened::Failed(fault) => return (said, Some(Err(fault))),
        };
        said.push(String::from_utf8(out.split().to_vec()).expect("ASCII"));
    }
    (said, None)
}

fn ready(plan: Plan<'_>, replies: &[&str]) -> (Vec<String>, Capabilities) {
    match play(plan, replies) {
        (said, Some(Ok(ready))) => (said, *ready.capabilities()),
        (said, other) => panic!("{said:?} has led to {other:?}"),
    }
}

fn fault(plan: Plan<'_>, replies: &[&str]) -> OpeningFault {
    match play(plan, replies) {
        (_, Some(Err(fault))) => fault,
        (said, other) => panic!("{said:?} has led to {other:?}"),
    }
}

fn reply(code: u16, text: &'static str) -> Reply {
    Reply::plain(code, text)
}

const EHLO: &str = "EHLO relay.test\r\n";

#[test]
fn plain_text_asks_for_nothing() {
    let plan = plan(TlsPolicy::None, None);
    let (said, capabilities) = ready(plan, &["220 x", "250 x\nSTARTTLS\nAUTH PLAIN\nDSN"]);
    assert_eq!(said, [EHLO]);
    assert!(capabilities.dsn && capabilities.starttls);
}

#[test]
fn helo_is_tried_where_ehlo_is_refused_for_good_and_nothing_is_needed() {
    for tls in [TlsPolicy::None, TlsPolicy::Opportunistic, TlsPolicy::Implicit] {
        let (said, capabilities) = ready(plan(tls, None), &["220 x", "502 what", "250 x"]);
        assert_eq!(
            (said.as_slice(), capabilities.pipelining),
            (&[EHLO.to_owned(), "HELO relay.test\r\n".to_owned()][..], false)
        );
    }
    let refused = ["220 x", "502 what"];
    let no_tls = OpeningFault::NoTls(Some(reply(502, "what")));
    assert_eq!(fault(plan(TlsPolicy::Required, None), &refused), no_tls);
    assert_eq!(fault(plan(TlsPolicy::None, Some(PLAIN)), &refused), no_tls);
    let ehlo_is_needed = OpeningFault::Refused(reply(502, "what"));
    assert_eq!(fault(plan(TlsPolicy::Implicit, Some(PLAIN)), &refused), ehlo_is_needed);
}

#[test]
fn who_is_not_wanted_is_told_so() {
    for replies in [&["554 no"][..], &["250 x"], &["220 x", "421 no"], &["220 x", "452 no"]] {
        for tls in [TlsPolicy::None, TlsPolicy::Required] {
            let fault = fault(plan(tls, None), replies);
            assert!(matches!(fault, OpeningFault::Refused(_)), "{replies:?}: {fault:?}");
        }
    }
    let helo = ["220 x", "500 x", "550 no"];
    assert_eq!(fault(Plan::plain("x"), &helo), OpeningFault::Refused(reply(550, "no")));
}

#[test]
fn tls_begins_anew_and_forgets_what_was_offered_before() {
    for tls in [TlsPolicy::Opportunistic, TlsPolicy::Required] {
        let replies = ["220 x", "250 x\nSTARTTLS\nCHUNKING\nSMTPUTF8", "220 go", "250 x\nDSN"];
        let (said, capabilities) = ready(plan(tls, None), &replies);
        assert_eq!(said, [EHLO, "STARTTLS\r\n", "TLS", EHLO]);
        assert_eq!(capabilities, Capabilities { dsn: true, ..Capabilities::default() });
    }
    // Behind TLS there is no second handshake.
    let replies = ["220 x", "250 x\nSTARTTLS", "220 go", "250 x\nSTARTTLS"];
    assert_eq!(ready(plan(TlsPolicy::Required, None), &replies).0.len(), 4);
    let implicit = ready(plan(TlsPolicy::Implicit, None), &["220 x", "250 x\nSTARTTLS"]);
    assert_eq!(implicit.0, [EHLO]);
}

#[test]
fn tls_that_is_required_is_never_done_without() {
    for (policy, login) in [
        (TlsPolicy::Required, None),
        (TlsPolicy::Required, Some(PLAIN)),
        // Nobody says who we are in plain text, whatever the plan.
        (TlsPolicy::Opportunistic, Some(PLAIN)),
        (TlsPolicy::None, Some(PLAIN)),
    ] {
        let plan = plan(policy, login);
        let offered = "250 x\nSTARTTLS\nAUTH PLAIN";
        let stripped = fault(plan, &["220 x", "250 x\nAUTH PLAIN"]);
        assert_eq!(stripped, OpeningFault::NoTls(None));
        for (said, code) in [("454 no", 454), ("501 no", 501), ("554 no", 554)] {
            let refused = fault(plan, &["220 x", offered, said]);
            assert_eq!(refused, OpeningFault::NoTls(Some(reply(code, "no"))));
        }
    }
}

#[test]
fn tls_that_is_nice_to_have_is_done_without() {
    let plan = plan(TlsPolicy::Opportunistic, None);
    let (said, capabilities) = ready(plan, &["220 x", "250 x\nDSN"]);
    assert_eq!((said.as_slice(), capabilities.dsn), (&[EHLO.to_owned()][..], true));
    for refusal in ["454 no", "501 no"] {
        let (said, capabilities) = ready(plan, &["220 x", "250 x\nSTARTTLS\nDSN", refusal]);
        assert_eq!(said, [EHLO, "STARTTLS\r\n"]);
        assert!(capabilities.dsn, "what was offered still counts");
    }
    for neither in ["250 ok", "334 x", "421 bye"] {
        let fault = fault(plan, &["220 x", "250 x\nSTARTTLS", neither]);
        assert!(matches!(fault, OpeningFault::Refused(_)), "{neither}: {fault:?}");
    }
}

/// Known answers: RFC 4954 §4.1, and the example of Google's documentation of XOAUTH2.
#[test]
fn logins_are_said_as_their_mechanism_has_it() {
    let login = |login| plan(TlsPolicy::Implicit, Some(login));
    let offered = "250 x\nAUTH PLAIN LOGIN XOAUTH2";
    let (said, _) = ready(login(PLAIN), &["220 x", offered, "235 ok"]);
    assert_eq!(said[1], "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
    let by_login = Login { mechanism: Mechanism::Login, ..PLAIN };
    let prompts = ["220 x", offered, "334 VXNlcm5hbWU6", "334 anything", "235 ok"];
    let (said, _) = ready(login(by_login), &prompts);
    assert_eq!(said[1..], ["AUTH LOGIN\r\n", "dGlt\r\n", "dGFuc3RhYWZ0YW5zdGFhZg==\r\n"]);
    let google = Login {
        username: "someuser@example.com",
        secret: b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg",
        ..XOAUTH2
    };
    let (said, capabilities) = ready(login(google), &["220 x", offered, "235 ok"]);
    assert_eq!(
        said[1],
        "AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52\
         YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==\r\n"
    );
    assert!(capabilities.auth.plain, "what was offered behind TLS still counts");
}

#[test]
fn a_long_response_waits_to_be_asked_for() {
    let token = [b'x'; SECRET_OCTETS_MAX];
    let long = Login { secret: &token, ..XOAUTH2 };
    let offered = "250 x\nAUTH XOAUTH2";
    let plan = plan(TlsPolicy::Implicit, Some(long));
    let (said, _) = ready(plan, &["220 x", offered, "334", "235 ok"]);
    assert_eq!(said[1], "AUTH XOAUTH2\r\n");
    assert!(said[2].len() > 10_000 && said[2].len() <= 12_288, "{}", said[2].len());
}

#[test]
fn a_login_that_is_refused_ends_it() {
    let offered = "250 x\nAUTH PLAIN LOGIN XOAUTH2";
    let refused = |login, answers: &[&str]| {
        let replies = [&["220 x", offered][..], answers].concat();
        let (said, end) = play(plan(TlsPolicy::Implicit, Some(login)), &replies);
        let Some(Err(OpeningFault::LoginRefused(reply))) = end else { panic!("{end:?}") };
        (said.last().cloned().unwrap_or_default(), reply.code().as_u16())
    };
    assert_eq!(refused(PLAIN, &["535 no"]).1, 535);
    // The challenge has the reason, an empty line asks for the refusal.
    assert_eq!(refused(XOAUTH2, &["334 eyJzdGF0dXMiOiI0MDEifQ==", "535 no"]), ("\r\n".into(), 535));
    assert_eq!(refused(XOAUTH2, &["334 x", "334 x"]).1, 334);
    assert_eq!(refused(XOAUTH2, &["334 x", "235 yes"]).1, 235, "a yes to nothing");
    // One that asks for more than there is, is told so.
    assert_eq!(refused(PLAIN, &["334 more", "501 cancelled"]), ("*\r\n".into(), 501));
    let by_login = Login { mechanism: Mechanism::Login, ..PLAIN };
    assert_eq!(refused(by_login, &["235 yes"]).1, 235, "before anything was said");
    assert_eq!(refused(by_login, &["334 x", "235 yes"]).1, 235, "before the password was said");
    assert_eq!(refused(by_login, &["354 x"]).1, 354);
    let not_offered =
        fault(plan(TlsPolicy::Implicit, Some(XOAUTH2)), &["220 x", "250 x\nAUTH PLAIN"]);
    assert_eq!(not_offered, OpeningFault::NoMechanism(Mechanism::XOauth2));
}

#[test]
fn nobody_repeats_a_secret() {
    let offered = "250 x\nAUTH PLAIN";
    for text in [
        "535 bad password tanstaaftanstaaf",
        "535 bad dGFuc3RhYWZ0YW5zdGFhZg== there",
        "535 AHRpbQB0YW5zdGFhZnRhbnN0YWFm",
    ] {
        let fault = fault(plan(TlsPolicy::Implicit, Some(PLAIN)), &["220 x", offered, text]);
        let said = reply(535, "(a text that repeats the secret)");
        assert_eq!(fault, OpeningFault::LoginRefused(said));
    }
    let implicit = plan(TlsPolicy::Implicit, Some(PLAIN));
    let required = plan(TlsPolicy::Required, Some(PLAIN));
    let leaving = OpeningFault::Refused(reply(421, "(a text that repeats the secret)"));
    for (plan, replies) in [
        (required, &["220 x", "250 x\nSTARTTLS", "421 tanstaaftanstaaf, as you once said"][..]),
        (implicit, &["421 AHRpbQB0YW5zdGFhZnRhbnN0YWFm"]),
    ] {
        assert_eq!(fault(plan, replies), leaving, "{replies:?}");
    }
    let shown = format!("{:?}", Opening::new(plan(TlsPolicy::Implicit, Some(PLAIN))));
    assert!(shown.contains("Plain") && !shown.contains("tan") && !shown.contains("116"), "{shown}");
}

/// Whoever leaves may quote what it was told as well.
#[test]
fn nobody_repeats_a_secret_in_leaving() {
    let offered = "250 x\nAUTH PLAIN";
    let text = "421 4.7.0 bye, AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm";
    let fault = fault(plan(TlsPolicy::Implicit, Some(PLAIN)), &["220 x", offered, text]);
    assert_eq!(fault, OpeningFault::LoginRefused(reply(421, "(a text that repeats the secret)")));
}
