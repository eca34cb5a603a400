//! Mode `spool`, and what senders are told.

use std::collections::BTreeSet;

use gatepost_spool::Standing;
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::{END_OF_DATA, Message};
use mail_parser::{MessageParser, MimeHeaders};
use tokio::task::JoinSet;

use super::{
    By, Envelope, ONE, SOON, WAYS, assert_whole, config, delivered, end, gateway, left, send,
    send_one, until,
};
use crate::harness::{Harness, converse, send_message};

/// A gateway whose notifications go by an upstream of their own.
fn telling(
    sink: &ScriptedUpstream,
    bounces: &ScriptedUpstream,
    (mode, lines): (&str, &str),
) -> Harness {
    let delivery =
        format!("mode = \"{mode}\"\nupstream = \"sink\"\nbounce_upstream = \"bounces\"\n{lines}\n");
    let address = bounces.addr();
    let tables =
        format!("[[upstream]]\nname = \"bounces\"\nhosts = [\"{address}\"]\ntls = \"none\"\n");
    Harness::from_text(&config(sink.addr(), &delivery, &tables))
}

/// The id in the line that a gateway has put in front.
pub(super) fn id_of(message: &Message) -> String {
    let text = message.text();
    let (_, behind) = text.split_once(" id ").expect("an id");
    behind.split(';').next().expect("an id").to_owned()
}

#[tokio::test]
async fn a_message_is_kept_and_goes_on_at_once() {
    let upstream = ScriptedUpstream::start();
    // The schedule has no part in it.
    let harness = Harness::from_text(&config(upstream.addr(), "mode = \"spool\"", ""));
    let mut client = harness.client().await;
    let mail = [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250"), ("RSET", "250")];
    converse(&mut client, &mail).await;
    assert_eq!(upstream.connections_opened(), 0, "nobody is asked before there is a message");
    let mut ids = Vec::new();
    for by in WAYS {
        let heard = send(&mut client, by, ONE).await;
        assert_eq!(heard.recipients, ["250 2.1.5 accepted, to be relayed later"], "{by:?}");
        ids.push(heard.id());
    }
    let messages = upstream.wait_for_messages(3).await;
    messages.iter().for_each(assert_whole);
    let arrived: BTreeSet<_> = messages.iter().map(id_of).collect();
    assert_eq!(arrived, ids.iter().cloned().collect());
    let counted = "gatepost_handoffs_total{mode=\"spool\",result=\"kept\"}";
    assert_eq!(harness.metric(counted).await, 3);
    client.close();
    let (story, directory) = end(harness).await;
    for id in ids {
        assert_eq!(story.about(&id), ["Reception spool sink - b", "Delivery spool sink 1 b"]);
    }
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}

/// It lies in a file of its own, and is read again.
#[tokio::test]
async fn a_large_message_goes_on_at_once_too() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::from_text(&config(upstream.addr(), "mode = \"spool\"", ""));
    let mut client = harness.client().await;
    let content = b"a line that is not short\r\n".repeat(100_000);
    let content = [b"Subject: x\r\n\r\n", &content[..]].concat();
    let reply = send_message(&mut client, &content).await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let message = upstream.wait_for_messages(1).await.remove(0);
    assert!(message.after_received() == content);
    client.close();
    let (_, directory) = end(harness).await;
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_lose_nothing() {
    const CLIENTS: usize = 40;
    const EACH: usize = 5;
    let upstream = ScriptedUpstream::start();
    let text = config(upstream.addr(), "mode = \"spool\"", "")
        .replace("name = \"sink\"", "name = \"sink\"\nmax_connections = 4");
    let harness = Harness::from_text(&text);
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = harness.client().await;
        clients.spawn(async move {
            let mut ids = Vec::new();
            for turn in 0..EACH {
                ids.push(send(&mut client, WAYS[(number + turn) % 3], ONE).await.id());
            }
            ids
        });
    }
    let ids: BTreeSet<_> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(ids.len(), CLIENTS * EACH);
    let messages = upstream.wait_for_messages(CLIENTS * EACH).await;
    messages.iter().for_each(assert_whole);
    let (story, directory) = end(harness).await;
    assert_eq!(upstream.messages().len(), CLIENTS * EACH);
    assert_eq!(upstream.messages().iter().map(id_of).collect::<BTreeSet<_>>(), ids);
    assert!(upstream.connections_open_max() <= 4);
    for id in &ids {
        assert_eq!(story.about(id), ["Reception spool sink - b", "Delivery spool sink 1 b"]);
    }
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}

