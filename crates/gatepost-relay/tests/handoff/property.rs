//! Whatever an upstream does, each recipient ends in one place, and it is the one that its client was
//! told of: by lot, and by cutting the wire behind every single octet of either side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatepost_relay::{Bounces, Mode};
use gatepost_spool::{Filter, Standing};
use proptest::collection::vec;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::task::JoinSet;

use crate::client::{Mail, send};
use crate::fuse::{Cut, Fuse};
use crate::play::judge;
use crate::scenario::{ANSWER_WITHIN, DEADLINE, Scenario, scenario};
use crate::world::{Room, Row, Setting, Store, World, delivered, rows};

/// Messages at once: their upstreams wait more than they work.
const AT_ONCE: usize = 32;
/// Rounds of so many. `PROPTEST_CASES`, which is for properties that cost nothing, is taken as the
/// number of messages divided by [`CHEAPER`].
const ROUNDS: u32 = 40;
const CHEAPER: u32 = 2;
/// A message and its upstream, whatever they do.
const RUN_MAX: Duration = Duration::from_secs(20);
/// Octets of either side at which a wire is cut: more than a message of the plain kind has. A cut that
/// was never reached shows that they are enough.
const CUTS: usize = 230;

/// The spools of all messages, each of which has an entry of its own.
struct Stage {
    plenty: Store,
    full: Store,
    made: AtomicU64,
}

impl Stage {
    fn new() -> Arc<Self> {
        let (plenty, full) = (Store::open(Room::Plenty), Store::open(Room::Full));
        Arc::new(Self { plenty, full, made: AtomicU64::new(0) })
    }

    fn store(&self, room: Room) -> &Store {
        if room == Room::Full { &self.full } else { &self.plenty }
    }

    /// Runs one message to its end. True if the wire was cut, where it was to be.
    async fn run(&self, scenario: &Scenario) -> Result<bool, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let running = tokio::time::timeout(RUN_MAX, self.run_as(number, scenario)).await;
        running
            .map_err(|_| "it never ends".to_owned())?
            .map_err(|wrong| format!("{wrong}\n{scenario:#?}"))
    }

    async fn run_as(&self, number: u64, scenario: &Scenario) -> Result<bool, String> {
        let upstream = scenario.upstream();
        let fuse = match scenario.cut {
            Some(cut) => Some(Fuse::new(upstream.addr(), cut).await),
            None => None,
        };
        let addr = fuse.as_ref().map_or(upstream.addr(), |fuse| fuse.addr);
        let spool = &self.store(scenario.room).spool;
        let setting = Setting {
            answer_within: ANSWER_WITHIN,
            final_reply_timeout: DEADLINE,
            reply: DEADLINE,
            bounces: Bounces::Keep,
            ..Setting::default()
        };
        let world = World::new(addr, &setting, Some(spool));
        if scenario.is_warm {
            warm_up(&world).await;
        }
        if let Some(fuse) = &fuse {
            fuse.arm();
        }
        let mail = scenario.mail(number);
        let before = world.counts.ambiguous();
        let began = Instant::now();
        let heard = send(&world, &mail).await;
        // At the moment of the reply, and when everybody has given up waiting.
        let filter = Filter { entry: Some(mail.entry.as_str().into()), ..Filter::default() };
        let at_reply = rows(spool, filter.clone()).await;
        promised(&mail, &heard, &at_reply, &upstream)?;
        world.relay.stayed().await;
        let in_the_end = rows(spool, filter).await;
        let ambiguous = world.counts.ambiguous() - before;
        let took = began.elapsed();
        judge(&mail, &heard, (&in_the_end, &of_mail(&mail, &upstream)), ambiguous)?;
        let is_settled = |row: &Row| matches!(row.standing, Standing::Queued | Standing::Dead);
        // In mode spool the queue may be at work on it already.
        if scenario.mode != Mode::Spool && !in_the_end.iter().all(is_settled) {
            return Err(format!("somebody has not let go: {in_the_end:?}"));
        }
        let is_plain = scenario.cut.is_none() && scenario.answers.end_is_plain();
        if is_plain && ambiguous > 0 && took < DEADLINE {
            return Err("nothing was ambiguous".to_owned());
        }
        for row in &in_the_end {
            // Either it is nobody's, or leased to a queue that does not run here.
            let removed = spool.remove(vec![row.id]).await.map_err(|error| error.to_string())?;
            if removed.is_empty() {
                spool.withdraw(row.id).await.map_err(|error| error.to_string())?;
            }
        }
        upstream.stop().await;
        Ok(fuse.is_none_or(|fuse| !fuse.is_whole()))
    }
}

