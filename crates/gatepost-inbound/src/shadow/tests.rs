use gatepost_policy::check::{self, Greeting, SessionTls};
use gatepost_policy::entry::Mode;
use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::site::{Site, UpstreamId};
use gatepost_smtp::path::{ForwardPath, ReversePath};

use super::*;

const POLICY: &str = r#"
[[entry]]
id = "fleet"
networks = ["10.0.0.0/8"]
senders = ["app.test"]
recipients = ["b.test"]
message_rate = "1/d"
"#;

fn ruleset() -> Ruleset {
    let site = Site {
        hostname: "relay.test".into(),
        listeners: vec!["smtp".into()],
        proxies: Vec::new(),
        auth: Vec::new(),
        upstreams: vec!["sink".into()],
        default_upstream: Some(UpstreamId::new(0)),
        default_mode: Mode::Sync,
        max_message_size: 1000,
        max_recipients: 10,
    };
    Ruleset::compile(POLICY, "policy.toml", &Arc::new(site)).expect("a good policy").ruleset
}

fn now(seconds: u64) -> Moment {
    Moment { unix_seconds: 0, uptime: Duration::from_secs(seconds) }
}

fn facts(ruleset: &Ruleset, sender: &'static [u8]) -> MailFacts<'static> {
    MailFacts {
        login: None,
        now: now(0),
        generation: ruleset.generation(),
        tls: Some(SessionTls::Plain),
        certificate: Some(&[]),
        helo: Some(b"app.test"),
        sender: Some(ReversePath::split_from(sender).expect("a path").0),
        size: None,
    }
}

const LISTENER: ListenerId = ListenerId::new(0);
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A message with one recipient, as a session takes it.
fn message(tap: Option<&ShadowTap>, ruleset: &Ruleset) {
    let entry = &ruleset.entries()[0];
    let facts = facts(ruleset, b"<a@app.test>");
    let mut record = Record::begin(tap, LISTENER, CLIENT, entry, &facts);
    let facts = RcptFacts {
        beside: None,
        uptime: Duration::ZERO,
        generation: ruleset.generation(),
        sender: facts.sender.expect("is known"),
        recipient: ForwardPath::split_from(b"<b@b.test>").expect("a path").0,
        named: 0,
        way: None,
    };
    record.name(&facts, &check::rcpt(entry, ruleset.routes(), &facts));
}

/// A client that is refused with the greeting.
fn stranger(tap: &ShadowTap, ruleset: &Ruleset, now: Moment) {
    let client = IpAddr::from([203, 0, 113, 9]);
    let Greeting::Refused(entry, refusal) = check::greet(ruleset, LISTENER, client, now) else {
        panic!("nobody knows it");
    };
    tap.refused(entry.as_deref(), refusal.check, now.uptime, || {
        let generation = ruleset.generation();
        Envelope::at_greeting(LISTENER, client, now, entry.as_deref(), generation, &refusal)
    });
}

/// How many envelopes are in the queue.
fn waiting(receiver: &mut ShadowReceiver) -> usize {
    std::iter::from_fn(|| receiver.envelopes.try_recv().ok()).count()
}

#[test]
fn a_tap_that_is_off_costs_nothing() {
    let (tap, mut receiver) = ShadowTap::new();
    let ruleset = ruleset();
    let allocations = |tap| allocation_counter::measure(|| message(tap, &ruleset)).count_total;
    assert_eq!(allocations(None), 0);
    assert_eq!(allocations(Some(&tap)), 0);
    stranger(&tap, &ruleset, now(0));
    assert_eq!((waiting(&mut receiver), receiver.switch().dropped()), (0, 0));
    receiver.switch().turn_on();
    assert!(allocations(Some(&tap)) > 0);
    assert_eq!(waiting(&mut receiver), 1);
    receiver.switch().turn_off();
    assert_eq!(allocations(Some(&tap)), 0);
}

#[test]
fn what_finds_no_room_is_counted_and_forgotten() {
    let (tap, mut receiver) = ShadowTap::new();
    receiver.switch().turn_on();
    let ruleset = ruleset();
    for _ in 0..QUEUE_MAX + 3 {
        message(Some(&tap), &ruleset);
    }
    assert_eq!((waiting(&mut receiver), receiver.switch().dropped()), (QUEUE_MAX, 3));
    message(Some(&tap), &ruleset);
    assert_eq!((waiting(&mut receiver), receiver.switch().dropped()), (1, 3));
}

#[test]
fn a_flood_of_strangers_leaves_a_few_envelopes() {
    let (tap, mut receiver) = ShadowTap::new();
    receiver.switch().turn_on();
    let ruleset = ruleset();
    for _ in 0..500 {
        stranger(&tap, &ruleset, now(7));
    }
    assert_eq!((waiting(&mut receiver), receiver.switch().dropped()), (50, 450));
    stranger(&tap, &ruleset, now(8));
    assert_eq!(waiting(&mut receiver), 1);
    message(Some(&tap), &ruleset);
    assert_eq!(waiting(&mut receiver), 1, "the fleet is not kept out");
}

#[test]
fn what_a_limit_has_refused_is_not_sent() {
    let (tap, mut receiver) = ShadowTap::new();
    receiver.switch().turn_on();
    let ruleset = ruleset();
    let entry = &ruleset.entries()[0];
    let (wrong, right): (&[u8], &[u8]) = (b"<a@other.test>", b"<a@app.test>");
    for (sender, count) in [(wrong, 1), (right, 1), (right, 0)] {
        let facts = facts(&ruleset, sender);
        let mut record = Record::begin(Some(&tap), LISTENER, CLIENT, entry, &facts);
        if let Err(refusal) = check::mail(entry, &facts) {
            record.refuse(&refusal);
        }
        assert_eq!(waiting(&mut receiver), 0, "it is not over yet");
        drop(record);
        assert_eq!(waiting(&mut receiver), count);
    }
    assert_eq!(receiver.switch().dropped(), 0);
}

#[tokio::test]
async fn envelopes_come_out_in_batches_until_the_tap_is_gone() {
    let (tap, mut receiver) = ShadowTap::new();
    receiver.switch().turn_on();
    let ruleset = ruleset();
    for _ in 0..5 {
        message(Some(&tap), &ruleset);
    }
    drop(tap);
    let mut batch = Vec::new();
    assert_eq!(receiver.receive(&mut batch, 3).await, 3);
    assert_eq!(receiver.receive(&mut batch, 3).await, 2);
    assert_eq!((receiver.receive(&mut batch, 3).await, batch.len()), (0, 5));
}
