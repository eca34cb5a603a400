//! The pool with connections, and an upstream that counts them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatepost_smtp::client::MailParameters;
use gatepost_stream::Clock;
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, CONNECT};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::pool::concurrency::INTERVAL;
use crate::pool::{BreakerStatus, Deadline, Pool};
use crate::{
    Answers, DataFollows, Lease, Paths, Signal, Transaction, Trouble, Upstream, UpstreamConfig,
};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn upstream(sink: &ScriptedUpstream, adjust: impl FnOnce(&mut UpstreamConfig)) -> Arc<Upstream> {
    upstream_at(sink.addr(), adjust)
}

fn upstream_at(address: SocketAddr, adjust: impl FnOnce(&mut UpstreamConfig)) -> Arc<Upstream> {
    let mut config = UpstreamConfig {
        hosts: vec![address.to_string().parse().expect("an address")],
        max_connections: 10,
        idle_timeout: PATIENCE,
        max_age: PATIENCE,
        connect_timeout: Duration::from_secs(5),
        ..UpstreamConfig::of_test()
    };
    adjust(&mut config);
    Upstream::new(config, Clock::start())
}

async fn checkout(upstream: &Upstream) -> Result<Lease, Trouble> {
    timeout(PATIENCE, upstream.checkout(&"a".into())).await.expect("there is a deadline")
}

async fn leased(upstream: &Upstream) -> Lease {
    checkout(upstream).await.expect("a connection")
}

/// Waits until what is being closed has gone.
async fn settled(upstream: &Upstream) {
    let gone = async {
        while upstream.status().busy > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("slots come back");
}

fn mail() -> MailParameters<'static> {
    MailParameters {
        reverse_path: b"a@app.test",
        size: None,
        body: None,
        smtputf8: false,
        dsn: b"",
    }
}

/// An envelope, and then another thought.
async fn envelope(lease: Lease) -> Result<Transaction, Trouble> {
    let mut transaction = Transaction::begin(lease, &mail());
    let paths: Paths = [&b"b@b.test"[..]].into_iter().collect();
    transaction.exchange(&paths, DataFollows::No, &mut Answers::default()).await?;
    Ok(transaction)
}

/// Connections that are open: now, at most, and in all.
#[derive(Debug)]
struct Count {
    open: [AtomicUsize; 3],
    /// How many more may end.
    ends: Semaphore,
}

impl Count {
    fn one_more(&self) {
        let [now, most, all] = &self.open;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        all.fetch_add(1, Ordering::SeqCst);
    }

    async fn one_less(&self) {
        self.ends.acquire().await.expect("it is never closed").forget();
        self.open[0].fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.open[1].load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        self.open[2].load(Ordering::SeqCst)
    }
}

/// An upstream for which a connection is over when it has heard QUIT, or the end of the stream. It
/// takes its time to say so.
async fn counting(pause: Duration) -> (SocketAddr, Arc<Count>, JoinHandle<()>) {
    let (address, count, server) = clinging(pause).await;
    count.ends.add_permits(Semaphore::MAX_PERMITS);
    (address, count, server)
}

/// The same, and it lets go of no connection before it is told to.
async fn clinging(pause: Duration) -> (SocketAddr, Arc<Count>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let count = Arc::new(Count { open: <[AtomicUsize; 3]>::default(), ends: Semaphore::new(0) });
    (address, Arc::clone(&count), tokio::spawn(serve(listener, count, pause)))
}

async fn serve(listener: TcpListener, count: Arc<Count>, pause: Duration) {
    loop {
        let (socket, _) = listener.accept().await.expect("on loopback");
        count.one_more();
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let mut socket = BufReader::new(socket);
            let (mut says, mut line) = ("220 here\r\n", String::new());
            loop {
                socket.write_all(says.as_bytes()).await.expect("sent");
                says = "250 2.0.0 Ok\r\n";
                line.clear();
                socket.read_line(&mut line).await.expect("text");
                if line.is_empty() || line.starts_with("QUIT") {
                    break;
                }
            }
            tokio::time::sleep(pause).await;
            count.one_less().await;
            let _ = socket.write_all(b"221 2.0.0 Bye\r\n").await;
        });
    }
}

