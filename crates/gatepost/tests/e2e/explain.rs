//! `explain` and real sessions: whatever the policy and whoever asks, they never disagree.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatepost_policy::check::{MailFacts, SessionTls};
use gatepost_policy::date::Moment;
use gatepost_policy::explain::{Question, explain};
use gatepost_policy::listener::ListenerId;
use gatepost_smtp::path::{ForwardPath, Mailbox, ReversePath};
use gatepost_testkit::{ByteClient, ScriptedUpstream};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::Harness;

/// Policies that are tried, and conversations under each.
const POLICIES: usize = 60;
const CONVERSATIONS: usize = 4;

/// What a client is going to say.
#[derive(Clone, Debug)]
struct Asked {
    client: IpAddr,
    helo: &'static str,
    sender: &'static str,
    recipients: Vec<&'static str>,
    size: Option<u64>,
    from: Option<&'static str>,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        1_u8..7,
        prop::sample::select(vec!["app.internal", "app"]),
        prop::sample::select(vec!["<>", "<x@a.test>", "<x@b.a.test>", "<u@b>"]),
        prop::collection::vec(
            prop::sample::select(vec!["<a@r.test>", "<b@s.r.test>", "<c@o.test>", "<postmaster>"]),
            1..4,
        ),
        prop::option::of(prop::sample::select(vec![1000, 2000, 100 << 20])),
        prop::option::of(prop::sample::select(vec!["x@a.test", "evil@c.test"])),
    )
        .prop_map(|(last, helo, sender, recipients, size, from)| Asked {
            client: [127, 0, 0, last].into(),
            helo,
            sender,
            recipients,
            size,
            from,
        })
}

fn policy() -> impl Strategy<Value = String> {
    let senders = prop::sample::subsequence(vec!["*", "<>", "a.test", "*.a.test", "u@b"], 1..5);
    let terms = prop::sample::subsequence(
        vec![
            "recipients = [\"r.test\", \"*.r.test\"]",
            "helo = [\"*.internal\"]",
            "tls = \"required\"",
            "client_certificate = [\"app.internal\"]",
            "upstream = \"sink\"",
            "max_message_size = \"1500 B\"",
            "max_recipients = 2",
            "message_rate = \"2/d\"",
            "recipient_rate = \"3/d\"",
            "header_from = \"allowed\"",
            "not_before = 2999-01-01T00:00:00Z",
            "expires = 2020-01-01T00:00:00Z",
            "expiry = \"defer\"",
        ],
        0..4,
    );
    let entry = (senders, terms, prop::bool::weighted(0.15));
    prop::collection::btree_map(1_u8..6, entry, 1..5).prop_map(|entries| {
        // The wide entry makes sure that somebody may send.
        let mut text = "[[entry]]\nid = \"wide\"\nnetworks = [\"127.0.0.0/29\"]\nsenders = [\"*\"]\n".to_owned();
        for (last, (senders, terms, denied)) in entries {
            let body = if denied {
                "action = \"deny\"".to_owned()
            } else {
                format!("senders = {senders:?}\n{}", terms.join("\n"))
            };
            writeln!(text, "[[entry]]\nid = \"e{last}\"\nnetworks = [\"127.0.0.{last}\"]\n{body}")
                .expect("a String takes all");
        }
        text + "[[route]]\nid = \"r\"\nsender_domains = [\"b.a.test\"]\nrewrite_mail_from = \"*@bounces.test\"\n"
    })
}

/// What explain says to it: the reply of the verdict, or nothing.
fn explained(harness: &Harness, asked: &Asked, uptime: Duration) -> (String, String) {
    let ruleset = harness.gateway.policy().load();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let recipients: Vec<_> = asked
        .recipients
        .iter()
        .map(|path| ForwardPath::split_from(path.as_bytes()).expect("a path").0)
        .collect();
    let from: Vec<_> =
        asked.from.iter().map(|from| Mailbox::parse(from.as_bytes()).expect("a mailbox")).collect();
    let question = Question {
        username: None,
        client: asked.client,
        listener: ListenerId::new(0),
        facts: MailFacts {
            login: None,
            now: Moment { unix_seconds: unix.cast_signed(), uptime },
            generation: ruleset.generation(),
            tls: Some(SessionTls::Plain),
            certificate: Some(&[]),
            helo: Some(asked.helo.as_bytes()),
            sender: Some(ReversePath::split_from(asked.sender.as_bytes()).expect("a path").0),
            size: asked.size,
        },
        recipients: &recipients,
        header_from: &from,
    };
    let explanation = explain(&ruleset, &question);
    let reply = explanation.verdict().reply().map(ToString::to_string).unwrap_or_default();
    (reply, explanation.to_string())
}

/// What a session hears: its first refusal, or nothing.
async fn heard(harness: &Harness, asked: &Asked) -> String {
    let mut client = ByteClient::connect_from(asked.client, harness.addr()).await;
    let greeting = client.read_reply().await;
    if !greeting.starts_with("220") {
        return greeting;
    }
    client.send_line(&format!("EHLO {}", asked.helo)).await;
    client.expect("250").await;
    let size = asked.size.map(|octets| format!(" SIZE={octets}")).unwrap_or_default();
    client.send_line(&format!("MAIL FROM:{}{size}", asked.sender)).await;
    let reply = client.read_reply().await;
    if !reply.starts_with("250") {
        return reply;
    }
    let mut refused = None;
    for recipient in &asked.recipients {
        client.send_line(&format!("RCPT TO:{recipient}")).await;
        let reply = client.read_reply().await;
        if !reply.starts_with("250") {
            refused = refused.or(Some(reply));
        }
    }
    let (Some(from), None) = (asked.from, &refused) else { return refused.unwrap_or_default() };
    client.send_line("DATA").await;
    client.expect("354").await;
    client.send(format!("From: {from}\r\n\r\nbody\r\n.\r\n").as_bytes()).await;
    let reply = client.read_reply().await;
    if reply.starts_with("250") { String::new() } else { reply }
}

/// A reply without what time does to it.
fn timeless(reply: &str) -> &str {
    reply.trim_end().split("retry in").next().unwrap_or_default()
}

#[tokio::test]
async fn explain_and_real_sessions_never_disagree() {
    let upstream = ScriptedUpstream::builder().digest_only().start();
    // A moment before the gateway's own: rates have forgotten no more than it believes.
    let started = std::time::Instant::now();
    let harness = Harness::start(upstream.addr());
    let mut runner = TestRunner::deterministic();
    let mut pick = |strategy: &BoxedStrategy<Asked>| {
        strategy.new_tree(&mut runner).expect("there is always a value").current()
    };
    let (questions, policies) = (asked().boxed(), policy().boxed());
    let mut policy_runner = TestRunner::deterministic();
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..POLICIES {
        let text = policies.new_tree(&mut policy_runner).expect("a value").current();
        harness.write_policy(&text);
        harness.gateway.reload().await.expect("no panic");
        for _ in 0..CONVERSATIONS {
            let asked = pick(&questions);
            let (expected, explanation) = explained(&harness, &asked, started.elapsed());
            let heard = heard(&harness, &asked).await;
            assert_eq!(timeless(&heard), timeless(&expected), "{asked:?}\n{explanation}\n{text}");
            *codes.entry(heard.chars().take(9).collect()).or_default() += 1;
        }
    }
    // The test is of no use if everything is accepted, or nothing is.
    assert!(codes.len() >= 6 && codes[""] > 10, "{codes:?}");
    upstream.stop().await;
}
