//! The way of messages through a spool on a disk that does what it should.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gatepost_smtp::reply::Reply;

use super::world::{
    World, at, body, commit, id, message, octets, options, read, recipient, run, while_blocked,
};
use crate::operation::Operation;
use crate::*;

fn attempt(place: u32, outcome: Outcome) -> Attempt {
    Attempt { place, outcome, reply: Some(Reply::new(550, (5, 1, 1), "unknown")) }
}

async fn ids(spool: &Spool, filter: Filter) -> Vec<u64> {
    let page = spool.list(filter, None, LIST_MAX).await.expect("reads");
    page.messages.iter().map(|message| message.id.as_u64()).collect()
}

/// Waits until so many operations wait for the writer.
async fn queued(spool: &Spool, operations: usize) {
    while spool.inner.jobs.capacity() > writer::QUEUE_MAX - operations {
        tokio::task::yield_now().await;
    }
}

/// The account is what a count finds.
async fn counted(world: &World, spool: &Spool) -> Stats {
    let stats = spool.stats(at(0)).await.expect("reads");
    let connection = rusqlite::Connection::open_with_flags(
        world.path().join("spool.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .expect("opens");
    let again = account::Account::of(&connection).expect("counts");
    assert_eq!(again.stats(stats.oldest, stats.work), stats);
    stats
}

#[test]
fn what_is_committed_is_read_as_it_was() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for (number, length) in
            [(1, 0), (2, 4096), (3, 64 * 1024), (4, 64 * 1024 + 1), (5, 900_000), (6, 9_000_000)]
        {
            assert_eq!(commit(&spool, number, length).await.expect("is taken"), id(number));
            assert_eq!(read(&spool, number).await.expect("is whole"), Some(octets(number, length)));
        }
        assert_eq!(world.files(), [id(4), id(5), id(6)].map(|id| id.to_string()));
        assert_eq!(spool.body_memory(), 0);
        let shown = spool.show(id(3)).await.expect("reads").expect("is there");
        assert_eq!(shown.envelope, message(3).envelope);
        let recipients: Vec<_> = shown.recipients.iter().map(|it| it.recipient.clone()).collect();
        assert_eq!(recipients, message(3).recipients);
        assert_eq!((shown.standing, shown.due_at, shown.octets), (Standing::Queued, at(0), 65536));
        assert!(spool.show(id(7)).await.expect("reads").is_none());
        assert!(spool.read_body(id(7)).await.expect("reads").is_none());

        let twice = commit(&spool, 5, 900_000).await.expect_err("is there");
        assert!(matches!(twice, SpoolError::Io { .. }), "{twice}");
        let twice = commit(&spool, 5, 9).await.expect_err("is there");
        assert!(matches!(twice, SpoolError::Exists(there) if there == id(5)), "{twice}");
        assert_eq!(read(&spool, 5).await.expect("is whole"), Some(octets(5, 900_000)));
        assert_eq!(counted(&world, &spool).await.messages, 6);
        spool.close().await;
        assert!(matches!(commit(&spool, 8, 9).await, Err(SpoolError::Closed)));
    });
    let (spool, recovery) = world.open();
    assert_eq!((recovery.messages, recovery.orphans, recovery.leases), (6, 0, 0));
    run(async { assert_eq!(read(&spool, 6).await.expect("is whole"), Some(octets(6, 9_000_000))) });
}

#[test]
fn a_body_that_is_dropped_leaves_nothing() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let small = body(&spool, 1, 5_000_000).await;
        assert_eq!((spool.body_memory(), small.octets()), (5_000_000, 5_000_000));
        let large = body(&spool, 2, 9_000_000).await;
        assert_eq!(world.files(), [id(2).to_string()]);
        drop((small, large));
        assert_eq!(spool.body_memory(), 0);
        world.wait_for_files(&[]).await;
        spool.close().await;
    });
}

#[test]
fn bodies_share_their_memory() {
    let world = World::new();
    run(async {
        let options = SpoolOptions { body_memory: 3_000_000, ..options() };
        let (spool, _) = Spool::open(&world.path(), options, at(0)).expect("opens");
        let first = body(&spool, 1, 2_000_000).await;
        let second = body(&spool, 2, 2_000_000).await;
        assert!(spool.body_memory() <= 3_000_000);
        assert_eq!(world.files(), [id(2).to_string()]);
        spool.commit(message(1), first).await.expect("is taken");
        spool.commit(message(2), second).await.expect("is taken");
        assert_eq!(read(&spool, 2).await.expect("is whole"), Some(octets(2, 2_000_000)));
        assert_eq!(spool.body_memory(), 0);
    });
}