/// However soon they wear out: one that is being closed counts until the upstream has let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_never_sees_more_than_it_is_asked_to_bear() {
    let (address, count, server) = counting(Duration::from_millis(20)).await;
    let upstream = upstream_at(address, |config| {
        config.max_connections = 3;
        config.max_messages_per_connection = Some(2);
        config.idle_timeout = Duration::from_millis(300);
    });
    let mut clients = JoinSet::new();
    for _ in 0..40 {
        let upstream = Arc::clone(&upstream);
        clients.spawn(async move {
            let transaction = envelope(leased(&upstream).await).await.expect("a polite upstream");
            transaction.abandon();
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("served");
    }
    settled(&upstream).await;
    assert_eq!(count.most(), 3);
    assert!((20..=22).contains(&count.all()), "two each: {count:?}");
    // Those that nobody needs go too, and a burst that comes meanwhile is no more either.
    for _ in 0..3 {
        let leases = [leased(&upstream).await, leased(&upstream).await, leased(&upstream).await];
        leases.into_iter().for_each(Lease::release);
        tokio::time::sleep(Duration::from_millis(290)).await;
    }
    assert_eq!(count.most(), 3);
    server.abort();
}

/// A pool with one connection, that has become too old while it was idle.
async fn with_an_expired_one(address: SocketAddr, connections_max: usize) -> Arc<Upstream> {
    /// Nobody has looked for what is idle by then.
    const AGE: Duration = Duration::from_secs(2);
    let upstream = upstream_at(address, |config| {
        config.max_connections = connections_max;
        config.max_age = AGE;
    });
    leased(&upstream).await.release();
    tokio::time::pause();
    tokio::time::advance(AGE).await;
    tokio::time::resume();
    assert_eq!((upstream.status().idle, upstream.status().busy), (1, 0));
    upstream
}

/// Whoever finds it, a transaction or the monitor in front of one: there is one connection, and while
/// the upstream has not let go of it, no other.
#[tokio::test]
async fn an_expired_one_has_its_room_until_the_upstream_lets_go() {
    for meanwhile in [|_: &Arc<Pool>| (), Pool::close_unfit] {
        let (address, count, server) = clinging(Duration::ZERO).await;
        let upstream = with_an_expired_one(address, 1).await;
        let (pool, mut deadline) = (Arc::clone(&upstream.pool), Deadline::new(PATIENCE));
        let held = pool.slot(&"a".into(), &mut deadline).await.expect("it is free");
        meanwhile(&pool);
        let lease = tokio::spawn(async move { pool.lease(held, &mut deadline).await });
        while upstream.status().waiting == 0 && !lease.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!((count.most(), count.all()), (1, 1));
        count.ends.add_permits(1);
        let lease = timeout(PATIENCE, lease).await.expect("there is room").expect("no panic");
        assert!(!lease.expect("a connection").is_reused());
        assert_eq!((count.most(), count.all()), (1, 2));
        server.abort();
    }
}

#[tokio::test]
async fn who_finds_an_expired_one_and_other_room_does_not_wait() {
    let (address, count, server) = clinging(Duration::ZERO).await;
    let upstream = with_an_expired_one(address, 2).await;
    let lease = leased(&upstream).await;
    assert!(!lease.is_reused());
    let busy = upstream.status().busy;
    assert_eq!((busy, count.most()), (2, 2), "the other one is still being closed");
    server.abort();
}

#[tokio::test]
async fn the_one_used_last_is_used_next_and_none_becomes_too_old() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |config| config.max_age = Duration::from_secs(1));
    let (one, other) = (leased(&upstream).await, leased(&upstream).await);
    one.release();
    other.release();
    for _ in 0..3 {
        envelope(leased(&upstream).await).await.expect("polite").abandon();
        settled(&upstream).await;
    }
    let mails = |nth: usize| {
        let connection = &sink.connections()[nth];
        connection.lines.iter().filter(|line| line.starts_with("MAIL")).count()
    };
    assert_eq!((mails(0), mails(1)), (0, 3));
    // It is in use when its time comes, and is not kept after that.
    let again = leased(&upstream).await;
    assert!(again.is_reused());
    tokio::time::sleep(Duration::from_millis(1050)).await;
    again.release();
    settled(&upstream).await;
    assert!(!leased(&upstream).await.is_reused(), "the idle one is too old as well");
    assert_eq!(sink.connections_opened(), 3);
    sink.stop().await;
}

