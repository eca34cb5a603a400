//! What outlives a gateway: the real program, ended well or killed.
//!
//! Upstreams go on while a program is waited for: they have threads of their own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, END_OF_DATA};

use super::stored::id_of;
use super::{
    By, Envelope, Nobody, ONE, Story, WAYS, assert_whole, config, delivered, left, send, until,
};
use crate::place::Place;
use crate::program::Program;

impl Place {
    /// One with these lines in `[delivery]`, and these behind everything.
    pub(super) fn keeping(upstream: std::net::SocketAddr, delivery: &str, more: &str) -> Self {
        let place = Self::with_file(upstream);
        let room = "[limits]\nfree_space_floor = \"1 B\"\n";
        place.write("gatepost.toml", &config(upstream, delivery, &format!("{room}{more}")));
        place
    }
}

impl Program {
    /// Ends it as a loss of power would.
    pub(super) fn kill(mut self) {
        self.signal("KILL");
        assert_eq!(self.exit_code(), None, "it was killed");
    }
}

async fn send_some(program: &Program) -> Vec<String> {
    let mut client = program.client().await;
    let mut ids = Vec::new();
    for by in WAYS {
        ids.push(send(&mut client, by, ONE).await.id());
    }
    ids
}

/// One is ended, the next is killed; the third delivers what both have left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_its_gateway() {
    for mode in ["hybrid", "spool"] {
        let nobody = Nobody::new();
        let place = Place::keeping(nobody.addr(), &format!("mode = \"{mode}\""), "");
        let mut ids = Vec::new();
        let program = place.run();
        ids.extend(send_some(&program).await);
        program.end();
        let program = place.run();
        ids.extend(send_some(&program).await);
        program.kill();
        let upstream = nobody.replace();
        let program = place.run();
        until("all delivered", async || delivered(&upstream).len() == ids.len()).await;
        program.end();
        let messages = upstream.messages();
        messages.iter().for_each(assert_whole);
        let arrived: BTreeSet<_> = messages.iter().map(id_of).collect();
        assert_eq!(messages.len(), ids.len(), "{mode}");
        assert_eq!(arrived, ids.into_iter().collect(), "{mode}");
        assert!(left(place.directory.path()).await.is_empty(), "{mode}");
        upstream.stop().await;
    }
}

/// To drain is to wait for what is on its way: for a message in doubt, and for deliveries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_the_upstreams_word() {
    for mode in ["hybrid", "spool"] {
        let late = Action::Delay(Duration::from_millis(2500), "250 2.0.0 Ok".into());
        let upstream = ScriptedUpstream::builder().end_of_data(late).start();
        let delivery = format!("mode = \"{mode}\"\nanswer_within = \"1s\"");
        let place = Place::keeping(upstream.addr(), &delivery, "");
        let program = place.run();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let mut client = program.client().await;
            clients.spawn(async move { send(&mut client, By::Group, ONE).await.id() });
        }
        let ids = clients.join_all().await;
        until("all are given to it", async || {
            let listed = place.json(&["queue", "list"]);
            let listed = listed["messages"].as_array().expect("messages");
            let is_leased = |message: &serde_json::Value| {
                message["standing"] == "in_doubt" || message["standing"] == "leased"
            };
            assert_eq!(listed.len(), 4, "{mode}: it has not answered yet");
            listed.iter().all(is_leased)
        })
        .await;
        program.end();
        assert_eq!(delivered(&upstream).len(), 4, "{mode}");
        let story = Story::of(place.directory.path());
        for id in ids {
            let told = [format!("Reception {mode} sink - b"), format!("Delivery {mode} sink 1 b")];
            assert_eq!(story.about(&id), told);
        }
        assert!(left(place.directory.path()).await.is_empty(), "{mode}");
        upstream.stop().await;
    }
}

/// An upstream that never answers must not keep a gateway from ending. The message may arrive twice,
/// and the next gateway says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_has_an_end() {
    let upstream = ScriptedUpstream::builder().on_nth(END_OF_DATA, 1, Action::Silence).start();
    let delivery = "mode = \"hybrid\"\nanswer_within = \"1s\"";
    let place = Place::keeping(upstream.addr(), delivery, "[timeouts]\ndrain = \"1s\"\n");
    let program = place.run();
    let id = send(&mut program.client().await, By::Chunks, ONE).await.id();
    let began = Instant::now();
    program.end();
    // The time to drain, and that for what is cut off.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let kept = left(place.directory.path()).await;
    assert!(kept.len() == 1 && kept[0].id.to_string() == id, "{kept:?}");
    let program = place.run();
    until("delivered", async || delivered(&upstream).len() == 1).await;
    program.end();
    assert_eq!(upstream.messages().len(), 2);
    assert_eq!(upstream.messages().iter().map(id_of).collect::<BTreeSet<_>>().len(), 1);
    let told = Story::of(place.directory.path()).about(&id);
    assert_eq!(told[0], "Reception hybrid sink - b");
    assert!(told.last().is_some_and(|it| it.starts_with("Delivery hybrid sink ")), "{told:?}");
    assert!(left(place.directory.path()).await.is_empty());
    upstream.stop().await;
}

/// Who wants to know of a delay is told so once, by whichever gateway finds the message late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_told_once() {
    let (nobody, bounces) = (Nobody::new(), ScriptedUpstream::start());
    let delivery = "mode = \"hybrid\"\nupstream = \"sink\"\nbounce_upstream = \"bounces\"\n\
                    retry = [\"1s\"]\nexpire_after = \"4s\"";
    let address = bounces.addr();
    let more =
        format!("[[upstream]]\nname = \"bounces\"\nhosts = [\"{address}\"]\ntls = \"none\"\n");
    let place = Place::keeping(nobody.addr(), delivery, &more);
    let program = place.run();
    let envelope: Envelope<'_> =
        ("<a@app.test>", &["<b@b.test> NOTIFY=DELAY", "<c@b.test> NOTIFY=FAILURE"]);
    let id = send(&mut program.client().await, By::Group, envelope).await.id();
    let sent = Instant::now();
    program.end();
    // Half of its time.
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(sent.elapsed())).await;
    let program = place.run();
    let told = bounces.wait_for_messages(1).await.remove(0).text();
    for field in ["Action: delayed", "Final-Recipient: rfc822; b@b.test"] {
        assert_eq!(told.matches(field).count(), 1, "{field}: {told}");
    }
    assert!(!told.contains("Final-Recipient: rfc822; c@b.test"), "{told}");
    let upstream = nobody.replace();
    program.end();
    let program = place.run();
    until("decided", async || {
        let answer = place.gatepost(&["queue", "list"]);
        answer.stdout == "the queue is empty\n"
    })
    .await;
    program.end();
    let about = Story::of(place.directory.path()).about(&id);
    assert_eq!(about[0], "Reception hybrid sink - b,c");
    assert_eq!(about.len(), 2, "{about:?}");
    // Delivered, or given up just before: then who wants to know of a failure is told that.
    let failures = usize::from(about[1].starts_with("Expiration"));
    assert_eq!(bounces.messages().len(), 1 + failures);
    assert_eq!(delivered(&upstream).len(), 2 * (1 - failures));
    upstream.stop().await;
    bounces.stop().await;
}
