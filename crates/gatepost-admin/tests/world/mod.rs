//! A gateway's policy and its control socket, in a directory that is thrown away.
#![allow(dead_code, reason = "each test file needs a part of it")]

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use gatepost_admin::control::{
    self, AddressView, BreakerView, Client, ClientsView, Control, DeniedView, DoctorView,
    EditCause, EditRefusal, EditRequest, EditView, Host, Rests, UpstreamLive, UpstreamView, Work,
    bind, socket_path,
};
use gatepost_policy::{
    entry::Mode,
    ruleset::Ruleset,
    shadow::ShadowReport,
    site::{Site, UpstreamId},
    snapshot::Snapshot,
};
use gatepost_spool::Spool;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// For what must happen soon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A control socket that answers.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) snapshot: Arc<Snapshot>,
    /// What whoever delivers was told, in this order.
    pub(crate) woken: Arc<Mutex<Vec<Rests>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// An answer in HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: serde_json::Value,
}

impl World {
    pub(crate) fn start(policy: &str) -> Self {
        Self::start_with(policy, None)
    }

    /// One whose gateway keeps messages.
    pub(crate) fn start_with(policy: &str, spool: Option<Spool>) -> Self {
        let woken = Arc::<Mutex<Vec<Rests>>>::default();
        let host = TestHost { spool, woken: woken.clone() };
        let directory = tempfile::tempdir().expect("a directory");
        let snapshot = Arc::new(Snapshot::new(ruleset(policy)));
        let control = Control::new(Arc::clone(&snapshot), host);
        let socket = bind(directory.path()).expect("binds");
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(control::serve(socket, control, stopped));
        Self { directory, snapshot, woken, stop, task }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_path(self.directory.path())
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.directory.path()).await.expect("a gateway that answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    pub(crate) async fn say(&self, request: &str) -> Answer {
        say(&self.socket(), request).await
    }

    pub(crate) fn publish(&self, revision: u64, policy: &str) {
        drop(self.snapshot.publish(ruleset(policy).with_revision(revision)));
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).expect("is running");
        timeout(PATIENCE, self.task).await.expect("in time").expect("no panic");
        self.directory
    }
}

/// The whole conversation: the server closes after one answer.
pub(crate) async fn say(socket: &Path, request: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(PATIENCE, read).await.expect("in time").expect("reads");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, body: serde_json::from_str(body).unwrap_or_default() }
}

pub(crate) fn ruleset(policy: &str) -> Ruleset {
    let site = Arc::new(Site {
        hostname: "relay.example.com".into(),
        listeners: vec!["smtp".into(), "submission".into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["google".into(), "ses".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 50 << 20,
        max_recipients: 1000,
    });
    Ruleset::compile(policy, "policy.toml", &site).expect("a good policy").ruleset
}

/// Entries `e0`, `e1` and so on, each of one address.
pub(crate) fn policy(count: u32) -> String {
    let entry = |n: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        format!("[[entry]]\nid = \"e{n}\"\nnetworks = [\"{address}\"]\nsenders = [\"a.example\"]\n")
    };
    (0..count).map(entry).collect()
}

/// A gateway with two upstreams, one refused client, and an editor that wants a reason.
struct TestHost {
    spool: Option<Spool>,
    woken: Arc<Mutex<Vec<Rests>>>,
}

impl Host for TestHost {
    fn upstreams(&self) -> Vec<UpstreamView> {
        upstreams()
    }

    fn denied(&self, limit: usize) -> Vec<DeniedView> {
        let client = DeniedView {
            network: "203.0.113.9/32".to_owned(),
            address: [203, 0, 113, 9].into(),
            count: 3,
            error: 0,
            first_seen: "2026-01-01T00:00:00Z".to_owned(),
            last_seen: "2026-01-02T00:00:00Z".to_owned(),
            listeners: vec!["smtp".to_owned()],
            helo: None,
            sender_domains: Vec::new(),
            reason: "allow_list".to_owned(),
            entry: None,
        };
        vec![client; limit.min(1)]
    }

    fn denied_client(&self, address: IpAddr) -> Option<DeniedView> {
        self.denied(1).into_iter().find(|client| client.address == address)
    }

    fn doctor(&self) -> DoctorView {
        doctor()
    }

    fn shadow(&self) -> Option<ShadowReport> {
        None
    }

    fn edit(&self, request: EditRequest) -> Work<Result<EditView, EditRefusal>> {
        Box::pin(async move {
            if request.edit.reason.is_none() {
                let error = "an edit here needs a reason".to_owned();
                return Err(EditRefusal { cause: EditCause::Policy, error });
            }
            let added = request.edit.operations.len();
            Ok(EditView { revision: 7, added, ..EditView::default() })
        })
    }

    fn save_usage(&self) -> Work<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn spool(&self) -> Option<Spool> {
        self.spool.clone()
    }

    fn wake_queue(&self, rests: Rests) {
        self.woken.lock().expect("no panic").push(rests);
    }
}

pub(crate) fn doctor() -> DoctorView {
    let address =
        AddressView { address: [10, 0, 0, 1].into(), names: 30, senders: 25, hides_many: true };
    let clients = ClientsView {
        listener: "smtp".to_owned(),
        hidden_clients: "warn".to_owned(),
        clients: 31,
        sample: false,
        addresses: vec![address],
    };
    DoctorView { uid: Some(990), descriptors: None, listeners: vec![clients] }
}

pub(crate) fn upstreams() -> Vec<UpstreamView> {
    let google = UpstreamView {
        name: "google".to_owned(),
        profile: "google-relay".to_owned(),
        hosts: vec!["smtp-relay.gmail.com:587".to_owned()],
        default: true,
        max_connections: 100,
        live: Some(UpstreamLive {
            busy: 2,
            idle: 1,
            waiting: 7,
            limit: 2,
            breaker: BreakerView::Open,
            next_attempt_s: Some(3),
        }),
    };
    let ses = UpstreamView { name: "ses".to_owned(), default: false, live: None, ..google.clone() };
    vec![google, ses]
}