/// What a body gathers for its file is memory, too: ten thousand clients that are slow must not hold
/// more of it than all may.
#[test]
fn what_is_gathered_for_a_file_is_counted() {
    let world = World::new();
    run(async {
        let options = SpoolOptions { body_memory: 100, body_memory_each: 50, ..options() };
        let (spool, _) = Spool::open(&world.path(), options, at(0)).expect("opens");
        let mut bodies = [spool.body(id(1)), spool.body(id(2))];
        let mut all = 0;
        for _ in 0..10 {
            for body in &mut bodies {
                body.append(octets(7, 40)).await.expect("is taken");
                all += 40;
                assert!(spool.body_memory() <= 100);
            }
            let length = |name: String| {
                let path = world.path().join("bodies").join(name);
                std::fs::metadata(path).expect("is there").len()
            };
            let written: u64 = world.files().into_iter().map(length).sum();
            assert_eq!(written + spool.body_memory(), all);
        }
        drop(bodies);
        assert_eq!(spool.body_memory(), 0);
        spool.close().await;
    });
}

#[test]
fn an_attempt_decides_about_each_recipient() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 100_000).await.expect("is taken");
        let due = spool.due(at(0), 10, &[]).await.expect("reads");
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [id(1)]);
        assert_eq!(spool.lease(vec![id(1), id(2)]).await.expect("writes"), [id(1)]);
        assert!(spool.lease(vec![id(1)]).await.expect("writes").is_empty());
        assert!(spool.due(at(9), 10, &[]).await.expect("reads").is_empty());
        assert!(spool.remove(vec![id(1)]).await.expect("writes").is_empty(), "somebody is at work");

        let attempts = vec![
            attempt(0, Outcome::Deferred),
            attempt(1, Outcome::Failed(After::Notify)),
            attempt(7, Outcome::Delivered(After::Forget)),
        ];
        let stands = spool.record(id(1), attempts, at(60)).await.expect("writes");
        assert_eq!(stands, Some(Standing::Queued));
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!((shown.due_at, shown.attempts), (at(60), 1));
        assert_eq!(shown.recipients[0].state, RecipientState::Pending);
        assert_eq!(shown.recipients[1].state, RecipientState::Failed);
        assert_eq!(shown.recipients[1].after, After::Notify);
        assert_eq!(shown.recipients[1].reply, Some(Reply::new(550, (5, 1, 1), "unknown")));
        assert!(spool.due(at(59), 10, &[]).await.expect("reads").is_empty());
        assert_eq!(spool.next_due(&[]).await.expect("reads"), Some(at(60)));
        assert_eq!(spool.next_due(&["google".into()]).await.expect("reads"), None);

        // Without a lease nothing is recorded, and what was decided stays decided.
        spool
            .record(id(1), vec![attempt(0, Outcome::Expired(After::Forget))], at(0))
            .await
            .expect("writes");
        spool.lease(vec![id(1)]).await.expect("writes");
        let attempts = vec![
            attempt(0, Outcome::Delivered(After::Forget)),
            attempt(1, Outcome::Delivered(After::Forget)),
        ];
        let stands = spool.record(id(1), attempts, at(0)).await.expect("writes");
        assert_eq!(stands, Some(Standing::Owing));
        assert_eq!(counted(&world, &spool).await.oldest, None);

        // The notification takes its place.
        let about = About { id: id(1), recipients: [1].into(), notice: Notice::End };
        let mut notification = message(2);
        notification.about = Some(about);
        let text = body(&spool, 2, 500).await;
        spool.commit(notification, text).await.expect("is taken");
        assert_eq!(ids(&spool, Filter::default()).await, [2]);
        counted(&world, &spool).await;
        world.wait_for_files(&[]).await;
    });
}

