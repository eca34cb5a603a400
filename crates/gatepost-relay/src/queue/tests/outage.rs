//! An upstream that cannot be reached: what waits meanwhile, what is told, and what happens when it is
//! back.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use gatepost_delivery::Signal;
use gatepost_spool::{Entrance, RecipientState, Standing};
use gatepost_testkit::ScriptedUpstream;

use super::world::{Draft, PATIENCE, Setting, World, upstream, upstream_at};
use crate::dsn::Bounces;

/// A port of this machine on which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("is bound").to_string()
}

/// While it is gone nothing is counted as tried; when it is back all of it goes, after one that has
/// found that out.
#[tokio::test]
async fn a_backlog_waits_for_its_upstream() {
    const MESSAGES: u64 = 200;
    let address = nowhere();
    let mut world = World::start(Setting::of(vec![upstream_at("sink", &address)]));
    for number in 1..=MESSAGES {
        world.put(Draft::new(number)).await;
    }
    let way = &world.queue.inner.ways["sink"];
    world.until(async || !way.is_open()).await;
    // Some probes have come to nothing.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let first = world.show(gatepost_spool::QueueId::new(1).expect("is small")).await;
    assert_eq!(first.expect("waits").attempts, 0);
    let sink = ScriptedUpstream::builder().at(address.parse().expect("an address")).start();
    world.drained().await;
    assert_eq!(sink.messages().len(), MESSAGES as usize);
    world.stop().await;
    let events = world.events();
    assert_eq!(events.len(), MESSAGES as usize);
    assert!(events.iter().all(|it| it["attempt"] == 1), "none was tried before");
    sink.stop().await;
}

/// One upstream that is gone holds up no other.
#[tokio::test]
async fn an_outage_is_of_one_upstream() {
    let sink = ScriptedUpstream::start();
    let upstreams = vec![upstream_at("gone", &nowhere()), upstream("sink", &sink)];
    let mut world = World::start(Setting::of(upstreams));
    for number in 1..=300 {
        world.put(Draft { upstream: "gone", ..Draft::new(number) }).await;
    }
    for number in 301..=320 {
        world.put(Draft::new(number)).await;
    }
    sink.wait_for_messages(20).await;
    world.stop().await;
    sink.stop().await;
}

/// Its time is over whether anybody was reached or not.
#[tokio::test]
async fn a_message_expires_while_its_upstream_is_gone() {
    let mut setting = Setting::of(vec![upstream_at("sink", &nowhere())]);
    setting.retry = vec![Duration::from_hours(1)];
    let mut world = World::start(setting);
    let expires_at = SystemTime::now() + Duration::from_millis(200);
    let id = world.put(Draft { expires_at, ..Draft::new(1) }).await;
    let stays = world.put(Draft::new(2)).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert_eq!(message.recipients[0].state, RecipientState::Expired);
    let reply = message.recipients[0].reply.as_ref().expect("says why");
    assert!(reply.to_string().starts_with("451 4.4.7 "), "{reply}");
    // Put back by an operator, it waits for an attempt.
    world.spool.retry(vec![id], SystemTime::now(), None).await.expect("retries");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let is_undecided = |it: Option<gatepost_spool::StoredMessage>| {
        it.is_some_and(|it| it.recipients[0].state == RecipientState::Pending)
    };
    assert!(is_undecided(world.show(id).await));
    assert!(is_undecided(world.show(stays).await));
    world.stop().await;
    let events = world.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["type"], "Expiration");
}

/// The sender of a message that is late hears of it, once, whether anything was tried or not.
#[tokio::test]
async fn a_delay_is_told_once() {
    let mut setting = Setting::of(vec![upstream_at("sink", &nowhere())]);
    setting.bounces = Bounces::Dsn;
    let mut world = World::start(setting);
    let received_at = SystemTime::now() - Duration::from_hours(5);
    let late = world.put(Draft { received_at, dsn: " NOTIFY=DELAY", ..Draft::new(1) }).await;
    let in_time = world.put(Draft::new(2)).await;
    let message = world.until_stored(late, |it| it.recipients[0].delay_told).await;
    assert_eq!(message.recipients[0].state, RecipientState::Pending);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.messages().await, 3, "one notification, once");
    assert!(!world.show(in_time).await.expect("waits").recipients[0].delay_told);
    world.stop().await;
}

/// Nobody knows any more where it should go: it waits, and is given up when its time is over.
#[tokio::test]
async fn messages_of_an_upstream_that_is_not_configured_wait() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let lost = world.put(Draft { upstream: "lost", ..Draft::new(1) }).await;
    let expires_at = SystemTime::now() + Duration::from_millis(100);
    let over = world.put(Draft { upstream: "lost", expires_at, ..Draft::new(2) }).await;
    world.put(Draft::new(3)).await;
    sink.wait_for_messages(1).await;
    let message = world.until_stored(over, |it| it.standing == Standing::Dead).await;
    assert_eq!(message.recipients[0].state, RecipientState::Expired);
    let message = world.show(lost).await.expect("waits");
    assert_eq!((message.standing, message.attempts), (Standing::Queued, 0));
    assert!(world.spool.move_upstream("lost".into(), "sink".into()).await.expect("moves"));
    world
        .until(async || {
            world.queue.wake();
            world.show(lost).await.is_none()
        })
        .await;
    assert_eq!(sink.messages().len(), 2);
    world.stop().await;
    sink.stop().await;
}

/// An upstream that the pool leaves alone is left alone here; an operator can change that.
#[tokio::test]
async fn an_operator_ends_a_rest() {
    let sink = ScriptedUpstream::start();
    let mut world = World::new(Setting::of(vec![upstream("sink", &sink)]));
    let way = world.queue.inner.ways["sink"].clone();
    way.outlet.upstream.signal(Signal::Misconfigured);
    world.run();
    let id = world.put(Draft::new(1)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.show(id).await.expect("waits").standing, Standing::Queued);
    assert!(world.queue.room("sink", 1).is_none(), "what is fresh goes into the spool");
    let began = Instant::now();
    world.queue.forget_rests();
    world.drained().await;
    assert!(began.elapsed() < PATIENCE / 2, "the pool would have waited for half of a half minute");
    world.stop().await;
    sink.stop().await;
}

/// A spool that takes nothing any more is left alone.
#[tokio::test]
async fn a_spool_that_has_ended_is_not_asked_again() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let due_at = SystemTime::now() + Duration::from_millis(100);
    world.put(Draft { entrance: Some(Entrance::Due(due_at)), ..Draft::new(1) }).await;
    world.spool.close().await;
    let looks = || world.queue.inner.looks.load(std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = looks();
    world.queue.wake();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(looks(), before);
    world.stop().await;
    sink.stop().await;
}
