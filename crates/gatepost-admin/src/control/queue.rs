//! The queue, as commands see it and take a hand in it.
//!
//! A gateway without a spool has an empty queue. A list is one short read a page; whoever changes
//! everything does so page by page, and mail goes on meanwhile. A message is read while it is sent: if
//! its content turns out to be damaged, the connection is cut. Nothing here decides about mail.

mod asked;
mod change;
mod client;
mod content;
mod views;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gatepost_spool::{LIST_MAX, QueueId, Spool};

use self::{asked::queue_id, change::Action, content::Outgoing};
pub use self::{
    asked::{
        ChangedView, Chosen, QueueCause, QueueChange, QueueQuery, QueueRefusal, UnchangedView,
    },
    content::Eml,
    views::{CountView, MessageView, QueueView, RecipientView, SummaryView, TallyView, TotalsView},
};
use super::{
    host::{Host, Rests},
    server::{Control, Refusal},
};

/// What is answered, or why nothing is.
type Answer<T> = Result<Json<T>, Unanswered>;

/// Why nothing is answered.
enum Unanswered {
    Missing(QueueId),
    Refused(QueueRefusal),
}

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/v1/queue", get(list))
        .route("/v1/queue/totals", get(totals))
        .route("/v1/queue/hold", post(hold))
        .route("/v1/queue/remove", post(remove))
        .route("/v1/queue/retry", post(retry))
        .route("/v1/queue/{id}", get(show))
        .route("/v1/queue/{id}/message", get(message))
}

async fn list(
    State(control): State<Control>,
    query: Result<Query<QueueQuery>, QueryRejection>,
) -> Answer<QueueView> {
    let Query(query) = query?;
    let (filter, after) = (query.filter()?, query.place()?);
    let limit = query.limit.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&limit) {
        let error = format!("limit {limit} is not a number from 1 to {LIST_MAX}");
        return Err(QueueRefusal::wrong(error).into());
    }
    let Some(spool) = control.host.spool() else { return Ok(Json(QueueView::default())) };
    let page = spool.list(filter.clone(), after, limit).await?;
    let stats = spool.stats(SystemTime::now()).await?;
    Ok(Json(QueueView::new(&filter, &stats, page)))
}

async fn totals(State(control): State<Control>) -> Answer<TotalsView> {
    let Some(spool) = control.host.spool() else { return Ok(Json(TotalsView::default())) };
    Ok(Json(spool.stats(SystemTime::now()).await?.into()))
}

async fn show(
    State(control): State<Control>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<MessageView> {
    let (spool, id) = find(&control, id)?;
    let found = spool.show(id).await?.ok_or(Unanswered::Missing(id))?;
    Ok(Json(found.into()))
}

async fn message(
    State(control): State<Control>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Unanswered> {
    let (spool, id) = find(&control, id)?;
    let found = spool.show(id).await?.ok_or(Unanswered::Missing(id))?;
    let body = spool.read_body(id).await?.ok_or(Unanswered::Missing(id))?;
    let outgoing = Outgoing::new(&found.envelope.reverse_path, body);
    Ok(([(CONTENT_TYPE, "message/rfc822")], Body::new(outgoing)).into_response())
}

async fn hold(
    State(control): State<Control>,
    change: Result<Json<QueueChange>, JsonRejection>,
) -> Answer<ChangedView> {
    let change = without_upstream(change)?;
    Ok(Json(act(&control, &Action::Hold, &change).await?))
}

async fn remove(
    State(control): State<Control>,
    change: Result<Json<QueueChange>, JsonRejection>,
) -> Answer<ChangedView> {
    let change = without_upstream(change)?;
    Ok(Json(act(&control, &Action::Remove, &change).await?))
}

async fn retry(
    State(control): State<Control>,
    change: Result<Json<QueueChange>, JsonRejection>,
) -> Answer<ChangedView> {
    let Json(change) = change?;
    let upstream = change.upstream.as_deref();
    let upstream = upstream.map(|name| known(&*control.host, name)).transpose()?;
    let changed = act(&control, &Action::Retry(upstream), &change).await?;
    // An upstream is not asked anew for each page.
    let is_all = matches!(change.messages, Chosen::All(_)) && changed.next.is_none();
    control.host.wake_queue(if is_all { Rests::Forgotten } else { Rests::Kept });
    Ok(Json(changed))
}

async fn act(
    control: &Control,
    action: &Action,
    change: &QueueChange,
) -> Result<ChangedView, QueueRefusal> {
    match (control.host.spool(), &change.messages) {
        (Some(spool), chosen) => action.run(&spool, chosen, SystemTime::now()).await,
        (None, Chosen::All(_)) => Ok(ChangedView::default()),
        (None, Chosen::Ids(ids)) => {
            let missing = |id: &String| UnchangedView { id: id.clone(), standing: None };
            let unchanged = ids.iter().map(missing).collect();
            Ok(ChangedView { unchanged, ..ChangedView::default() })
        }
    }
}

/// A name that is not known would hold its messages for ever.
fn known(host: &dyn Host, name: &str) -> Result<Arc<str>, QueueRefusal> {
    let known: Vec<_> = host.upstreams().into_iter().map(|upstream| upstream.name).collect();
    if known.iter().any(|it| it == name) {
        return Ok(name.into());
    }
    let known = known.join(", ");
    Err(QueueRefusal::wrong(format!("there is no upstream {name:?}; known are {known}")))
}

fn without_upstream(
    change: Result<Json<QueueChange>, JsonRejection>,
) -> Result<QueueChange, QueueRefusal> {
    let Json(change) = change?;
    match change.upstream {
        None => Ok(change),
        Some(_) => Err(QueueRefusal::wrong("only a retry names an upstream to go to")),
    }
}

fn find(
    control: &Control,
    id: Result<Path<String>, PathRejection>,
) -> Result<(Spool, QueueId), Unanswered> {
    let Path(id) = id?;
    let id = queue_id(&id)?;
    control.host.spool().map(|spool| (spool, id)).ok_or(Unanswered::Missing(id))
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        let refusal = match self {
            Self::Missing(id) => {
                let error = format!("there is no message {id} in the queue");
                return Refusal { status: StatusCode::NOT_FOUND, error }.into_response();
            }
            Self::Refused(refusal) => refusal,
        };
        let status = match refusal.cause {
            QueueCause::Spool => StatusCode::INTERNAL_SERVER_ERROR,
            QueueCause::Wrong => StatusCode::BAD_REQUEST,
        };
        (status, Json(refusal)).into_response()
    }
}

impl<E: Into<QueueRefusal>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl From<PathRejection> for QueueRefusal {
    fn from(rejection: PathRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}

impl From<QueryRejection> for QueueRefusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}

impl From<JsonRejection> for QueueRefusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}
