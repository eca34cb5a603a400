//! Against real sockets and a real name server on loopback.

use gatepost_stream::Clock;
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::Action;
use tokio::net::TcpListener;

use super::*;
use crate::connection::Connection;
use crate::test_dns::{Answer, NameServer, config};

async fn open(hosts: &Hosts, config: &UpstreamConfig) -> Result<SocketAddr, Trouble> {
    let opened = Connection::open(config, hosts, &Clock::start(), None).await;
    opened.map(|opened| opened.connection.key.address)
}

/// A port of loopback on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("bound")
}

async fn order(hosts: &Hosts) -> Vec<usize> {
    hosts.candidates().await.expect("some").iter().map(|candidate| candidate.host).collect()
}

#[tokio::test]
async fn hosts_come_in_their_order_and_what_failed_last_comes_last() {
    let server = NameServer::start().await;
    let config = config(&server, &["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"]);
    let hosts = Hosts::new(&config);
    assert_eq!(order(&hosts).await, [0, 1, 2]);
    let all = hosts.candidates().await.expect("some");
    hosts.failed(&all[0], &Trouble::Silent);
    assert_eq!(order(&hosts).await, [1, 2, 0]);
    for failed in [1, 2, 0] {
        hosts.failed(&all[failed], &Trouble::Silent);
    }
    assert_eq!(order(&hosts).await, [1, 2, 0], "all are tried, the oldest failure first");
    hosts.succeeded(&all[2]);
    assert_eq!(order(&hosts).await, [2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_first_host_gets_everything_back() {
    let server = NameServer::start().await;
    let hosts = Hosts::new(&config(&server, &["127.0.0.1:1", "127.0.0.2:1"]));
    let first = hosts.candidates().await.expect("some").remove(0);
    hosts.failed(&first, &Trouble::Silent);
    assert_eq!(order(&hosts).await, [1, 0]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(order(&hosts).await, [0, 1], "one tries it again");
    assert_eq!(order(&hosts).await, [1, 0], "and the others do not wait for that");
    hosts.succeeded(&first);
    assert_eq!(order(&hosts).await, [0, 1]);
}

#[tokio::test]
async fn addresses_of_a_host_are_used_evenly_and_families_by_turns() {
    let server = NameServer::start().await;
    let four = (1..4).map(|last| Answer::a([192, 0, 2, last], 300));
    let six = (1..4).map(|last| Answer::aaaa(&format!("2001:db8::{last}"), 300));
    server.set("a.test.", &four.chain(six).collect::<Vec<_>>());
    let hosts = Hosts::new(&config(&server, &["a.test:25"]));
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let candidates = hosts.candidates().await.expect("some");
        assert_eq!(candidates.len(), 6);
        for (index, candidate) in candidates.iter().enumerate() {
            assert_eq!(candidate.address.is_ipv6(), index % 2 == 0, "{candidates:?}");
            assert_eq!((&*candidate.name, candidate.address.port()), ("a.test", 25));
        }
        first.insert(candidates[0].address);
    }
    assert_eq!(first.len(), 3);
}

#[tokio::test]
async fn a_connection_tries_so_many_addresses_of_a_host_at_most() {
    let server = NameServer::start().await;
    let many: Vec<Answer> = (1..60).map(|last| Answer::a([192, 0, 2, last], 300)).collect();
    server.set("a.test.", &many);
    server.set("mx.test.", &[Answer::mx(1, "a.test.", 300), Answer::mx(2, "a.test.", 300)]);
    let hosts = Hosts::new(&config(&server, &["a.test:25", "mx:mx.test:25"]));
    let order = order(&hosts).await;
    assert_eq!(order.len(), 2 * ADDRESSES_MAX);
    let candidates = hosts.candidates().await.expect("some");
    for candidate in &candidates {
        assert_eq!(candidates.iter().filter(|other| *other == candidate).count(), 1);
    }
}

#[tokio::test]
async fn a_dead_host_is_got_around_and_not_tried_first_again() {
    let (server, upstream) = (NameServer::start().await, ScriptedUpstream::start());
    let there = upstream.addr();
    let config = config(&server, &[&nobody().await.to_string(), &there.to_string()]);
    let hosts = Hosts::new(&config);
    assert_eq!(open(&hosts, &config).await.expect("the second"), there);
    assert_eq!(order(&hosts).await, [1, 0]);
    upstream.stop().await;
    let trouble = open(&hosts, &config).await.expect_err("both are down");
    assert!(matches!(trouble, Trouble::Unreachable(_)), "{trouble}");
}

/// Who answers and does not want us is passed over as well, and what it says is what is told.
#[tokio::test]
async fn a_host_that_refuses_is_passed_over_and_its_word_is_told() {
    for refusal in ["554 5.7.1 not you", "421 4.7.0 too many"] {
        let server = NameServer::start().await;
        let rude = ScriptedUpstream::builder()
            .greeting(Action::ReplyThenClose(refusal.to_owned()))
            .start();
        let polite = ScriptedUpstream::start();
        let addresses = [rude.addr(), polite.addr()].map(|address| address.to_string());
        let config = config(&server, &addresses.each_ref().map(String::as_str));
        let hosts = Hosts::new(&config);
        assert_eq!(open(&hosts, &config).await.expect("the second"), polite.addr());
        polite.stop().await;
        let trouble = open(&hosts, &config).await.expect_err("one refuses, one is gone");
        assert!(trouble.to_string().contains(&refusal[..3]), "{trouble}");
        rude.stop().await;
    }
}

#[tokio::test]
async fn a_refused_ehlo_and_silence_count_as_failures_too() {
    for action in [Action::Reply("550 5.7.1 no".to_owned()), Action::Silence, Action::Reset] {
        let server = NameServer::start().await;
        let bad = ScriptedUpstream::builder().on("EHLO", action.clone()).on("HELO", action).start();
        let good = ScriptedUpstream::start();
        let addresses = [bad.addr(), good.addr()].map(|address| address.to_string());
        let config = UpstreamConfig {
            connect_timeout: Duration::from_millis(500),
            ..config(&server, &addresses.each_ref().map(String::as_str))
        };
        let hosts = Hosts::new(&config);
        assert_eq!(open(&hosts, &config).await.expect("the second"), good.addr());
        assert_eq!(order(&hosts).await, [1, 0]);
        bad.stop().await;
        good.stop().await;
    }
}

/// A wrong password is not tried at every node of a host, and a bad node does not take it down.
#[tokio::test]
async fn refusals_of_one_host_are_few() {
    let server = NameServer::start().await;
    let nodes: Vec<Answer> = (1..9).map(|last| Answer::a([127, 0, 0, last], 300)).collect();
    server.set("a.test.", &nodes);
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("accepted");
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = socket.try_write(b"554 5.7.1 not you\r\n");
        }
    });
    let config = config(&server, &[&format!("a.test:{port}")]);
    let trouble = open(&Hosts::new(&config), &config).await.expect_err("refused");
    assert!(matches!(trouble, Trouble::Refused(_)), "{trouble}");
    assert_eq!(accepted.load(std::sync::atomic::Ordering::Relaxed), REFUSALS_MAX);
}

