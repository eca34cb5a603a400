//! Mode `hybrid` through the wire.

use std::time::Duration;

use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{Action, END_OF_DATA};

use super::{
    By, CHUNKING, CONTENT, Envelope, Nobody, ONE, SOON, STUFFED, WAYS, assert_whole, config,
    delivered, end, forked, gateway, left, send, send_one, until,
};
use crate::harness::{Harness, converse};

const COMMITS: &str = "gatepost_spool_commits_total";

#[tokio::test]
async fn while_the_upstream_answers_nothing_is_kept() {
    let said = "250 2.0.0 Ok as 4711 there";
    let upstream = ScriptedUpstream::builder().extensions(&CHUNKING).end_of_data(said).start();
    let harness = gateway(upstream.addr(), "hybrid");
    let mut client = harness.client().await;
    for by in WAYS {
        let heard = send(&mut client, by, ONE).await;
        assert_eq!(heard.end, said, "{by:?}");
    }
    client.close();
    assert_eq!(upstream.connections_opened(), 1);
    let messages = upstream.messages();
    assert_eq!(messages.len(), 3);
    messages.iter().for_each(assert_whole);
    assert_eq!(harness.metric(COMMITS).await, 0);
    let counted = "gatepost_handoffs_total{mode=\"hybrid\",result=\"delivered\"}";
    assert_eq!(harness.metric(counted).await, 3);
    let (story, directory) = end(harness).await;
    let told: Vec<_> = story.0.iter().map(super::told).collect();
    let each = ["Reception hybrid sink - b", "Delivery hybrid sink 1 b"];
    assert_eq!(told, each.repeat(3));
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}