/// Where there would be too many notifications, who was not delivered is kept, and nobody else.
#[test]
fn a_notification_may_be_withheld() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let about = |number, notice| About { id: id(number), recipients: [0, 1].into(), notice };
        commit(&spool, 1, 100).await.expect("is taken");
        assert!(spool.withhold(about(1, Notice::Delay)).await.expect("writes"));
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!(shown.standing, Standing::Queued);
        assert!(shown.recipients.iter().all(|it| it.delay_told && it.after == After::Forget));

        spool.lease(vec![id(1)]).await.expect("writes");
        let attempts = vec![
            attempt(0, Outcome::Delivered(After::Notify)),
            attempt(1, Outcome::Expired(After::Notify)),
        ];
        spool.record(id(1), attempts, at(0)).await.expect("writes");
        assert!(spool.withhold(about(1, Notice::End)).await.expect("writes"));
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!(shown.standing, Standing::Dead);
        let after: Vec<_> = shown.recipients.iter().map(|it| it.after).collect();
        assert_eq!(after, [After::Forget, After::Keep]);
        counted(&world, &spool).await;

        // Of delivered recipients nothing is left.
        commit(&spool, 2, 100).await.expect("is taken");
        spool.lease(vec![id(2)]).await.expect("writes");
        let attempts = [0, 1].map(|place| attempt(place, Outcome::Delivered(After::Notify)));
        spool.record(id(2), attempts.into(), at(0)).await.expect("writes");
        assert!(spool.withhold(about(2, Notice::End)).await.expect("writes"));
        assert!(!spool.withhold(about(2, Notice::End)).await.expect("writes"));
        assert_eq!(ids(&spool, Filter::default()).await, [1]);
        counted(&world, &spool).await;
    });
}

#[test]
fn a_hand_over_in_doubt_ends_one_way_or_the_other() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let leased = |number, entrance| Message { entrance, ..message(number) };
        for (number, entrance) in [
            (1, Entrance::Leased),
            (2, Entrance::InDoubt),
            (3, Entrance::Leased),
            (4, Entrance::Leased),
        ] {
            let body = body(&spool, number, 100).await;
            spool.commit(leased(number, entrance), body).await.expect("is taken");
        }
        assert!(spool.due(at(9), 10, &[]).await.expect("reads").is_empty());
        assert!(spool.doubt(id(1), vec![recipient("c@example.net")]).await.expect("writes"));
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!(shown.standing, Standing::InDoubt);
        assert_eq!(shown.recipients[2].recipient, recipient("c@example.net"));
        assert_eq!(shown.recipients[2].place, 2);
        // The upstream says 5yz: nothing was ever there. Then that nobody was leased is told.
        assert!(spool.withdraw(id(3)).await.expect("writes"));
        assert!(!spool.withdraw(id(3)).await.expect("writes"));
        assert!(!spool.doubt(id(3), vec![]).await.expect("writes"));
        // It says 2yz, but somebody was owed to the spool.
        assert_eq!(spool.release(vec![id(4)]).await.expect("writes"), [id(4)]);
        let stats = counted(&world, &spool).await;
        let tallies: Vec<_> = stats.tallies.iter().map(|it| (it.standing, it.messages)).collect();
        assert_eq!(tallies, [(Standing::InDoubt, 2), (Standing::Queued, 1)]);
        spool.close().await;
    });
    let (spool, recovery) = world.open();
    assert_eq!((recovery.leases, recovery.in_doubt), (2, vec![id(1), id(2)]));
    run(async { assert_eq!(spool.due(at(9), 10, &[]).await.expect("reads").len(), 3) });
}

/// A task that does not come to its end gives its message back, even if the writer has much to do.
#[test]
fn a_lease_ends_with_its_task() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=3 {
            commit(&spool, number, 10).await.expect("is taken");
        }
        let all: Vec<_> = (1..=3).map(id).collect();
        assert_eq!(spool.lease(all.clone()).await.expect("writes"), all);
        let [over, dropped, crowded] = [1, 2, 3].map(|number| spool.guard(id(number)));
        assert_eq!(dropped.id(), id(2));
        over.is_over();
        drop(dropped);
        while_blocked(&spool, async {
            for _ in 0..writer::QUEUE_MAX + 100 {
                let spool = spool.clone();
                tokio::spawn(async move { spool.write(operation::Wake).await });
            }
            queued(&spool, writer::QUEUE_MAX).await;
            drop(crowded);
            assert_eq!(spool.inner.shared.abandoned().as_slice(), [id(3)]);
        })
        .await;
        spool.write(operation::Wake).await.expect("is done");
        let due = spool.due(at(9), 10, &[]).await.expect("reads");
        assert_eq!(due.iter().map(|it| it.id).collect::<Vec<_>>(), [id(2), id(3)]);
        counted(&world, &spool).await;
    });
}

