//! A configuration with a spool beside it, and the program that is run there.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, SystemTime};

use assert_cmd::Command;
use bytes::Bytes;
use gatepost_smtp::reply::Reply;
use gatepost_spool::{
    After, Attempt, Entrance, Envelope, Message, Mode, Origin, Outcome, QueueId, Recipient, Spool,
    SpoolOptions,
};
use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = r#"
hostname = "relay.example.com"
state_dir = "state"
[[listener]]
name = "smtp"
bind = ["127.0.0.1:2525"]
[[upstream]]
name = "google"
hosts = ["127.0.0.1:25"]
tls = "none"
[[upstream]]
name = "ses"
hosts = ["127.0.0.1:26"]
tls = "none"
[policy]
file = "policy.toml"
[delivery]
mode = "sync"
upstream = "google"
"#;

const POLICY: &str =
    "[[entry]]\nid = \"billing\"\nnetworks = [\"10.20.0.0/16\"]\nsenders = [\"a.example\"]\n";

/// What a stored message has, and what is left of it in a file.
pub(crate) const STORED: &[u8] =
    b"Received: from app.test\r\nSubject: \x1b[31mx\r\n\r\n..a dot\r\n\r\nend\r\n";
pub(crate) const FILE: &[u8] = b"Return-Path: <bounces@a.example>\r\nReceived: from app.test\r\nSubject: \x1b[31mx\r\n\r\n.a dot\r\n\r\nend\r\n";

pub(crate) struct Place(pub(crate) TempDir);

/// What a command has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("gatepost.toml"), CONFIG).expect("writes");
        fs::write(directory.path().join("policy.toml"), POLICY).expect("writes");
        Self(directory)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn open(&self) -> Spool {
        fs::create_dir_all(self.path("state")).expect("is made");
        let options = SpoolOptions { free_space_floor: 0, ..SpoolOptions::default() };
        let spool = Spool::open(&self.path("state/spool"), options, SystemTime::now());
        spool.expect("opens").0
    }

    /// Runs a command about the queue.
    pub(crate) fn queue(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.env_clear().current_dir(self.0.path()).arg("queue").args(arguments);
        let output = command.args(["--config", "gatepost.toml"]).output().expect("runs");
        let Output { status, stdout, stderr } = output;
        let text = |octets: Vec<u8>| String::from_utf8(octets).expect("UTF-8");
        Answer {
            code: status.code().expect("was not killed"),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// The same where standard error does not matter: what is printed by one that does what it should.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let answer = self.queue(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {answer:?}");
        answer.stdout
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.done(&[arguments, &["--output=json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// A command that does nothing: it prints nothing, and tells why.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, told: &str, arguments: &[&str]) {
        let answer = self.queue(arguments);
        assert!(answer.stderr.contains(told), "{arguments:?}: {answer:?}");
        assert_eq!((answer.code, &*answer.stdout), (code, ""), "{arguments:?}: {answer:?}");
    }
}

pub(crate) fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

/// Commits a message that is three hours old, of whom the first recipient was told to wait.
pub(crate) async fn commit(spool: &Spool, number: u64) {
    let received_at = SystemTime::now() - Duration::from_hours(3);
    let recipient = |path: &[u8]| Recipient { path: path.into(), dsn: Box::default() };
    let message = Message {
        envelope: Envelope {
            id: id(number),
            received_at,
            expires_at: received_at + Duration::from_hours(120) + Duration::from_secs(30),
            reverse_path: b"bounces@a.example"[..].into(),
            sender: b"\x1b[2J@a.example"[..].into(),
            dsn: b""[..].into(),
            body: None,
            smtputf8: false,
            mode: Mode::Spool,
            upstream: if number.is_multiple_of(2) { "ses" } else { "google" }.into(),
            origin: Origin {
                session_id: "s1".into(),
                listener: "smtp".into(),
                entry: "billing".into(),
                credential: None,
                generation: "41-abcdef".into(),
                client: [10, 20, 0, 7].into(),
                helo: Some("app".into()),
                tls: None,
            },
        },
        recipients: vec![recipient(b"b@b.example"), recipient(b"c\x07@b.example")],
        entrance: Entrance::Leased,
        about: None,
    };
    let mut body = spool.body(id(number));
    body.append(Bytes::from_static(STORED)).await.expect("is taken");
    spool.commit(message, body).await.expect("is taken");
    let reply = Some(Reply::new(451, (4, 3, 2), "not\x1b now"));
    let attempts = vec![
        Attempt { place: 0, outcome: Outcome::Deferred, reply },
        Attempt { place: 1, outcome: Outcome::Delivered(After::Forget), reply: None },
    ];
    let due_at = SystemTime::now() + Duration::from_secs(3630);
    spool.record(id(number), attempts, due_at).await.expect("writes");
}

/// Makes a dead letter of a message.
pub(crate) async fn kill(spool: &Spool, number: u64) {
    spool.lease(vec![id(number)]).await.expect("writes");
    let reply = Some(Reply::new(550, (5, 1, 1), "unknown"));
    let attempts = vec![Attempt { place: 0, outcome: Outcome::Failed(After::Keep), reply }];
    spool.record(id(number), attempts, SystemTime::now()).await.expect("writes");
}
