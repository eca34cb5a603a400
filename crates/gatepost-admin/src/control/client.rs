//! The other side of the control socket: what a command asks with.
//!
//! It starts no task, so a runtime of one thread will do. Each question is a connection of its own,
//! and has a deadline and a largest answer: a gateway that hangs does not hang the command.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use gatepost_policy::{entry::is_id, shadow::ShadowReport};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use super::{
    error::ControlError,
    host::{EditRefusal, EditRequest},
    socket,
    views::{DeniedView, DoctorView, EditView, EntryView, Page, StatusView, UpstreamView},
};

/// Octets of an answer. A page ends with the entry that fills it, so this is room for one entry
/// with a million networks.
pub(super) const ANSWER_OCTETS_MAX: usize = 64 * 1024 * 1024;
/// For all of a question, from connecting to the last octet: a page takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For an edit: a policy of a million entries is written and compiled in seconds.
pub(super) const EDIT_TIMEOUT: Duration = Duration::from_mins(5);
/// How often a listing that nobody has seen anything of begins again, because the policy has
/// changed. A million entries take a few seconds; whoever reloads that often should be told.
const RESTARTS_MAX: u32 = 3;

/// Asks the gateway that runs on a `state_dir`.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    pub(super) answer_timeout: Duration,
}

/// The entries of one policy, page by page.
#[derive(Debug)]
pub struct Listing<'c> {
    client: &'c Client,
    limit: Option<usize>,
    position: Position,
}

#[derive(Debug)]
enum Position {
    /// Before the first page.
    Start,
    /// Behind a page that has named the next one so.
    After(String),
    /// Behind the last page.
    End,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Client {
    /// Finds the gateway, and makes sure that it answers.
    pub async fn connect(state_dir: &Path) -> Result<Self, ControlError> {
        let socket = socket::socket_path(state_dir);
        let client = Self { socket, answer_timeout: ANSWER_TIMEOUT };
        client.status().await?;
        Ok(client)
    }

    /// What runs.
    pub async fn status(&self) -> Result<StatusView, ControlError> {
        let (status, body) = self.get("/v1/status").await?;
        answer(status, &body)
    }

    /// The enabled entry with an id.
    pub async fn entry(&self, id: &str) -> Result<Option<EntryView>, ControlError> {
        // Such an entry does not exist, and its id would not stay in its place in a path.
        if !is_id(id) {
            return Ok(None);
        }
        match self.get(&format!("/v1/entries/{id}")).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => answer(status, &body).map(Some),
        }
    }

