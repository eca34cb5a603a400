//! SASL: the words of an authentication (RFC 4954, PLAIN of RFC 4616, and LOGIN, which no RFC has).
//!
//! An [`Exchange`] takes what the client answers, and comes to an [`Attempt`]: a name and a password
//! that nobody has looked at yet. It knows no passwords, and keeps none: what it was told is wiped
//! when it is dropped. Base64 is read as RFC 4648 has it, and nothing else is taken for it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use zeroize::Zeroizing;

use crate::reply::Reply;

/// Octets of a name: as many as of any other name that a client may have.
pub const USERNAME_OCTETS_MAX: usize = 255;
/// Octets of a password: hashing more gains nothing.
pub const PASSWORD_OCTETS_MAX: usize = 1024;

/// The challenge of PLAIN is empty (RFC 4616 §2).
const ASK: Reply = Reply::fixed_plain(334, "");
const ASK_USERNAME: Reply = Reply::fixed_plain(334, "VXNlcm5hbWU6");
const ASK_PASSWORD: Reply = Reply::fixed_plain(334, "UGFzc3dvcmQ6");

/// The mechanisms that are spoken. Both send the password, so both need TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password in one answer each.
    Login,
    /// Both in one.
    Plain,
}

/// An authentication that has begun.
#[derive(Debug)]
pub struct Exchange(State);

enum State {
    /// PLAIN: all is awaited.
    Plain,
    /// LOGIN: the name is awaited.
    Username,
    /// LOGIN: the password is awaited, of this name.
    Password(Zeroizing<Vec<u8>>),
}

/// Where an answer has led.
#[derive(Debug)]
pub enum Advance {
    /// Say this, and wait for the next answer.
    Ask(Exchange, Reply),
    /// All is said.
    Attempt(Attempt),
    /// It is over.
    Failed(SaslError),
}

/// Somebody who says a name, and the password that goes with it. Wiped when it is dropped.
pub struct Attempt {
    username: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

/// Why an authentication came to no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client wants to be another than it proves to be, or says a name or a password that nobody
    /// has: the answer is that to a wrong password.
    #[error("authentication failed")]
    Refused,
    /// The client has thought better of it.
    #[error("authentication cancelled")]
    Cancelled,
    /// What came is not base64, or not what the mechanism wants.
    #[error("malformed response")]
    Malformed,
}

impl Mechanism {
    /// The mechanism of a name, in any case.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"PLAIN") {
            Some(Self::Plain)
        } else if name.eq_ignore_ascii_case(b"LOGIN") {
            Some(Self::Login)
        } else {
            None
        }
    }
}

impl Exchange {
    /// Begins, with what the client has sent along. `=` is the empty response (RFC 4954 §4).
    pub fn begin(mechanism: Mechanism, initial_response: Option<&[u8]>) -> Advance {
        let (exchange, ask) = match mechanism {
            Mechanism::Plain => (Self(State::Plain), ASK),
            Mechanism::Login => (Self(State::Username), ASK_USERNAME),
        };
        match initial_response {
            None => Advance::Ask(exchange, ask),
            Some(b"=") => exchange.take(Zeroizing::default()),
            Some(response) => exchange.respond(response),
        }
    }

    /// Takes the next answer, a line without its CRLF.
    pub fn respond(self, line: &[u8]) -> Advance {
        if line == b"*" {
            return Advance::Failed(SaslError::Cancelled);
        }
        match BASE64.decode(line) {
            Ok(octets) => self.take(Zeroizing::new(octets)),
            Err(_) => Advance::Failed(SaslError::Malformed),
        }
    }

    fn take(self, response: Zeroizing<Vec<u8>>) -> Advance {
        match self.0 {
            State::Plain => plain(&response),
            State::Username => Advance::Ask(Self(State::Password(response)), ASK_PASSWORD),
            State::Password(username) => attempt(username, response),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 §2). Nobody acts for another here.
fn plain(response: &[u8]) -> Advance {
    let mut parts = response.split(|&octet| octet == 0);
    let (Some(acts_for), Some(username), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Advance::Failed(SaslError::Malformed);
    };
    if !acts_for.is_empty() && acts_for != username {
        return Advance::Failed(SaslError::Refused);
    }
    attempt(Zeroizing::new(username.to_vec()), Zeroizing::new(password.to_vec()))
}

fn attempt(username: Zeroizing<Vec<u8>>, password: Zeroizing<Vec<u8>>) -> Advance {
    let is_empty = username.is_empty() || password.is_empty();
    if is_empty || username.len() > USERNAME_OCTETS_MAX || password.len() > PASSWORD_OCTETS_MAX {
        return Advance::Failed(SaslError::Refused);
    }
    Advance::Attempt(Attempt { username, password })
}

impl Attempt {
    /// The name.
    pub fn username(&self) -> &[u8] {
        &self.username
    }

    /// The password, to be kept no longer than it takes.
    pub fn into_password(self) -> Zeroizing<Vec<u8>> {
        self.password
    }
}

/// A client that mistakes one prompt for the other sends its password as its name.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Username => "Username",
            Self::Password(_) => "Password",
        })
    }
}

impl SaslError {
    /// The reply that says so.
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Self::Refused => (535, (5, 7, 8)),
            Self::Cancelled => (501, (5, 7, 0)),
            Self::Malformed => (501, (5, 5, 2)),
        };
        Reply::new(code, status, self.to_string())
    }
}

/// Whether AUTH= of MAIL has a form that it may have: `<>`, or xtext (RFC 4954 §5, RFC 3461 §4).
pub(crate) fn is_mailbox(value: &[u8]) -> bool {
    let is_hex = |octet: &u8| octet.is_ascii_digit() || (b'A'..=b'F').contains(octet);
    let mut parts = value.split(|&octet| octet == b'+');
    let is_plain = |part: &[u8]| {
        part.iter().all(|octet| (b'!'..=b'~').contains(octet) && !b"=<>".contains(octet))
    };
    let escapes = |part: &[u8]| {
        part.split_at_checked(2).is_some_and(|(hex, rest)| hex.iter().all(is_hex) && is_plain(rest))
    };
    value == b"<>" || !value.is_empty() && parts.next().is_some_and(is_plain) && parts.all(escapes)
}

#[cfg(test)]
mod tests;
