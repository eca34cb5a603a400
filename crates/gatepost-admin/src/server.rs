//! The small HTTP server under the pages.
//!
//! Scrapers and probes ask for one page and go. So a connection is good for one request and has one
//! deadline for all of it: a client that sends slowly, reads slowly or says nothing costs at most
//! that. Bodies of requests are never read.

use std::{future::Future, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::pages::{self, Pages};

/// Connections at once. A few scrapers and probes need a few.
const CONNECTIONS_MAX: usize = 64;
/// From a connection's first octet to its last: Prometheus itself gives up after 10 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long answers that are under way may take after the end was asked for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Without it, a lack of file descriptors would make a busy loop.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Serves the pages until `shutdown` is done.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()>) {
    let router = pages::router(pages);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(answer(stream, router.clone()));
            }
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // Those that are not done are ended with the set.
    let _ = timeout(GOODBYE_TIMEOUT, all_done).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the metrics page");
                sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the metrics page failed"),
        Err(_) => tracing::debug!("a connection to the metrics page took too long"),
    }
}