#[tokio::test]
async fn a_name_that_is_not_found_is_told_and_the_next_host_is_used() {
    let (server, upstream) = (NameServer::start().await, ScriptedUpstream::start());
    let there = upstream.addr().to_string();
    let lost = config(&server, &["gone.test:25", "mx:gone.test:25"]);
    let trouble = Hosts::new(&lost).candidates().await.expect_err("nowhere").to_string();
    assert_eq!(trouble, "cannot connect: gone.test:25: there is no such name");
    let both = config(&server, &["gone.test:25", &there]);
    assert_eq!(open(&Hosts::new(&both), &both).await.expect("the second"), upstream.addr());
    upstream.stop().await;
}

/// All attempts together are bounded: each has its own time, and a hole takes all of it.
#[tokio::test]
async fn holes_cost_no_more_than_twice_the_time_to_connect() {
    let server = NameServer::start().await;
    let holes = [0; 4].map(|_| ScriptedUpstream::builder().greeting(Action::Silence).start());
    let addresses = holes.each_ref().map(|hole| hole.addr().to_string());
    let config = UpstreamConfig {
        connect_timeout: Duration::from_millis(300),
        ..config(&server, &addresses.each_ref().map(String::as_str))
    };
    let (hosts, began) = (Hosts::new(&config), Instant::now());
    let trouble = open(&hosts, &config).await.expect_err("nobody speaks");
    assert!(matches!(trouble, Trouble::Silent), "{trouble}");
    assert!((600..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    // What was not reached this time is reached the next time.
    assert_eq!(order(&hosts).await[..2], [2, 3]);
    for hole in holes {
        hole.stop().await;
    }
}
