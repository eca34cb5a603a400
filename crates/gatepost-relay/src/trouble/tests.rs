use std::time::Duration;

use bytes::Bytes;
use gatepost_smtp::reply::ReplyCode;

use super::*;

fn of(profile: &str, stage: Stage, wire: &'static str) -> Outcome {
    let profile = Profile::named(profile).expect(profile);
    let code = ReplyCode::parse(&wire.as_bytes()[..3]).expect(wire);
    of_reply(&profile, stage, &Reply::heard(code, Bytes::from_static(&wire.as_bytes()[4..])))
}

fn generic(stage: Stage, code: u16) -> Outcome {
    of_reply(&Profile::generic(), stage, &Reply::plain(code, "text"))
}

fn said(stage: Stage, code: u16) -> (u16, bool) {
    let outcome = generic(stage, code);
    (outcome.reply.code().as_u16(), outcome.means == Means::ConfigurationFault)
}

/// The rows of the design's table, for mode sync.
#[test]
fn the_table_is_that_of_the_design() {
    for stage in ANYWHERE {
        assert_eq!(said(*stage, 421), (451, false));
        for code in [500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 555] {
            assert_eq!(said(*stage, code), (451, true), "{code} is our fault, not the client's");
        }
    }
    assert_eq!(said(Stage::Recipient, 552), (452, false));
    assert_eq!(said(Stage::Data, 552), (552, false));
    for code in [450, 451, 452, 550, 551, 553, 554] {
        assert_eq!(said(Stage::Mail, code), (code, false));
        assert_eq!(said(Stage::Recipient, code), (code, false));
    }
    assert_eq!(said(Stage::Opening, 554), (451, false));
    assert_eq!(said(Stage::Recipient, 354), (451, false));
}

/// A client chooses its parameters, its paths and its content: what they provoke is its own.
#[test]
fn what_a_client_can_provoke_holds_nobody_up() {
    for code in [500, 501, 502, 503, 504, 555] {
        for stage in [Stage::Mail, Stage::Recipient, Stage::Data] {
            let outcome = generic(stage, code);
            assert_eq!(
                (outcome.scope, outcome.signal),
                (Scope::Envelope, None),
                "{code} {stage:?}"
            );
        }
        let outcome = generic(Stage::Opening, code);
        assert_eq!((outcome.scope, outcome.signal), (Scope::Upstream, Some(Signal::Misconfigured)));
    }
    assert_eq!(generic(Stage::Mail, 530).signal, None);
    let wanted = of("generic", Stage::Mail, "530 5.7.0 Authentication required");
    assert_eq!(wanted.signal, Some(Signal::Misconfigured));
    assert_eq!(of("generic", Stage::Mail, "503 5.5.1 author unknown").signal, None);
    assert_eq!(generic(Stage::Recipient, 530).signal, None);
    assert_eq!(generic(Stage::Mail, 421).signal, Some(Signal::Throttled { pause: None }));
    assert_eq!(
        generic(Stage::Data, 421).signal,
        None,
        "it may be the message, or how slow it comes"
    );
    assert_eq!(generic(Stage::Recipient, 450).signal, None);
}

#[test]
fn silence_and_loss_are_temporary() {
    let profile = Profile::generic();
    for trouble in
        [Trouble::Busy, Trouble::Silent, Trouble::Lost("reset".into()), Trouble::Desync("x")]
    {
        assert_eq!(of_trouble(&profile, &trouble).reply.severity(), Severity::Transient);
        assert_eq!(of_opening(&profile, &trouble).reply, NO_CONNECTION);
        assert_eq!(of_opening(&profile, &trouble).signal, None, "the pool has seen it itself");
    }
}