/// A word that is for now, or none: the client has done its part, and the message arrives once.
#[tokio::test]
async fn what_the_upstream_defers_is_kept_and_arrives_once() {
    let deferred = "451 4.7.1 not now";
    let cases = [
        ("RCPT", Action::from(deferred), false),
        ("MAIL", deferred.into(), false),
        ("DATA", deferred.into(), true),
        (END_OF_DATA, deferred.into(), true),
        ("RCPT", Action::Close, false),
        ("DATA", Action::CloseAfterData(30), true),
        // A fault of ours is no fault of the client.
        ("MAIL", "530 5.7.0 log in".into(), false),
    ];
    let mut running = tokio::task::JoinSet::new();
    for (event, action, is_tried) in cases {
        for by in WAYS {
            running.spawn(deferred_once(event, action.clone(), is_tried, by));
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no panic");
    }
}

async fn deferred_once(event: &'static str, action: Action, is_tried: bool, by: By) {
    let what = format!("{event}, {action:?}, {by:?}");
    // What is not reached at first may be asked again at once.
    let upstream = ScriptedUpstream::builder().on(event, action).start();
    let harness = gateway(upstream.addr(), "hybrid");
    let heard = send_one(&harness, by, ONE).await;
    assert!(heard.recipients[0].starts_with("250 2.1."), "{what}: {heard:?}");
    let id = heard.id();
    upstream.on(event, polite(event));
    upstream.wait_for_messages(1).await;
    until(&what, async || delivered(&upstream).len() == 1).await;
    let (story, directory) = end(harness).await;
    assert_eq!(delivered(&upstream), ["RCPT TO:<b@b.test>"], "{what}");
    let messages = upstream.messages();
    let message = messages.last().expect("one");
    assert_whole(message);
    assert!(message.text().contains(&format!(" id {id};")), "{what}: {}", message.text());
    let told = story.about(&id);
    assert_eq!(told[0], "Reception hybrid sink - b", "{what}");
    let (last, tried) = told[1..].split_last().expect("several");
    // Whatever the first hand-over was told counts, if it was of the message.
    let attempt = |number: usize| format!("TransientFailure hybrid sink {number} b");
    assert!(tried.iter().enumerate().all(|(place, it)| *it == attempt(place + 1)), "{told:?}");
    assert!(!is_tried || !tried.is_empty(), "{what}: {told:?}");
    assert_eq!(*last, format!("Delivery hybrid sink {} b", tried.len() + 1), "{what}: {told:?}");
    assert!(left(directory.path()).await.is_empty(), "{what}");
    upstream.stop().await;
}

/// What a sink says there.
fn polite(event: &str) -> &'static str {
    match event {
        "DATA" => "354 go ahead",
        _ => "250 2.0.0 Ok",
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_gets_everything_when_it_is_back() {
    let nobody = Nobody::new();
    let harness = gateway(nobody.addr(), "hybrid");
    let mut ids = Vec::new();
    for by in WAYS {
        let heard = send_one(&harness, by, ONE).await;
        assert_eq!(heard.recipients, ["250 2.1.5 accepted, to be relayed later"]);
        ids.push(heard.id());
    }
    let upstream = nobody.replace();
    upstream.wait_for_messages(3).await.iter().for_each(assert_whole);
    let (story, directory) = end(harness).await;
    assert_eq!(upstream.messages().len(), 3);
    for id in ids {
        assert_eq!(story.about(&id), ["Reception hybrid sink - b", "Delivery hybrid sink 1 b"]);
    }
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}

/// The client is there to hear it: nobody has to be told later.
#[tokio::test]
async fn a_refusal_for_good_is_the_clients() {
    let no = "550 5.7.1 no, and never";
    for (event, is_late) in [("MAIL", false), ("RCPT", false), ("DATA", true), (END_OF_DATA, true)]
    {
        let upstream = ScriptedUpstream::builder().on(event, no).start();
        let harness = gateway(upstream.addr(), "hybrid");
        for by in WAYS {
            let heard = send_one(&harness, by, ONE).await;
            let word = if is_late { &heard.end } else { &heard.recipients[0] };
            assert_eq!(*word, no, "{event}, {by:?}");
            assert!(heard.end.starts_with('5'), "{event}, {by:?}: {heard:?}");
        }
        assert_eq!(harness.metric(COMMITS).await, 0, "{event}");
        let (story, directory) = end(harness).await;
        assert!(story.0.iter().all(|event| event["type"] != "Reception"), "{event}");
        assert!(left(directory.path()).await.is_empty(), "{event}");
        upstream.stop().await;
    }
}

/// One of three recipients is deferred, one refused, one accepted. Each has what the upstream said.
#[tokio::test]
async fn each_recipient_has_its_own_fate() {
    let envelope: Envelope<'_> = ("<a@app.test>", &["<y@b.test>", "<n@b.test>", "<later@b.test>"]);
    for by in WAYS {
        let upstream = ScriptedUpstream::builder()
            .on("RCPT TO:<n@", "550 5.1.1 no such user")
            .on_nth("RCPT TO:<later@", 1, "450 4.2.1 greylisted")
            .start();
        let harness = gateway(upstream.addr(), "hybrid");
        let heard = send_one(&harness, by, envelope).await;
        let codes: Vec<_> = heard.recipients.iter().map(|reply| &reply[..3]).collect();
        assert_eq!(codes, ["250", "550", "250"], "{by:?}");
        assert!(heard.end.starts_with("250"), "{heard:?}");
        upstream.wait_for_messages(2).await.iter().for_each(assert_whole);
        let (story, directory) = end(harness).await;
        assert_eq!(
            delivered(&upstream),
            ["RCPT TO:<y@b.test>", "RCPT TO:<later@b.test>"],
            "{by:?}"
        );
        let told = story.one();
        assert_eq!(
            told,
            [
                "Bounce hybrid sink 1 n",
                "Reception hybrid sink - y,later",
                "Delivery hybrid sink 1 y",
                "Delivery hybrid sink 1 later"
            ],
            "{by:?}"
        );
        assert!(left(directory.path()).await.is_empty());
        upstream.stop().await;
    }
}

/// Two recipients whose routes lead to two upstreams, each with its reverse-path.
#[tokio::test]
async fn a_message_may_go_two_ways() {
    let route = "[[route]]\nid = \"r\"\nrecipient_domains = [\"c.test\"]\nupstream = \"other\"\n\
                 rewrite_mail_from = \"bounces@elsewhere.test\"\n";
    let envelope: Envelope<'_> = ("<a@app.test>", &["<b@b.test>", "<c@c.test>"]);
    for by in WAYS {
        let (sink, other) = (ScriptedUpstream::start(), ScriptedUpstream::start());
        let harness = forked(sink.addr(), other.addr(), route);
        let heard = send_one(&harness, by, envelope).await;
        assert!(heard.recipients.iter().all(|reply| reply.starts_with("250")), "{heard:?}");
        assert!(heard.end.starts_with("250"), "{heard:?}");
        assert_eq!(delivered(&sink), ["RCPT TO:<b@b.test>"], "it has answered");
        let apart = other.wait_for_messages(1).await.remove(0);
        assert_whole(&sink.messages()[0]);
        assert_whole(&apart);
        assert!(sink.messages()[0].mail.starts_with("MAIL FROM:<a@app.test>"));
        assert!(apart.mail.starts_with("MAIL FROM:<bounces@elsewhere.test>"), "{}", apart.mail);
        let (story, directory) = end(harness).await;
        assert_eq!((delivered(&sink).len(), delivered(&other).len()), (1, 1));
        let told: Vec<_> = story.0.iter().map(super::told).collect();
        assert_eq!(told[0], "Reception hybrid sink - b,c", "{by:?}: {told:?}");
        let mut others = told[1..].to_vec();
        others.sort();
        assert_eq!(others, ["Delivery hybrid other 1 c", "Delivery hybrid sink 1 b"], "{by:?}");
        assert!(left(directory.path()).await.is_empty());
        sink.stop().await;
        other.stop().await;
    }

    // In mode sync nobody answers for the second way.
    let (sink, other) = (ScriptedUpstream::start(), ScriptedUpstream::start());
    let harness = forked(sink.addr(), other.addr(), &format!("{route}mode = \"sync\"\n"));
    let heard = send_one(&harness, By::Group, envelope).await;
    assert!(heard.recipients[1].starts_with("452 4.5.3"), "{heard:?}");
    assert!(heard.end.starts_with("250"), "{heard:?}");
    let (_, directory) = end(harness).await;
    assert_eq!((delivered(&sink).len(), delivered(&other).len()), (1, 0));
    assert!(left(directory.path()).await.is_empty());
    sink.stop().await;
    other.stop().await;
}

/// The client waits a second, the upstream takes two and a half: one message arrives, once.
#[tokio::test]
async fn an_upstream_that_takes_its_time_gets_a_message_once() {
    let slow = |reply: &str| Action::Delay(Duration::from_millis(2500), reply.to_owned());
    let case = async |by: By, reply: &'static str| {
        let upstream = ScriptedUpstream::builder()
            .extensions(&CHUNKING)
            .on_nth(END_OF_DATA, 1, slow(reply))
            .start();
        let delivery = "mode = \"hybrid\"\nanswer_within = \"1s\"\nretry = [\"1s\"]";
        let harness = Harness::from_text(&config(upstream.addr(), delivery, ""));
        let began = tokio::time::Instant::now();
        let heard = send_one(&harness, by, ONE).await;
        let waited = began.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_millis(2400));
        let id = heard.id();
        if reply.starts_with('4') {
            upstream.wait_for_messages(2).await;
        }
        // To drain is to wait for the word on a message in doubt.
        let (story, directory) = end(harness).await;
        assert_whole(&upstream.messages()[0]);
        (story.about(&id), delivered(&upstream).len(), left(directory.path()).await, upstream)
    };
    let (commands, chunks, later, never) = tokio::join!(
        case(By::Commands, "250 2.0.0 Ok"),
        case(By::Chunks, "250 2.0.0 Ok"),
        case(By::Group, "451 4.3.0 not now"),
        case(By::Group, "550 5.7.1 no"),
    );
    for (told, delivered, left, upstream) in [commands, chunks] {
        assert_eq!(told, ["Reception hybrid sink - b", "Delivery hybrid sink 1 b"]);
        assert_eq!((delivered, upstream.messages().len(), left.len()), (1, 1, 0));
        upstream.stop().await;
    }
    let (told, delivered, left, upstream) = later;
    let tried = "TransientFailure hybrid sink 1 b";
    assert_eq!(told, ["Reception hybrid sink - b", tried, "Delivery hybrid sink 2 b"]);
    assert_eq!((delivered, left.len()), (1, 0));
    upstream.stop().await;
    let (told, delivered, left, upstream) = never;
    assert_eq!(told[..2], ["Reception hybrid sink - b", "Bounce hybrid sink 1 b"]);
    // The notification is on its way, by the same upstream.
    assert_eq!(delivered + left.len(), 1, "{left:?}");
    upstream.stop().await;
}

