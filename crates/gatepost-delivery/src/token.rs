//! Access tokens for XOAUTH2: fetched from a token endpoint with the client's own credentials (RFC
//! 6749 §4.4), kept while they are good, and fetched again before they are not.
//!
//! However many connections are being opened, one request is on its way. An endpoint that refuses or
//! does not answer is left alone for a while, longer each time; a token that is still good is used
//! meanwhile. Neither a secret nor a token is ever part of an error.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter, describe_counter};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::auth::Secret;
use crate::resolver::Resolver;
use crate::tls::{self, Roots, Trust};

mod answer;

use answer::Granted;

/// From the name of the endpoint to the end of its answer. A connection is being opened meanwhile,
/// and an application waits for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);
/// Octets of an answer: a token with many claims has 4 KiB.
const ANSWER_OCTETS_MAX: usize = 64 * 1024;
/// A token this near its end is replaced: it has to live until the upstream has looked at it.
const RENEWAL_MARGIN: Duration = Duration::from_mins(5);
/// The first pause after a failure, and the longest: a secret that was refused does not get better by
/// being tried more often.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_mins(5)];

/// Where tokens come from, and for whom. Tokens outlive a reload that changes none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// The upstream that they are shown to; in metrics and the log.
    pub upstream: Arc<str>,
    /// Whom to ask.
    pub endpoint: TokenEndpoint,
    /// Whom we take for the endpoint.
    pub roots: Roots,
    /// Who we are to it.
    pub client_id: Arc<str>,
    /// What proves that.
    pub client_secret: Arc<Secret>,
    /// What the token is to be good for, like `https://outlook.office365.com/.default`.
    pub scope: Option<Arc<str>>,
}

/// The address of a token endpoint: `https`, or `http` on this very machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint(Url);

/// Why a text is not the address of a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenEndpointError {
    /// The secret would go over the network for everybody to read.
    #[error(
        "must begin with https://: the secret is sent there (http:// only to a loopback address)"
    )]
    Plain,
    /// It is no address, or one with a name, a password or a fragment in it.
    #[error(
        "is not the address of a token endpoint; write one like https://login.example.com/oauth2/token"
    )]
    Malformed,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The endpoint has answered, and what it said cannot be used.
    #[error("the token endpoint gives no usable answer: {0}")]
    Malformed(&'static str),
    /// The endpoint refuses us; somebody must mend `client_id`, `client_secret_file` or `scope`.
    #[error("the token endpoint refuses: {0}")]
    Refused(Arc<str>),
    /// The endpoint does not answer.
    #[error("the token endpoint cannot be reached: {0}")]
    Unreachable(Arc<str>),
}

/// Tokens of one upstream.
pub struct TokenSource {
    config: TokenConfig,
    http: Result<Client, TokenError>,
    metrics: TokenMetrics,
    /// Held while a token is fetched, so that one request is on its way.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<Failed>,
}

struct Held {
    token: Arc<Secret>,
    /// From then on another is wanted.
    renew_at: Instant,
    ends_at: Instant,
}

struct Failed {
    error: TokenError,
    pause: Duration,
    again_at: Instant,
}

#[derive(Clone)]
struct TokenMetrics {
    fetched: Counter,
    failed: Counter,
}

impl TokenSource {
    /// A source that has not asked for anything yet.
    pub fn new(config: TokenConfig) -> Arc<Self> {
        let metrics = TokenMetrics::new(&config.upstream);
        Self::counted(config, metrics)
    }

    /// A source in the place of this one, for the same upstream. It has not asked for anything yet.
    pub(crate) fn succeeded_by(&self, config: TokenConfig) -> Arc<Self> {
        Self::counted(config, self.metrics.clone())
    }

    fn counted(config: TokenConfig, metrics: TokenMetrics) -> Arc<Self> {
        let http = client(&config);
        Arc::new(Self { config, http, metrics, state: Mutex::default() })
    }

    /// A token that is good now. A request goes on if nobody waits for its answer any more: what
    /// came of it is known to the next one who asks.
    pub async fn token(self: &Arc<Self>) -> Result<Arc<Secret>, TokenError> {
        let known = self.state.lock().await.known(Instant::now());
        if let Some(known) = known {
            return known;
        }
        let source = Arc::clone(self);
        let renewed = tokio::spawn(async move { source.renewed().await });
        renewed.await.unwrap_or_else(|bug| Err(TokenError::Unreachable(bug.to_string().into())))
    }

    /// What is known once nobody else is asking; if it is nothing, the endpoint is asked.
    async fn renewed(&self) -> Result<Arc<Secret>, TokenError> {
        let mut state = self.state.lock().await;
        if let Some(known) = state.known(Instant::now()) {
            return known;
        }
        let fetched = self.fetch().await;
        match &fetched {
            Ok(_) => self.metrics.fetched.increment(1),
            Err(error) => {
                self.metrics.failed.increment(1);
                let TokenConfig { upstream, endpoint, .. } = &self.config;
                tracing::warn!(upstream = &**upstream, %endpoint, "no access token: {error}");
            }
        }
        state.learn(fetched, Instant::now())
    }

    /// The upstream does not take this token: the next one is fetched anew.
    pub async fn invalidate(&self, token: &Secret) {
        self.state.lock().await.held.take_if(|held| *held.token == *token);
    }

