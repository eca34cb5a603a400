//! What becomes of one message, recipient by recipient.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

use gatepost_spool::{After, Attempt, Outcome, QueueId, RecipientState, Standing, StoredMessage};
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::Action;

use super::world::{Draft, LONG, Setting, World, upstream};
use crate::dsn::Bounces;

fn id(number: u64) -> QueueId {
    QueueId::new(number).expect("is small")
}

fn states(message: &StoredMessage) -> Vec<RecipientState> {
    message.recipients.iter().map(|it| it.state).collect()
}

/// The recipients of each message that came to its end, as they were named.
fn recipients(sink: &ScriptedUpstream) -> Vec<Vec<String>> {
    sink.messages().into_iter().map(|it| it.recipients).collect()
}

/// Each recipient has its own fate: who has the message does not get it again, who was refused is not
/// asked again, who is to come later does.
#[tokio::test]
async fn each_recipient_has_its_own_fate() {
    let sink = ScriptedUpstream::builder()
        .on("RCPT TO:<bad@", "550 5.1.1 no such user")
        .on_nth("RCPT TO:<later@", 1, "450 4.2.0 later")
        .on_nth("RCPT TO:<later@", 2, "450 4.2.0 later still")
        .start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let draft = Draft::new(1).to(&["good@b.test", "bad@b.test", "later@b.test"]);
    let id = world.put(draft).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert_eq!(
        states(&message),
        [RecipientState::Delivered, RecipientState::Failed, RecipientState::Delivered]
    );
    let attempts: Vec<u32> = message.recipients.iter().map(|it| it.attempts).collect();
    assert_eq!((attempts, message.attempts), (vec![1, 1, 3], 3));
    let named = recipients(&sink);
    assert_eq!(named, [["RCPT TO:<good@b.test>"], ["RCPT TO:<later@b.test>"]]);
    let asked = |what: &str| sink.lines().iter().filter(|line| line.contains(what)).count();
    assert_eq!((asked("bad@"), asked("good@"), asked("later@")), (1, 1, 3));
    world.stop().await;
    let events = world.events();
    let told: Vec<String> = events
        .iter()
        .map(|it| {
            format!("{} {} {}", it["type"], it["recipients"][0], it["attempt"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "Delivery good@b.test 1",
            "Bounce bad@b.test 1",
            "TransientFailure later@b.test 1",
            "TransientFailure later@b.test 2",
            "Delivery later@b.test 3",
        ]
    );
    assert_eq!(events[2]["reply"], "450 4.2.0 later");
    sink.stop().await;
}

/// What the upstream has accepted is on the disk before anything else happens to the message.
#[tokio::test]
async fn a_part_that_was_delivered_is_durable() {
    let sink = ScriptedUpstream::builder().on("RCPT TO:<later@", "450 4.2.0 later").start();
    let mut setting = Setting::of(vec![upstream("sink", &sink)]);
    setting.retry = vec![LONG];
    let mut world = World::start(setting);
    let id = world.put(Draft::new(1).to(&["later@b.test", "good@b.test"])).await;
    let message = world.until_stored(id, |it| it.attempts == 1).await;
    world.cut().await;
    assert_eq!(states(&message), [RecipientState::Pending, RecipientState::Delivered]);
    let wait = message.due_at.duration_since(SystemTime::now()).expect("is later");
    assert!(wait > LONG / 2 && wait <= LONG, "{wait:?}: no later than its time is over");
    sink.stop().await;
}

#[tokio::test]
async fn the_word_after_the_dot_is_that_of_all() {
    let sink = ScriptedUpstream::builder()
        .on_nth(".", 1, "451 4.3.0 not now")
        .on_nth(".", 2, "554 5.6.0 not like this")
        .start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let id = world.put(Draft::new(1).to(&["a@b.test", "b@b.test"])).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert_eq!(states(&message), [RecipientState::Failed; 2]);
    assert_eq!(message.attempts, 2);
    let reply = message.recipients[0].reply.as_ref().expect("is kept");
    assert_eq!(reply.to_string(), "554 5.6.0 not like this");
    world.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn a_sender_that_is_refused_is_refused_for_all() {
    let sink = ScriptedUpstream::builder().on("MAIL", "550 5.1.8 who?").start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let id = world.put(Draft::new(1).to(&["a@b.test", "b@b.test"])).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert_eq!(states(&message), [RecipientState::Failed; 2]);
    world.stop().await;
    sink.stop().await;
}

/// A failure is told once, and what was told about is gone. The notification is a message like others.
#[tokio::test]
async fn a_failure_is_told() {
    let sink = ScriptedUpstream::builder().on("RCPT TO:<bad@", "550 5.1.1 no such user").start();
    let mut setting = Setting::of(vec![upstream("sink", &sink)]);
    setting.bounces = Bounces::Dsn;
    let mut world = World::start(setting);
    world.put(Draft::new(1).to(&["good@b.test", "bad@b.test"])).await;
    world.drained().await;
    let named = recipients(&sink);
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(named[0], ["RCPT TO:<good@b.test>"]);
    assert!(named[1][0].starts_with("RCPT TO:<s1@example.com>"), "{named:?}");
    world.stop().await;
    sink.stop().await;
}

/// A process that ended before it could tell: the next one does.
#[tokio::test]
async fn what_was_owed_is_told_at_the_start() {
    let sink = ScriptedUpstream::start();
    let mut setting = Setting::of(vec![upstream("sink", &sink)]);
    setting.bounces = Bounces::Dsn;
    let mut world = World::new(setting);
    for number in 1..=3 {
        let id = world.put(Draft::new(number)).await;
        world.spool.lease(vec![id]).await.expect("leases");
        let outcome = Outcome::Failed(After::Notify);
        let attempts = vec![Attempt { place: 0, outcome, reply: None }];
        let standing = world.spool.record(id, attempts, SystemTime::now()).await.expect("records");
        assert_eq!(standing, Some(Standing::Owing));
    }
    world.run();
    world.drained().await;
    assert_eq!(sink.messages().len(), 3);
    world.stop().await;
    sink.stop().await;
}

/// It is tried until its time is over, and once more if an operator wants it.
#[tokio::test]
async fn a_message_expires() {
    let sink = ScriptedUpstream::builder().on("RCPT", "450 4.2.0 later").start();
    let mut setting = Setting::of(vec![upstream("sink", &sink)]);
    setting.retry = vec![Duration::from_millis(1), LONG];
    let mut world = World::start(setting);
    let expires_at = SystemTime::now() + Duration::from_millis(300);
    let id = world.put(Draft { expires_at, ..Draft::new(1) }).await;
    let message = world.until_stored(id, |it| it.standing == Standing::Dead).await;
    assert!(SystemTime::now() >= expires_at);
    assert_eq!(states(&message), [RecipientState::Expired]);
    assert_eq!(message.attempts, 3, "at once, soon after, and when its time was over");
    world.spool.retry(vec![id], SystemTime::now(), None).await.expect("retries");
    world.queue.wake();
    world.until_stored(id, |it| it.standing == Standing::Dead && it.attempts == 4).await;
    world.stop().await;
    let events = world.events();
    let expired = events.iter().filter(|it| it["type"] == "Expiration").count();
    assert_eq!((expired, events.len()), (2, 4));
    sink.stop().await;
}

/// Nothing of a body that is damaged is ever brought to its end.
#[tokio::test]
async fn a_damaged_body_is_a_dead_letter() {
    let sink = ScriptedUpstream::start();
    let mut world = World::new(Setting::of(vec![upstream("sink", &sink)]));
    let body = b"0123456789abcde\r\n".repeat(20_000);
    let ids = [
        world.put(Draft { body: &body, ..Draft::new(1) }).await,
        world.put(Draft { body: &body, ..Draft::new(2) }).await,
    ];
    let file = std::fs::OpenOptions::new().write(true).open(world.body_file(ids[0]));
    file.and_then(|file| file.write_all_at(b"X", body.len() as u64 / 2)).expect("is written");
    world.run();
    let message = world.until_stored(ids[0], |it| it.standing == Standing::Dead).await;
    assert_eq!(states(&message), [RecipientState::Failed]);
    assert_eq!(message.recipients[0].after, After::Keep);
    let reply = message.recipients[0].reply.as_ref().expect("says why");
    assert!(reply.to_string().starts_with("554 5.3.0 "), "{reply}");
    world.until(async || world.show(ids[1]).await.is_none()).await;
    let messages = sink.messages();
    assert_eq!(messages.len(), 1, "the other one is whole");
    assert!(messages[0].mail.contains("<s2@") && messages[0].text().len() == body.len());
    world.stop().await;
    sink.stop().await;
}

/// The upstream takes two at a time: the next two have their turn at once, and nobody is counted as
/// tried who was not asked.
#[tokio::test]
async fn those_beyond_the_cap_come_next() {
    let sink = ScriptedUpstream::start();
    let mut config = upstream("sink", &sink);
    config.max_recipients = Some(2);
    let mut setting = Setting::of(vec![config]);
    setting.retry = vec![LONG];
    let mut world = World::start(setting);
    world
        .put(Draft::new(1).to(&["a@b.test", "b@b.test", "c@b.test", "d@b.test", "e@b.test"]))
        .await;
    world.drained().await;
    let counts: Vec<usize> = recipients(&sink).iter().map(Vec::len).collect();
    assert_eq!(counts, [2, 2, 1]);
    world.stop().await;
    let events = world.events();
    assert!(events.iter().all(|it| it["type"] == "Delivery"), "{events:?}");
    sink.stop().await;
}

/// The same where only the upstream knows of its cap, and a recipient of whom it wants nothing for now
/// does not stand in the way of the others.
#[tokio::test]
async fn an_upstream_that_says_too_many_gets_the_rest_next() {
    let too_many = "452 4.5.3 too many recipients";
    let sink = ScriptedUpstream::builder()
        .on("RCPT TO:<grey@", "450 4.2.0 grey")
        .on_nth("RCPT TO:<c@", 1, too_many)
        .on_nth("RCPT TO:<d@", 1, "552 too many recipients")
        .start();
    let mut setting = Setting::of(vec![upstream("sink", &sink)]);
    setting.retry = vec![LONG];
    let mut world = World::start(setting);
    let id =
        world.put(Draft::new(1).to(&["grey@b.test", "a@b.test", "c@b.test", "d@b.test"])).await;
    let is_quiet = |it: &StoredMessage| {
        it.recipients.iter().filter(|it| it.state == RecipientState::Pending).count() == 1
    };
    let message = world.until_stored(id, is_quiet).await;
    let attempts: Vec<u32> = message.recipients.iter().map(|it| it.attempts).collect();
    assert_eq!(attempts, [2, 1, 1, 1]);
    assert!(message.due_at > SystemTime::now() + LONG / 2);
    let named = recipients(&sink);
    assert_eq!(named[0], ["RCPT TO:<a@b.test>"]);
    assert_eq!(named[1], ["RCPT TO:<c@b.test>", "RCPT TO:<d@b.test>"]);
    world.stop().await;
    sink.stop().await;
}

#[tokio::test]
async fn many_recipients_are_asked_for_in_groups() {
    let sink = ScriptedUpstream::start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let all: Vec<String> = (0..250).map(|it| format!("r{it}@b.test")).collect();
    world.put(Draft { recipients: all, ..Draft::new(1) }).await;
    world.drained().await;
    assert_eq!(recipients(&sink).iter().map(Vec::len).collect::<Vec<_>>(), [250]);
    world.stop().await;
    sink.stop().await;
}

/// Nobody knows whether it arrived: it is sent again, and both are told of.
#[tokio::test]
async fn what_is_ambiguous_is_sent_again() {
    let sink = ScriptedUpstream::builder().on_nth(".", 1, Action::Close).start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    world.put(Draft::new(1)).await;
    world.drained().await;
    assert_eq!(sink.messages().len(), 2);
    world.stop().await;
    let events = world.events();
    assert_eq!(events[0]["type"], "TransientFailure");
    assert!(events[0]["reason"].as_str().is_some_and(|it| it.contains("lost")), "{:?}", events[0]);
    assert_eq!((&events[1]["type"], &events[1]["attempt"]), (&"Delivery".into(), &2.into()));
    sink.stop().await;
}

/// An upstream that goes in the middle of the data has heard of the message: that counts.
#[tokio::test]
async fn lost_in_the_middle_is_an_attempt() {
    let sink = ScriptedUpstream::builder().on_nth("DATA", 1, Action::CloseAfterData(10)).start();
    let mut world = World::start(Setting::of(vec![upstream("sink", &sink)]));
    let body = b"0123456789abcde\r\n".repeat(20_000);
    world.put(Draft { body: &body, ..Draft::new(1) }).await;
    world.drained().await;
    assert_eq!(sink.messages().len(), 1);
    world.stop().await;
    let attempts: Vec<u64> =
        world.events().iter().map(|it| it["attempt"].as_u64().expect("a number")).collect();
    assert_eq!(attempts, [1, 2]);
    sink.stop().await;
}

/// What an operator holds or removes between two looks is not delivered.
#[tokio::test]
async fn what_is_held_waits() {
    let sink = ScriptedUpstream::start();
    let mut world = World::new(Setting::of(vec![upstream("sink", &sink)]));
    for number in 1..=3 {
        world.put(Draft::new(number)).await;
    }
    world.spool.hold(vec![id(1)]).await.expect("holds");
    world.spool.remove(vec![id(2)]).await.expect("removes");
    world.run();
    world.until(async || world.messages().await == 1).await;
    assert_eq!(sink.messages().len(), 1);
    world.spool.unhold(vec![id(1)]).await.expect("puts back");
    world.queue.wake();
    world.drained().await;
    assert_eq!(sink.messages().len(), 2);
    world.stop().await;
    sink.stop().await;
}