/// Closed, or told something: both are found out before anything is sent.
#[tokio::test]
async fn what_the_upstream_has_ended_is_not_handed_out() {
    for end in [Action::ReplyThenClose("421 4.4.2 idle for too long".into()), Action::Close] {
        let sink = ScriptedUpstream::builder()
            .on_nth("RSET", 1, Action::TwoReplies("250 Ok".into(), "421 4.4.2 idle".into()))
            .on_nth("RSET", 2, end)
            .start();
        let upstream = upstream(&sink, |_| {});
        for _ in 0..2 {
            envelope(leased(&upstream).await).await.expect("polite").abandon();
            settled(&upstream).await;
            // The second reply may be behind the first.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lease = leased(&upstream).await;
        assert!(!lease.is_reused());
        envelope(lease).await.expect("a clean connection").abandon();
        assert_eq!(sink.connections_opened(), 3);
        sink.stop().await;
    }
}

/// Those that are idle may have died in the same way.
#[tokio::test]
async fn in_the_place_of_a_dead_one_comes_a_fresh_one() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |_| {});
    let both = (leased(&upstream).await, leased(&upstream).await);
    both.0.release();
    both.1.release();
    let dead = envelope(leased(&upstream).await).await.expect("not really");
    assert!(dead.is_reused());
    let fresh = dead.reopen().await.expect("a connection");
    assert!(!fresh.is_reused());
    assert_eq!((sink.connections_opened(), upstream.status().idle), (3, 1));
    sink.stop().await;
}

/// Many at once meet an upstream that is down: it hears of a few, one after the other.
#[tokio::test]
async fn there_is_no_herd_at_the_door_of_a_dead_upstream() {
    let sink = ScriptedUpstream::builder().greeting(Action::Close).start();
    let upstream = upstream(&sink, |config| config.max_connections = 100);
    let mut clients = JoinSet::new();
    for _ in 0..60 {
        let upstream = Arc::clone(&upstream);
        clients.spawn(async move { checkout(&upstream).await.map(|_| ()).expect_err("dead") });
    }
    let mut rested = 0;
    while let Some(trouble) = clients.join_next().await {
        rested += usize::from(matches!(trouble, Ok(Trouble::Resting { .. })));
    }
    assert_eq!((sink.connections_opened(), sink.connections_open_max()), (5, 1));
    assert_eq!(rested, 55);
    assert!(matches!(upstream.status().breaker, BreakerStatus::Open(_)));
    // One finds out that it is back, and the others follow.
    sink.on(CONNECT, "220 here again");
    let back = loop {
        match checkout(&upstream).await {
            Ok(lease) => break lease,
            Err(Trouble::Resting { next, .. }) => tokio::time::sleep(next).await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(upstream.status().breaker, BreakerStatus::HalfOpen);
    assert!(matches!(checkout(&upstream).await, Err(Trouble::Resting { .. })));
    let transaction = envelope(back).await.expect("it answers");
    assert_eq!(upstream.status().breaker, BreakerStatus::Closed, "at the first answer");
    drop(leased(&upstream).await);
    transaction.abandon();
    sink.stop().await;
}

/// One opens, and it takes long. Who waits behind it is content with what comes back.
#[tokio::test]
async fn who_waits_to_open_takes_what_comes_back() {
    let sink = ScriptedUpstream::builder().on_nth(CONNECT, 2, Action::Silence).start();
    let upstream = upstream(&sink, |_| {});
    let first = leased(&upstream).await;
    // A success has made two places: both are taken by those that hear nothing.
    sink.on(CONNECT, Action::Silence);
    let mut stuck = JoinSet::new();
    for _ in 0..2 {
        let upstream = Arc::clone(&upstream);
        stuck.spawn(async move { checkout(&upstream).await.map(|_| ()) });
    }
    while sink.connections_opened() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { leased(&upstream).await })
    };
    while upstream.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    first.release();
    let lease = timeout(Duration::from_secs(2), waiting).await.expect("at once").expect("no panic");
    assert!(lease.is_reused());
    assert_eq!(sink.connections_opened(), 3);
    stuck.shutdown().await;
    sink.stop().await;
}