    async fn fetch(&self) -> Result<Granted, TokenError> {
        let TokenConfig { endpoint, client_id, client_secret, scope, .. } = &self.config;
        let client_secret = std::str::from_utf8(client_secret.expose())
            .map_err(|_| TokenError::Refused("the client secret is not UTF-8".into()))?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", client_secret),
        ];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let http = self.http.as_ref().map_err(Clone::clone)?;
        let request = http.post(endpoint.0.clone()).form(&form);
        let request = request.header("accept", "application/json");
        let mut response = request.send().await.map_err(|error| unreachable(&error))?;
        let is_granted = response.status().is_success();
        let body = body(&mut response).await?;
        if is_granted {
            Granted::from_json(&body).map_err(TokenError::Malformed)
        } else if response.status().is_server_error() {
            Err(TokenError::Unreachable(format!("it answers {}", response.status()).into()))
        } else {
            Err(TokenError::Refused(
                answer::refusal(response.status(), &body, client_secret).into(),
            ))
        }
    }
}

impl State {
    /// What is known without asking: a token, or that it is too early to ask again.
    fn known(&self, now: Instant) -> Option<Result<Arc<Secret>, TokenError>> {
        let good = self.held.as_ref().filter(|held| now < held.ends_at);
        if let Some(fresh) = good.filter(|held| now < held.renew_at) {
            return Some(Ok(Arc::clone(&fresh.token)));
        }
        let failed = self.failed.as_ref().filter(|failed| now < failed.again_at)?;
        Some(good.map(|held| Arc::clone(&held.token)).ok_or_else(|| failed.error.clone()))
    }

    /// Takes in what the endpoint has said, and says what that makes of a token that is still good.
    fn learn(
        &mut self,
        fetched: Result<Granted, TokenError>,
        now: Instant,
    ) -> Result<Arc<Secret>, TokenError> {
        match fetched {
            Ok(granted) => {
                let held = Held::new(granted, now);
                let token = Arc::clone(&held.token);
                *self = Self { held: Some(held), failed: None };
                Ok(token)
            }
            Err(error) => {
                let pause = self.failed.as_ref().map_or(PAUSES[0], |it| it.pause * 2);
                let pause = pause.min(PAUSES[1]);
                let failed = Failed { error: error.clone(), pause, again_at: now + pause };
                self.failed = Some(failed);
                let good = self.held.as_ref().filter(|held| now < held.ends_at);
                good.map(|held| Arc::clone(&held.token)).ok_or(error)
            }
        }
    }
}

impl Held {
    /// A short-lived token is renewed when three quarters of its life are over.
    fn new(granted: Granted, now: Instant) -> Self {
        let margin = RENEWAL_MARGIN.min(granted.lifetime / 4);
        let ends_at = now + granted.lifetime;
        Self { token: Arc::new(granted.token), renew_at: ends_at - margin, ends_at }
    }
}

impl TokenMetrics {
    fn new(upstream: &str) -> Self {
        describe_counter!(
            "gatepost_upstream_token_fetches_total",
            "Requests for an access token, by what came of them"
        );
        let count = |result: &'static str| {
            let upstream = upstream.to_owned();
            let counter = counter!("gatepost_upstream_token_fetches_total", "upstream" => upstream, "result" => result);
            // An alert on the first increase needs a zero to increase from.
            counter.increment(0);
            counter
        };
        Self { fetched: count("fetched"), failed: count("failed") }
    }
}

fn client(config: &TokenConfig) -> Result<Client, TokenError> {
    let tls = tls::client_config(&Trust::Roots(config.roots.clone()), None)
        .map_err(|error| TokenError::Unreachable(error.to_string().into()))?;
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(FETCH_TIMEOUT)
        .dns_resolver(Names(Resolver::of_machine()))
        // RFC 6749 knows no redirects, and a secret is not sent on.
        .redirect(Policy::none())
        // Between two requests lies an hour.
        .pool_max_idle_per_host(0);
    // A proxy of the company is no way to this very machine.
    let builder = if config.endpoint.is_loopback() { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| unreachable(&error))
}

/// Names are looked up as those of upstreams are: no thread waits.
struct Names(Arc<Resolver>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = Arc::clone(&self.0);
        Box::pin(async move {
            let place = resolver.place(name.as_str().into()).await?;
            // The port is that of the URL.
            let addresses: Vec<_> =
                place.addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The body of an answer, as long as it may be.
async fn body(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > ANSWER_OCTETS_MAX {
            return Err(TokenError::Malformed("it is longer than 64 KiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with its causes; the outermost says only that a request has failed.
fn unreachable(error: &reqwest::Error) -> TokenError {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{error}", if text.is_empty() { "" } else { ": " });
        cause = error.source();
    }
    if error.is_timeout() {
        "it does not answer in time".clone_into(&mut text);
    }
    TokenError::Unreachable(text.into())
}

impl TokenEndpoint {
    fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    }
}

impl fmt::Display for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenEndpoint {
    type Err = TokenEndpointError;

    fn from_str(text: &str) -> Result<Self, TokenEndpointError> {
        let url = Url::parse(text).map_err(|_| TokenEndpointError::Malformed)?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.has_host();
        if !is_bare {
            return Err(TokenEndpointError::Malformed);
        }
        let endpoint = Self(url);
        match endpoint.0.scheme() {
            "https" => Ok(endpoint),
            "http" if endpoint.is_loopback() => Ok(endpoint),
            "http" => Err(TokenEndpointError::Plain),
            _ => Err(TokenEndpointError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests;