#[test]
fn an_operator_takes_a_hand() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=4 {
            commit(&spool, number, 100).await.expect("is taken");
        }
        assert_eq!(spool.hold(vec![id(1), id(9)]).await.expect("writes"), [id(1)]);
        spool.lease(vec![id(2)]).await.expect("writes");
        spool.hold(vec![id(2)]).await.expect("writes");
        spool.reschedule(id(3), at(500)).await.expect("writes");
        let held = Filter { standing: Some(Standing::Held), ..Filter::default() };
        assert_eq!(ids(&spool, held.clone()).await, [1]);
        spool.release(vec![id(2)]).await.expect("writes");
        assert_eq!(ids(&spool, held).await, [1, 2]);
        counted(&world, &spool).await;

        assert_eq!(spool.retry_all(at(20), Some("ses".into())).await.expect("writes"), 0);
        assert_eq!(spool.retry_all(at(20), None).await.expect("writes"), 1);
        let due = spool.due(at(20), 10, &[]).await.expect("reads");
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [id(4), id(3)]);
        assert_eq!(spool.unhold(vec![id(1)]).await.expect("writes"), [id(1)]);
        assert_eq!(spool.hold(vec![id(1)]).await.expect("writes"), [id(1)]);
        assert_eq!(spool.retry(vec![id(1)], at(20), None).await.expect("writes"), [id(1)]);
        let shown = spool.show(id(1)).await.expect("reads").expect("is there");
        assert_eq!(shown.standing, Standing::Queued, "a second try puts it back");
        counted(&world, &spool).await;

        // A dead letter comes back by another upstream.
        spool.lease(vec![id(4)]).await.expect("writes");
        let attempts = vec![
            attempt(0, Outcome::Failed(After::Keep)),
            attempt(1, Outcome::Failed(After::Forget)),
        ];
        assert_eq!(
            spool.record(id(4), attempts, at(0)).await.expect("writes"),
            Some(Standing::Dead)
        );
        assert!(spool.hold(vec![id(4)]).await.expect("writes").is_empty());
        assert_eq!(
            spool.retry(vec![id(4)], at(30), Some("ses".into())).await.expect("writes"),
            [id(4)]
        );
        let shown = spool.show(id(4)).await.expect("reads").expect("is there");
        assert_eq!(&*shown.envelope.upstream, "ses");
        assert_eq!((shown.standing, shown.due_at), (Standing::Queued, at(30)));
        assert_eq!(shown.recipients[0].state, RecipientState::Pending);
        assert_eq!(shown.recipients[1].state, RecipientState::Failed, "it was not kept");
        counted(&world, &spool).await;

        // All of an upstream, and then the new one has lanes of the same name twice.
        assert!(spool.move_upstream("google".into(), "ses".into()).await.expect("writes"));
        assert!(!spool.move_upstream("google".into(), "ses".into()).await.expect("writes"));
        let stats = counted(&world, &spool).await;
        assert!(stats.tallies.iter().all(|tally| &*tally.upstream == "ses"));
        assert_eq!(stats.tallies.iter().map(|tally| tally.messages).sum::<u64>(), 4);
        assert_eq!(spool.due(at(600), 10, &[]).await.expect("reads").len(), 3);
        let all: Vec<_> = (1..=4).map(id).collect();
        assert_eq!(spool.remove(all.clone()).await.expect("writes"), all);
        assert_eq!(counted(&world, &spool).await.messages, 0);
    });
}

/// A few senders of little get their turn beside one of much, at each upstream that does not rest.
#[test]
fn entries_take_turns() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for (number, entry, upstream) in (1..=50).map(|number| (number, "loud", "google")).chain([
            (51, "quiet", "google"),
            (52, "quiet", "google"),
            (53, "third", "google"),
            (54, "fourth", "ses"),
        ]) {
            let mut message = message(number);
            message.envelope.origin.entry = entry.into();
            message.envelope.upstream = upstream.into();
            message.entrance = Entrance::Due(at(number));
            let body = body(&spool, number, 10).await;
            spool.commit(message, body).await.expect("is taken");
        }
        let due = async |limit, resting: &[Arc<str>]| -> Vec<u64> {
            let due = spool.due(at(100), limit, resting).await.expect("reads");
            due.iter().map(|due| due.id.as_u64()).collect()
        };
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        let six = due(6, &[]).await;
        assert_eq!(set(&six[..4]), set(&[1, 51, 53, 54]), "each has a turn: {six:?}");
        assert_eq!(set(&six[4..]), set(&[2, 52]));
        // With a limit below their number, each is the first some time.
        let mut first = BTreeSet::new();
        for _ in 0..4 {
            first.extend(due(1, &[]).await);
        }
        assert_eq!(first, set(&[1, 51, 53, 54]));
        assert_eq!(due(100, &["google".into()]).await, [54]);
        assert_eq!(due(100, &[]).await.len(), 54, "nothing is left out, and nothing is twice");
        assert_eq!(set(&due(100, &[]).await).len(), 54);
        assert_eq!(due(0, &[]).await, []);
    });
}

