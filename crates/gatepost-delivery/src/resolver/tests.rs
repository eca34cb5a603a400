//! Against a real name server on loopback.

use super::*;
use crate::test_dns::{Answer, NameServer, config};

fn addresses(places: &[Place]) -> Vec<String> {
    let mut all: Vec<String> = places
        .iter()
        .flat_map(|place| place.addresses.iter().map(|it| format!("{} {it}", place.name)))
        .collect();
    all.sort();
    all
}

async fn places(resolver: &Arc<Resolver>, host: &str) -> Result<Vec<Place>, LookupError> {
    resolver.places(&host.parse().expect("a host")).await
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl() {
    let server = NameServer::start().await;
    server.set("a.test.", &[Answer::a([192, 0, 2, 1], 1)]);
    let resolver = Resolver::new(&config(&server, &["a.test:25"]));
    for _ in 0..3 {
        let found = places(&resolver, "a.test:25").await.expect("found");
        assert_eq!(addresses(&found), ["a.test 192.0.2.1"]);
    }
    assert_eq!(server.asked("a.test."), ["AAAA", "A"]);
    server.set("a.test.", &[Answer::a([192, 0, 2, 2], 300)]);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for _ in 0..3 {
        let found = places(&resolver, "a.test:25").await.expect("found");
        assert_eq!(addresses(&found), ["a.test 192.0.2.2"], "asked again");
    }
    assert_eq!(server.asked("a.test.").len(), 4);
}

#[tokio::test]
async fn aliases_are_followed() {
    let server = NameServer::start().await;
    server.set("a.test.", &[Answer::cname("b.test.", 300)]);
    server.set("b.test.", &[Answer::a([192, 0, 2, 1], 300)]);
    let resolver = Resolver::new(&config(&server, &["a.test:25"]));
    let found = places(&resolver, "a.test:25").await.expect("found");
    assert_eq!(addresses(&found), ["a.test 192.0.2.1"], "the certificate is that of a.test");
}

#[tokio::test]
async fn what_ip_does_not_allow_is_not_asked_for() {
    let server = NameServer::start().await;
    let both = [Answer::a([192, 0, 2, 1], 300), Answer::aaaa("2001:db8::1", 300)];
    server.set("a.test.", &both);
    for (ip, source, asked, found) in [
        (IpVersion::V4, None, &["A"][..], &["a.test 192.0.2.1"][..]),
        (IpVersion::V6, None, &["AAAA"], &["a.test 2001:db8::1"]),
        (IpVersion::Any, Some([127, 0, 0, 1]), &["A"], &["a.test 192.0.2.1"]),
        (IpVersion::Any, None, &["AAAA", "A"], &["a.test 192.0.2.1", "a.test 2001:db8::1"]),
    ] {
        let source_address = source.map(IpAddr::from);
        let config = UpstreamConfig { ip, source_address, ..config(&server, &["a.test:25"]) };
        let resolver = Resolver::new(&config);
        let places = places(&resolver, "a.test:25").await.expect("found");
        assert_eq!(addresses(&places), found);
        assert_eq!(server.take_asked("a.test."), asked, "{ip:?} {source:?}");
    }
    server.set("a.test.", &[Answer::aaaa("2001:db8::1", 300)]);
    let config = UpstreamConfig { ip: IpVersion::V4, ..config(&server, &["a.test:25"]) };
    let found = places(&Resolver::new(&config), "a.test:25").await;
    assert_eq!(found, Err(LookupError::NoAddress));
}

#[tokio::test]
async fn nobody_is_asked_for_what_needs_no_asking() {
    let server = NameServer::start().await;
    let any = Resolver::new(&config(&server, &[]));
    let v4 = UpstreamConfig { ip: IpVersion::V4, ..config(&server, &[]) };
    let v4 = Resolver::new(&v4);
    for (host, in_any, in_v4) in [
        ("127.0.0.9:25", &["127.0.0.9 127.0.0.9"][..], &["127.0.0.9 127.0.0.9"][..]),
        ("[::1]:25", &["::1 ::1"], &[]),
        ("localhost:25", &["localhost 127.0.0.1", "localhost ::1"], &["localhost 127.0.0.1"]),
        (
            "A.LocalHost.:25",
            &["A.LocalHost 127.0.0.1", "A.LocalHost ::1"],
            &["A.LocalHost 127.0.0.1"],
        ),
    ] {
        let found = places(&any, host).await.expect(host);
        assert_eq!(addresses(&found), in_any, "{host}");
        let found = places(&v4, host).await.unwrap_or_default();
        assert_eq!(addresses(&found), in_v4, "{host}");
    }
    assert_eq!(server.questions(), 0);
}

#[tokio::test]
async fn exchangers_come_by_preference() {
    let server = NameServer::start().await;
    let records =
        [(20, "b1.test."), (10, "a.test."), (20, "b2.test."), (30, "gone.test."), (20, "b3.test.")];
    server.set("d.test.", &records.map(|(preference, name)| Answer::mx(preference, name, 300)));
    for (last, name) in [(1, "a.test."), (2, "b1.test."), (3, "b2.test."), (4, "b3.test.")] {
        server.set(name, &[Answer::a([192, 0, 2, last], 300)]);
    }
    let resolver = Resolver::new(&config(&server, &["mx:d.test:25"]));
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let found = places(&resolver, "mx:d.test:25").await.expect("found");
        let names: Vec<String> = found.iter().map(|place| place.name.to_string()).collect();
        assert_eq!(names[0], "a.test", "the lowest preference first");
        assert_eq!(names.len(), 4, "and what has no address is left out");
        orders.insert(names);
    }
    assert_eq!(orders.len(), 6, "those that are equal in any order");
    assert_eq!(server.asked("d.test."), ["MX"], "one question for all");
}

