//! Much at once: at what pace, over which connections, in whose turn, and how it stops.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use gatepost_spool::{Entrance, QueueId, Standing, Tally};
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::Action;

use super::world::{Draft, PATIENCE, SOON, Setting, World, upstream};
use crate::queue::Fresh;

/// A backlog goes over the connections there may be, and over no more; each carries many messages, whose
/// commands go out in one group.
#[tokio::test]
async fn a_backlog_goes_over_a_few_connections() {
    const MESSAGES: u64 = 400;
    let sink = ScriptedUpstream::start();
    let mut world = World::new(Setting::of(vec![upstream("sink", &sink)]));
    for number in 1..=MESSAGES {
        world.put(Draft::new(number)).await;
    }
    let before = commits(&world).await;
    world.run();
    world.drained().await;
    let commits = commits(&world).await - before;
    assert!(commits < MESSAGES, "{commits}: leases and records are written together");
    let messages = sink.messages();
    assert_eq!(messages.len(), MESSAGES as usize);
    assert!(
        messages
            .iter()
            .all(|it| it.text() == "Received: by relay.test\r\nSubject: test\r\n\r\n..dot\r\n")
    );
    assert!(sink.connections_open_max() <= 8, "{}", sink.connections_open_max());
    assert!(sink.connections_opened() <= 8, "{}", sink.connections_opened());
    let group = ["MAIL FROM:", "RCPT TO:", "DATA"];
    assert!(sink.connections().iter().all(|it| it.arrived_together(&group)));
    world.stop().await;
    let events = world.events();
    assert_eq!(events.len(), MESSAGES as usize);
    let first = &events[0];
    assert_eq!((&first["type"], &first["mode"]), (&"Delivery".into(), &"spool".into()));
    assert_eq!((&first["attempt"], &first["entry"]), (&1.into(), &"fleet".into()));
    assert!(first["reply"].as_str().is_some_and(|reply| reply.starts_with("250 ")));
    sink.stop().await;
}

/// One entry has a long backlog, another a short one that came later: it does not wait for the end of
/// the long one.
#[tokio::test]
async fn a_long_backlog_leaves_others_their_turn() {
    const LONG: u64 = 300;
    const SHORT: u64 = 20;
    let sink = ScriptedUpstream::builder()
        .end_of_data(Action::Delay(Duration::from_millis(4), "250 2.6.0 taken".to_owned()))
        .start();
    let mut config = upstream("sink", &sink);
    config.max_connections = 2;
    let mut world = World::new(Setting::of(vec![config]));
    for number in 1..=LONG {
        world.put(Draft { entry: "long", ..Draft::new(number) }).await;
    }
    for number in LONG + 1..=LONG + SHORT {
        world.put(Draft { entry: "short", ..Draft::new(number) }).await;
    }
    world.run();
    world.drained().await;
    let messages = sink.messages();
    let is_short =
        |mail: &str| (LONG + 1..=LONG + SHORT).any(|it| mail.contains(&format!("<s{it}@")));
    let last = messages.iter().rposition(|it| is_short(&it.mail)).expect("they came");
    assert!(last < 4 * SHORT as usize, "the last of the short backlog came as number {last}");
    world.stop().await;
    sink.stop().await;
}