#[test]
fn a_list_goes_on_where_it_ended() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        for number in 1..=5 {
            commit(&spool, number, 10).await.expect("is taken");
        }
        let page = spool.list(Filter::default(), None, 2).await.expect("reads");
        assert_eq!((page.messages.len(), page.next), (2, Some(id(2))));
        assert_eq!((page.messages[0].pending, page.messages[0].recipients), (2, 2));
        assert_eq!(page.messages[0].reply, None);
        let page = spool.list(Filter::default(), Some(id(4)), 2).await.expect("reads");
        assert_eq!((page.messages[0].id, page.next), (id(5), None));
        // What is said of a recipient that waits matters more than what was decided.
        spool.lease(vec![id(1)]).await.expect("writes");
        let busy = Reply::new(451, (4, 3, 2), "busy");
        let attempts = vec![
            attempt(0, Outcome::Failed(After::Keep)),
            Attempt { place: 1, outcome: Outcome::Deferred, reply: Some(busy.clone()) },
        ];
        spool.record(id(1), attempts, at(9)).await.expect("writes");
        let page = spool.list(Filter::default(), None, 1).await.expect("reads");
        assert_eq!((page.messages[0].pending, &page.messages[0].reply), (1, &Some(busy)));
        let none = Filter { upstream: Some("ses".into()), ..Filter::default() };
        assert_eq!(spool.list(none, None, 2).await.expect("reads"), Page::default());
    });
}

#[test]
fn many_commits_share_few_flushes() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let mut tasks = Vec::new();
        while_blocked(&spool, async {
            for number in 1..=200 {
                let spool = spool.clone();
                tasks.push(tokio::spawn(async move { commit(&spool, number, 4096).await }));
            }
            queued(&spool, 200).await;
        })
        .await;
        for task in tasks {
            task.await.expect("ends").expect("is taken");
        }
        let Work { commits, operations, .. } = counted(&world, &spool).await.work;
        assert_eq!(operations, 201);
        assert!(commits <= 20, "{commits} transactions for 200 messages");
    });
}

#[test]
fn bodies_that_are_files_share_the_flush_of_their_directory() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        let tasks: Vec<_> = (1..=20)
            .map(|number| {
                let spool = spool.clone();
                tokio::spawn(async move { commit(&spool, number, 70_000).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends").expect("is taken");
        }
        let work = counted(&world, &spool).await.work;
        assert_eq!((work.body_flushes, work.operations), (20, 20));
        assert_eq!(work.directory_flushes, work.commits);
    });
}

/// A command looks at a spool that is open, at one whose process is gone, and at none.
#[test]
fn a_spool_is_looked_at_from_outside() {
    let world = World::new();
    assert!(OfflineSpool::open(&world.path()).expect("is no error").is_none());
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 100).await.expect("is taken");
        commit(&spool, 2, 300_000).await.expect("is taken");
        let elsewhere = World::new();
        std::fs::create_dir_all(elsewhere.path().join("bodies")).expect("is made");
        for name in ["spool.db".into(), "spool.db-wal".into(), format!("bodies/{}", id(2))] {
            std::fs::copy(world.path().join(&name), elsewhere.path().join(&name))
                .expect("is there");
        }
        for path in [world.path(), elsewhere.path()] {
            let offline = OfflineSpool::open(&path).expect("opens").expect("is there");
            let online = spool.stats(at(0)).await.expect("reads");
            assert_eq!(offline.stats().expect("reads").tallies, online.tallies);
            let page = offline.list(&Filter::default(), None, 1).expect("reads");
            assert_eq!((page.messages[0].id, page.next), (id(1), Some(id(1))));
            let shown = spool.show(id(2)).await.expect("reads");
            assert_eq!(offline.show(id(2)).expect("reads"), shown);
            for (number, length) in [(1, 100), (2, 300_000)] {
                let mut found = Vec::new();
                let written = offline.write_body(id(number), &mut found).expect("is whole");
                assert_eq!(written, Some(length as u64));
                assert_eq!(found, octets(number, length));
            }
            assert_eq!(offline.write_body(id(3), &mut Vec::new()).expect("reads"), None);
        }
        let path = elsewhere.path().join("bodies").join(id(2).to_string());
        std::fs::write(path, "something else").expect("is written");
        let offline = OfflineSpool::open(&elsewhere.path()).expect("opens").expect("is there");
        let error = offline.write_body(id(2), &mut Vec::new()).expect_err("is damaged");
        assert!(matches!(error, SpoolError::BodyDamaged { .. }), "{error}");
    });
}

