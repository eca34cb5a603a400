//! What the tests share: a sink that runs in the background, a server that says what it is told to,
//! and a limit on time.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gatepost_loadtest::{
    Sink, SinkCounters, SinkOptions, SinkProgress, SizeDistribution, SourceOptions,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time;

/// Nothing here takes a second; a machine under load may need a few.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a test, but not for ever.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    time::timeout(TEST_TIMEOUT, test).await.expect("the test hangs")
}

/// Any free port of this machine.
pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A sink in a task.
pub(crate) struct RunningSink {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<SinkCounters>,
    pub(crate) progress: SinkProgress,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningSink {
    pub(crate) fn start(options: SinkOptions) -> Self {
        let sink = Sink::bind(loopback(), options).unwrap();
        let (address, counters) = (sink.local_addr(), sink.counters());
        let progress = sink.progress();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(sink.run(async {
            let _ = stopped.await;
        }));
        Self { address, counters, progress, stop, task }
    }

    /// Stops it; a panic in one of its sessions fails the test.
    pub(crate) async fn stop(self) -> Arc<SinkCounters> {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.counters
    }
}

/// A server that answers each line with what `answer` makes of it (`None` closes the connection,
/// and so does QUIT) and content as if it were the command `.`.
pub(crate) async fn start_scripted(answer: fn(&str) -> Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(follow_script(stream, answer));
        }
    });
    address
}

async fn follow_script(stream: TcpStream, answer: fn(&str) -> Option<&'static str>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufStream::new(stream);
    let mut reply = "220 script";
    let mut line = String::new();
    loop {
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let in_data = reply.starts_with("354");
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if !in_data || line == ".\r\n" {
                break;
            }
        }
        if line == "QUIT\r\n" {
            return;
        }
        let Some(next) = answer(line.trim_end()) else { return };
        reply = next;
    }
}

/// 200 small messages over 4 kept sessions.
pub(crate) fn source_options(target: SocketAddr) -> SourceOptions {
    SourceOptions {
        sessions: 4,
        messages: Some(200),
        sizes: SizeDistribution::Same(2000),
        reply_timeout: Duration::from_secs(5),
        ..SourceOptions::new(target)
    }
}
