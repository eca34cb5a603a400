//! The pages: `/metrics`, `/livez`, `/readyz`, and nothing else.
//!
//! They read what others have set and change nothing, so they need no password; where they can be
//! reached from is decided by the address they are bound to.

use std::future::Future;

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderName},
    },
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    readiness::{Check, Readiness},
    recorder::MetricsHandle,
    server,
};

/// Version of the text format, as Prometheus asks for it.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4";

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    metrics: MetricsHandle,
    readiness: Readiness,
}

impl Pages {
    /// `/metrics` shows the one, `/readyz` the other.
    pub const fn new(metrics: MetricsHandle, readiness: Readiness) -> Self {
        Self { metrics, readiness }
    }
}

/// Serves the pages until `shutdown` is done.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()>) {
    server::run(listener, router(pages), shutdown).await;
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .with_state(pages)
}

async fn metrics(State(pages): State<Pages>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], pages.metrics.render())
}

/// The process answers: that is all it says.
async fn livez() -> &'static str {
    "ok"
}

/// `ok`, or a line for each check that fails; with `?verbose`, a line for each check.
async fn readyz(State(pages): State<Pages>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let checks = pages.readiness.checks();
    let ready = checks.iter().all(|check| check.failure.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = if query.as_deref().is_some_and(is_verbose) {
        lines(&checks)
    } else if ready {
        "ok".to_owned()
    } else {
        let failing: Vec<_> = checks.into_iter().filter(|check| check.failure.is_some()).collect();
        lines(&failing)
    };
    (status, body)
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n")
}

fn is_verbose(query: &str) -> bool {
    query.split('&').any(|part| part.split('=').next() == Some("verbose"))
}

fn lines(checks: &[Check]) -> String {
    let line =
        |check: &Check| format!("{}: {}\n", check.name, check.failure.as_deref().unwrap_or("ok"));
    checks.iter().map(line).collect()
}