/// A client that stops in the middle gives the connection back, and its message is kept.
#[tokio::test]
async fn a_client_that_stalls_costs_no_connection() {
    let (first, last) = CONTENT.split_at(20);
    let (first, last) = (String::from_utf8_lossy(first), String::from_utf8_lossy(last));
    let upstream = ScriptedUpstream::builder().extensions(&CHUNKING).start();
    let text = config(upstream.addr(), &format!("mode = \"hybrid\"\n{SOON}"), "")
        .replace("name = \"sink\"", "name = \"sink\"\nclient_stall = \"1s\"");
    let harness = Harness::from_text(&text);
    for by in WAYS {
        let stuffed = String::from_utf8_lossy(STUFFED);
        let (begun, rest) = match by {
            By::Commands => (String::new(), format!("{stuffed}.\r\n")),
            By::Group => (stuffed[..20].to_owned(), format!("{}.\r\n", &stuffed[20..])),
            By::Chunks => (
                format!("BDAT 20\r\n{}", &first[..10]),
                format!("{}BDAT {} LAST\r\n{last}", &first[10..], last.len()),
            ),
        };
        let before = delivered(&upstream).len();
        let mut client = harness.client().await;
        converse(&mut client, &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250")])
            .await;
        if by != By::Chunks {
            converse(&mut client, &[("DATA", "354")]).await;
        }
        client.send(begun.as_bytes()).await;
        upstream.wait_for_open(0).await;
        client.send(rest.as_bytes()).await;
        if by == By::Chunks {
            client.expect("250 2.0.0").await;
        }
        client.expect("250 2.0.0 Ok: queued as ").await;
        until("delivered", async || delivered(&upstream).len() == before + 1).await;
        assert_whole(upstream.messages().last().expect("one"));
        // Otherwise the next client would find an open connection.
        client.close();
        upstream.wait_for_open(1).await;
    }
    let (_, directory) = end(harness).await;
    assert_eq!(upstream.messages().len(), WAYS.len());
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}
