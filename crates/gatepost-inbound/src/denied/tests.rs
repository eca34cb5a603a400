use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use gatepost_policy::check::Refusal;
use gatepost_policy::generation::{ContentHash, Generation};
use gatepost_smtp::reply::Reply;

use super::*;

fn refused(check: Check) -> Refused {
    let reply = Reply::fixed(554, (5, 7, 1), "no");
    let generation = Generation::new(0, ContentHash::of(""));
    Refused { entry: None, generation, refusal: Refusal { check, reply } }
}

fn table_of(addresses_max: usize) -> Denied {
    Denied { table: Mutex::default(), addresses_max, gauge: Gauge::noop() }
}

fn address(number: u32) -> IpAddr {
    number.to_be_bytes().into()
}

fn knock(denied: &Denied, client: IpAddr, unix_seconds: i64) {
    static LISTENER: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("smtp"));
    static REFUSED: LazyLock<Refused> = LazyLock::new(|| refused(Check::AllowList));
    denied.count(Knock { client, listener: &LISTENER, unix_seconds }, &REFUSED);
}

/// The numbers of SplitMix64: the same attack in every run.
fn random(seed: u64) -> impl Iterator<Item = u32> {
    (1..).map(move |n: u64| {
        let bits = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    })
}

#[test]
fn who_comes_most_is_found_among_a_million_strangers() {
    const ATTACKERS: usize = 1_000_000;
    /// How many strangers come between two tries of a forgotten application.
    const PAUSE: usize = 1_000;
    let forgotten: Vec<_> = (0..20).map(|n| address(0x0a00_0000 + n)).collect();
    let denied = table_of(ADDRESSES_MAX);
    let began = Instant::now();
    for (n, stranger) in random(1).take(ATTACKERS).enumerate() {
        knock(&denied, address(stranger | 1 << 31), 0);
        if let Some(&client) = forgotten.get(n % PAUSE) {
            knock(&denied, client, 0);
        }
    }
    // A search through the table for each of them would take minutes.
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let first = denied.clients(forgotten.len());
    let mut found: Vec<_> = first.iter().map(|client| client.address).collect();
    found.sort_unstable();
    assert_eq!(found, forgotten);
    for client in &first {
        let tries = (ATTACKERS / PAUSE) as u64;
        assert!((client.count - client.error..=client.count).contains(&tries), "{client:?}");
    }
    assert_eq!(denied.clients(usize::MAX).len(), ADDRESSES_MAX);
}

#[test]
fn a_full_table_lets_the_least_go() {
    let denied = table_of(3);
    for (client, times) in [(1, 5), (2, 1), (3, 2)] {
        (0..times).for_each(|second| knock(&denied, address(client), second));
    }
    denied.hear_hello(address(2), "two.test");
    knock(&denied, address(4), 10);
    assert_eq!(denied.client(address(2)), None);
    let four = denied.client(address(4)).expect("it has taken the place of 2");
    assert_eq!((four.count, four.error, four.first_seen), (2, 1, 10));
    assert_eq!(four.helo, None, "nothing is left of the other");
    let counts: Vec<_> = denied.clients(10).iter().map(|it| (it.address, it.count)).collect();
    assert_eq!(counts, [(address(1), 5), (address(4), 2), (address(3), 2)], "the last first");
    knock(&denied, address(5), 11);
    assert_eq!(denied.client(address(3)), None, "of two that came as often, the older goes");
}

/// What is said of any order of refusals: nobody is counted too low, nobody is forgotten who came
/// more often than a place is worth, and all counts together are all refusals.
#[test]
fn counts_are_bounded_by_their_error() {
    const PLACES: usize = 50;
    let denied = table_of(PLACES);
    let mut truth: HashMap<IpAddr, u64> = HashMap::new();
    let most = 20_000;
    for number in random(2).take(most) {
        // Few come often, many seldom.
        let client = address((number % 1000) * (number >> 10) % 1000 / (1 + number % 7));
        knock(&denied, client, 0);
        *truth.entry(client).or_default() += 1;
    }
    let clients = denied.clients(usize::MAX);
    assert_eq!(clients.iter().map(|it| it.count).sum::<u64>(), most as u64);
    for client in &clients {
        let count = truth[&client.address];
        assert!((client.count - client.error..=client.count).contains(&count), "{client:?}");
    }
    for (client, count) in truth {
        let is_there = clients.iter().any(|it| it.address == client);
        assert!(is_there || count <= (most / PLACES) as u64, "{client} came {count} times");
    }
}

#[test]
fn threads_count_together() {
    let denied = table_of(100);
    thread::scope(|scope| {
        for seed in 0..4 {
            let denied = &denied;
            scope.spawn(move || {
                for number in random(seed).take(5_000) {
                    knock(denied, address(number % 300), 0);
                    denied.hear(address(number % 300), b"EHLO a.test");
                }
            });
        }
    });
    let clients = denied.clients(usize::MAX);
    assert_eq!(clients.len(), 100);
    assert_eq!(clients.iter().map(|it| it.count).sum::<u64>(), 20_000);
    assert!(clients.iter().any(|it| it.helo.as_deref() == Some("a.test")));
}

