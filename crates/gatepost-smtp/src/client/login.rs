//! Who we are to an upstream, and how it is said (RFC 4954; PLAIN of RFC 4616, and LOGIN and XOAUTH2,
//! which no RFC has).
//!
//! Octets that hold a secret are made in buffers that are wiped, and appended in one piece to a buffer
//! that has room for them: growing it would leave copies behind. Nothing here is shown by `Debug`.
//! CRAM-MD5 is not spoken: it makes the upstream keep passwords as they are.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{BufMut, BytesMut};
use zeroize::Zeroizing;

use crate::reply::{LINE_OCTETS_MAX, Reply};

/// Octets of a secret: what a line of 12,288 octets holds in base64 beside a name (RFC 4954 §4).
/// Access tokens of the large providers have two thousand.
pub const SECRET_OCTETS_MAX: usize = 8 * 1024;

/// How it is said. All of them send the secret itself, so all of them need TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Name and password in one answer each.
    Login,
    /// Both in one.
    Plain,
    /// Name and an access token (RFC 6750) in one.
    XOauth2,
}

/// A name and what proves it.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// How it is said.
    pub mechanism: Mechanism,
    /// The name, at most 255 octets without NUL.
    pub username: &'a str,
    /// Password or token, at most [`SECRET_OCTETS_MAX`] octets without NUL, CR or LF.
    pub secret: &'a [u8],
}

/// How far an authentication has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The mechanism was named.
    Named,
    /// LOGIN: the name was said.
    Introduced,
    /// All is said.
    Complete,
    /// The upstream went on asking, and was told that there is no more.
    Ended,
}

impl Mechanism {
    /// Its name in AUTH.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "LOGIN",
            Self::Plain => "PLAIN",
            Self::XOauth2 => "XOAUTH2",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Login<'_> {
    /// Appends AUTH, with all there is to say if the line is no longer than a command may be (RFC 4954
    /// §4). LOGIN has no such form that all servers know.
    pub(super) fn begin(&self, out: &mut BytesMut) -> Step {
        let name = self.mechanism.name().as_bytes();
        let response = match self.mechanism {
            Mechanism::Login => Zeroizing::default(),
            Mechanism::Plain | Mechanism::XOauth2 => self.response(),
        };
        let octets = b"AUTH ".len() + name.len() + b" ".len() + response.len() + b"\r\n".len();
        if response.is_empty() || octets > LINE_OCTETS_MAX {
            put(&[b"AUTH ", name, b"\r\n"], out);
            return Step::Named;
        }
        put(&[b"AUTH ", name, b" ", response.as_bytes(), b"\r\n"], out);
        Step::Complete
    }

    /// Answers 334, whatever its text is: prompts differ from server to server. `None` if there is
    /// nothing that could be answered.
    pub(super) fn answer(&self, step: Step, out: &mut BytesMut) -> Option<Step> {
        let (line, next) = match (step, self.mechanism) {
            (Step::Named, Mechanism::Login) => (base64(self.username.as_bytes()), Step::Introduced),
            (Step::Introduced, _) => (base64(self.secret), Step::Complete),
            (Step::Named, _) => (self.response(), Step::Complete),
            // The challenge says what is wrong; the reply to an empty line refuses.
            (Step::Complete, Mechanism::XOauth2) => (Zeroizing::default(), Step::Ended),
            // RFC 4954 §4: a client that has no answer cancels.
            (Step::Complete, _) => (Zeroizing::new("*".to_owned()), Step::Ended),
            (Step::Ended, _) => return None,
        };
        put(&[line.as_bytes(), b"\r\n"], out);
        Some(next)
    }

    /// A reply that goes to logs: an upstream that repeats the secret is not quoted.
    pub(super) fn without(&self, reply: &Reply) -> Reply {
        let [encoded, response] = [base64(self.secret), self.response()];
        let said = [self.secret, encoded.as_bytes(), response.as_bytes()];
        let repeats = |secret: &&[u8]| {
            !secret.is_empty() && reply.text().windows(secret.len()).any(|text| text == *secret)
        };
        if !said.iter().any(repeats) {
            return reply.clone();
        }
        let code = reply.code().as_u16();
        Reply::plain(code, "(a text that repeats the secret)")
    }

    /// What PLAIN and XOAUTH2 say, in base64.
    fn response(&self) -> Zeroizing<String> {
        let (username, secret) = (self.username.as_bytes(), self.secret);
        let parts: &[&[u8]] = match self.mechanism {
            // RFC 4616 §2: nobody acts for another.
            Mechanism::Plain | Mechanism::Login => &[b"\0", username, b"\0", secret],
            Mechanism::XOauth2 => &[b"user=", username, b"\x01auth=Bearer ", secret, b"\x01\x01"],
        };
        let octets = parts.iter().map(|part| part.len()).sum();
        let mut all = Zeroizing::new(Vec::with_capacity(octets));
        for part in parts {
            all.extend_from_slice(part);
        }
        base64(&all)
    }
}

/// Made in one piece: the encoder knows how long it will be.
fn base64(octets: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(octets))
}

fn put(parts: &[&[u8]], out: &mut BytesMut) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.put_slice(part);
    }
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}
