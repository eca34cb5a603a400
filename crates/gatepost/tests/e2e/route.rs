//! Where messages go: routes, several upstreams, and reverse-paths that are rewritten.

use std::net::SocketAddr;

use gatepost_testkit::ScriptedUpstream;

use crate::harness::{Harness, Settings, config_text, converse, fleet, send_message};

const ROUTES: &str = r#"
[[route]]
id = "bulk"
sender_domains = ["bulk.app.test"]
upstream = "second"
rewrite_mail_from = "*@bounces.test"

[[route]]
id = "partner"
recipient_domains = ["*.partner.test"]
upstream = "second"

[[route]]
id = "fixed"
sender_domains = ["fixed.app.test"]
rewrite_mail_from = "bounces@fixed.test"

[[route]]
id = "rest"
upstream = "sink"
"#;

/// Two upstreams of which neither is the default: policy decides.
fn harness(first: SocketAddr, second: SocketAddr, policy: &str) -> Harness {
    let tables =
        format!("[[upstream]]\nname = \"second\"\nhosts = [\"{second}\"]\ntls = \"none\"\n");
    let settings = Settings { tables, ..Settings::default() };
    Harness::with_policy(&config_text(first, &settings), policy)
}

fn policy(routes: &str) -> String {
    let senders = "senders = [\"app.test\", \"*.app.test\", \"<>\"]";
    fleet(routes).replace("senders = [\"app.test\"]", senders)
}

#[tokio::test]
async fn the_first_route_that_matches_names_the_upstream() {
    let (first, second) = (ScriptedUpstream::start(), ScriptedUpstream::start());
    // The third route names no upstream, so here the last two are the other way round.
    let routes = ROUTES.replace("id = \"fixed\"", "id = \"fixed\"\nupstream = \"sink\"");
    let harness = harness(first.addr(), second.addr(), &policy(&routes));
    let mut client = harness.client().await;
    for (sender, recipient, upstream, mail) in [
        ("a@app.test", "b@b.test", &first, "MAIL FROM:<a@app.test>"),
        ("a@bulk.app.test", "b@b.test", &second, "MAIL FROM:<a@bounces.test>"),
        ("\"a b\"@bulk.app.test", "b@b.test", &second, ""),
        ("a@app.test", "b@x.partner.test", &second, "MAIL FROM:<a@app.test>"),
        ("a@fixed.app.test", "b@b.test", &first, "MAIL FROM:<bounces@fixed.test>"),
        ("\"q+1\"@bulk.app.test", "b@b.test", &second, "MAIL FROM:<\"q+1\"@bounces.test>"),
        ("", "b@b.test", &first, "MAIL FROM:<>"),
    ] {
        let before = upstream.messages().len();
        client.send_line(&format!("MAIL FROM:<{sender}>")).await;
        if mail.is_empty() {
            client.expect("501").await;
            continue;
        }
        client.expect("250").await;
        let lines = [(&*format!("RCPT TO:<{recipient}>"), "250"), ("DATA", "354")];
        converse(&mut client, &lines).await;
        client.send(b"Subject: x\r\n\r\n.\r\n").await;
        client.expect("250").await;
        let messages = upstream.messages();
        assert_eq!(messages.len(), before + 1, "{sender} to {recipient}");
        assert_eq!(messages[before].mail, mail);
    }
    first.stop().await;
    second.stop().await;
}