/// The same where the long line is one of fresh messages, which never were in the spool's.
#[tokio::test]
async fn a_flood_of_fresh_messages_leaves_others_their_turn() {
    const FLOOD: u64 = 150;
    const SHORT: u64 = 10;
    let sink = ScriptedUpstream::builder()
        .end_of_data(Action::Delay(Duration::from_millis(10), "250 2.6.0 taken".to_owned()))
        .start();
    let mut config = upstream("sink", &sink);
    config.max_connections = 1;
    let mut world = World::start(Setting::of(vec![config]));
    world.until(async || world.queue.room("sink", 1).is_some()).await;
    for number in 1..=FLOOD {
        offer(&world, &Draft { entry: "flood", ..Draft::new(number) }).await;
    }
    let before = sink.messages().len();
    assert!(before < FLOOD as usize / 2, "{before}: they stand in line");
    for number in FLOOD + 1..=FLOOD + SHORT {
        world.put(Draft { entry: "short", ..Draft::new(number) }).await;
    }
    world.drained().await;
    let messages = sink.messages();
    let is_short =
        |mail: &str| (FLOOD + 1..=FLOOD + SHORT).any(|it| mail.contains(&format!("<s{it}@")));
    let last = messages.iter().rposition(|it| is_short(&it.mail)).expect("they came");
    assert!(last < FLOOD as usize, "the last of the others came as number {last}");
    world.stop().await;
    sink.stop().await;
}

/// An upstream that takes its time for each message holds up nobody else.
#[tokio::test]
async fn a_slow_upstream_holds_up_no_other() {
    let slow = ScriptedUpstream::builder().end_of_data(Action::Silence).start();
    let fast = ScriptedUpstream::start();
    let upstreams = vec![upstream("slow", &slow), upstream("fast", &fast)];
    let mut world = World::new(Setting::of(upstreams));
    for number in 1..=600 {
        world.put(Draft { upstream: "slow", ..Draft::new(number) }).await;
    }
    world.run();
    slow.wait_for_messages(8).await;
    for number in 601..=700 {
        world.put(Draft { upstream: "fast", ..Draft::new(number) }).await;
    }
    fast.wait_for_messages(100).await;
    let leased = world.spool.stats(SystemTime::now()).await.expect("is readable");
    let is_waiting = |it: &&Tally| &*it.upstream == "slow" && it.standing == Standing::Leased;
    let leased = leased.tallies.iter().find(is_waiting);
    assert!(
        leased.is_some_and(|it| it.messages <= 12),
        "an operator can hold the rest: {leased:?}"
    );
    world.cut().await;
    slow.stop().await;
    fast.stop().await;
}

/// Told to stop, it ends what it has begun, and gives back what it has not.
#[tokio::test]
async fn it_stops_in_good_order() {
    let sink = ScriptedUpstream::builder()
        .end_of_data(Action::Delay(Duration::from_millis(100), "250 2.6.0 taken".to_owned()))
        .start();
    let mut config = upstream("sink", &sink);
    config.max_connections = 2;
    let mut world = World::new(Setting::of(vec![config]));
    for number in 1..=50 {
        world.put(Draft::new(number)).await;
    }
    world.run();
    sink.wait_for_lines(8).await;
    world.stop().await;
    let delivered = sink.messages().len() as u64;
    assert!((1..50).contains(&delivered), "{delivered}");
    let stats = world.spool.stats(SystemTime::now()).await.expect("is readable");
    assert_eq!(stats.messages, 50 - delivered, "what was accepted is recorded, and nothing else");
    assert!(stats.tallies.iter().all(|it| it.standing == Standing::Queued), "{stats:?}");
    assert!(world.queue.room("sink", 1).is_none(), "nothing fresh is taken any more");
    sink.stop().await;
}

/// Dropped in the middle of everything, it leaves no lease behind.
#[tokio::test]
async fn dropped_it_leaves_no_lease() {
    let sink = ScriptedUpstream::builder().end_of_data(Action::Silence).start();
    let mut world = World::new(Setting::of(vec![upstream("sink", &sink)]));
    for number in 1..=50 {
        world.put(Draft::new(number)).await;
    }
    world.run();
    sink.wait_for_messages(8).await;
    world.cut().await;
    let is_back = async || {
        let stats = world.spool.stats(SystemTime::now()).await.expect("is readable");
        stats.messages == 50 && stats.tallies.iter().all(|it| it.standing == Standing::Queued)
    };
    world.until(is_back).await;
    tokio::time::timeout(PATIENCE, world.queue.stop()).await.expect("has ended");
    sink.stop().await;
}

