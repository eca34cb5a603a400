//! The usual way of mode hybrid: it costs the spool nothing.

use std::time::SystemTime;

use gatepost_relay::Mode::{Hybrid, Sync};
use gatepost_testkit::ScriptedUpstream;

use crate::client::{Form, Grouping, Mail, send};
use crate::play::{A, B, judge};
use crate::world::{Room, Setting, Store, World, delivered};

#[tokio::test]
async fn while_the_upstream_answers_nothing_is_written() {
    let upstream = ScriptedUpstream::builder().extensions(&["PIPELINING", "CHUNKING"]).start();
    let store = Store::open(Room::Plenty);
    let world = World::new(upstream.addr(), &Setting::default(), Some(&store.spool));
    let before = store.spool.stats(SystemTime::now()).await.expect("stats").work;
    for number in 0..10 {
        let mut mail = Mail::to(Hybrid, &[A, B]);
        // Up to what is held in memory, less what goes in front.
        mail.body = b"1234567\r\n".repeat(number * 90 + 1);
        mail.piece = 1_000;
        mail.form = if number % 2 == 0 { Form::Data } else { Form::Chunks(3) };
        mail.grouping = if number % 3 == 0 { Grouping::Pipelined } else { Grouping::OneByOne };
        let heard = send(&world, &mail).await;
        assert!(heard.end_is_positive(), "{heard:?}");
        assert_eq!(store.body_files(), 0, "no file was begun");
        let last = delivered(&upstream).pop().expect("it has it");
        judge(&mail, &heard, (&world.rows().await, &[last]), 0).expect("one place each");
    }
    let after = store.spool.stats(SystemTime::now()).await.expect("stats");
    assert_eq!((after.messages, after.work), (0, before), "no commit, no flush, no operation");
    assert_eq!(store.spool.body_memory(), 0, "and what was held is given back");
    assert_eq!(upstream.connections_opened(), 1);
    upstream.stop().await;
}

/// A message that is larger than what may be held goes into a file, which nobody flushes.
#[tokio::test]
async fn a_large_message_is_written_and_never_flushed() {
    let upstream = ScriptedUpstream::builder().digest_only().start();
    let store = Store::open(Room::Plenty);
    let world = World::new(upstream.addr(), &Setting::default(), Some(&store.spool));
    let before = store.spool.stats(SystemTime::now()).await.expect("stats").work;
    let mut mail = Mail::to(Hybrid, &[A]);
    mail.body = b"0123456789abcd\r\n".repeat(65_536);
    mail.piece = 10_000;
    assert!(send(&world, &mail).await.end_is_positive());
    let after = store.spool.stats(SystemTime::now()).await.expect("stats").work;
    assert_eq!(after, before);
    assert_eq!(store.spool.body_memory(), 0);
    for _ in 0..500 {
        if store.body_files() == 0 {
            return upstream.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the file stays");
}

#[tokio::test]
async fn without_a_spool_every_mode_is_sync() {
    let upstream = ScriptedUpstream::builder().on("RCPT TO:<b@", "450 4.2.1 busy").start();
    let world = World::new(upstream.addr(), &Setting::default(), None);
    for mode in [Hybrid, Sync, gatepost_relay::Mode::Spool] {
        let heard = send(&world, &Mail::to(mode, &[A, B])).await;
        let replies: Vec<_> = heard.recipients.iter().flatten().map(ToString::to_string).collect();
        assert!(replies[0].starts_with("250") && replies[1] == "450 4.2.1 busy", "{replies:?}");
        assert!(heard.end_is_positive(), "{heard:?}");
    }
    assert_eq!(delivered(&upstream).len(), 3);
    upstream.stop().await;
}
