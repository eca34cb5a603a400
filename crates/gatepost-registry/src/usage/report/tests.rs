use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use gatepost_policy::entry::Mode;
use gatepost_policy::listener::ListenerId;
use gatepost_policy::site::{Site, UpstreamId};
use gatepost_policy::usage::{Usage, Use};
use proptest::prelude::*;

use super::*;

const DAY_SECONDS: i64 = 86_400;
/// 2026-06-01T00:00:00Z.
const NOW: i64 = 1_780_272_000;

fn compile(text: &str) -> Ruleset {
    let site = Site {
        hostname: "relay.test".into(),
        listeners: vec!["smtp".into(), "submission".into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["sink".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 1 << 20,
        max_recipients: 100,
    };
    let compiled = Ruleset::compile(text, "policy.toml", &Arc::new(site));
    compiled.unwrap_or_else(|errors| panic!("{errors}")).ruleset
}

/// An entry with an owner of its own, so that it says what no other says.
fn entry(id: &str, networks: &str, more: &str) -> String {
    let networks: Vec<_> = networks.split(' ').collect();
    format!(
        "[[entry]]\nid = {id:?}\nowner = {id:?}\nnetworks = {networks:?}\nsenders = [\"a.test\"]\n{more}\n"
    )
}

/// How an entry was used so many days ago, by these hosts.
fn used(days_ago: i64, hosts: impl IntoIterator<Item = IpAddr>) -> UsageTotal {
    let usage = Usage::default();
    for host in hosts {
        usage.count(Use::Connection, host, NOW - days_ago * DAY_SECONDS);
    }
    UsageTotal::from(&usage.take().expect("it was used"))
}

fn hosts(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn totals<const N: usize>(list: [(&str, UsageTotal); N]) -> HashMap<String, UsageTotal> {
    list.map(|(id, total)| (id.to_owned(), total)).into()
}

/// What is said after so many days of counting.
fn said(policy: &str, totals: &HashMap<String, UsageTotal>, days: i64) -> Vec<String> {
    let facts = Facts {
        ruleset: &compile(policy),
        totals,
        counting_since: NOW - days * DAY_SECONDS,
        added: &HashMap::new(),
        now: NOW,
    };
    let report = report(&facts, &Thresholds::default());
    report.findings.into_iter().map(|finding| finding.sentence).collect()
}

#[test]
fn who_is_unused_is_said_after_a_month() {
    let policy = [
        entry("busy", "10.0.0.1", ""),
        entry("idle", "10.0.0.2", ""),
        entry("never", "10.0.0.3", ""),
        entry("young", "10.0.0.4", "not_before = 2026-05-20T00:00:00Z"),
        "[[entry]]\nid = \"wall\"\nnetworks = [\"10.0.0.5\"]\naction = \"deny\"\n".to_owned(),
    ]
    .concat();
    let totals =
        totals([("busy", used(2, hosts(&["10.0.0.1"]))), ("idle", used(40, hosts(&["10.0.0.2"])))]);
    assert_eq!(
        said(&policy, &totals, 100),
        ["entry idle was used last on 2026-04-22", "entry never was never used since 2026-02-21"]
    );
    assert_eq!(said(&policy, &totals, 29), Vec::<String>::new(), "it is not known yet");
    let ruleset = compile(&policy);
    let added = HashMap::from([("never".to_owned(), NOW - DAY_SECONDS)]);
    let counting_since = NOW - 100 * DAY_SECONDS;
    let facts =
        Facts { ruleset: &ruleset, totals: &totals, counting_since, added: &added, now: NOW };
    let found = report(&facts, &Thresholds::default()).findings;
    assert_eq!(found.len(), 1, "one that was added yesterday is new");
    let json = serde_json::to_value(&found[0]).expect("it is JSON");
    let expected = serde_json::json!({
        "kind": "unused",
        "entry": "idle",
        "last_seen": "2026-04-22T00:00:00Z",
        "counted_since": "2026-02-21T00:00:00Z",
        "sentence": "entry idle was used last on 2026-04-22",
    });
    assert_eq!(json, expected);
}

#[test]
fn networks_that_are_far_too_wide() {
    let policy = [
        entry("fleet", "10.0.0.0/16 10.8.0.0/16 10.9.0.4", ""),
        entry("small", "10.1.0.0/24", ""),
        entry("six", "2001:db8::/48", ""),
        entry("full", "10.2.0.0/24 10.3.0.0/25", ""),
        entry("crowd", "10.32.0.0/11", ""),
    ]
    .concat();
    let six = hosts(&["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:3::1"]);
    let crowd = (0..1000_u32).map(|n| IpAddr::from((0x0a20_0000 + n * 7).to_be_bytes()));
    let fleet = used(1, hosts(&["10.0.1.4", "10.0.1.5", "10.0.9.1", "10.9.0.4"]));
    let totals = totals([
        ("fleet", fleet),
        ("small", used(1, hosts(&["10.1.0.9", "10.1.0.10", "10.1.0.200"]))),
        ("six", used(1, six)),
        ("full", used(1, hosts(&["10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.4", "10.3.0.1"]))),
        ("crowd", used(1, crowd)),
    ]);
    let said_then = said(&policy, &totals, 7);
    let about = said_then.iter().find(|it| it.contains("crowd")).expect("a crowd in a desert");
    assert!(about.contains("10.32.0.0/11 was used by about "), "{about}");
    assert!(
        about.ends_with(
            "among them 10.32.0.0, 10.32.0.7, 10.32.0.14, 10.32.0.21, 10.32.0.28 and 11 more"
        ),
        "{about}"
    );
    let rest: Vec<_> = said_then.iter().filter(|it| !it.contains("crowd")).collect();
    assert_eq!(
        rest,
        [
            "entry fleet: 10.0.0.0/16 was used by 3 hosts: 10.0.1.4, 10.0.1.5 and 10.0.9.1; enough would be \
             10.0.1.4/31 and 10.0.9.1/32",
            "entry fleet: no host of 10.8.0.0/16 was seen",
            "entry small: 10.1.0.0/24 was used by 3 hosts: 10.1.0.9, 10.1.0.10 and 10.1.0.200",
            "entry six: 2001:db8::/48 was used by 3 hosts: 2001:db8:0:1::1, 2001:db8:0:1::2 and \
             2001:db8:0:3::1; enough would be 2001:db8::/62",
        ]
    );
    assert_eq!(said(&policy, &totals, 6), Vec::<String>::new(), "a weekly job may come yet");
}

#[test]
fn the_end_is_told_before_it_comes() {
    let expires =
        |id: &str, network: &str, date: &str| entry(id, network, &format!("expires = {date}"));
    let policy = [
        expires("later", "10.0.0.1", "2026-07-02T00:00:00Z"),
        expires("soon", "10.0.0.2", "2026-06-30T12:00:00+02:00"),
        expires("today", "10.0.0.3", "2026-06-01T01:00:00Z"),
        expires("over", "10.0.0.4", "2026-06-01T00:00:00Z"),
        expires("long", "10.0.0.5", "2025-06-01T00:00:00Z\nexpiry = \"warn\""),
    ]
    .concat();
    let totals = totals([("long", used(3, hosts(&["10.0.0.5"])))]);
    assert_eq!(
        said(&policy, &totals, 0),
        [
            "entry over has expired at 2026-06-01T00:00:00Z (expiry is reject); no client of it was seen",
            "entry long has expired at 2025-06-01T00:00:00Z (expiry is warn); its clients came last on \
             2026-05-29",
            "entry soon expires at 2026-06-30T12:00:00+02:00, in 29 days",
            "entry today expires at 2026-06-01T01:00:00Z, within a day",
        ]
    );
}

#[test]
fn networks_that_others_cover() {
    let policy = [
        entry("wide", "10.0.0.0/24 10.7.0.0/24", ""),
        entry("low", "10.0.0.0/25", ""),
        entry("high", "10.0.0.128/26 10.0.0.192/26", ""),
        entry("own", "10.1.0.0/24 10.1.0.0/25 10.1.0.128/25", ""),
        entry("gap", "10.2.0.0/24", ""),
        entry("most", "10.2.0.0/25 10.2.0.192/26", ""),
        entry("half", "10.3.0.0/31", ""),
        entry("one", "10.3.0.0 10.3.0.1", "services = [\"smtp\"]"),
        entry("smtp", "10.4.0.0/31", "services = [\"smtp\"]"),
        entry("two", "10.4.0.0 10.4.0.1", ""),
        entry("six", "2001:db8::/64", ""),
        entry("edge", "2001:db8::/65 2001:db8:0:0:8000::/65", ""),
    ]
    .concat();
    let said = said(&policy, &HashMap::new(), 0);
    let shadowed: Vec<_> = said.iter().filter(|it| it.contains("no client is found")).collect();
    let by = |entry: &str, network: &str, by: &str| {
        format!(
            "entry {entry}: no client is found by {network}, narrower networks of {by} cover all of it"
        )
    };
    assert_eq!(
        shadowed,
        [
            &by("wide", "10.0.0.0/24", "low and high"),
            &by("smtp", "10.4.0.0/31", "two"),
            &by("six", "2001:db8::/64", "edge"),
        ]
    );
}

#[test]
fn entries_and_networks_in_pieces() {
    let same = |id: &str, network: &str, more: &str| {
        entry(id, network, more).replace(&format!("owner = {id:?}"), "")
    };
    let policy = [
        same("a", "10.0.0.1", ""),
        same("b", "10.0.0.3", "description = \"another word\""),
        same("c", "10.0.0.5", "tls = \"required\""),
        same("d", "10.0.0.7", "services = [\"smtp\"]"),
        same("e", "10.0.0.9", "max_connections = 5"),
        same("f", "10.0.0.11", "max_connections = 5"),
        entry("g", "10.0.0.13", ""),
        entry("pieces", "10.1.0.128/25 10.1.0.64/26 10.1.0.0/26 10.1.2.0/24 10.1.4.0", ""),
        entry("apart", "10.5.0.1 10.5.0.2 10.6.0.0/32 10.6.0.1/32", ""),
        entry("around", "10.6.0.0/31", ""),
        entry("six", "2001:db8::/64 2001:db8:0:1::/64", ""),
    ]
    .concat();
    let said: Vec<_> = said(&policy, &HashMap::new(), 0)
        .into_iter()
        .filter(|it| !it.contains("no client is found"))
        .collect();
    assert_eq!(
        said,
        [
            "entries a and b say the same of different networks: one entry could have them all",
            "entry pieces: 10.1.0.0/26, 10.1.0.64/26 and 10.1.0.128/25 are 10.1.0.0/24",
            "entry six: 2001:db8::/64 and 2001:db8:0:1::/64 are 2001:db8::/63",
        ]
    );
}

/// Narrow networks in a small corner, so that they nest and cover.
fn corner() -> impl Strategy<Value = Vec<(u32, u8, bool)>> {
    prop::collection::vec((0..16_u32, 28..=32_u8, any::<bool>()), 1..14)
}

proptest! {
    /// What is called shadowed is never found, and what is not called so is found somewhere.
    #[test]
    fn shadowed_is_what_no_look_up_finds(networks in corner()) {
        let mut text = String::new();
        let mut written = BTreeSet::new();
        for (n, (low, length, everywhere)) in networks.into_iter().enumerate() {
            let first = 0x0a00_0000 | low & (u32::MAX << (32 - length));
            if written.insert((first, length)) {
                let network = format!("{}/{length}", IpAddr::from(first.to_be_bytes()));
                let services = if everywhere { "" } else { "services = [\"smtp\"]" };
                text.push_str(&entry(&format!("e{n}"), &network, services));
            }
        }
        let ruleset = compile(&text);
        let found: BTreeSet<_> = (0..2)
            .flat_map(|listener| (0..16_u32).map(move |low| (listener, low)))
            .filter_map(|(listener, low)| {
                let client = IpAddr::from((0x0a00_0000 | low).to_be_bytes());
                ruleset.lookup(ListenerId::new(listener), client).map(|it| it.id().to_string())
            })
            .collect();
        let shadowed = shadow::matters(&ruleset).into_iter().map(|matter| match matter {
            Matter::Shadowed { entry, .. } => entry,
            other => panic!("{other}"),
        });
        let all = ruleset.entries().iter().map(|it| it.id().to_string());
        let never: Vec<_> = all.filter(|id| !found.contains(id)).collect();
        prop_assert_eq!(shadowed.collect::<Vec<_>>(), never);
    }

    /// What is suggested is inside the network, and every host is in it.
    #[test]
    fn what_is_suggested_is_enough(low in prop::collection::vec(0..65_536_u32, 1..15)) {
        let seen: BTreeSet<IpAddr> =
            low.iter().map(|low| (0x0a00_0000 | low).to_be_bytes().into()).collect();
        let totals = totals([("fleet", used(1, seen.iter().copied()))]);
        let ruleset = compile(&entry("fleet", "10.0.0.0/16", ""));
        let counting_since = NOW - 7 * DAY_SECONDS;
        let added = &HashMap::new();
        let facts = Facts { ruleset: &ruleset, totals: &totals, counting_since, added, now: NOW };
        let found = report(&facts, &Thresholds::default()).findings;
        let [Finding { matter: Matter::TooWide { network, addresses, suggestion, .. }, .. }] = &found[..]
        else { panic!("{found:?}") };
        prop_assert!(addresses.iter().eq(&seen));
        prop_assert!(suggestion.len() <= 4 && suggestion.iter().all(|it| it.prefix_length() > 16));
        for host in seen.iter().filter(|_| !suggestion.is_empty()) {
            prop_assert_eq!(suggestion.iter().filter(|it| it.contains(*host)).count(), 1);
            prop_assert!(network.contains(*host));
        }
    }
}

#[test]
fn a_hundred_thousand_entries_are_looked_through_at_once() {
    let mut text = String::new();
    for n in 0..100_000_u32 {
        let network = IpAddr::from((0x0a00_0000 + n * 16).to_be_bytes());
        write!(
            text,
            "[[entry]]\nid = \"e{n}\"\nnetworks = [\"{network}/29\"]\nsenders = [\"a.test\"]\n"
        )
        .expect("a String takes everything");
    }
    let ruleset = compile(&text);
    let facts = Facts {
        ruleset: &ruleset,
        totals: &HashMap::new(),
        counting_since: NOW - 100 * DAY_SECONDS,
        added: &HashMap::new(),
        now: NOW,
    };
    let began = Instant::now();
    let findings = report(&facts, &Thresholds::default()).findings;
    // All with all would be ten thousand million pairs.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(findings.len(), 100_001, "each is unused, and all say the same");
    let last = &findings[100_000].sentence;
    assert!(last.starts_with("entries e0, e1, e2, e3, e4 and 99995 more say the same"), "{last}");
}
