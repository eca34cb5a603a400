//! Known answers, what is not taken, and that nothing is shown.

use proptest::prelude::*;

use super::*;

fn begin(mechanism: Mechanism, response: &[u8]) -> Advance {
    Exchange::begin(mechanism, Some(response))
}

fn encoded(response: &[u8]) -> Vec<u8> {
    BASE64.encode(response).into_bytes()
}

/// Name and password, or the code of the reply.
fn outcome(advance: Advance) -> Result<(Vec<u8>, Vec<u8>), u16> {
    match advance {
        Advance::Attempt(attempt) => {
            Ok((attempt.username().to_vec(), attempt.into_password().to_vec()))
        }
        Advance::Failed(error) => Err(error.reply().code().as_u16()),
        Advance::Ask(..) => Err(334),
    }
}

fn known(username: &str, password: &str) -> (Vec<u8>, Vec<u8>) {
    (username.into(), password.into())
}

/// The examples of RFC 4616 §4 and RFC 4954 §4.1.
#[test]
fn plain_as_its_rfc_has_it() {
    let Advance::Ask(exchange, ask) = Exchange::begin(Mechanism::Plain, None) else {
        panic!("an empty challenge")
    };
    assert_eq!((ask.code().as_u16(), ask.text()), (334, &b""[..]));
    let mut line = bytes::BytesMut::new();
    ask.encode(&mut line);
    assert_eq!(&line[..], b"334 \r\n", "RFC 4954 §4: the space is there");
    let response = encoded(b"\0tim\0tanstaaftanstaaf");
    assert_eq!(outcome(exchange.respond(&response)), Ok(known("tim", "tanstaaftanstaaf")));
    assert_eq!(
        outcome(begin(Mechanism::Plain, b"dGVzdAB0ZXN0ADEyMzQ=")),
        Ok(known("test", "1234"))
    );
    let other = encoded(b"Ursel\0Kurt\0xipj3plmq");
    assert_eq!(outcome(begin(Mechanism::Plain, &other)), Err(535), "nobody acts for another");
}

#[test]
fn login_asks_twice() {
    let Advance::Ask(exchange, ask) = Exchange::begin(Mechanism::Login, None) else {
        panic!("a prompt")
    };
    assert_eq!(BASE64.decode(ask.text()).expect("base64"), b"Username:");
    let Advance::Ask(exchange, ask) = exchange.respond(&encoded(b"crm")) else {
        panic!("another prompt")
    };
    assert_eq!(BASE64.decode(ask.text()).expect("base64"), b"Password:");
    assert_eq!(outcome(exchange.respond(&encoded(b"se\0cret"))), Ok(known("crm", "se\0cret")));
    let Advance::Ask(exchange, ask) = begin(Mechanism::Login, &encoded(b"crm")) else {
        panic!("the name was sent along")
    };
    assert_eq!(ask, ASK_PASSWORD);
    assert_eq!(outcome(exchange.respond(b"*")), Err(501));
}

#[test]
fn what_is_not_an_answer_is_not_guessed_at() {
    for (response, expected) in [
        (&b"*"[..], 501),
        (b"=", 501),
        (b"", 501),
        (b"====", 501),
        (b"AHRpbQ", 501),
        // The same octets once more, with bits behind them that nobody reads.
        (b"dGVzdAB0ZXN0ADEyMzR=", 501),
        (b"dGVzdAB0ZXN0ADEyMzQ=\n", 501),
        (b"dGVz dAB0ZXN0ADEyMzQ=", 501),
        (b"\xff", 501),
        (b"dGVzdA-_", 501),
    ] {
        let judged = outcome(begin(Mechanism::Plain, response));
        assert_eq!(judged, Err(expected), "{}", response.escape_ascii());
    }
    let [cancelled, malformed] =
        [&b"*"[..], b"!"].map(|line| match begin(Mechanism::Plain, line) {
            Advance::Failed(error) => error.reply().to_string(),
            other => panic!("{other:?}"),
        });
    assert!(cancelled.starts_with("501 5.7.0 ") && malformed.starts_with("501 5.5.2 "));
    for (response, expected) in
        [(&b"\0a\0b\0c"[..], 501), (b"a\0b", 501), (b"\0\0secret", 535), (b"\0a\0", 535)]
    {
        let judged = outcome(begin(Mechanism::Plain, &encoded(response)));
        assert_eq!(judged, Err(expected), "{}", response.escape_ascii());
    }
}

#[test]
fn names_and_passwords_are_bounded() {
    let plain = |username: usize, password: usize| {
        let response = [&[0][..], &vec![b'u'; username], &[0], &vec![b'p'; password]].concat();
        outcome(begin(Mechanism::Plain, &encoded(&response))).map(|_| ())
    };
    assert_eq!(plain(USERNAME_OCTETS_MAX, PASSWORD_OCTETS_MAX), Ok(()));
    assert_eq!(plain(USERNAME_OCTETS_MAX + 1, 1), Err(535));
    assert_eq!(plain(1, PASSWORD_OCTETS_MAX + 1), Err(535));
}

#[test]
fn nothing_of_it_is_shown() {
    let Advance::Ask(exchange, _) = begin(Mechanism::Login, &encoded(b"secret")) else {
        panic!("the name was sent along")
    };
    assert_eq!(format!("{exchange:?}"), "Exchange(Password)");
    let advance = begin(Mechanism::Plain, &encoded(b"\0secret\0secret"));
    assert_eq!(format!("{advance:?}"), "Attempt(Attempt { .. })");
}

proptest! {
    #[test]
    fn no_answer_panics(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4)) {
        for mechanism in [Mechanism::Plain, Mechanism::Login] {
            let mut advance = Exchange::begin(mechanism, None);
            for line in &lines {
                advance = match advance {
                    Advance::Ask(exchange, _) => exchange.respond(line),
                    other => other,
                };
            }
        }
        let _ = is_mailbox(&lines[0]);
    }

    /// Whatever name and password a client encodes is what comes out.
    #[test]
    fn what_is_said_is_heard(username in "[^\0]{1,60}", password in "[^\0]{1,200}") {
        let response = encoded(format!("\0{username}\0{password}").as_bytes());
        let heard = outcome(begin(Mechanism::Plain, &response));
        prop_assert_eq!(heard, Ok(known(&username, &password)));
    }
}
