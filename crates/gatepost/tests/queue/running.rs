//! With a gateway: its control socket, and a spool that it has open.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use gatepost_admin::control::{
    self, Control, DeniedView, DoctorView, EditRefusal, EditRequest, EditView, Host, Rests,
    UpstreamView, Work,
};
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::shadow::ShadowReport;
use gatepost_policy::snapshot::Snapshot;
use gatepost_spool::{Spool, Standing};
use serde_json::json;
use tokio::task::{JoinHandle, block_in_place};

use crate::place::{FILE, Place, commit, id, kill};

/// The part of a gateway that commands about the queue ask.
struct Running {
    place: Place,
    spool: Spool,
    woken: Arc<Mutex<Vec<Rests>>>,
    socket: JoinHandle<()>,
}

struct Lent {
    spool: Spool,
    woken: Arc<Mutex<Vec<Rests>>>,
}

impl Running {
    fn start() -> Self {
        let place = Place::new();
        let spool = place.open();
        let woken = Arc::<Mutex<Vec<Rests>>>::default();
        let host = Lent { spool: spool.clone(), woken: woken.clone() };
        let config = gatepost::config::Config::load(&place.path("gatepost.toml")).expect("is good");
        let compiled = Ruleset::compile("", "policy.toml", &config.site).expect("is good");
        let control = Control::new(Arc::new(Snapshot::new(compiled.ruleset)), host);
        let socket = control::bind(&place.path("state")).expect("binds");
        let socket = tokio::spawn(control::serve(socket, control, std::future::pending()));
        Self { place, spool, woken, socket }
    }

    /// One with messages 1 to 4, of which the last is dead.
    async fn filled() -> Self {
        let running = Self::start();
        for number in 1..=4 {
            commit(&running.spool, number).await;
        }
        kill(&running.spool, 4).await;
        running
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        block_in_place(|| self.place.done(arguments))
    }

    #[track_caller]
    fn refused(&self, code: i32, told: &str, arguments: &[&str]) {
        block_in_place(|| self.place.refused(code, told, arguments));
    }

    async fn standing(&self, number: u64) -> Option<Standing> {
        self.spool.show(id(number)).await.expect("reads").map(|message| message.standing)
    }

