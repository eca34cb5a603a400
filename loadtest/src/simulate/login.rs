//! The server's side of SASL: PLAIN, LOGIN and XOAUTH2 up to the credentials in them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::provider::Mechanism;

/// What a client shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Password { username: String, password: String },
    Token { username: String, token: String },
}

/// Where an exchange stands when the client's next line is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    LoginPassword { username: String },
    LoginUsername,
    Plain,
    Xoauth2,
}

/// What comes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The client is asked to go on.
    Ask(Exchange, &'static str),
    /// It has said it all.
    Done(Credentials),
    /// Not base64, not this mechanism's form, or given up with `*`.
    Malformed,
}

/// Begins an exchange. An initial response of `=` is an empty one (RFC 4954 §4).
pub(super) fn start(mechanism: Mechanism, initial_response: Option<&str>) -> Outcome {
    let (exchange, challenge) = match mechanism {
        Mechanism::Login => (Exchange::LoginUsername, "334 VXNlcm5hbWU6"),
        Mechanism::Plain => (Exchange::Plain, "334 "),
        Mechanism::Xoauth2 => (Exchange::Xoauth2, "334 "),
    };
    match initial_response {
        None => Outcome::Ask(exchange, challenge),
        Some("=") => exchange.take(b""),
        Some(response) => exchange.take(response.as_bytes()),
    }
}

impl Exchange {
    /// Takes the client's line.
    pub(super) fn take(self, line: &[u8]) -> Outcome {
        let Ok(decoded) = BASE64_STANDARD.decode(line) else { return Outcome::Malformed };
        let Ok(text) = String::from_utf8(decoded) else { return Outcome::Malformed };
        match self {
            Self::LoginUsername => {
                Outcome::Ask(Self::LoginPassword { username: text }, "334 UGFzc3dvcmQ6")
            }
            Self::LoginPassword { username } => {
                Outcome::Done(Credentials::Password { username, password: text })
            }
            Self::Plain => plain(&text),
            Self::Xoauth2 => xoauth2(&text),
        }
    }
}

/// `authorization NUL authentication NUL password` (RFC 4616 §2).
fn plain(text: &str) -> Outcome {
    match text.split('\0').collect::<Vec<_>>().as_slice() {
        [_, username, password] => Outcome::Done(Credentials::Password {
            username: (*username).to_owned(),
            password: (*password).to_owned(),
        }),
        _ => Outcome::Malformed,
    }
}

/// `user=… ^A auth=Bearer … ^A ^A`.
fn xoauth2(text: &str) -> Outcome {
    let found = text
        .strip_prefix("user=")
        .and_then(|rest| rest.strip_suffix("\x01\x01"))
        .and_then(|rest| rest.split_once("\x01auth=Bearer "));
    match found {
        Some((username, token)) => Outcome::Done(Credentials::Token {
            username: username.to_owned(),
            token: token.to_owned(),
        }),
        None => Outcome::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        BASE64_STANDARD.encode(text)
    }

    #[test]
    fn credentials_come_out() {
        let password = |username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            Outcome::Done(Credentials::Password { username, password })
        };
        assert_eq!(start(Mechanism::Plain, Some(&encode("\0u\0p"))), password("u", "p"));
        assert_eq!(Exchange::Plain.take(encode("a\0u\0p").as_bytes()), password("u", "p"));
        let Outcome::Ask(exchange, "334 VXNlcm5hbWU6") = start(Mechanism::Login, None) else {
            panic!("no question for the name");
        };
        let Outcome::Ask(exchange, "334 UGFzc3dvcmQ6") = exchange.take(encode("u").as_bytes())
        else {
            panic!("no question for the password");
        };
        assert_eq!(exchange.take(encode("p").as_bytes()), password("u", "p"));
        let token = encode("user=a@b.test\x01auth=Bearer t.1\x01\x01");
        assert_eq!(
            start(Mechanism::Xoauth2, Some(&token)),
            Outcome::Done(Credentials::Token {
                username: "a@b.test".to_owned(),
                token: "t.1".to_owned()
            })
        );
    }

    #[test]
    fn what_is_malformed_is_no_login() {
        for (mechanism, response) in [
            (Mechanism::Plain, "*".to_owned()),
            (Mechanism::Plain, encode("u\0p")),
            (Mechanism::Plain, "=".to_owned()),
            (Mechanism::Xoauth2, encode("user=a\x01auth=Bearer t")),
            (Mechanism::Xoauth2, encode("auth=Bearer t\x01\x01")),
        ] {
            assert_eq!(start(mechanism, Some(&response)), Outcome::Malformed, "{response}");
        }
    }
}