#[test]
fn a_spool_is_open_once() {
    let world = World::new();
    let (spool, _) = world.open();
    let again = Spool::open(&world.path(), options(), at(0)).err().expect("is open");
    assert!(matches!(again, SpoolError::InUse(_)), "{again}");
    run(spool.close());
    Spool::open(&world.path(), options(), at(0)).expect("is closed");
}

/// Operations can be applied twice: what was rolled back is as if it had not been.
#[test]
fn a_batch_that_is_rolled_back_changes_nothing() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        commit(&spool, 1, 100).await.expect("is taken");
        spool.close().await;
    });
    let mut connection = rusqlite::Connection::open(world.path().join("spool.db")).expect("opens");
    let mut operation = operation::LeaseThem { ids: vec![id(1)] };
    for _ in 0..2 {
        let transaction = connection.transaction().expect("begins");
        let mut batch = operation::Batch::new(&transaction);
        assert_eq!(operation.apply(&mut batch).expect("applies"), [id(1)]);
        assert_eq!(batch.changes.len(), 2);
    }
}

/// What stands with an upstream that rests is looked after when its time is over, or when somebody is to
/// be told that it takes long.
#[test]
fn what_is_old_is_found_wherever_it_stands() {
    let world = World::new();
    run(async {
        let (spool, _) = world.open();
        // Accepted at its number, and given up a thousand seconds later.
        for number in [1, 2, 3, 10, 200] {
            commit(&spool, number, 10).await.expect("is taken");
        }
        let aged = async |now, limit| -> Vec<u64> {
            let aged = spool.aged(at(now), Duration::from_secs(100), limit).await.expect("reads");
            aged.iter().map(|it| it.id.as_u64()).collect()
        };
        assert_eq!(aged(50, 9).await, []);
        assert_eq!(aged(110, 9).await, [1, 2, 3, 10]);
        assert_eq!(aged(110, 2).await, [1, 2]);
        assert_eq!(aged(1002, 9).await, [1, 2, 3, 10, 200], "what is over is the first");
        assert_eq!(aged(1002, 0).await, []);

        spool.lease(vec![id(1)]).await.expect("writes");
        spool.hold(vec![id(2)]).await.expect("writes");
        assert_eq!(aged(1002, 9).await, [3, 10, 200]);
        // Whoever was told is not told again, and neither is who is not to be told.
        let about = About { id: id(3), recipients: [1].into(), notice: Notice::Delay };
        let text = body(&spool, 950, 10).await;
        let notification = Message { about: Some(about), ..message(950) };
        spool.commit(notification, text).await.expect("is taken");
        assert_eq!(spool.settle_delay(vec![id(10), id(77)]).await.expect("writes"), [id(10)]);
        assert_eq!(aged(999, 9).await, [200]);
        let shown = spool.show(id(3)).await.expect("reads").expect("is there");
        assert_eq!(
            shown.recipients.iter().map(|it| it.delay_told).collect::<Vec<_>>(),
            [false, true]
        );
        // Its time is over all the same.
        assert_eq!(aged(1010, 9).await, [3, 10, 200]);
        spool.release(vec![id(1)]).await.expect("writes");
        spool.unhold(vec![id(2)]).await.expect("writes");
        assert_eq!(aged(1010, 9).await, [1, 2, 3, 10, 200]);
        assert_eq!(counted(&world, &spool).await.oldest, Some(at(1)));
    });
}