    /// The enabled entries, in the order of the policy, page by page. If the policy changes in
    /// between, that is an error, because part of the old one has been handed out.
    pub const fn entries(&self) -> Listing<'_> {
        Listing { client: self, limit: None, position: Position::Start }
    }

    /// All enabled entries as one page. If the policy changes in between, it begins again.
    pub async fn all_entries(&self) -> Result<Page<EntryView>, ControlError> {
        let mut restarts = 0;
        loop {
            match self.entries().collect().await {
                Err(ControlError::PolicyChanged) if restarts < RESTARTS_MAX => restarts += 1,
                ended => return ended,
            }
        }
    }

    /// The upstreams.
    pub async fn upstreams(&self) -> Result<Vec<UpstreamView>, ControlError> {
        let (status, body) = self.get("/v1/upstreams").await?;
        answer(status, &body).map(|List { items }| items)
    }

    /// The clients that were refused with the greeting most often.
    pub async fn denied(&self, limit: usize) -> Result<Vec<DeniedView>, ControlError> {
        let (status, body) = self.get(&format!("/v1/denied?limit={limit}")).await?;
        answer(status, &body).map(|List { items }| items)
    }

    /// The refused client with an address, if there is one.
    pub async fn denied_client(&self, address: IpAddr) -> Result<Option<DeniedView>, ControlError> {
        let (status, body) = self.get(&format!("/v1/denied?address={address}")).await?;
        answer(status, &body).map(|List { items }| items.into_iter().next())
    }

    /// What only the running process can say of its health. It looks at its clients first.
    pub async fn doctor(&self) -> Result<DoctorView, ControlError> {
        let (status, body) = self.get("/v1/doctor").await?;
        answer(status, &body)
    }

    /// What the policy that is tried would have done, if one is.
    pub async fn shadow(&self) -> Result<Option<ShadowReport>, ControlError> {
        match self.get("/v1/shadow").await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => answer(status, &body).map(Some),
        }
    }

    /// Edits the policy. When there is an answer, the edit is in use.
    pub async fn edit(&self, request: &EditRequest) -> Result<EditView, ControlError> {
        let body = serde_json::to_vec(request);
        let body = body.map_err(|error| ControlError::Answer(error.into()))?;
        let exchange = timeout(EDIT_TIMEOUT, self.exchange(Method::POST, "/v1/edits", body));
        let (status, body) = exchange.await.map_err(|_| ControlError::Timeout)??;
        let refusal = serde_json::from_slice::<EditRefusal>(&body);
        match refusal.ok().filter(|_| !status.is_success()) {
            Some(refusal) => Err(ControlError::Edit(refusal)),
            None => answer(status, &body),
        }
    }

    /// Has the gateway write down what it has counted for entries.
    pub async fn save_usage(&self) -> Result<(), ControlError> {
        let exchange = self.exchange(Method::POST, "/v1/usage", Vec::new());
        let exchange = timeout(self.answer_timeout, exchange).await;
        let (status, body) = exchange.map_err(|_| ControlError::Timeout)??;
        answer::<serde_json::Value>(status, &body).map(drop)
    }

    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), ControlError> {
        let exchange = timeout(self.answer_timeout, self.exchange(Method::GET, path, Vec::new()));
        exchange.await.map_err(|_| ControlError::Timeout)?
    }

    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let request = Request::builder().method(method).uri(path).header(HOST, "gatepost");
        let request = request.header(CONTENT_TYPE, "application/json").body(Body::from(body));
        let request = request.map_err(|error| ControlError::Answer(error.into()))?;
        let stream = self.stream().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async move {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_OCTETS_MAX).await;
            Ok((head.status, body.map_err(|error| ControlError::Body(error.into_inner()))?))
        };
        // The connection moves the octets and ends when the exchange has dropped the sender; an
        // error of the one is an error of the other.
        tokio::join!(exchange, connection).0
    }

    pub(super) async fn stream(&self) -> Result<UnixStream, ControlError> {
        let path = self.socket.clone();
        socket::address(&path).map_err(ControlError::Path)?;
        UnixStream::connect(&path).await.map_err(|error| match error.kind() {
            // A file that nobody listens at was left behind by a gateway that was killed.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(path)
            }
            io::ErrorKind::PermissionDenied => ControlError::Permission(path),
            _ => ControlError::Connect { path, error },
        })
    }
}

impl Listing<'_> {
    /// With so many entries a page. Without it, the gateway decides.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The next page; none behind the last. After an error it asks for the same page again, so that
    /// the end of a listing is never mistaken for its interruption.
    pub async fn next_page(&mut self) -> Result<Option<Page<EntryView>>, ControlError> {
        let mut query = Vec::new();
        match &self.position {
            Position::Start => {}
            Position::After(cursor) => query.push(format!("after={cursor}")),
            Position::End => return Ok(None),
        }
        query.extend(self.limit.map(|limit| format!("limit={limit}")));
        let (status, body) = self.client.get(&format!("/v1/entries?{}", query.join("&"))).await?;
        if status == StatusCode::CONFLICT {
            return Err(ControlError::PolicyChanged);
        }
        let page: Page<EntryView> = answer(status, &body)?;
        self.position = page.next.clone().map_or(Position::End, Position::After);
        Ok(Some(page))
    }

    /// What is left, as one page.
    async fn collect(mut self) -> Result<Page<EntryView>, ControlError> {
        let mut all = Page { generation: String::new(), items: Vec::new(), next: None };
        while let Some(page) = self.next_page().await? {
            all.generation = page.generation;
            all.items.extend(page.items);
        }
        Ok(all)
    }
}

pub(super) fn answer<T: DeserializeOwned>(
    status: StatusCode,
    body: &[u8],
) -> Result<T, ControlError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| ControlError::Answer(error.into()));
    }
    let told = serde_json::from_slice(body).map(|Refused { error }| error);
    let message = told.unwrap_or_else(|_| "without a reason".to_owned());
    Err(ControlError::Refused { status: status.as_u16(), message })
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_gateway_that_hangs_does_not_hang_the_command() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = socket::socket_path(directory.path());
        let _silent = UnixListener::bind(&socket).expect("binds");
        let client = Client { socket, answer_timeout: Duration::from_millis(50) };
        let error = client.status().await.expect_err("no answer");
        assert!(matches!(error, ControlError::Timeout), "{error}");
    }
}