#[tokio::test]
async fn a_domain_can_be_its_own_exchanger_or_take_no_mail() {
    let server = NameServer::start().await;
    server.set("plain.test.", &[Answer::a([192, 0, 2, 1], 300)]);
    server.set("null.test.", &[Answer::mx(0, ".", 300), Answer::a([192, 0, 2, 2], 300)]);
    server.set("lost.test.", &[Answer::mx(0, "gone.test.", 300)]);
    let resolver = Resolver::new(&config(&server, &[]));
    let found = places(&resolver, "mx:plain.test:25").await.expect("found");
    assert_eq!(addresses(&found), ["plain.test 192.0.2.1"]);
    for (domain, error) in [
        ("mx:null.test:25", LookupError::NullMx),
        ("mx:lost.test:25", LookupError::NoSuchName),
        ("mx:gone.test:25", LookupError::NoSuchName),
        ("gone.test:25", LookupError::NoSuchName),
    ] {
        assert_eq!(places(&resolver, domain).await, Err(error), "{domain}");
    }
    let asked = server.questions();
    assert_eq!(places(&resolver, "gone.test:25").await, Err(LookupError::NoSuchName));
    assert_eq!(server.questions(), asked, "that is kept too");
}

#[tokio::test]
async fn an_old_answer_is_used_while_the_name_server_fails() {
    let server = NameServer::start().await;
    server.set("a.test.", &[Answer::a([192, 0, 2, 1], 1)]);
    server.set("mx.test.", &[Answer::mx(1, "a.test.", 1)]);
    let resolver = Resolver::new(&config(&server, &[]));
    for host in ["a.test:25", "mx:mx.test:25"] {
        places(&resolver, host).await.expect("found");
    }
    server.fail();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for host in ["a.test:25", "mx:mx.test:25"] {
        let found = places(&resolver, host).await.expect("still found");
        assert_eq!(addresses(&found), ["a.test 192.0.2.1"]);
    }
    let Err(LookupError::Failed(reason)) = places(&resolver, "other.test:25").await else {
        panic!("nothing is known of it");
    };
    assert!(!reason.is_empty());
}

/// An answer that says no is believed, whatever was there before.
#[tokio::test]
async fn a_name_that_is_gone_is_gone() {
    let server = NameServer::start().await;
    server.set("a.test.", &[Answer::a([192, 0, 2, 1], 1)]);
    let resolver = Resolver::new(&config(&server, &[]));
    places(&resolver, "a.test:25").await.expect("found");
    server.remove("a.test.");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(places(&resolver, "a.test:25").await, Err(LookupError::NoSuchName));
}

#[tokio::test]
async fn those_who_ask_at_once_ask_once() {
    let server = NameServer::start().await;
    server.set("a.test.", &[Answer::a([192, 0, 2, 1], 300)]);
    let resolver = Resolver::new(&config(&server, &[]));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let resolver = resolver.clone();
        askers.spawn(async move { places(&resolver, "a.test:25").await.is_ok() });
    }
    assert!(askers.join_all().await.into_iter().all(|found| found));
    assert_eq!(server.asked("a.test."), ["AAAA", "A"]);
}

/// Records of an answer are bounded, and a large one comes over TCP.
#[tokio::test]
async fn a_host_with_a_thousand_addresses_is_cut() {
    let server = NameServer::start().await;
    let many: Vec<Answer> =
        (0..1000_u16).map(|it| Answer::a([10, 0, (it >> 8) as u8, it as u8], 300)).collect();
    server.set("a.test.", &many);
    let found = places(&Resolver::new(&config(&server, &[])), "a.test:25").await.expect("found");
    assert_eq!(found[0].addresses.len(), 64);
}

#[tokio::test]
async fn the_search_for_a_slow_name_does_not_cost_the_others() {
    let look_ups = vec![
        tokio::spawn(async { Err(LookupError::NoAddress) }),
        tokio::spawn(async { Ok(1) }),
        tokio::spawn(std::future::pending()),
        tokio::spawn(async { Ok(2) }),
    ];
    let asked = Instant::now();
    let found = gather(look_ups, Duration::from_mins(1)).await;
    assert_eq!((&found[0], &found[1], &found[3]), (&Err(LookupError::NoAddress), &Ok(1), &Ok(2)));
    assert!(found[2].is_err());
    assert!(asked.elapsed() < GRACE * 3);
}
