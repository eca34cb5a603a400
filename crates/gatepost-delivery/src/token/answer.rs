//! What a token endpoint answers: a token (RFC 6749 §5.1), or why there is none (§5.2).

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::auth::Secret;

/// Octets of a token: with its wrapping, and in base64, it has to fit into a line of AUTH, which is
/// 12,288 octets (RFC 4954 §4).
const TOKEN_OCTETS_MAX: usize = 8 * 1024;
const NO_TOKEN: &str = "it is not a token of RFC 6750 §2.1, or longer than 8 KiB";
/// How long a token is good that does not say so: RFC 6749 §5.1 lets the endpoint leave it out.
const LIFETIME_UNTOLD: Duration = Duration::from_mins(5);
/// Nobody hands out a token for longer, and a number that is out of its mind must not overflow a
/// clock.
const LIFETIME_MAX: Duration = Duration::from_hours(24);
/// Characters of a refusal that are told.
const REFUSAL_CHARS_MAX: usize = 300;

/// A token, and how long it is good.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
}

#[derive(Deserialize)]
struct GrantedJson {
    access_token: String,
    token_type: String,
    expires_in: Option<Seconds>,
}

/// A number; some endpoints write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct RefusedJson {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Granted {
    pub(super) fn from_json(body: &[u8]) -> Result<Self, &'static str> {
        let GrantedJson { access_token, token_type, expires_in } =
            serde_json::from_slice(body).map_err(|_| "it is not the JSON of RFC 6749 §5.1")?;
        let token = Zeroizing::new(access_token.into_bytes());
        if !token_type.eq_ignore_ascii_case("bearer") {
            return Err("it is not a bearer token");
        }
        // RFC 6750 §2.1: whatever else is in a token could end the line that it is sent in.
        let is_b64token = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet);
        if token.len() > TOKEN_OCTETS_MAX || !token.iter().copied().all(is_b64token) {
            return Err(NO_TOKEN);
        }
        let token = Secret::new(token).map_err(|_| NO_TOKEN)?;
        let lifetime = match expires_in {
            None => LIFETIME_UNTOLD,
            Some(Seconds::Number(seconds)) => Duration::from_secs(seconds),
            Some(Seconds::Text(text)) => text
                .parse()
                .map(Duration::from_secs)
                .map_err(|_| "its expires_in is not a number of seconds")?,
        };
        Ok(Self { token, lifetime: lifetime.min(LIFETIME_MAX) })
    }
}

/// A refusal in words: those of the endpoint, if it has any, without control characters. One that
/// repeats the secret is not quoted.
pub(super) fn refusal(status: StatusCode, body: &[u8], secret: &str) -> String {
    let said = serde_json::from_slice::<RefusedJson>(body).ok();
    let said = said.map(|RefusedJson { error, error_description }| {
        if error_description.is_empty() { error } else { format!("{error}: {error_description}") }
    });
    let said = said.unwrap_or_else(|| "no reason given".to_owned());
    if said.contains(secret) {
        return format!("{status}: (a text that repeats the secret)");
    }
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    let said: String = said.chars().take(REFUSAL_CHARS_MAX).map(printable).collect();
    format!("{status}: {said}")
}
