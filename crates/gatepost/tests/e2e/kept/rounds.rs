//! Mail that comes back, and copies too many.

use std::net::SocketAddr;

use gatepost_testkit::ScriptedUpstream;

use super::{By, Envelope, Nobody, ONE, SOON, config, delivered, end, left, send, send_one, until};
use crate::harness::{Harness, fleet};
use crate::loops::bridge;

/// Far more than such a loop takes.
const ROUNDS_MAX: usize = 40;

/// A gateway that is its own upstream, and knows where else notifications go.
async fn own_upstream(mode: &str, bounces: SocketAddr) -> Harness {
    let (upstream, told) = bridge().await;
    let delivery =
        format!("mode = \"{mode}\"\nupstream = \"sink\"\nbounce_upstream = \"bounces\"\n{SOON}\n");
    let tables = format!(
        "[limits]\nreceived_max = 5\n\
         [[upstream]]\nname = \"bounces\"\nhosts = [\"{bounces}\"]\ntls = \"none\"\n"
    );
    let text = config(upstream, &delivery, &tables).replace(
        "name = \"sink\"",
        "name = \"sink\"\nmax_connections = 3\nconnect_timeout = \"1s\"",
    );
    let harness = Harness::from_text(&text);
    told.send(harness.addr()).expect("the bridge waits");
    harness
}

#[tokio::test]
async fn a_loop_of_what_is_kept_ends_in_one_notification() {
    let bounces = ScriptedUpstream::start();
    let harness = own_upstream("spool", bounces.addr()).await;
    send_one(&harness, By::Group, ONE).await.id();
    let told = bounces.wait_for_messages(1).await.remove(0);
    assert!(told.text().contains("Diagnostic-Code: smtp; 554 5.4.6 "), "{}", told.text());
    let (story, directory) = end(harness).await;
    assert_eq!(bounces.messages().len(), 1);
    let count = |what: &str| story.0.iter().filter(|event| event["type"] == what).count();
    // Each round is a message that was accepted; the last one is refused at its end.
    assert_eq!((count("Reception"), count("Rejection"), count("Bounce")), (6, 1, 1));
    assert!(left(directory.path()).await.is_empty());
    bounces.stop().await;
}

/// The hops nest until there are no more connections: there the message is kept, and goes on from
/// there in the same way.
#[tokio::test]
async fn a_loop_of_hybrid_ends() {
    let bounces = ScriptedUpstream::start();
    let harness = own_upstream("hybrid", bounces.addr()).await;
    send_one(&harness, By::Commands, ONE).await.id();
    let told = bounces.wait_for_messages(1).await.remove(0);
    assert!(told.text().contains("Diagnostic-Code: smtp; 554 5.4.6 "), "{}", told.text());
    let (story, directory) = end(harness).await;
    assert_eq!(bounces.messages().len(), 1, "nobody is told twice");
    assert!(story.0.len() < ROUNDS_MAX, "{:?}", story.0);
    assert!(left(directory.path()).await.is_empty());
    bounces.stop().await;
}

/// Whom the spool is owed counts as a recipient: a copy is a copy, whatever the upstream did.
#[tokio::test]
async fn a_copy_too_many_is_not_kept() {
    let nobody = Nobody::new();
    let text = config(nobody.addr(), &format!("mode = \"hybrid\"\n{SOON}"), "");
    let harness = Harness::with_policy(&text, &fleet("duplicate_rate = \"1/h\""));
    let mut client = harness.client().await;
    let others: Envelope<'_> = ("<a@app.test>", &["<b@b.test>", "<c@b.test>"]);
    let turned: Envelope<'_> = ("<a@app.test>", &["<c@b.test>", "<b@b.test>"]);
    send(&mut client, By::Group, ONE).await.id();
    send(&mut client, By::Chunks, others).await.id();
    for (by, envelope) in [(By::Commands, ONE), (By::Chunks, ONE), (By::Group, turned)] {
        let heard = send(&mut client, by, envelope).await;
        assert!(heard.end.starts_with("450 4.7.1 the same message "), "{heard:?}");
    }
    client.close();
    let upstream = nobody.replace();
    until("delivered", async || delivered(&upstream).len() == 3).await;
    let (story, directory) = end(harness).await;
    assert_eq!(upstream.messages().len(), 2);
    let count = |what: &str| story.0.iter().filter(|event| event["type"] == what).count();
    assert_eq!((count("Reception"), count("Delivery")), (2, 2));
    assert!(left(directory.path()).await.is_empty());
    upstream.stop().await;
}
