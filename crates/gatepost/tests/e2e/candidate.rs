//! A candidate policy that the configuration names: read, watched, and reported on by a command.

use std::time::{Duration, Instant};

use gatepost_testkit::ScriptedUpstream;
use serde_json::Value;

use crate::harness::{converse, fleet, send_message};
use crate::place::Place;

const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
const TRIED: &str = "a candidate policy is tried";
const PATIENCE: Duration = Duration::from_secs(10);

impl Place {
    /// The report once so many envelopes were compared, which is a moment after the reply.
    fn report_of(&self, envelopes: u64) -> Value {
        let began = Instant::now();
        loop {
            let report = self.json(&["shadow", "report"]);
            if report["envelopes"] == envelopes {
                return report;
            }
            assert!(began.elapsed() < PATIENCE, "{report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_is_followed_and_reported_on() {
    let upstream = ScriptedUpstream::start();
    let place = Place::new(upstream.addr(), "file = \"policy.toml\"\nshadow = \"candidate.toml\"");
    place.write("policy.toml", &fleet(""));
    place.write("candidate.toml", &fleet("recipients = [\"c.test\"]"));
    assert!(place.done(&["check"]).contains("\nshadow     "), "it is summed up");
    let mut program = place.run();
    program.wait_for_line(TRIED);
    let mut client = program.client().await;
    assert!(send_message(&mut client, CONTENT).await.starts_with("250"));
    converse(&mut client, &[("MAIL FROM:<a@x.test>", "550")]).await;

    let report = place.report_of(2);
    assert_eq!((&report["same"], &report["flips"][0]["count"]), (&1.into(), &1.into()));
    assert_eq!(
        (&report["flips"][0]["from"], &report["flips"][0]["to"]),
        (&"accept".into(), &"reject".into())
    );
    let table = place.done(&["shadow", "report"]);
    for words in [
        "\n2 envelopes: 1 alike, 1 not\n",
        "\nCOUNT  ENTRY  NOW     THEN    UPSTREAM\n1      fleet  accept  reject\n",
        "\nfleet: accept, then reject\n  20",
        " 127.0.0.1 at smtp helo app.test from a@app.test to b@b.test\n    now:  accept, to sink\n    then: 550 5.7.1 <b@b.test> is not",
    ] {
        assert!(table.contains(words), "{words} in {table}");
    }

    // One that is broken is told, and the one before stays; `check` does not let it pass.
    place.write("candidate.toml", "[[entry]]\nid = \"broken\"\n");
    let told = program.wait_for_line("the candidate policy is not tried");
    assert!(told.contains("candidate.toml:1:1: entry broken: networks is missing"), "{told}");
    place.refused(78, "", &["check"]);
    assert!(send_message(&mut client, CONTENT).await.starts_with("250"));
    assert_eq!(place.report_of(3)["flips"][0]["count"], 2);

    // Another one begins anew.
    place.write("candidate.toml", &fleet(""));
    program.wait_for_line(TRIED);
    assert_eq!(place.json(&["shadow", "report"])["envelopes"], 0);
    assert!(send_message(&mut client, CONTENT).await.starts_with("250"));
    assert_eq!(place.report_of(1)["same"], 1);
    converse(&mut client, &[("QUIT", "221")]).await;
    program.end();
    upstream.stop().await;
}

/// Nothing about it keeps a gateway from starting, and who asks is told why there is no report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_with_a_broken_candidate_and_with_none() {
    let upstream = ScriptedUpstream::start();
    let place = Place::new(upstream.addr(), "file = \"policy.toml\"\nshadow = \"candidate.toml\"");
    // It expects of itself what it does not do.
    let expect = "[[expect]]\nip = \"127.0.0.1\"\nfrom = \"a@x.test\"\nresult = \"accept\"\n";
    place.write("candidate.toml", &fleet(expect));
    let mut program = place.run();
    let told = program.wait_for_line("the candidate policy is not tried");
    assert!(
        told.contains("candidate.toml:5:1: expect: 127.0.0.1 from <a@x.test>: accept"),
        "{told}"
    );
    let told =
        format!("{} is not tried: `gatepost check` tells", place.path("candidate.toml").display());
    place.refused(1, &told, &["shadow", "report"]);
    let told = format!("{}:5:1: expect: ", place.path("candidate.toml").display());
    place.refused(78, &told, &["check"]);
    program.client().await.close();
    program.end();

    let place = Place::with_file(upstream.addr());
    let program = place.run();
    place.refused(1, "no policy is tried; name one with shadow in [policy]", &["shadow", "report"]);
    program.end();
    upstream.stop().await;
}
