//! The token endpoint beside a provider that wants XOAUTH2: client credentials in, bearer token out.
//!
//! Speaks the client-credentials grant of RFC 6749 §4.4 over plain HTTP, as the endpoint of
//! Microsoft Entra does over HTTPS: the client's id and secret stand in the form or in the
//! Authorization field. Tokens are opaque, and forgotten when their time is over.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::record::Notebook;

/// What an application shows to get a token.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// The application's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Default for ClientCredentials {
    fn default() -> Self {
        Self {
            id: "00000000-0000-0000-0000-000000000001".to_owned(),
            secret: "simulated".to_owned(),
        }
    }
}

/// The tokens that are good, and until when.
#[derive(Debug)]
pub(super) struct Tokens {
    client: ClientCredentials,
    lifetime: Duration,
    issued: Mutex<Issued>,
}

#[derive(Debug, Default)]
struct Issued {
    count: u64,
    until: HashMap<String, Instant>,
}

impl Tokens {
    pub(super) fn new(client: ClientCredentials, lifetime: Duration) -> Self {
        Self { client, lifetime, issued: Mutex::default() }
    }

    /// Whether a token is good.
    pub(super) fn accepts(&self, token: &str, now: Instant) -> bool {
        self.open().until.get(token).is_some_and(|&until| now < until)
    }

    fn issue(&self, now: Instant) -> String {
        let mut issued = self.open();
        issued.until.retain(|_, until| now < *until);
        issued.count += 1;
        // Random enough for a token that opens nothing but this simulator.
        let random = RandomState::new().hash_one(issued.count);
        let token = format!("simulated.{}.{random:016x}", issued.count);
        issued.until.insert(token.clone(), now + self.lifetime);
        token
    }

    fn open(&self) -> MutexGuard<'_, Issued> {
        // Poisoned only by a panic in one of the few lines above, and those do not panic.
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    scope: String,
}

#[derive(Clone)]
struct Endpoint {
    tokens: Arc<Tokens>,
    notebook: Arc<Notebook>,
}

/// Serves token requests at any path, for ever.
pub(super) async fn serve(
    listener: TcpListener,
    tokens: Arc<Tokens>,
    notebook: Arc<Notebook>,
) -> io::Result<()> {
    let endpoint = Endpoint { tokens, notebook };
    axum::serve(listener, Router::new().fallback(any(answer)).with_state(endpoint)).await
}

async fn answer(
    State(endpoint): State<Endpoint>,
    headers: HeaderMap,
    Form(request): Form<Request>,
) -> Response {
    let (id, secret) =
        basic(&headers).unwrap_or((request.client_id.clone(), request.client_secret.clone()));
    let client = &endpoint.tokens.client;
    if request.grant_type != "client_credentials" {
        let reason = "AADSTS70003: The app requested an unsupported grant type.";
        return fault(StatusCode::BAD_REQUEST, "unsupported_grant_type", reason);
    }
    if id != client.id {
        let reason = "AADSTS700016: Application was not found in the directory.";
        return fault(StatusCode::BAD_REQUEST, "unauthorized_client", reason);
    }
    if secret != client.secret {
        let reason = "AADSTS7000215: Invalid client secret provided.";
        return fault(StatusCode::UNAUTHORIZED, "invalid_client", reason);
    }
    if !request.scope.ends_with("/.default") {
        let reason = "AADSTS1002012: The provided value for scope is not valid. Client credential \
                      flows must have a scope value with /.default suffixed.";
        return fault(StatusCode::BAD_REQUEST, "invalid_scope", reason);
    }
    let token = endpoint.tokens.issue(Instant::now());
    endpoint.notebook.note(|record| record.tokens += 1);
    Json(json!({
        "token_type": "Bearer",
        "expires_in": endpoint.tokens.lifetime.as_secs(),
        "access_token": token,
    }))
    .into_response()
}

fn fault(status: StatusCode, error: &str, reason: &str) -> Response {
    (status, Json(json!({ "error": error, "error_description": reason }))).into_response()
}

/// Id and secret in the Authorization field (RFC 6749 §2.3.1). Percent-encoding is left alone: the
/// credentials of a simulator need none.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let field = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = BASE64_STANDARD.decode(field.strip_prefix("Basic ")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_alone() {
        let tokens = Tokens::new(ClientCredentials::default(), Duration::from_secs(10));
        let start = Instant::now();
        let token = tokens.issue(start);
        assert!(tokens.accepts(&token, start + Duration::from_secs(9)));
        assert!(!tokens.accepts(&token, start + Duration::from_secs(10)));
        assert!(!tokens.accepts("simulated.1.0", start));
        let next = tokens.issue(start + Duration::from_secs(10));
        assert_ne!(token, next);
        assert_eq!(tokens.open().until.len(), 1, "the first one is forgotten");
    }
}
