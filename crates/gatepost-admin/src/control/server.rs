//! The gateway's side of the control socket: paths, and who answers them.
//!
//! A handler never holds a ruleset across a wait, and what takes longer than a glance is done off
//! the threads that serve sessions. Limits of connections are those of the small server below.

use std::{future::Future, net::IpAddr, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gatepost_policy::snapshot::Snapshot;
use serde::Deserialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    host::{EditCause, EditRequest, Host},
    listing::{self, ListingError, Wanted},
    queue,
    socket::ControlSocket,
    views::{DoctorView, EditView, EntryView, Page, StatusView},
};
use crate::server;

/// Every crate of the workspace has the version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const PATHS: &str = "there are /v1/status, /v1/entries, /v1/entries/{id}, /v1/upstreams, /v1/denied, \
                     /v1/doctor, /v1/shadow, /v1/queue, /v1/queue/totals, /v1/queue/{id}, /v1/queue/{id}/message, \
                     and with POST /v1/edits, /v1/usage and /v1/queue/retry, hold and remove";
/// Octets of an edit: as many as a policy file may have.
const EDIT_OCTETS_MAX: usize = 512 * 1024 * 1024;
/// Refused clients that are shown if nobody says how many.
const DENIED_DEFAULT: usize = 100;
/// And at most: those who are being refused wait while they are copied.
const DENIED_MAX: usize = 1000;

/// What the control socket shows. Clones show the same.
#[derive(Clone)]
pub struct Control {
    snapshot: Arc<Snapshot>,
    pub(super) host: Arc<dyn Host>,
    /// Held by the edit that is read or made.
    editing: Arc<Semaphore>,
}

/// How many are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Most {
    limit: Option<usize>,
    /// Only the one with this address.
    address: Option<IpAddr>,
}

/// An answer that is none.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: String,
}

impl Control {
    /// Shows the policy that is in the snapshot; the host does the rest.
    pub fn new(snapshot: Arc<Snapshot>, host: impl Host) -> Self {
        Self { snapshot, host: Arc::new(host), editing: Arc::new(Semaphore::new(1)) }
    }
}

/// Answers commands until `shutdown` is done. Then the socket's file is removed.
pub async fn serve(socket: ControlSocket, control: Control, shutdown: impl Future<Output = ()>) {
    server::run(socket, router(control), shutdown).await;
}

fn router(control: Control) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/entries", get(entries))
        .route("/v1/entries/{id}", get(entry))
        .route("/v1/upstreams", get(upstreams))
        .route("/v1/denied", get(denied))
        .route("/v1/doctor", get(doctor))
        .route("/v1/shadow", get(shadow))
        .route("/v1/edits", post(edit))
        .route("/v1/usage", post(save_usage))
        .merge(queue::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(control)
}

async fn status(State(control): State<Control>) -> Json<StatusView> {
    let ruleset = control.snapshot.load();
    Json(StatusView {
        version: VERSION.to_owned(),
        pid: std::process::id(),
        generation: ruleset.generation().to_string(),
        entries: ruleset.entries().len(),
    })
}

async fn entries(
    State(control): State<Control>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page<Box<RawValue>>>, Refusal> {
    let Query(wanted) = wanted?;
    let page = move || Ok(listing::page(&control.snapshot.load(), &wanted)?);
    aside(page).await.map(Json)
}

async fn entry(
    State(control): State<Control>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Box<RawValue>>, Refusal> {
    let Path(id) = id?;
    let shown = move || {
        let ruleset = control.snapshot.load();
        let Some(entry) = ruleset.entry(&id) else {
            let error = format!("there is no entry {id:?}");
            return Err(Refusal { status: StatusCode::NOT_FOUND, error });
        };
        let view = EntryView::new(entry, ruleset.site()).with_live(entry);
        Ok(to_raw_value(&view).map_err(ListingError::from)?)
    };
    aside(shown).await.map(Json)
}

async fn upstreams(State(control): State<Control>) -> Json<serde_json::Value> {
    Json(json!({ "items": control.host.upstreams() }))
}

async fn denied(
    State(control): State<Control>,
    wanted: Result<Query<Most>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Refusal> {
    let Query(Most { limit, address }) = wanted?;
    let limit = limit.unwrap_or(DENIED_DEFAULT).min(DENIED_MAX);
    let clients = move || {
        Ok(match address {
            Some(address) => control.host.denied_client(address).into_iter().collect(),
            None => control.host.denied(limit),
        })
    };
    Ok(Json(json!({ "items": aside(clients).await? })))
}

async fn doctor(State(control): State<Control>) -> Result<Json<DoctorView>, Refusal> {
    aside(move || Ok(control.host.doctor())).await.map(Json)
}

async fn shadow(State(control): State<Control>) -> Result<Response, Refusal> {
    let report = aside(move || Ok(control.host.shadow())).await?;
    report.map(|report| Json(report).into_response()).ok_or_else(|| {
        let error = "no policy is tried; name one with shadow in [policy]".to_owned();
        Refusal { status: StatusCode::NOT_FOUND, error }
    })
}

async fn edit(State(control): State<Control>, body: Body) -> Result<Json<EditView>, Response> {
    // One after the other, because a long one takes much memory; nobody closes the semaphore.
    let _turn = control.editing.acquire().await;
    let too_large = |error: axum::Error| Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        error: format!("the edit cannot be read; {EDIT_OCTETS_MAX} octets are the most: {error}"),
    };
    let body = to_bytes(body, EDIT_OCTETS_MAX).await;
    let body = body.map_err(|error| too_large(error).into_response())?;
    let read = move || {
        let wrong = |error: serde_json::Error| Refusal {
            status: StatusCode::BAD_REQUEST,
            error: format!("not an edit: {error}"),
        };
        serde_json::from_slice::<EditRequest>(&body).map_err(wrong)
    };
    let request = aside(read).await.map_err(IntoResponse::into_response)?;
    control.host.edit(request).await.map(Json).map_err(|refusal| {
        let status = match refusal.cause {
            EditCause::Busy => StatusCode::SERVICE_UNAVAILABLE,
            EditCause::File | EditCause::Permission => StatusCode::FORBIDDEN,
            EditCause::Policy => StatusCode::UNPROCESSABLE_ENTITY,
            EditCause::Stale => StatusCode::CONFLICT,
            EditCause::Store => StatusCode::INTERNAL_SERVER_ERROR,
            EditCause::Wrong => StatusCode::BAD_REQUEST,
        };
        (status, Json(refusal)).into_response()
    })
}

async fn save_usage(State(control): State<Control>) -> Result<Json<serde_json::Value>, Refusal> {
    let saved = control.host.save_usage().await;
    let refusal = |error| Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, error };
    saved.map(|()| Json(json!({}))).map_err(refusal)
}

async fn unknown_path() -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, error: PATHS.to_owned() }
}

async fn unknown_method() -> Refusal {
    let error = "questions are asked with GET, and edits are made with POST".to_owned();
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error }
}

/// Off the threads that serve sessions: an entry may have a million networks.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "the control socket cannot answer");
        let error = "the gateway cannot answer; see its log".to_owned();
        Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, error })
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

impl From<ListingError> for Refusal {
    fn from(error: ListingError) -> Self {
        let status = match error {
            ListingError::Changed { .. } => StatusCode::CONFLICT,
            ListingError::Cursor(_) | ListingError::Limit(_) => StatusCode::BAD_REQUEST,
            ListingError::Shown(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: error.to_string() }
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self { status: rejection.status(), error: rejection.body_text() }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), error: rejection.body_text() }
    }
}
