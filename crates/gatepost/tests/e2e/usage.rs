//! What entries are used for: counted by real sessions, kept over restarts, and reported.

use std::collections::BTreeSet;
use std::net::IpAddr;

use gatepost_admin::control::Client;
use gatepost_policy::total::UsageTotal;
use gatepost_registry::usage::UsageStore;
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{ENVELOPE, converse, send_message};
use crate::place::Place;
use crate::program::Program;

const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

impl Place {
    /// What the file in the state_dir has of an entry: connections, messages, refusals, addresses.
    fn usage(&self, id: &str) -> Option<(u64, u64, u64, Vec<IpAddr>)> {
        let store = UsageStore::open_to_read(&self.path("state/usage.db")).expect("readable");
        let mut totals = store.expect("is there").totals().expect("whole");
        let UsageTotal { hits, messages, refusals, addresses, .. } = totals.remove(id)?;
        Some((hits, messages, refusals, addresses.into_iter().collect()))
    }

    async fn save(&self) {
        let client = Client::connect(&self.path("state")).await.expect("it runs");
        client.save_usage().await.expect("is written");
    }
}

/// Two messages that are accepted, one that the upstream refuses, and a sender that policy does.
async fn use_it(program: &Program, upstream: &ScriptedUpstream) {
    let mut client = program.client().await;
    for _ in 0..2 {
        assert!(send_message(&mut client, CONTENT).await.starts_with("250"));
    }
    upstream.on(gatepost_testkit::upstream::END_OF_DATA, "554 5.6.0 no");
    converse(&mut client, &ENVELOPE).await;
    client.send(b"Subject: refused\r\n\r\n.\r\n").await;
    client.expect("554").await;
    upstream.on(gatepost_testkit::upstream::END_OF_DATA, "250 2.0.0 ok");
    converse(&mut client, &[("MAIL FROM:<a@other.test>", "550"), ("QUIT", "221")]).await;
}

/// Nobody asks: it is written at the end, and the next gateway adds to it. Whoever asks meanwhile is
/// told up to this moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_adds_up_over_restarts() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    place.done(&["entry", "add", "fleet", "--network=127.0.0.0/29", "--sender=app.test"]);
    let first: IpAddr = [127, 0, 0, 1].into();

    let program = place.run();
    use_it(&program, &upstream).await;
    program.end();
    assert_eq!(place.usage("fleet"), Some((1, 2, 1, vec![first])), "written at the end");

    let program = place.run();
    use_it(&program, &upstream).await;
    assert_eq!(place.usage("fleet"), Some((1, 2, 1, vec![first])), "not yet");
    place.save().await;
    assert_eq!(place.usage("fleet"), Some((2, 4, 2, vec![first])));
    place.save().await;
    assert_eq!(place.usage("fleet"), Some((2, 4, 2, vec![first])), "nothing is added twice");

    // Also through the command that reports, and also of an entry that is gone meanwhile.
    let second: IpAddr = [127, 0, 0, 2].into();
    let mut client = ByteClient::connect_from(second, program.addr).await;
    client.expect("220").await;
    converse(&mut client, &[("QUIT", "221")]).await;
    place.done(&["entry", "add", "narrow", "--network=127.0.0.1", "--sender=app.test"]);
    place.done(&["entry", "disable", "fleet"]);
    place.done(&["entry", "report"]);
    assert_eq!(place.usage("fleet"), Some((3, 4, 2, vec![first, second])));
    assert_eq!(place.usage("narrow"), None);

    // Who is killed loses what was not written, and nothing else.
    use_it(&program, &upstream).await;
    program.signal("KILL");
    drop(program);
    let program = place.run();
    use_it(&program, &upstream).await;
    program.end();
    assert_eq!(place.usage("narrow"), Some((1, 2, 1, vec![first])));
    assert_eq!(place.usage("fleet"), Some((3, 4, 2, vec![first, second])));
    upstream.stop().await;
}

/// The report of what a list could do without: for people, and for programs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_names_what_is_not_needed() {
    let upstream = ScriptedUpstream::start();
    let place = Place::with_store(upstream.addr());
    let answer = place.gatepost(&["entry", "report"]);
    assert_eq!(answer.code, Some(0));
    assert!(answer.stderr.starts_with("note: nothing was counted yet"), "{answer:?}");
    assert!(answer.stdout.ends_with("\nnothing to report\n"), "{answer:?}");

    place.done(&[
        "entry",
        "add",
        "old",
        "--network=127.0.0.1",
        "--sender=app.test",
        "--expires=2020-01-01T00:00:00Z",
        "--expiry=warn",
    ]);
    place.done(&[
        "entry",
        "add",
        "pieces",
        "--network=10.0.0.0/25",
        "--network=10.0.0.128/25",
        "--sender=app.test",
    ]);
    place.done(&["entry", "add", "wide", "--network=10.1.0.0/31", "--sender=a.test"]);
    place.done(&["entry", "add", "half-a", "--network=10.1.0.0", "--sender=b.test"]);
    place.done(&["entry", "add", "half-b", "--network=10.1.0.1", "--sender=b.test"]);
    let program = place.run();
    program.client().await.close();
    let text = place.done(&["entry", "report"]);
    assert!(text.starts_with("counted since "), "{text}");
    for sentence in [
        "\nentry old has expired at 2020-01-01T00:00:00Z (expiry is warn); its clients came last on 20",
        "\nentry pieces: 10.0.0.0/25 and 10.0.0.128/25 are 10.0.0.0/24\n",
        "\nentry wide: no client is found by 10.1.0.0/31, narrower networks of half-a and half-b cover all of it\n",
        "\nentries half-a and half-b say the same of different networks: one entry could have them all\n",
    ] {
        assert!(text.contains(sentence), "{sentence} in {text}");
    }
    assert!(!text.contains("never used"), "counting has just begun: {text}");
    program.end();

    let report = place.json(&["entry", "report"]);
    let findings = report["findings"].as_array().expect("findings");
    let kinds: BTreeSet<_> =
        findings.iter().map(|it| it["kind"].as_str().expect("a kind")).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["adjacent", "duplicates", "expired", "shadowed"]),
        "{report}"
    );
    upstream.stop().await;
}