#[test]
fn what_goes_wrong_with_tls_and_auth_is_never_the_clients_fault() {
    let profile = Profile::generic();
    let refused = |code| Trouble::AuthRefused(Reply::plain(code, "no"));
    let token = |error| Trouble::NoToken(error);
    for (trouble, reply, is_fault, signal) in [
        (refused(535), SETUP_FAULT, true, Some(Signal::Misconfigured)),
        (refused(534), SETUP_FAULT, true, Some(Signal::Misconfigured)),
        (refused(550), SETUP_FAULT, true, Some(Signal::Misconfigured)),
        (refused(454), NO_CONNECTION, false, None),
        (Trouble::NoTls(None), NO_CONNECTION, true, None),
        (Trouble::NoTls(Some(Reply::plain(454, "no"))), NO_CONNECTION, true, None),
        (Trouble::Tls("UnknownIssuer".into()), NO_CONNECTION, true, None),
        (token(TokenError::Refused("invalid_client".into())), NO_CONNECTION, true, None),
        (token(TokenError::Unreachable("down".into())), NO_CONNECTION, false, None),
    ] {
        for outcome in [of_opening(&profile, &trouble), of_trouble(&profile, &trouble)] {
            assert_eq!((&outcome.reply, outcome.signal), (&reply, signal), "{trouble}");
            assert_eq!(outcome.means == Means::ConfigurationFault, is_fault, "{trouble}");
            assert_eq!(outcome.scope, Scope::Upstream);
        }
    }
    // The provider's own rules come first: this one is permanent, whatever its code says.
    let sendgrid = Profile::named("sendgrid").expect("is there");
    let text = "Authentication failed: Could not authenticate";
    let outcome = of_opening(&sendgrid, &Trouble::AuthRefused(Reply::plain(451, text)));
    assert_eq!(outcome.signal, Some(Signal::Misconfigured));
    assert_eq!(outcome.reply, SETUP_FAULT);
}

#[test]
fn what_is_passed_on_has_a_status() {
    let outcome = of("generic", Stage::Recipient, "550 no such user");
    assert_eq!(outcome.reply.to_string(), "550 5.0.0 no such user");
}

const ANYWHERE: &[Stage] = &[Stage::Opening, Stage::Mail, Stage::Recipient, Stage::Data];
const OPENING: Stage = Stage::Opening;
const MAIL: Stage = Stage::Mail;
const RCPT: Stage = Stage::Recipient;
const DATA: Stage = Stage::Data;
const MISCONFIGURED: Option<Signal> = Some(Signal::Misconfigured);
const THROTTLED: Option<Signal> = Some(Signal::Throttled { pause: None });

const fn paused(seconds: u64) -> Signal {
    Signal::Throttled { pause: Some(Duration::from_secs(seconds)) }
}

