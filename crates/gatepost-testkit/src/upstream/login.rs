//! AUTH of the upstream: who wanted in, and with what.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Somebody who wanted to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The mechanism, in upper case.
    pub mechanism: &'static str,
    /// The name.
    pub username: String,
    /// The password or the access token.
    pub secret: String,
    /// Whether there is such an account.
    pub accepted: bool,
}

/// An AUTH that has begun.
#[derive(Clone, Debug)]
pub(super) enum Exchange {
    Plain,
    Username,
    Password(String),
    Token,
    /// The reason of a refusal was said, and an empty line is awaited.
    Refused,
}

impl Exchange {
    pub(super) fn of_name(mechanism: &str) -> Option<Self> {
        match mechanism {
            "PLAIN" => Some(Self::Plain),
            "LOGIN" => Some(Self::Username),
            "XOAUTH2" => Some(Self::Token),
            _ => None,
        }
    }

    pub(super) const fn challenge(&self) -> &'static str {
        match self {
            Self::Username => "334 VXNlcm5hbWU6",
            Self::Password(_) => "334 UGFzc3dvcmQ6",
            Self::Plain | Self::Token | Self::Refused => "334 ",
        }
    }

    /// A login, or the next question; or how it is refused.
    pub(super) fn take(self, response: &str) -> Result<Result<Login, Self>, &'static str> {
        if let Self::Refused = self {
            let heard = response.is_empty();
            return Err(if heard { "535 5.7.8 bad token" } else { "501 5.5.2 an empty line" });
        }
        let octets = BASE64.decode(response).map_err(|_| "501 5.5.2 not base64")?;
        let text = String::from_utf8(octets).map_err(|_| "501 5.5.2 not UTF-8")?;
        let login = |mechanism, username: &str, secret: &str| {
            let (username, secret) = (username.to_owned(), secret.to_owned());
            Ok(Ok(Login { mechanism, username, secret, accepted: false }))
        };
        match self {
            Self::Username => Ok(Err(Self::Password(text))),
            Self::Password(username) => login("LOGIN", &username, &text),
            Self::Plain => match text.split('\0').collect::<Vec<_>>()[..] {
                ["", username, password] => login("PLAIN", username, password),
                _ => Err("501 5.5.2 not a response of PLAIN"),
            },
            Self::Token | Self::Refused => {
                let parts = text
                    .strip_prefix("user=")
                    .and_then(|text| text.strip_suffix("\x01\x01"))
                    .and_then(|text| text.split_once("\x01auth=Bearer "));
                match parts {
                    Some((username, token)) => login("XOAUTH2", username, token),
                    None => Err("501 5.5.2 not a response of XOAUTH2"),
                }
            }
        }
    }
}