/// An upstream that bears one: who is not let in takes the one that is there.
#[tokio::test]
async fn one_too_many_waits_for_one_of_the_others() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |_| {});
    let first = leased(&upstream).await;
    sink.on(CONNECT, Action::ReplyThenClose("421 4.7.0 too many connections".into()));
    let waiting = {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { leased(&upstream).await })
    };
    while upstream.status().limit > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.release();
    let second = timeout(Duration::from_secs(2), waiting).await.expect("at once").expect("served");
    assert!(second.is_reused());
    assert_eq!(upstream.status().breaker, BreakerStatus::Closed, "it is not down");
    // Nobody else is there to wait for: that is the upstream's word, however often it says so.
    drop(second);
    for _ in 0..6 {
        assert!(matches!(checkout(&upstream).await, Err(Trouble::Refused(_))));
    }
    assert_eq!(upstream.status().breaker, BreakerStatus::Closed);
    sink.stop().await;
}

#[tokio::test]
async fn after_a_failure_they_open_one_by_one_again() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |_| {});
    drop([leased(&upstream).await, leased(&upstream).await, leased(&upstream).await]);
    let places = || {
        let begun = std::iter::from_fn(|| upstream.pool.openings.try_begin(&"a".into()));
        begun.collect::<Vec<_>>().len()
    };
    assert_eq!(places(), 4);
    sink.on(CONNECT, Action::Close);
    assert!(checkout(&upstream).await.is_err());
    assert_eq!(places(), 1);
    sink.stop().await;
}

#[tokio::test]
async fn an_upstream_that_throttles_is_rid_of_idle_ones_too_and_has_more_when_it_accepts() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |config| config.max_connections = 4);
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(leased(&upstream).await);
    }
    leases.into_iter().for_each(Lease::release);
    let lease = leased(&upstream).await;
    upstream.signal(Signal::Throttled { pause: None });
    lease.release();
    // At once, and not when somebody next looks for what is idle.
    timeout(Duration::from_secs(2), sink.wait_for_open(1)).await.expect("they are closed");
    settled(&upstream).await;
    assert_eq!((upstream.status().limit, upstream.status().idle), (1, 1));
    tokio::time::sleep(INTERVAL).await;
    let mut transaction = envelope(leased(&upstream).await).await.expect("polite");
    transaction.data().await.expect("sent");
    transaction.go_ahead().await.expect("354");
    assert_eq!(upstream.status().limit, 1);
    transaction.finish("Subject: x\r\n\r\n.\r\n".into(), PATIENCE).await.expect("accepted");
    assert_eq!(upstream.status().limit, 2);
    sink.stop().await;
}

/// One that was idle for too long is said goodbye to, and meanwhile no other is opened in its place.
#[tokio::test]
async fn an_idle_one_that_is_being_closed_counts() {
    let (address, count, server) = counting(Duration::from_millis(200)).await;
    let upstream = upstream_at(address, |config| {
        config.max_connections = 1;
        config.idle_timeout = Duration::from_millis(100);
    });
    leased(&upstream).await.release();
    while upstream.status().idle > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!leased(&upstream).await.is_reused());
    assert_eq!(count.most(), 1);
    server.abort();
}

/// After a clean end nothing has to be said; an envelope that was given up is forgotten first.
#[tokio::test]
async fn rset_is_said_to_those_that_need_it() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |_| {});
    let mut transaction = envelope(leased(&upstream).await).await.expect("polite");
    transaction.data().await.expect("sent");
    transaction.go_ahead().await.expect("354");
    transaction.finish("Subject: x\r\n\r\n.\r\n".into(), PATIENCE).await.expect("accepted");
    transaction.give_back();
    envelope(leased(&upstream).await).await.expect("polite").abandon();
    settled(&upstream).await;
    envelope(leased(&upstream).await).await.expect("polite").abandon();
    settled(&upstream).await;
    let verbs: Vec<_> = sink.lines().iter().map(|line| line[..4].to_owned()).collect();
    let expected = "EHLO MAIL RCPT DATA MAIL RCPT RSET MAIL RCPT RSET";
    assert_eq!((verbs.join(" "), sink.connections_opened()), (expected.to_owned(), 1));
    sink.stop().await;
}

#[tokio::test]
async fn nobody_waits_longer_than_the_deadline() {
    let sink = ScriptedUpstream::start();
    let upstream = upstream(&sink, |config| {
        config.max_connections = 1;
        config.connect_timeout = Duration::from_millis(200);
    });
    let lease = leased(&upstream).await;
    assert!(matches!(checkout(&upstream).await, Err(Trouble::Busy)));
    assert_eq!(upstream.status().waiting, 0);
    lease.release();
    leased(&upstream).await.release();
    sink.stop().await;
}
