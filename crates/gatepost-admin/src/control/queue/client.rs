//! Questions about the queue, and changes of it, asked of the gateway that runs.

use std::{future::poll_fn, io, pin::pin};

use axum::body::to_bytes;
use gatepost_spool::QueueId;
use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Bytes},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    asked::{ChangedView, QueueChange, QueueQuery, QueueRefusal},
    views::{MessageView, QueueView, TotalsView},
};
use crate::control::{
    client::{ANSWER_OCTETS_MAX, Client, EDIT_TIMEOUT, answer},
    error::ControlError,
};

/// Where the pieces of a message go.
type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> io::Result<()>;

impl Client {
    /// A page of the queue, the oldest message first.
    pub async fn queue(&self, query: &QueueQuery) -> Result<QueueView, ControlError> {
        let query = serde_urlencoded::to_string(query);
        let query = query.map_err(|error| ControlError::Answer(error.into()))?;
        let (status, body) = self.get(&format!("/v1/queue?{query}")).await?;
        understood(status, &body)
    }

    /// The queue in numbers.
    pub async fn queue_totals(&self) -> Result<TotalsView, ControlError> {
        let (status, body) = self.get("/v1/queue/totals").await?;
        understood(status, &body)
    }

    /// A message of the queue, if it is there.
    pub async fn queued(&self, id: QueueId) -> Result<Option<MessageView>, ControlError> {
        match self.get(&format!("/v1/queue/{id}")).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => understood(status, &body).map(Some),
        }
    }

    /// Puts messages aside: those that are named, or a page.
    pub async fn hold(&self, change: &QueueChange) -> Result<ChangedView, ControlError> {
        self.change("/v1/queue/hold", change).await
    }

    /// Removes messages: those that are named, or a page.
    pub async fn remove(&self, change: &QueueChange) -> Result<ChangedView, ControlError> {
        self.change("/v1/queue/remove", change).await
    }

    /// Makes messages due: those that are named, or a page.
    pub async fn retry(&self, change: &QueueChange) -> Result<ChangedView, ControlError> {
        self.change("/v1/queue/retry", change).await
    }

    async fn change(&self, path: &str, change: &QueueChange) -> Result<ChangedView, ControlError> {
        let body = serde_json::to_vec(change);
        let body = body.map_err(|error| ControlError::Answer(error.into()))?;
        // Whoever makes a large backlog due waits for as many transactions.
        let exchange = timeout(EDIT_TIMEOUT, self.exchange(Method::POST, path, body));
        let (status, body) = exchange.await.map_err(|_| ControlError::Timeout)??;
        understood(status, &body)
    }

    /// Hands out a message as a file has it, piece by piece. False if it is not there. After an error,
    /// what was handed out is a part of it and no more.
    pub async fn message(&self, id: QueueId, sink: Sink<'_>) -> Result<bool, ControlError> {
        let path = format!("/v1/queue/{id}/message");
        let request = Request::get(path).header(HOST, "gatepost").body(axum::body::Body::empty());
        let request = request.map_err(|error| ControlError::Answer(error.into()))?;
        let stream = self.stream().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async move {
            let answered = timeout(self.answer_timeout, sender.send_request(request)).await;
            let (head, body) = answered.map_err(|_| ControlError::Timeout)??.into_parts();
            match head.status {
                StatusCode::OK => self.hand_out(body, sink).await.map(|()| true),
                StatusCode::NOT_FOUND => Ok(false),
                status => {
                    let body = to_bytes(axum::body::Body::new(body), ANSWER_OCTETS_MAX).await;
                    let body = body.map_err(|error| ControlError::Body(error.into_inner()))?;
                    understood(status, &body)
                }
            }
        };
        // As in `exchange`: the connection ends when the sender and the body are gone.
        tokio::join!(exchange, connection).0
    }

    /// The deadline is that of each piece: a message has no largest size.
    async fn hand_out(
        &self,
        body: hyper::body::Incoming,
        sink: Sink<'_>,
    ) -> Result<(), ControlError> {
        let mut body = pin!(body);
        loop {
            let frame = poll_fn(|context| body.as_mut().poll_frame(context));
            let frame = timeout(self.answer_timeout, frame).await;
            let Some(frame) = frame.map_err(|_| ControlError::Timeout)? else { return Ok(()) };
            let frame = frame.map_err(|error| ControlError::Body(error.into()))?;
            let octets: Bytes = frame.into_data().unwrap_or_default();
            sink(&octets).map_err(ControlError::Sink)?;
        }
    }
}

/// As any answer, but a refusal says what kind of reason there was.
fn understood<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, ControlError> {
    match serde_json::from_slice::<QueueRefusal>(body) {
        Ok(refusal) if !status.is_success() => Err(ControlError::Queue(refusal)),
        _ => answer(status, body),
    }
}
