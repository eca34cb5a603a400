//! What `soak` and `scale` set up around a gateway: its files, the load, clients that load does not
//! have, and the sink.
//!
//! The gateway is always a process of its own, and so is the load: neither shares a runtime with the
//! other or with whoever measures. The sink and the clients that stand idle live in the process that
//! measures, because both are counted there. All of them stay on loopback.

pub(crate) mod client;
pub(crate) mod fleet;
pub(crate) mod gateway;
pub(crate) mod load;
pub(crate) mod place;
pub(crate) mod statistics;
pub(crate) mod text;

mod child;
mod policy;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::{Sink, SinkCounters, SinkOptions};

/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// All upstream connections that a gateway may open, and then some.
const SINK_CONNECTIONS_MAX: usize = 5000;

/// The sink, in a task; it ends with this value.
#[derive(Debug)]
pub(crate) struct RunningSink {
    /// Where the gateway's upstream is.
    pub(crate) address: SocketAddr,
    counters: Arc<SinkCounters>,
    task: JoinHandle<()>,
}

impl RunningSink {
    pub(crate) fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let options =
            SinkOptions { connections_max: SINK_CONNECTIONS_MAX, ..SinkOptions::default() };
        let sink = Sink::bind(address, options)
            .with_context(|| format!("the sink cannot listen on {address}"))?;
        let (address, counters) = (sink.local_addr(), sink.counters());
        Ok(Self { address, counters, task: tokio::spawn(sink.run(std::future::pending())) })
    }

    /// Messages that it has answered with `250`.
    pub(crate) fn messages(&self) -> u64 {
        self.counters.messages.load(Ordering::Relaxed)
    }
}

impl Drop for RunningSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Any free port of this machine.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Asks `look` until it has something to say; `None` if it has not within `limit`.
pub(crate) async fn poll_until<T, F>(limit: Duration, mut look: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        sleep(POLL).await;
    }
}
