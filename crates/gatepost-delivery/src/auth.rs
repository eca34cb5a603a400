//! Whom we log in as at an upstream (RFC 4954), and what proves it.
//!
//! A [`Secret`] is wiped when it is dropped and shown by nothing. It is handed out only when a
//! connection says it, behind TLS; that is decided by the opening of `gatepost-smtp`.

use std::fmt;
use std::sync::Arc;

use gatepost_smtp::client::{Mechanism, SECRET_OCTETS_MAX};
use zeroize::Zeroizing;

use crate::token::{TokenConfig, TokenError, TokenSource};

/// A password, a client secret or an access token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why octets are no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing is there.
    #[error("it is empty; write the secret into it, on one line")]
    Empty,
    /// NUL, CR or LF.
    #[error("it has more than one line, or a NUL in it; write the secret alone, on one line")]
    Octet,
    /// A client secret that is no text.
    #[error("it is not UTF-8, which a client secret has to be")]
    NotText,
    /// More than can be said.
    #[error("it has more than {SECRET_OCTETS_MAX} octets, which no mechanism can say")]
    TooLong,
}

/// Whom we log in as.
#[derive(Clone)]
pub enum Credentials {
    /// LOGIN with a password.
    Login {
        /// The name.
        username: Arc<str>,
        /// The password.
        password: Arc<Secret>,
    },
    /// PLAIN with a password.
    Plain {
        /// The name.
        username: Arc<str>,
        /// The password.
        password: Arc<Secret>,
    },
    /// XOAUTH2 with an access token that is fetched.
    Bearer {
        /// The mailbox that the token is for.
        username: Arc<str>,
        /// How tokens are fetched.
        grant: TokenConfig,
        /// Where they come from.
        tokens: Arc<TokenSource>,
    },
}

impl Secret {
    /// The content of a file: one line, its end not counted.
    pub fn of_file(mut octets: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        let line = octets
            .strip_suffix(b"\n")
            .map_or(&octets[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
        let length = line.len();
        octets.truncate(length);
        Self::new(octets)
    }

    /// These octets.
    pub fn new(octets: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        if octets.is_empty() {
            Err(SecretError::Empty)
        } else if octets.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')) {
            Err(SecretError::Octet)
        } else if octets.len() > SECRET_OCTETS_MAX {
            Err(SecretError::TooLong)
        } else {
            Ok(Self(octets))
        }
    }

    /// The octets themselves, to be said and kept nowhere.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Credentials {
    /// XOAUTH2 for a mailbox.
    pub fn bearer(username: Arc<str>, grant: TokenConfig) -> Self {
        let tokens = TokenSource::new(grant.clone());
        Self::Bearer { username, grant, tokens }
    }

    /// These, counted where the earlier ones of the same upstream were: files are read again by
    /// threads that have no metrics.
    pub(crate) fn in_place_of(self, earlier: Option<&Self>) -> Self {
        match (self, earlier) {
            (Self::Bearer { username, grant, .. }, Some(Self::Bearer { tokens, .. })) => {
                let tokens = tokens.succeeded_by(grant.clone());
                Self::Bearer { username, grant, tokens }
            }
            (credentials, _) => credentials,
        }
    }

    /// The name.
    pub const fn username(&self) -> &Arc<str> {
        match self {
            Self::Login { username, .. }
            | Self::Plain { username, .. }
            | Self::Bearer { username, .. } => username,
        }
    }

    /// How it is said.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Login { .. } => Mechanism::Login,
            Self::Plain { .. } => Mechanism::Plain,
            Self::Bearer { .. } => Mechanism::XOauth2,
        }
    }

    /// What proves it at present.
    pub(crate) async fn secret(&self) -> Result<Arc<Secret>, TokenError> {
        match self {
            Self::Login { password, .. } | Self::Plain { password, .. } => Ok(password.clone()),
            Self::Bearer { tokens, .. } => tokens.token().await,
        }
    }

    /// The upstream has refused it for good: a token is fetched anew. A password stays what it is.
    pub(crate) async fn refused(&self, secret: &Secret) {
        if let Self::Bearer { tokens, .. } = self {
            tokens.invalidate(secret).await;
        }
    }
}

/// Whether nothing has changed. Tokens come and go without a change.
impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let same_name =
            self.mechanism() == other.mechanism() && self.username() == other.username();
        same_name
            && match (self, other) {
                (Self::Bearer { grant, .. }, Self::Bearer { grant: other, .. }) => grant == other,
                (
                    Self::Login { password, .. } | Self::Plain { password, .. },
                    Self::Login { password: other, .. } | Self::Plain { password: other, .. },
                ) => password == other,
                _ => false,
            }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism())
            .field("username", self.username())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(octets: &[u8]) -> Result<Secret, SecretError> {
        Secret::of_file(Zeroizing::new(octets.to_vec()))
    }

    #[test]
    fn a_secret_is_one_line() {
        for (file, secret) in
            [(&b"x y"[..], &b"x y"[..]), (b" x \n", b" x "), (b"x\r\n", b"x"), (b"\xff\n", b"\xff")]
        {
            assert_eq!(of_file(file).expect("a secret").expose(), secret);
        }
        for empty in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(of_file(empty), Err(SecretError::Empty));
        }
        for wrong in [&b"a\nb\n"[..], b"a\n\n", b"a\0", b"a\r", b"\ra"] {
            assert_eq!(of_file(wrong), Err(SecretError::Octet), "{wrong:?}");
        }
        assert!(of_file(&[b'x'; SECRET_OCTETS_MAX]).is_ok());
        assert_eq!(of_file(&[b'x'; SECRET_OCTETS_MAX + 1]), Err(SecretError::TooLong));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let password = Arc::new(of_file(b"hunter2").expect("a secret"));
        let credentials = Credentials::Plain { username: "tim".into(), password };
        let shown = format!("{credentials:?} {:?}", of_file(b"hunter2"));
        assert!(shown.contains("tim") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("104, 117"), "{shown}");
    }
}