/// What a notification says, for programs: its fields.
fn status(message: &Message) -> (String, Vec<String>) {
    // On the wire there is a dot in front of each dot that begins a line.
    let content = message.text().replace("\r\n..", "\r\n.");
    let parsed = MessageParser::default().parse(&content).expect("a message");
    let kind = parsed.content_type().expect("a type");
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let part = |number: usize| {
        let part = parsed.part(number as u32).expect("a part");
        String::from_utf8_lossy(part.contents()).into_owned()
    };
    // The whole, a text for people, the fields, and what comes back.
    let fields = part(2).lines().map(str::to_owned).collect();
    (part(3), fields)
}

/// The upstream refuses after our 250. Who has asked for what is told so, in one notification.
#[tokio::test]
async fn a_refusal_that_comes_later_is_told() {
    let sink = ScriptedUpstream::builder()
        .on("RCPT TO:<bad@", "550 5.1.1 no such user")
        .on("RCPT TO:<never@", "550 5.1.1 no such user")
        .start();
    let bounces = ScriptedUpstream::start();
    let harness = telling(&sink, &bounces, ("spool", SOON));
    let envelope: Envelope<'_> = (
        "<a@app.test> RET=FULL ENVID=app+2D42",
        &[
            "<bad@b.test> ORCPT=rfc822;old@b.test",
            "<never@b.test> NOTIFY=NEVER",
            "<good@b.test> NOTIFY=SUCCESS,DELAY",
            "<plain@b.test>",
        ],
    );
    let id = send_one(&harness, By::Group, envelope).await.id();
    let told = bounces.wait_for_messages(1).await.remove(0);
    let notification = id_of_notification(&told);
    assert!(told.mail.starts_with("MAIL FROM:<>"), "{}", told.mail);
    assert_eq!(told.recipients, ["RCPT TO:<a@app.test>"]);
    let (original, fields) = status(&told);
    for field in [
        "Original-Envelope-Id: app-42",
        "Original-Recipient: rfc822; old@b.test",
        "Final-Recipient: rfc822; bad@b.test",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Final-Recipient: rfc822; good@b.test",
        "Action: relayed",
    ] {
        assert_eq!(fields.iter().filter(|it| *it == field).count(), 1, "{field}: {fields:#?}");
    }
    let named = fields.iter().filter(|it| it.starts_with("Final-Recipient: ")).count();
    assert_eq!(named, 2, "nobody else is named: {fields:#?}");
    assert!(original.contains(&format!(" id {id};")), "{original}");
    assert!(original.ends_with("\r\n\r\n.a dot\r\n..\r\n.\r\nend\r\n"), "{original:?}");
    let (story, directory) = end(harness).await;
    assert_eq!(bounces.messages().len(), 1);
    assert_eq!(delivered(&sink), ["RCPT TO:<good@b.test>", "RCPT TO:<plain@b.test>"]);
    assert!(!sink.messages()[0].mail.contains("RET="), "it has not offered DSN");
    let mut about = story.about(&id);
    assert_eq!(about.remove(0), "Reception spool sink - bad,never,good,plain");
    about.sort();
    assert_eq!(about, ["Bounce spool sink 1 bad,never", "Delivery spool sink 1 good,plain"]);
    assert_eq!(story.about(&notification), ["Delivery spool bounces 1 a"]);
    assert!(left(directory.path()).await.is_empty(), "NOTIFY=NEVER leaves nothing behind");
    sink.stop().await;
    bounces.stop().await;
}

/// A notification has no trace of a client: its id is the one in its Message-ID.
fn id_of_notification(message: &Message) -> String {
    let text = message.text();
    let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    line.split('@').next().expect("an id").to_owned()
}

/// An upstream that offers DSN is told what the client wants, and tells of success itself.
#[tokio::test]
async fn an_upstream_that_offers_dsn_is_told_what_the_client_wants() {
    let sink = ScriptedUpstream::builder()
        .extensions(&["PIPELINING", "ENHANCEDSTATUSCODES", "DSN"])
        .on_nth("RCPT", 1, "450 4.2.1 later")
        .start();
    let bounces = ScriptedUpstream::start();
    let harness = telling(&sink, &bounces, ("hybrid", SOON));
    let envelope: Envelope<'_> = (
        "<a@app.test> RET=HDRS ENVID=app+2D42",
        &["<b@b.test> NOTIFY=SUCCESS ORCPT=rfc822;old@b.test"],
    );
    send_one(&harness, By::Commands, envelope).await.id();
    until("delivered", async || !delivered(&sink).is_empty()).await;
    let (_, directory) = end(harness).await;
    let message = sink.messages().remove(0);
    assert!(message.mail.contains(" RET=HDRS ENVID=app+2D42"), "{}", message.mail);
    let [recipient] = &message.recipients[..] else { panic!("{message:?}") };
    assert!(recipient.ends_with(" NOTIFY=SUCCESS ORCPT=rfc822;old@b.test"), "{recipient}");
    assert!(left(directory.path()).await.is_empty());
    assert!(bounces.messages().is_empty());
    sink.stop().await;
    bounces.stop().await;
}