/// A message before the one that counts.
async fn warm_up(world: &World) {
    let heard = send(world, &Mail::to(Mode::Sync, &["warm@b.test"])).await;
    assert!(heard.end_is_positive(), "{heard:?}");
}

/// What the upstream has, but for the message before.
fn of_mail(
    mail: &Mail,
    upstream: &gatepost_testkit::ScriptedUpstream,
) -> Vec<crate::world::Delivered> {
    let is_ours = |path: &String| mail.recipients.iter().any(|rcpt| rcpt.path == *path);
    let mut all = delivered(upstream);
    all.retain(|message| message.recipients.iter().any(is_ours));
    all
}

/// When the client hears that a message is taken, each of its recipients is somewhere already; when it
/// hears that it is not, nobody is in the spool any more.
fn promised(
    mail: &Mail,
    heard: &crate::client::Heard,
    rows: &[Row],
    upstream: &gatepost_testkit::ScriptedUpstream,
) -> Result<(), String> {
    let delivered = of_mail(mail, upstream);
    for (place, rcpt) in mail.recipients.iter().enumerate() {
        let kept = rows.iter().any(|row| row.recipients.iter().any(|(path, _)| *path == rcpt.path));
        let sent = delivered.iter().any(|message| message.recipients.contains(&rcpt.path));
        match heard.is_granted(place) {
            true if !kept && !sent => return Err(format!("{} is lost", rcpt.path)),
            false if kept => return Err(format!("{} was refused, and is kept", rcpt.path)),
            _ => {}
        }
    }
    Ok(())
}

/// All of them at once; the first that is wrong.
async fn run_all(
    stage: &Arc<Stage>,
    scenarios: impl IntoIterator<Item = Scenario>,
) -> Result<Vec<bool>, String> {
    let mut running = JoinSet::new();
    let mut cut = Vec::new();
    let mut scenarios = scenarios.into_iter().enumerate();
    loop {
        while running.len() < AT_ONCE
            && let Some((place, scenario)) = scenarios.next()
        {
            let stage = Arc::clone(stage);
            cut.push(false);
            running.spawn(async move { (place, stage.run(&scenario).await) });
        }
        match running.join_next().await {
            None => return Ok(cut),
            Some(Ok((place, result))) => cut[place] = result?,
            Some(Err(panic)) => return Err(panic.to_string()),
        }
    }
}

/// Nothing of any message is left behind.
async fn check_rest(stage: &Stage) {
    for store in [&stage.plenty, &stage.full] {
        let mut looks = 0;
        while store.body_files() > 0 || store.spool.body_memory() > 0 {
            assert!(looks < 500, "bodies of nobody's stay");
            tokio::time::sleep(Duration::from_millis(10)).await;
            looks += 1;
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

#[test]
fn each_recipient_ends_in_one_place() {
    let rounds =
        match std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse::<u32>().ok()) {
            Some(cases) => (cases / CHEAPER / AT_ONCE as u32).max(1),
            None => ROUNDS,
        };
    let runtime = runtime();
    let stage = runtime.block_on(async { Stage::new() });
    let config = Config {
        cases: rounds,
        failure_persistence: None,
        // Each try takes as long as the slowest of its messages.
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&vec(scenario(), 1..=AT_ONCE), |scenarios| {
        let ran = runtime.block_on(run_all(&stage, scenarios));
        ran.map(|_| ()).map_err(TestCaseError::fail)
    });
    if let Err(wrong) = tried {
        panic!("{wrong}");
    }
    runtime.block_on(check_rest(&stage));
}

#[test]
fn the_wire_is_cut_behind_each_octet() {
    let kinds = |cut| {
        [
            Scenario::plain(Mode::Sync, 2).cut(cut),
            Scenario::plain(Mode::Hybrid, 2).cut(cut),
            Scenario::plain(Mode::Hybrid, 2).pipelined().cut(cut),
            Scenario::plain(Mode::Hybrid, 2).in_chunks().cut(cut),
        ]
    };
    let runtime = runtime();
    let stage = runtime.block_on(async { Stage::new() });
    for side in [Cut::Heard, Cut::Said] {
        let cuts = (1..CUTS).map(side).flat_map(kinds);
        let cut = runtime.block_on(run_all(&stage, cuts)).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(cut[0], "the first octet is cut");
        assert!(!cut[cut.len() - 4..].contains(&true), "the last octet is there in each kind");
    }
    runtime.block_on(check_rest(&stage));
}
