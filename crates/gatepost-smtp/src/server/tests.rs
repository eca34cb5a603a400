//! Order of commands, state by state (RFC 5321 §4.1.4).

use super::*;
use crate::bdat::Chunk;
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
        (b"AUTH PLAIN", 503),
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

/// RFC 3030 §2: once a chunk was sent, chunks are all that the transaction can take.
#[test]
fn chunks_are_followed_by_chunks() {
    let chunk = |octets, last| Step::Take(ChunkingEvent::Chunk(Chunk { octets, last }));
    let mut open = ready().open();
    open.count_recipient(true);
    let (chunking, refusal) = open.chunks();
    assert_eq!(refusal, Ok(()));
    for (line, expected) in [
        (&b"DATA"[..], 503),
        (b"MAIL FROM:<a@b>", 503),
        (b"RCPT TO:<a@b>", 503),
        (b"STARTTLS", 503),
        (b"NOOP", 250),
        (b"NONSENSE", 500),
        (b"QUIT", 221),
    ] {
        assert_eq!(code(chunking.handle(line)), expected, "{}", line.escape_ascii());
    }
    assert_eq!(chunking.handle(b"BDAT 6"), chunk(6, false));
    assert_eq!(chunking.handle(b"BDAT 0 LAST"), chunk(0, true));
    assert_eq!(chunking.handle(b"RSET"), Step::Take(ChunkingEvent::Reset));
    assert_eq!(chunking.end(), ready());
}

/// A client that pipelines has sent its chunks whatever it hears of its recipients.
#[test]
fn chunks_for_nobody_are_refused_and_still_read() {
    let (_, refusal) = ready().open().chunks();
    assert_eq!(refusal.map_err(|reply| reply.code().as_u16()), Err(503));
    let mut open = ready().open();
    open.count_recipient(false);
    let (chunking, refusal) = open.chunks();
    assert_eq!(refusal.map_err(|reply| reply.code().as_u16()), Err(554));
    assert!(matches!(chunking.handle(b"BDAT 6 LAST"), Step::Take(ChunkingEvent::Chunk(_))));
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
    assert!(matches!(Connected.handle(b"BDAT 6 LAST"), Step::Close(_)));
    assert!(matches!(HealthCheck.handle(b"BDAT 6 LAST"), Step::Close(_)));
    assert!(matches!(ready().handle(b"BDAT"), Step::Close(_)));
    assert!(matches!(ready().open().handle(b"BDAT -1"), Step::Close(_)));
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
        (b"AUTH PLAIN", 502),
        (b"QUIT", 221),
        (b"NONSENSE", 500),
    ] {
        assert_eq!(code(HealthCheck.handle(line)), expected, "{}", line.escape_ascii());
    }
}

/// RFC 4954 §6: what may be said before AUTH where nothing is done without it.
#[test]
fn a_locked_session_takes_no_mail() {
    let locked = ready().lock();
    for (line, expected) in [
        (&b"EHLO a"[..], 0),
        (b"AUTH PLAIN", 0),
        (b"STARTTLS", 0),
        (b"MAIL FROM:<a@b>", 0),
        (b"NOOP", 250),
        (b"RSET", 250),
        (b"RCPT TO:<a@b>", 530),
        (b"DATA", 530),
        (b"VRFY a", 530),
        (b"HELP", 530),
        (b"QUIT", 221),
        (b"MAIL", 501),
        (b"NONSENSE", 500),
    ] {
        assert_eq!(code(locked.handle(line)), expected, "{}", line.escape_ascii());
    }
    assert!(matches!(locked.handle(b"BDAT 6 LAST"), Step::Close(_)));
    assert_eq!(code(locked.clone().start_tls().handle(b"AUTH PLAIN")), 503);
    assert_eq!(code(locked.unlock().handle(b"MAIL FROM:<a@b>")), 0);
}

#[test]
fn auth_is_between_transactions() {
    assert!(matches!(ready().handle(b"AUTH PLAIN AA=="), Step::Take(ReadyEvent::Auth(_))));
    assert_eq!(code(ready().open().handle(b"AUTH PLAIN AA==")), 503);
    assert_eq!(code(ready().handle(b"AUTH")), 501);
}