/// In mode sync a message has one upstream: recipients of another are sent separately.
#[tokio::test]
async fn recipients_that_need_another_upstream_are_sent_separately() {
    let (first, second) = (ScriptedUpstream::start(), ScriptedUpstream::start());
    let routes = ROUTES.replace("id = \"fixed\"", "id = \"fixed\"\nupstream = \"sink\"");
    let harness = harness(first.addr(), second.addr(), &policy(&routes));
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<a@b.test>", "250"),
        ("RCPT TO:<b@x.partner.test>", "452 4.5.3 this recipient goes to another upstream"),
        ("RCPT TO:<c@b.test>", "250"),
        ("DATA", "354"),
    ];
    converse(&mut client, &lines).await;
    client.send(b"Subject: x\r\n\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(first.messages()[0].recipients, ["RCPT TO:<a@b.test>", "RCPT TO:<c@b.test>"]);
    assert_eq!(second.connections_opened(), 0);

    // In one group too.
    client
        .send(b"MAIL FROM:<a@app.test>\r\nRCPT TO:<b@x.partner.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
        .await;
    for reply in ["250", "250", "452 4.5.3", "354"] {
        client.expect(reply).await;
    }
    client.send(b"Subject: x\r\n\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(second.messages()[0].recipients, ["RCPT TO:<b@x.partner.test>"]);
    first.stop().await;
    second.stop().await;
}

/// Whether the first recipient's upstream is down or refuses it: it is no reason for the others.
#[tokio::test]
async fn trouble_of_one_upstream_is_not_anothers() {
    let refusing = ScriptedUpstream::builder().on("RCPT TO:<b@x.partner", "550 5.1.1 no").start();
    let first = ScriptedUpstream::start();
    let gone = SocketAddr::from(([127, 0, 0, 1], 9));
    let routes = ROUTES.replace("id = \"fixed\"", "id = \"fixed\"\nupstream = \"sink\"");
    for (second, reply) in [(gone, "451 4.4.1"), (refusing.addr(), "550 5.1.1")] {
        let harness = harness(first.addr(), second, &policy(&routes));
        let mut client = harness.client().await;
        let before = first.messages().len();
        let lines = [
            ("MAIL FROM:<a@app.test>", "250"),
            ("RCPT TO:<b@x.partner.test>", reply),
            ("RCPT TO:<a@b.test>", "250"),
            ("RCPT TO:<b@x.partner.test>", "452 4.5.3"),
            ("DATA", "354"),
        ];
        converse(&mut client, &lines).await;
        client.send(b"Subject: x\r\n\r\n.\r\n").await;
        client.expect("250").await;
        let message = &first.messages()[before];
        assert_eq!(message.recipients, ["RCPT TO:<a@b.test>"]);
        assert_eq!(message.mail, "MAIL FROM:<a@app.test>");
    }
    first.stop().await;
    refusing.stop().await;
}

#[tokio::test]
async fn the_entry_comes_before_the_routes() {
    let (first, second) = (ScriptedUpstream::start(), ScriptedUpstream::start());
    let routes = format!("upstream = \"sink\"\n{ROUTES}");
    let harness = harness(first.addr(), second.addr(), &policy(&routes));
    let mut client = harness.client().await;
    let lines =
        [("MAIL FROM:<a@bulk.app.test>", "250"), ("RCPT TO:<b@b.test>", "250"), ("DATA", "354")];
    converse(&mut client, &lines).await;
    client.send(b"Subject: x\r\n\r\n.\r\n").await;
    client.expect("250").await;
    assert_eq!(first.messages()[0].mail, "MAIL FROM:<a@bounces.test>", "the route still rewrites");
    assert_eq!(second.connections_opened(), 0);
    first.stop().await;
    second.stop().await;
}

/// A transaction whose recipients were all refused by policy asks no upstream.
#[tokio::test]
async fn without_a_recipient_no_upstream_is_asked() {
    let upstream = ScriptedUpstream::start();
    let harness = Harness::with_entry(upstream.addr(), "recipients = [\"b.test\"]");
    let mut client = harness.client().await;
    let lines = [
        ("MAIL FROM:<a@app.test>", "250"),
        ("RCPT TO:<x@c.test>", "550"),
        ("DATA", "554 5.5.1"),
        ("RCPT TO:<x@b.test>", "250"),
        ("RSET", "250"),
    ];
    converse(&mut client, &lines[..3]).await;
    assert_eq!(upstream.connections_opened(), 0);
    converse(&mut client, &lines[3..]).await;
    let reply = send_message(&mut client, b"Subject: x\r\n\r\n").await;
    assert!(reply.starts_with("250"), "{reply}");
    upstream.stop().await;
}
