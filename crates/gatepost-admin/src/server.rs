//! The small HTTP server under the pages and under the control socket.
//!
//! Scrapers, probes and commands ask for one thing and go. So a connection is good for one request
//! and has one deadline for all of it: a client that sends slowly, reads slowly or says nothing
//! costs at most that. What a body may have is the router's business; the pages take none.

use std::{future::Future, io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections at once. A few scrapers, probes and commands need a few.
const CONNECTIONS_MAX: usize = 64;
/// Octets of a request before its body. Ours have a hundred; browsers send a few thousand.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// For a request before its body: who connects has something to ask.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers that are under way may take after the end was asked for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Without it, a lack of file descriptors would make a busy loop.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come from. Dropped as soon as no more are wanted.
pub(crate) trait Listen: Send + 'static {
    /// What is at the other end, for the log.
    const NAME: &'static str;

    /// From a connection's first octet to its last.
    const CONNECTION_TIMEOUT: Duration;

    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    const NAME: &'static str = "metrics page";

    /// Prometheus itself gives up after 10 s.
    const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Answers what the router knows until `shutdown` is done.
pub(crate) async fn run<L: Listen>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(answer::<L>(stream, router.clone()));
            }
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // Those that are not done are ended with the set.
    let _ = timeout(GOODBYE_TIMEOUT, all_done).await;
}

async fn accept<L: Listen>(listener: &L) -> L::Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the {}", L::NAME);
                sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
}

async fn answer<L: Listen>(stream: L::Stream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_header_size(HEAD_OCTETS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(L::CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the {} failed", L::NAME),
        Err(_) => tracing::debug!("a connection to the {} took too long", L::NAME),
    }
}
