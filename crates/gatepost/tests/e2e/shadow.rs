//! A candidate policy beside the one in use: it changes nothing, and tells what it would change.

use std::time::Duration;

use gatepost_policy::ruleset::Ruleset;
use gatepost_policy::shadow::{ShadowReport, UNKNOWN, Word};
use gatepost_testkit::{ByteClient, ScriptedUpstream};

use crate::harness::{Harness, Settings, converse, fleet, send_message};

const PATIENCE: Duration = Duration::from_secs(10);
const CONTENT: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

impl Harness {
    fn try_candidate(&self, text: &str) {
        let site = self.gateway.policy().load().site().clone();
        let compiled = Ruleset::compile(text, "candidate.toml", &site);
        let candidate = compiled.unwrap_or_else(|errors| panic!("the test's own: {errors}"));
        self.gateway.shadow().try_candidate(Some(candidate.ruleset));
    }

    /// The report, once so many envelopes were compared: that is not before the client's reply.
    async fn report_of(&self, envelopes: u64) -> ShadowReport {
        let began = std::time::Instant::now();
        loop {
            let report = self.gateway.shadow().report().expect("there is a candidate");
            if report.envelopes >= envelopes {
                assert_eq!((report.envelopes, report.dropped), (envelopes, 0));
                return report;
            }
            assert!(began.elapsed() < PATIENCE, "{report:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Entry, from, to and count of each row.
fn rows(report: &ShadowReport) -> Vec<(&str, Word, Word, u64)> {
    report.flips.iter().map(|flip| (&*flip.entry, flip.from, flip.to, flip.count)).collect()
}

#[tokio::test]
async fn a_candidate_is_asked_and_not_obeyed() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "recipients = [\"b.test\", \"c.test\"]");
    assert_eq!(harness.gateway.shadow().report(), None);
    let candidate = fleet("recipients = [\"c.test\"]").replace("\"app.test\"", "\"*\"");
    harness.try_candidate(&candidate);

    let mut client = harness.client().await;
    assert!(send_message(&mut client, CONTENT).await.starts_with("250"));
    let lines = [
        // Both accept the transaction, which is given up.
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<x@c.test>", "250"),
        ("RSET", "250"),
        ("MAIL FROM:<a@other.test>", "550"),
        // Both refuse the first.
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<x@d.test>", "550"),
        ("RCPT TO:<x@b.test>", "250"),
        ("RCPT TO:<y@b.test>", "250"),
        ("QUIT", "221"),
    ];
    converse(&mut client, &lines).await;
    let report = harness.report_of(4).await;
    let expected =
        [("fleet", Word::Accept, Word::Reject, 2), ("fleet", Word::Reject, Word::Accept, 1)];
    assert_eq!((rows(&report), report.same), (expected.to_vec(), 1));
    let [first, last] = &report.flips[0].samples[..] else { panic!("{report:?}") };
    assert_eq!((first.recipient.as_deref(), first.recipients), (Some("b@b.test"), 1));
    assert_eq!((last.recipient.as_deref(), last.recipients), (Some("x@b.test"), 2));
    assert_eq!((first.helo.as_deref(), &*first.listener), (Some("app.test"), "smtp"));
    assert_eq!(first.active, "accept, to sink");
    assert!(first.candidate.starts_with("550 5.7.1 <b@b.test> is not an allowed recipient"));
    let sample = &report.flips[1].samples[0];
    assert_eq!(sample.sender.as_deref(), Some("a@other.test"));
    assert_eq!((&*sample.active, &*sample.candidate), ("reject by check sender", "accept"));

    let flips = |from: &str, to: &str| {
        format!("gatepost_shadow_flips_total{{entry=\"fleet\",from=\"{from}\",to=\"{to}\"}}")
    };
    assert_eq!(harness.metric(&flips("accept", "reject")).await, 2);
    assert_eq!(harness.metric(&flips("reject", "accept")).await, 1);
    let envelopes =
        |result: &str| format!("gatepost_shadow_envelopes_total{{result=\"{result}\"}}");
    assert_eq!(harness.metric(&envelopes("same")).await, 1);
    assert_eq!(harness.metric(&envelopes("flip")).await, 3);

    // The same text goes on, another one begins anew, and without one nothing is kept.
    harness.try_candidate(&candidate);
    harness.report_of(4).await;
    harness.try_candidate(&fleet(""));
    harness.report_of(0).await;
    harness.gateway.shadow().try_candidate(None);
    assert_eq!(harness.gateway.shadow().report(), None);
    assert!(send_message(&mut harness.client().await, CONTENT).await.starts_with("250"));
    harness.try_candidate(&fleet(""));
    assert!(send_message(&mut harness.client().await, CONTENT).await.starts_with("250"));
    harness.report_of(1).await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_client_that_is_refused_with_the_greeting_is_seen_too() {
    let upstream = ScriptedUpstream::start();
    let policy = Some(fleet("").replace("127.0.0.1", "127.0.0.9"));
    let harness = Harness::with(upstream.addr(), &Settings { policy, ..Settings::default() });
    harness.try_candidate(&fleet(""));
    ByteClient::connect(harness.addr()).await.expect("554").await;
    let report = harness.report_of(1).await;
    assert_eq!(rows(&report), [(UNKNOWN, Word::Reject, Word::Accept, 1)]);
    let sample = &report.flips[0].samples[0];
    assert_eq!((sample.candidate_entry.as_deref(), &*sample.candidate), (Some("fleet"), "accept"));

    // Let in, and then gone from the policy: refused at MAIL.
    harness.write_policy(&fleet("description = \"first\""));
    harness.gateway.reload().await.expect("no panic");
    let mut client = harness.client().await;
    harness.write_policy(&fleet("").replace("127.0.0.1", "127.0.0.9"));
    harness.gateway.reload().await.expect("no panic");
    converse(&mut client, &[("MAIL FROM:<a@app.test>", "554")]).await;
    assert_eq!(rows(&harness.report_of(2).await), [(UNKNOWN, Word::Reject, Word::Accept, 2)]);
    upstream.stop().await;
}

/// What the upstream says is not policy's word, and what a rate has refused is not compared.
#[tokio::test]
async fn the_upstream_and_the_rates_do_not_flip() {
    let upstream = ScriptedUpstream::builder().on("RCPT", "550 5.1.1 nobody").start();
    let limits = "message_rate = \"1/d\"\nmax_recipients = 2\nrecipient_rate = \"3/d\"";
    let harness = Harness::with_entry(upstream.addr(), limits);
    harness.try_candidate(&fleet("max_recipients = 2"));
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<x@b.test>", "550 5.1.1"),
        ("RCPT TO:<x@b.test>", "550 5.1.1"),
        ("RCPT TO:<x@b.test>", "550 5.1.1"),
        ("RCPT TO:<x@b.test>", "450 4.7.1"),
        ("RSET", "250"),
        ("MAIL FROM:<a@app.test>", "450 4.7.1"),
        ("MAIL FROM:<a@other.test>", "550"),
    ];
    converse(&mut client, &lines).await;
    let report = harness.report_of(2).await;
    assert_eq!((report.same, report.flips), (2, vec![]));
    upstream.stop().await;
}