#[test]
fn what_a_client_says_is_remembered_within_bounds() {
    let denied = table_of(10);
    let client: IpAddr = "2001:db8:0:7::9".parse().expect("an address");
    denied.hear(client, b"EHLO nobody.test");
    assert!(denied.clients(10).is_empty(), "it was not refused");
    knock(&denied, "2001:db8:0:7::1".parse().expect("an address"), 100);
    knock(&denied, client, 90);
    let long = format!("EHLO {}", "x".repeat(256));
    for line in [
        "NOOP",
        "EHLO app.test",
        "MAIL FROM:<a@One.Test>",
        "MAIL FROM:<b@one.test> SIZE=1000",
        "MAIL FROM:<>",
        "MAIL FROM:<\u{1b}[31m@evil.test>",
        "MAIL FROM:<c@two.test>",
        "MAIL FROM:<c@[192.0.2.1]>",
        "MAIL FROM:<d@five.test>",
        "HELO \u{7}",
        &long,
    ] {
        denied.hear(client, line.as_bytes());
    }
    let [seen] = &denied.clients(10)[..] else { panic!("one client") };
    assert_eq!(seen.network.to_string(), "2001:db8:0:7::/64");
    assert_eq!((seen.address, seen.count, seen.error), (client, 2, 0));
    assert_eq!((seen.first_seen, seen.last_seen), (100, 100), "a clock that was set back");
    assert_eq!(seen.helo.as_deref(), Some("app.test"));
    let domains: Vec<_> = seen.sender_domains.iter().map(|domain| &**domain).collect();
    assert_eq!(domains, ["one.test", "<>", "two.test", "[192.0.2.1]"]);
    let json = serde_json::to_value(seen).expect("it is JSON");
    assert_eq!(
        (&json["network"], &json["check"]),
        (&"2001:db8:0:7::/64".into(), &"allow_list".into())
    );
    assert_eq!(json["listeners"], serde_json::json!(["smtp"]));
}

#[test]
fn what_is_not_plain_is_not_kept() {
    for (domain, is_kept) in [
        ("a-b_c.Example", true),
        ("xn--bcher-kva.example", true),
        ("[192.0.2.1]", true),
        ("[IPv6:2001:db8::1]", true),
        ("bücher.example", false),
        ("a\u{202e}moc.example", false),
        ("a\u{200b}.example", false),
        ("[x:\u{202e}]", false),
        ("[x:<b>]", false),
        ("a:b", false),
        ("", false),
    ] {
        assert_eq!(plain(domain.as_bytes()).is_some(), is_kept, "{domain:?}");
        let denied = table_of(10);
        knock(&denied, address(1), 0);
        denied.hear(address(1), format!("MAIL FROM:<a@{domain}> SMTPUTF8").as_bytes());
        denied.hear(address(1), format!("MAIL FROM:<a@{domain}>").as_bytes());
        let seen = denied.client(address(1)).expect("it was refused");
        let domains: Vec<_> = seen.sender_domains.iter().map(|domain| &**domain).collect();
        let kept = domain.to_ascii_lowercase();
        assert_eq!(domains, if is_kept { vec![&*kept] } else { vec![] });
    }
    let denied = table_of(10);
    knock(&denied, address(1), 0);
    for name in ["b\u{fc}cher", "\u{202e}moc", "a\u{7f}", "a\u{1b}[31m", "a\tb"] {
        denied.hear(address(1), format!("EHLO {name}").as_bytes());
        denied.hear(address(1), format!("HELO {name}").as_bytes());
        denied.hear(address(1), b"EHLO \x9b31m");
        let seen = denied.client(address(1)).expect("it was refused");
        assert_eq!(seen.helo, None, "{name:?}");
    }
}

#[test]
fn who_is_known_and_has_to_wait_is_not_a_stranger() {
    let denied = table_of(10);
    let listener = Arc::from("smtp");
    let knock = Knock { client: address(1), listener: &listener, unix_seconds: 0 };
    denied.count(knock, &refused(Check::MaxConnections));
    assert!(denied.clients(10).is_empty());
    denied.count(knock, &refused(Check::Dates));
    assert_eq!(denied.clients(10)[0].check, Check::Dates);
    for n in 0..10 {
        let listener = Arc::from(format!("other-{n}"));
        denied.count(Knock { listener: &listener, ..knock }, &refused(Check::Action));
    }
    let seen = denied.client(address(1)).expect("it was refused");
    assert_eq!((seen.listeners.len(), seen.check), (LISTENERS_MAX, Check::Action));
}
