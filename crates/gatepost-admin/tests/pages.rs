//! The pages over a real socket, asked for in raw HTTP.

use std::{net::SocketAddr, time::Duration};

use gatepost_admin::{Pages, Readiness, Recorder, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    readiness: Readiness,
    recorder: Recorder,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Answer {
    head: String,
    body: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let (readiness, recorder) = (Readiness::new(|| Ok(())), Recorder::new("1.2.3"));
        let pages = Pages::new(recorder.handle(), readiness.clone());
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(serve(listener, pages, stopped));
        Self { address, readiness, recorder, stop, task }
    }

    async fn get(&self, path: &str) -> Answer {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    /// The whole conversation: the server closes after one answer.
    async fn say(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.expect("in time").expect("reads");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        Answer { head: head.to_lowercase(), body: body.to_owned() }
    }
}

#[tokio::test]
async fn metrics_are_shown_as_prometheus_wants_them() {
    let server = Server::start().await;
    server.recorder.with(|| metrics::counter!("gatepost_messages_total").increment(2));
    let answer = server.get("/metrics").await;
    assert!(answer.head.starts_with("http/1.1 200 "), "{}", answer.head);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    assert!(answer.body.contains("gatepost_messages_total 2\n"), "{}", answer.body);
    assert!(answer.body.contains("gatepost_build_info{version=\"1.2.3\"} 1\n"), "{}", answer.body);
}

#[tokio::test]
async fn readiness_follows_the_life_of_the_gateway() {
    let server = Server::start().await;
    let answer = server.get("/readyz").await;
    assert!(answer.head.starts_with("http/1.1 503 "), "{}", answer.head);
    let told = "bound: not all listeners are bound yet\npolicy: no policy is loaded yet\n";
    assert_eq!(answer.body, told);

    server.readiness.set_bound();
    server.readiness.set_policy_loaded();
    let answer = server.get("/readyz").await;
    assert!(answer.head.starts_with("http/1.1 200 "), "{}", answer.head);
    assert_eq!(answer.body, "ok");
    let answer = server.get("/readyz?verbose").await;
    assert_eq!(answer.body, "bound: ok\npolicy: ok\nspool: ok\ndraining: ok\n");

    server.readiness.set_draining();
    let answer = server.get("/readyz?verbose=1").await;
    assert!(answer.head.starts_with("http/1.1 503 "), "{}", answer.head);
    assert_eq!(
        answer.body,
        "bound: ok\npolicy: ok\nspool: ok\ndraining: the gateway is about to end\n"
    );
}

#[tokio::test]
async fn a_live_process_says_so_and_other_pages_do_not_exist() {
    let server = Server::start().await;
    let answer = server.get("/livez").await;
    assert!(answer.head.starts_with("http/1.1 200 "), "{}", answer.head);
    assert_eq!(answer.body, "ok");
    for path in ["/", "/metrics/", "/admin", "/../etc/passwd"] {
        let answer = server.get(path).await;
        assert!(answer.head.starts_with("http/1.1 404 "), "{path}: {}", answer.head);
    }
    let answer = server.say("POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await;
    assert!(answer.head.starts_with("http/1.1 405 "), "{}", answer.head);
}

#[tokio::test]
async fn a_silent_client_delays_neither_others_nor_the_end() {
    let server = Server::start().await;
    let _silent = TcpStream::connect(server.address).await.expect("connects");
    assert_eq!(server.get("/livez").await.body, "ok");
    server.stop.send(()).expect("is running");
    timeout(PATIENCE, server.task).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(server.address).await.is_err());
}
