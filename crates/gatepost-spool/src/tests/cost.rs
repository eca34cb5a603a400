//! What a message costs: copies, flushes, memory.

use bytes::Bytes;

use super::world::{World, at, body, commit, id, message, octets, read, run, while_blocked};
use crate::body::CHUNKS_KEPT;
use crate::*;

async fn work(spool: &Spool) -> Work {
    spool.stats(at(0)).await.expect("reads").work
}

fn delivered() -> Vec<Attempt> {
    let outcome = Outcome::Delivered(After::Forget);
    [0, 1].map(|place| Attempt { place, outcome, reply: None }).into()
}

fn leased(number: u64) -> Message {
    Message { entrance: Entrance::Leased, ..message(number) }
}

/// The usual end of a message in mode `hybrid`.
#[test]
fn a_body_that_is_dropped_was_not_copied_and_not_flushed() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let before = work(&spool).await;
        let mut body = spool.body(id(1));
        let text = octets(1, 5_000_000);
        for chunk in text.chunks(16_000) {
            body.append(text.slice_ref(chunk)).await.expect("is taken");
        }
        assert!(body.chunks.iter().all(|chunk| text.as_ptr_range().contains(&chunk.as_ptr())));
        drop(body);
        assert_eq!(work(&spool).await, before);
        assert_eq!(spool.body_memory(), 0);
    });
}

#[test]
fn a_body_in_one_piece_is_kept_without_a_copy() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let text = octets(1, 4096);
        let mut body = spool.body(id(1));
        body.append(text.clone()).await.expect("is taken");
        let kept = spool.commit_and_keep(leased(1), body).await.expect("is taken");
        assert_eq!(kept.as_ref().map(|kept| kept.as_ptr()), Some(text.as_ptr()));
        assert_eq!(work(&spool).await.octets_copied, 0);

        // Two pieces are copied once.
        let mut body = spool.body(id(2));
        for chunk in [text.slice(..300), text.slice(300..)] {
            body.append(chunk).await.expect("is taken");
        }
        let kept = spool.commit_and_keep(leased(2), body).await.expect("is taken");
        assert_eq!(kept, Some(text.clone()));
        assert_eq!(work(&spool).await.octets_copied, 4096);

        // A file is not read back.
        let file = self::body(&spool, 3, 70_000).await;
        assert_eq!(spool.commit_and_keep(leased(3), file).await.expect("is taken"), None);
        assert_eq!(work(&spool).await.octets_copied, 4096);
    });
}

/// Octet by octet, each in a buffer of its own: what is held is not much more than what was sent.
#[test]
fn many_small_pieces_are_put_together() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let text = octets(1, 40_000);
        for (number, length) in [(1, 1), (2, 100), (3, 900)] {
            let mut body = spool.body(id(number));
            let mut held = 0;
            for chunk in text.chunks(length) {
                let buffer = Bytes::copy_from_slice(chunk);
                body.append(buffer).await.expect("is taken");
                held = held.max(body.chunks.len());
                let octets = body.octets();
                let most = CHUNKS_KEPT + usize::try_from(octets).expect("is small") / 1024;
                assert!(body.chunks.len() <= most, "{} for {octets}", body.chunks.len());
            }
            assert!(held <= 128, "{held}");
            let copied = work(&spool).await.octets_copied;
            spool.commit(message(number), body).await.expect("is taken");
            assert_eq!(read(&spool, number).await.expect("is whole"), Some(text.clone()));
            // Of what is sent in single octets, each is copied some dozens of times at the most.
            assert!(copied <= 96 * 40_000, "{copied}");
        }
        // One large piece among small ones ends what is put together.
        let mut body = spool.body(id(4));
        let mut expected = Vec::new();
        for length in [1; 70].into_iter().chain([9000]).chain([1; 500]) {
            let chunk = octets(length, length as usize);
            expected.extend_from_slice(&chunk);
            body.append(chunk).await.expect("is taken");
        }
        assert!(body.chunks.len() <= CHUNKS_KEPT + 6, "{}", body.chunks.len());
        spool.commit(message(4), body).await.expect("is taken");
        assert_eq!(read(&spool, 4).await.expect("is whole"), Some(expected.into()));
    });
}

/// The way of a message that is delivered at once: two flushes if nobody else is there, and nothing is
/// left of it.
#[test]
fn a_message_that_is_delivered_at_once_leaves_nothing() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let before = work(&spool).await.commits;
        for (number, length) in [(1, 4096), (2, 300_000)] {
            let body = body(&spool, number, length).await;
            spool.commit(leased(number), body).await.expect("is taken");
            assert_eq!(spool.stats(at(0)).await.expect("reads").oldest, Some(at(number)));
            let stands = spool.record(id(number), delivered(), at(0)).await.expect("is recorded");
            assert_eq!(stands, None);
        }
        let stats = spool.stats(at(0)).await.expect("reads");
        assert_eq!((stats.messages, stats.oldest, stats.work.commits - before), (0, None, 4));
        world.wait_for_files(&[]).await;
        spool.close().await;
    });
    let connection = rusqlite::Connection::open(world.path().join("spool.db")).expect("opens");
    for table in ["message", "recipient", "body"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(connection.query_row(&sql, (), |row| row.get(0)), Ok(0), "{table}");
    }
}

/// What nobody waits for shares the flush of the next message, and is not kept waiting if there is none.
#[test]
fn a_record_shares_the_flush_of_a_message() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=20 {
            let body = body(&spool, number, 10).await;
            spool.commit(leased(number), body).await.expect("is taken");
        }
        let before = work(&spool).await;
        // Records alone are gathered for a moment.
        let records: Vec<_> = (1..=19)
            .map(|number| {
                let spool = spool.clone();
                tokio::spawn(async move { spool.record(id(number), delivered(), at(0)).await })
            })
            .collect();
        for record in records {
            record.await.expect("ends").expect("is recorded");
        }
        let between = work(&spool).await;
        assert_eq!(between.operations - before.operations, 19);
        assert!(between.commits - before.commits <= 3, "{:?}", (before, between));

        // And what cannot wait takes them with it.
        let text = body(&spool, 30, 10).await;
        while_blocked(&spool, async {
            let (record, commit) = (spool.clone(), spool.clone());
            tokio::spawn(async move { record.record(id(20), delivered(), at(0)).await });
            tokio::spawn(async move { commit.commit(leased(30), text).await });
            tokio::task::yield_now().await;
        })
        .await;
        commit(&spool, 31, 10).await.expect("is taken");
        let after = work(&spool).await;
        // What kept the writer busy, both of these, and the last one, if it was not in time for that.
        assert!((2..=3).contains(&(after.commits - between.commits)), "{:?}", (between, after));
        assert!(spool.show(id(20)).await.expect("reads").is_none());
        assert!(spool.show(id(30)).await.expect("reads").is_some());
    });
}
