//! Order of commands, state by state (RFC 5321 §4.1.4).

use super::*;
use crate::command::Greeting;

fn ready() -> Ready {
    Connected.greet(Hello { greeting: Greeting::Ehlo, name: "app".into() })
}

fn code<T>(step: Step<T>) -> u16 {
    match step {
        Step::Close(reply) | Step::Fault(reply) | Step::Reply(reply) => reply.code().as_u16(),
        Step::Take(_) => 0,
    }
}

#[test]
fn nothing_is_relayed_before_hello() {
    for (line, expected) in [
        (&b"MAIL FROM:<a@b>"[..], 503),
        (b"RCPT TO:<a@b>", 503),
        (b"DATA", 503),
        (b"RSET", 250),
        (b"NOOP", 250),
        (b"VRFY a", 252),
        (b"EXPN a", 502),
        (b"STARTTLS", 503),
        (b"HELP", 214),
        (b"QUIT", 221),
        (b"NONSENSE", 500),
        (b"EHLO a", 0),
    ] {
        assert_eq!(code(Connected.handle(line)), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn a_transaction_begins_with_mail() {
    for (line, expected) in [
        (&b"RCPT TO:<a@b>"[..], 503),
        (b"DATA", 503),
        (b"RSET", 250),
        (b"EHLO b", 0),
        (b"MAIL FROM:<>", 0),
    ] {
        assert_eq!(code(ready().handle(line)), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn data_needs_a_standing_recipient() {
    let mut open = ready().open();
    assert_eq!(code(open.handle(b"MAIL FROM:<>")), 503);
    let (same, reply) = open.receive().expect_err("nobody was named");
    assert_eq!(reply.code().as_u16(), 503);
    open = same;
    open.count_recipient(false);
    let (same, reply) = open.receive().expect_err("nobody stands");
    assert_eq!(reply.code().as_u16(), 554);
    open = same;
    open.count_recipient(true);
    assert_eq!(open.receive().expect("one stands").end(), ready());
}

#[test]
fn tls_begins_between_transactions_and_forgets() {
    let Step::Take(ReadyEvent::StartTls) = ready().handle(b"starttls") else {
        panic!("for the caller to decide")
    };
    assert_eq!(code(ready().handle(b"STARTTLS now")), 501);
    assert_eq!(code(ready().open().handle(b"STARTTLS")), 503);
    let connected: Connected = ready().start_tls();
    assert_eq!(code(connected.handle(b"MAIL FROM:<a@b>")), 503);
}

#[test]
fn a_helo_session_has_no_parameters() {
    let helo = Connected.greet(Hello { greeting: Greeting::Helo, name: "app".into() });
    assert_eq!(code(helo.handle(b"MAIL FROM:<a@b> SIZE=1")), 555);
    assert_eq!(code(helo.handle(b"MAIL FROM:<a@b>")), 0);
}

#[test]
fn what_cannot_be_followed_closes() {
    assert!(matches!(ready().handle(b"BDAT 6 LAST"), Step::Close(_)));
    assert!(matches!(Connected.handle(b"GET / HTTP/1.1"), Step::Close(_)));
}

#[test]
fn a_refused_client_has_five_commands() {
    let mut refused = Refused::default();
    for _ in 0..4 {
        assert!(matches!(refused.handle(b"EHLO a"), Step::Fault(_)));
    }
    assert!(matches!(refused.handle(b"EHLO a"), Step::Close(_)));
    assert_eq!(code(Refused::default().handle(b"QUIT")), 221);
}

/// Whoever a proxy has not named gets answers, and no transaction.
#[test]
fn a_health_check_takes_no_mail() {
    for (line, expected) in [
        (&b"EHLO a"[..], 0),
        (b"HELO a", 0),
        (b"NOOP", 250),
        (b"RSET", 250),
        (b"MAIL FROM:<>", 554),
        (b"MAIL FROM:<a@b>", 554),
        (b"RCPT TO:<a@b>", 503),
        (b"DATA", 503),
        (b"QUIT", 221),
        (b"NONSENSE", 500),
    ] {
        assert_eq!(code(HealthCheck.handle(line)), expected, "{}", line.escape_ascii());
    }
}