/// Nobody is told, or nobody can be: what has failed waits for somebody to look at it.
#[tokio::test]
async fn what_nobody_is_told_of_is_a_dead_letter() {
    let upstream = ScriptedUpstream::builder()
        .on(END_OF_DATA, "550 5.7.1 no")
        .on("MAIL FROM:<>", "550 5.1.7 nobody is no sender here")
        .start();
    for (bounces, sender, is_notification) in
        [("keep", "<a@app.test>", false), ("dsn", "<>", false), ("dsn", "<a@app.test>", true)]
    {
        let delivery = format!("mode = \"spool\"\nbounces = \"{bounces}\"\n{SOON}");
        let harness = Harness::from_text(&config(upstream.addr(), &delivery, ""));
        let id = send_one(&harness, By::Group, (sender, &["<b@b.test>"])).await.id();
        let what = format!("{bounces}, {sender}");
        let result = if is_notification { "sent" } else { "kept" };
        let counted =
            format!("gatepost_notifications_total{{kind=\"failed\",result=\"{result}\"}}");
        until(&what, async || harness.metric(&counted).await == 1).await;
        let dead = "gatepost_queue_attempts_total{upstream=\"sink\",result=\"failed\"}";
        let failures = if is_notification { 2 } else { 1 };
        until(&what, async || harness.metric(dead).await == failures).await;
        let (story, directory) = end(harness).await;
        let about = story.about(&id);
        assert_eq!(about, ["Reception spool sink - b", "Bounce spool sink 1 b"], "{what}");
        assert_eq!(story.0.len(), if is_notification { 3 } else { 2 }, "{what}");
        let left = left(directory.path()).await;
        let [letter] = &left[..] else { panic!("{what}: {left:?}") };
        assert_eq!(letter.standing, Standing::Dead, "{what}");
        assert_eq!(letter.id.to_string() == id, !is_notification, "{what}");
        if is_notification {
            assert_eq!(story.about(&letter.id.to_string()), ["Bounce spool sink 1 a"]);
        }
    }
    upstream.stop().await;
}

/// An upstream that always says later, until the time of a message is over.
#[tokio::test]
async fn a_message_whose_time_is_over_is_told_of() {
    let sink = ScriptedUpstream::builder().on("RCPT", "450 4.2.1 later").start();
    let bounces = ScriptedUpstream::start();
    let harness = telling(&sink, &bounces, ("hybrid", "retry = [\"1s\"]\nexpire_after = \"2s\""));
    let id = send_one(&harness, By::Chunks, ONE).await.id();
    let told = bounces.wait_for_messages(1).await.remove(0);
    let (original, fields) = status(&told);
    assert!(fields.iter().any(|field| field == "Status: 4.4.7"), "{fields:#?}");
    assert!(!original.contains("end\r\n"), "the header section only: {original}");
    let (story, directory) = end(harness).await;
    let about = story.about(&id);
    assert_eq!(about[0], "Reception hybrid sink - b");
    let (last, tried) = about[1..].split_last().expect("several");
    assert!(last.starts_with("Expiration hybrid sink "), "{about:?}");
    assert!(!tried.is_empty(), "{about:?}");
    for (place, attempt) in tried.iter().enumerate() {
        assert_eq!(*attempt, format!("TransientFailure hybrid sink {} b", place + 1), "{about:?}");
    }
    assert!(left(directory.path()).await.is_empty());
    sink.stop().await;
    bounces.stop().await;
}

/// What pages name is on the page of metrics, under that name.
#[tokio::test]
async fn what_is_documented_is_measured() {
    let pages = ["modes", "queue", "bounces", "running"].map(|name| {
        let path = format!("{}/../../docs/operations/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("is there")
    });
    let pages = pages.concat();
    let parts = ["spool", "queue", "handoffs", "notifications", "deliveries"];
    let prefixes = parts.map(|part| format!("gatepost_{part}_"));
    let is_name = |octet: char| octet.is_ascii_lowercase() || octet == '_';
    let named: BTreeSet<_> = pages
        .split(|octet| !is_name(octet))
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix.as_str())))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    let upstream = ScriptedUpstream::start();
    let harness = gateway(upstream.addr(), "spool");
    send_one(&harness, By::Group, ONE).await.id();
    upstream.wait_for_messages(1).await;
    let page = harness.metrics().await;
    for name in named {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name} is not on the page:\n{page}");
    }
    harness.drain().await;
    upstream.stop().await;
}