/// Who says what where, what the client hears of it, and what the pool.
#[rustfmt::skip]
const PECULIAR: [(&str, Stage, &str, &str, Option<Signal>); 25] = [
    ("sendgrid", DATA, "403 You are not authorized to send", "550 5.7.1 You are not", None),
    ("sendgrid", OPENING, "451 Authentication failed: Could not", "451 4.3.5", MISCONFIGURED),
    ("google-relay", OPENING, "421 4.7.0 Try again later. (EHLO)", "451 4.3.5", MISCONFIGURED),
    ("google-relay", MAIL, "550 5.7.1 Invalid credentials for relay", "451 4.3.5 the relay", None),
    ("google-relay", DATA, "450 4.2.1 Peak SMTP relay limit exceeded", "450 4.2.1 Peak", Some(paused(60))),
    ("google-relay", DATA, "550 5.7.1 Daily SMTP relay limit exceeded for customer", "451 4.3.2", Some(paused(3600))),
    ("google-relay", DATA, "550 5.4.5 Daily SMTP relay limit exceeded for user", "450 4.4.5 Daily", None),
    ("google-relay", RCPT, "451 4.3.0 Multiple destination domains per transaction is", "452 4.5.3", None),
    ("ses", DATA, "454 Throttling failure: Maximum sending rate exceeded", "454 4.0.0 Throttling", Some(paused(5))),
    ("ses", DATA, "454 Throttling failure: Daily message quota exceeded", "454 4.0.0", Some(paused(1800))),
    ("ses", OPENING, "454 Temporary authentication failure", "451 4.4.1", None),
    ("ses", OPENING, "421 Too many concurrent SMTP connections", "451 4.3.2", THROTTLED),
    ("ses", OPENING, "535 Authentication Credentials Invalid", "451 4.3.5", MISCONFIGURED),
    ("ses", DATA, "554 Message rejected: Email address is not verified.", "554 5.0.0 Message", None),
    ("ses", DATA, "554 Access denied: User `a' is not authorized to perform", "451 4.3.5", None),
    ("ses", MAIL, "451 4.4.2 Timeout waiting for data from client.", "451 4.4.2 Timeout", None),
    ("m365-connector", RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied", "451 4.3.5 the relay", None),
    ("m365-connector", MAIL, "451 4.7.500 Server busy.", "451 4.7.500 Server busy", Some(paused(60))),
    ("m365-auth", DATA, "550 5.7.60 SMTP; Client does not have permissions to send as this", "550 5.7.60 SMTP", None),
    ("m365-auth", MAIL, "432 4.3.2 concurrent connection limit exceeded", "432 4.3.2", THROTTLED),
    ("smartermail", RCPT, "550 Authentication is required for relay", "451 4.3.5", None),
    ("generic", RCPT, "554 5.7.1 <a@b>: Relay access denied", "554 5.7.1 <a@b>", None),
    ("generic", RCPT, "504 5.5.2 <x>: Helo command rejected: need fully-qualified", "451 4.3.5", MISCONFIGURED),
    ("generic", DATA, "421 4.7.0 slow down", "451 4.3.2", THROTTLED),
    ("generic", OPENING, "450 4.7.1 slow down", "451 4.3.2", THROTTLED),
];

#[test]
fn a_provider_is_understood() {
    for (profile, stage, wire, reply, signal) in PECULIAR {
        let outcome = of(profile, stage, wire);
        let shown = outcome.reply.to_string();
        assert!(shown.starts_with(reply), "{profile} {wire}: {shown}");
        assert_eq!(outcome.signal, signal, "{profile} {wire}");
        assert!(outcome.rule.is_some());
    }
}

/// Whatever a profile says: an envelope signals nothing, what will pass is no 5xx, a complaint about
/// us is no client's, and nothing is a yes.
#[test]
fn no_rule_breaks_the_promise() {
    for profile in gatepost_delivery::profile::built_in() {
        for rule in &profile.replies {
            for &stage in if rule.stage.is_empty() { ANYWHERE } else { &rule.stage } {
                for &code in &rule.codes {
                    let reply = by_rule(rule, stage, &Reply::plain(code, "text"));
                    let place = format!("{} {} {stage:?}", profile.name, rule.name);
                    let heard = reply.code().as_u16();
                    assert!(!SETUP_FAULTS.contains(&heard) && heard != 421, "{place}: {heard}");
                    assert!(reply.enhanced().is_some(), "{place}");
                    let will_pass = !matches!(rule.means, Means::Refused)
                        && (rule.scope != Scope::Envelope
                            || rule.means != Means::ConfigurationFault);
                    if will_pass || stage == Stage::Opening {
                        assert!(reply.is_transient(), "{place}: {reply}");
                    }
                    if rule.scope == Scope::Envelope {
                        assert_eq!(signal(rule), None, "{place}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_connection_that_is_over_is_known_by_its_words() {
    let ses = Profile::named("ses").expect("is there");
    let idle = Reply::plain(451, "4.4.2 Timeout waiting for data from client.");
    assert!(is_leaving(&ses, Stage::Mail, &idle));
    assert!(!is_leaving(&Profile::generic(), Stage::Mail, &idle));
    assert!(!is_leaving(&ses, Stage::Mail, &Reply::plain(454, "Throttling failure")));
    assert!(is_leaving(&Profile::generic(), Stage::Mail, &Reply::plain(421, "bye")));
}

/// A client chooses its paths, its content and how fast it sends. What an upstream says of those, and
/// what it repeats of them, is signalled to nobody.
#[test]
fn neither_an_echo_nor_a_message_nor_slowness_is_a_signal() {
    for (stage, wire) in [
        (RCPT, "550 5.1.1 <\"Helo command rejected\"@b.example>: Recipient address rejected"),
        (MAIL, "550 5.1.8 <\"EHLO argument\"@b.example>: Sender address rejected"),
        (RCPT, "450 4.1.2 <\"too many connections\"@b.example>: Domain not found"),
        (MAIL, "450 4.7.1 <a@b.example>: Sender address rejected: message rate exceeded"),
        (DATA, "451 4.7.1 Ratelimit \"sender_bounce\" exceeded"),
        (DATA, "451 4.7.5 DKIM key unavailable"),
        (DATA, "451 4.7.1 this message looks odd, try again later"),
        (DATA, "421 4.4.2 mx.example Error: timeout exceeded"),
        (DATA, "421 Timeout waiting for data"),
        (RCPT, "450 4.1.2 \"too many connections\"@b.example: Domain not found"),
        (RCPT, "450 4.1.2 <\"> too many connections\"@b.example>: Domain not found"),
    ] {
        let outcome = of("generic", stage, wire);
        assert_eq!(outcome.signal, None, "{stage:?} {wire}: {outcome:?}");
        assert_eq!(outcome.reply.is_transient(), wire.starts_with('4'), "{wire}");
    }
}