/// A fresh message goes on from memory: nobody asks the spool for it, unless its body is there only.
#[tokio::test]
async fn a_fresh_message_goes_on_at_once() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    world.until(async || world.queue.room("sink", 1).is_some()).await;
    for number in 1..=20 {
        offer(&world, &Draft::new(number)).await;
    }
    // Its body is a file, as far as the runner knows.
    let (mut fresh, _) = commit(&world, &Draft::new(21)).await;
    fresh.body = None;
    world.queue.offer(fresh);
    world.drained().await;
    let messages = sink.messages();
    assert_eq!(messages.len(), 21);
    assert!(messages.iter().all(|it| it.text() == messages[0].text()));
    assert!(world.queue.room("elsewhere", 1).is_none());
    assert!(world.queue.room("sink", u64::MAX).is_none());
    world.stop().await;
    sink.stop().await;
}

/// What a fresh message comes to is recorded as for any other.
#[tokio::test]
async fn a_fresh_message_can_fail() {
    let sink = ScriptedUpstream::builder()
        .on("RCPT TO:<bad@", "550 5.1.1 no such user")
        .on_nth("RCPT TO:<later@", 1, "450 4.2.0 later")
        .start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    world.until(async || world.queue.room("sink", 1).is_some()).await;
    let draft = Draft::new(1).to(&["good@b.test", "bad@b.test", "later@b.test"]);
    let id = offer(&world, &draft).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert_eq!(message.attempts, 2);
    assert_eq!(sink.messages().len(), 2);
    world.stop().await;
    sink.stop().await;
}

async fn commits(world: &World) -> u64 {
    world.spool.stats(SystemTime::now()).await.expect("is readable").work.commits
}

/// A body that is not in memory any more is read back; the lease stays, and nobody has to find it.
#[tokio::test]
async fn a_fresh_message_whose_body_was_put_down_goes_at_once() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    world.until(async || world.queue.room("sink", 1).is_some()).await;
    let looks = world.queue.inner.looks.load(Relaxed);
    let draft = Draft::new(1);
    let (fresh, _) = commit(&world, &draft).await;
    world.queue.offer(Fresh { body: None, ..fresh });
    world.drained().await;
    assert_eq!(sink.messages()[0].content.bytes, draft.body);
    assert!(world.queue.inner.looks.load(Relaxed) <= looks + 1, "nobody had to look for it");
    world.stop().await;
    sink.stop().await;
}

async fn offer(world: &World, draft: &Draft<'_>) -> QueueId {
    let (fresh, id) = commit(world, draft).await;
    world.queue.offer(fresh);
    id
}

async fn commit(world: &World, draft: &Draft<'_>) -> (Fresh, QueueId) {
    let draft = Draft { entrance: Some(Entrance::Leased), ..draft.clone() };
    let room = world.queue.room("sink", draft.body.len() as u64).expect("there is room");
    let message = draft.message();
    let id = message.envelope.id;
    let body = Bytes::copy_from_slice(draft.body);
    let mut writer = world.spool.body(id);
    writer.append(body.clone()).await.expect("there is room");
    world.spool.commit(message.clone(), writer).await.expect("commits");
    let lease = world.spool.guard(id);
    (Fresh { message, body: Some(body), lease, room }, id)
}

/// With nothing to do it does nothing: the spool is asked a few times, however often somebody says that
/// something may be due.
#[tokio::test]
async fn it_does_not_spin() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let (began, mut wakes) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_millis(300) {
        world.queue.wake();
        wakes += 1;
        tokio::time::sleep(SOON / 5).await;
    }
    let looks = world.queue.inner.looks.load(Relaxed);
    let most = began.elapsed().as_millis() as u64 / 10 + 2;
    assert!(wakes > 50 && (1..=most).contains(&looks), "{looks} looks for {wakes} wakes");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = world.queue.inner.looks.load(Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.queue.inner.looks.load(Relaxed), before, "nobody has said anything");
    world.stop().await;
    sink.stop().await;
}