    fn woken(&self) -> Vec<Rests> {
        std::mem::take(&mut *self.woken.lock().expect("no panic"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_runs_shows_what_its_files_show() {
    let mut running = Running::filled().await;
    let commands: [&[&str]; 5] = [
        &["list"],
        &["list", "--output=json", "--limit=2"],
        &["list", "--totals"],
        &["show", "00000000001", "--headers"],
        &["export", "00000000001"],
    ];
    let before: Vec<_> = commands.iter().map(|words| running.done(words)).collect();
    assert_eq!(before[4].as_bytes(), FILE);
    let answer = block_in_place(|| running.place.queue(&["list"]));
    assert_eq!((answer.code, &*answer.stderr), (0, ""));
    let listed = "\n4 messages, 240 B; the oldest that waits has done so for 3h\n";
    assert!(answer.stdout.ends_with(listed), "{}", answer.stdout);
    running.refused(1, "there is no message 00000000009", &["show", "00000000009"]);
    running.refused(1, "there is no message 00000000009", &["export", "00000000009"]);

    running.socket.abort();
    let _ = (&mut running.socket).await;
    running.spool.close().await;
    for (words, before) in commands.iter().zip(before) {
        assert_eq!(running.done(words), before, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_beyond_a_page() {
    let running = Running::start();
    for number in 1..=1003 {
        commit(&running.spool, number).await;
    }
    let listed = running.done(&["list", "--limit=1001", "--output=json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let messages = listed["messages"].as_array().expect("messages");
    assert_eq!((messages.len(), &listed["next"]), (1001, &json!(id(1001).to_string())));
    let told = running.done(&["list", "--limit=5000"]);
    assert_eq!(told.lines().count(), 1 + 1003 + 2, "names, messages, and the line below");
    assert_eq!(running.done(&["remove", "--all", "--yes"]), "1003 messages are removed\n");
    assert_eq!(running.done(&["list"]), "the queue is empty\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_named_are_changed() {
    let running = Running::filled().await;
    assert_eq!(running.done(&["hold", "00000000001", "00000000002"]), "2 messages are held\n");
    assert_eq!(running.standing(1).await, Some(Standing::Held));
    assert_eq!(running.done(&["retry", "00000000001"]), "1 message is due\n");
    assert_eq!(running.standing(1).await, Some(Standing::Queued));
    assert_eq!(running.woken(), [Rests::Kept]);
    let told = running.done(&["retry", "00000000001", "00000000004", "--upstream=ses"]);
    assert_eq!(told, "2 messages are due, by upstream ses\n");
    let moved = running.spool.show(id(1)).await.expect("reads").expect("is there");
    assert_eq!((&*moved.envelope.upstream, moved.due_at <= SystemTime::now()), ("ses", true));
    let told = "error: there is no upstream \"nowhere\"; known are google, ses\n";
    running.refused(64, told, &["retry", "00000000001", "--upstream=nowhere"]);

    // What is told of those that cannot be changed.
    running.spool.lease(vec![id(3)]).await.expect("writes");
    let words = ["remove", "00000000001", "00000000003", "00000000009"];
    let answer = block_in_place(|| running.place.queue(&words));
    let told = "error: somebody is at work on message 00000000003; ask again when that attempt has ended\n\
                error: there is no message 00000000009 in the queue\n";
    let answered = (answer.code, &*answer.stdout, &*answer.stderr);
    assert_eq!(answered, (1, "1 message is removed\n", told));
    let answer = block_in_place(|| running.place.queue(&["hold", "00000000009", "--output=json"]));
    let told: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(told, json!({"changed": 0, "unchanged": [{"id": "00000000009"}]}));
    assert_eq!(answer.code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_messages_are_changed() {
    let running = Running::filled().await;
    let told = running.done(&["retry", "--all"]);
    assert_eq!(told, "3 messages are due; back-off and breakers are reset\n");
    assert_eq!(running.woken(), [Rests::Forgotten]);
    assert_eq!(running.standing(4).await, Some(Standing::Dead), "the dead are left in peace");
    let told = running.done(&["retry", "--all", "--from-upstream=google", "--upstream=ses"]);
    assert_eq!(told, "2 messages are due, by upstream ses; back-off and breakers are reset\n");
    let told = running.done(&["retry", "--all", "--standing=dead"]);
    assert_eq!(told, "1 message is due; back-off and breakers are reset\n");
    running.woken();

    running.spool.lease(vec![id(2)]).await.expect("writes");
    assert_eq!(running.done(&["hold", "--all", "--entry=crm"]), "0 messages are held\n");
    assert_eq!(running.done(&["hold", "--all", "--upstream=ses"]), "4 messages are held\n");
    let told = "error: this would remove 4 messages (240 B) for good, and nobody would be told; \
                say --yes if that is meant\n";
    running.refused(64, told, &["remove", "--all"]);
    let answer = block_in_place(|| running.place.queue(&["remove", "--all", "--yes"]));
    let answered = (answer.code, &*answer.stdout, &*answer.stderr);
    let note = "note: left as they are: 1 leased\n";
    assert_eq!(answered, (0, "3 messages are removed\n", note));
    assert_eq!(running.woken(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_has_stopped_is_told_of() {
    let running = Running::filled().await;
    running.spool.close().await;
    running.refused(74, "error: the spool is closed\n", &["retry", "--all"]);
    running.refused(74, "error: the spool is closed\n", &["hold", "00000000001"]);
}

impl Host for Lent {
    fn upstreams(&self) -> Vec<UpstreamView> {
        let view = |name: &str| UpstreamView {
            name: name.to_owned(),
            profile: "generic".to_owned(),
            hosts: Vec::new(),
            default: false,
            max_connections: 1,
            live: None,
        };
        ["google", "ses"].map(view).into()
    }

    fn denied(&self, _limit: usize) -> Vec<DeniedView> {
        Vec::new()
    }

    fn denied_client(&self, _address: IpAddr) -> Option<DeniedView> {
        None
    }

    fn doctor(&self) -> DoctorView {
        DoctorView::default()
    }

    fn shadow(&self) -> Option<ShadowReport> {
        None
    }

    fn edit(&self, _request: EditRequest) -> Work<Result<EditView, EditRefusal>> {
        unreachable!("nobody edits")
    }

    fn save_usage(&self) -> Work<Result<(), String>> {
        unreachable!("nobody asks for it")
    }

    fn spool(&self) -> Option<Spool> {
        Some(self.spool.clone())
    }

    fn wake_queue(&self, rests: Rests) {
        self.woken.lock().expect("no panic").push(rests);
    }
}
