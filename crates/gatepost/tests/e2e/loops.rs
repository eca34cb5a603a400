//! Mail that comes back: it ends, and soon.

use std::net::SocketAddr;
use std::time::Duration;

use gatepost_testkit::{ByteClient, ScriptedUpstream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::harness::{Harness, Settings, converse};

/// Far more than the gateway takes to end a loop.
const PATIENCE: Duration = Duration::from_secs(30);
const ENVELOPE: [(&str, &str); 2] =
    [("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "250")];

/// Sends what the upstream would send: a message as it has received it.
async fn send_on(client: &mut ByteClient, by: &str, content: &[u8]) -> String {
    converse(client, &ENVELOPE).await;
    if by == "DATA" {
        converse(client, &[("DATA", "354")]).await;
        client.send(content).await;
        client.send(b".\r\n").await;
    } else {
        client.send(format!("BDAT {} LAST\r\n", content.len()).as_bytes()).await;
        client.send(content).await;
    }
    client.read_reply().await
}

/// An upstream that accepts the message and brings it back, as it came or with a folded trace field
/// of its own: each round the gateway adds one field, and finds them all again.
#[tokio::test]
async fn a_message_that_comes_back_is_refused_after_received_max_rounds() {
    const FOLDED: &[u8] = b"RECEIVED:\r\n from relay.test\r\n\tby other.test; Received: today\r\n";
    for (own, rounds) in [(&b""[..], 6), (FOLDED, 3)] {
        for by in [["DATA", "DATA"], ["BDAT", "BDAT"], ["DATA", "BDAT"]] {
            let upstream =
                ScriptedUpstream::builder().extensions(&["CHUNKING", "PIPELINING"]).start();
            let settings = Settings {
                tables: "[limits]\nreceived_max = 5\n".to_owned(),
                ..Settings::default()
            };
            let harness = Harness::with(upstream.addr(), &settings);
            let mut client = harness.client().await;
            let mut content = b"Subject: x\r\n\r\nReceived: in the body\r\n".to_vec();
            let mut sent = 0;
            let reply = loop {
                let reply = send_on(&mut client, by[sent % 2], &content).await;
                if !reply.starts_with("250") {
                    break reply;
                }
                sent += 1;
                assert!(sent <= rounds, "it goes on and on");
                let message = upstream.wait_for_messages(sent).await.pop().expect("it has arrived");
                content = [own, &message.content.bytes[..]].concat();
            };
            assert!(reply.starts_with("554 5.4.6"), "{reply}");
            assert_eq!(sent, rounds, "{by:?}, with {} octets of another", own.len());
            assert_eq!(upstream.messages().len(), rounds, "the last one has no end upstream");
            drop(client);
            harness.drain().await;
            upstream.stop().await;
        }
    }
}

/// Carries connections to an address that is known later: that of the gateway whose upstream it is.
pub(crate) async fn bridge() -> (SocketAddr, oneshot::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (told, to) = oneshot::channel();
    tokio::spawn(async move {
        let Ok(to): Result<SocketAddr, _> = to.await else { return };
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut to) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (address, told)
}

/// A gateway that is its own upstream. In mode sync a recipient is asked for at the next hop before
/// it is answered, so the hops nest until the upstream may have no more connections: no data is sent
/// in which a trace field could be counted. The client is told to try again, and nothing is kept.
#[tokio::test]
async fn a_gateway_that_is_its_own_upstream_unwinds() {
    let (upstream, told) = bridge().await;
    let settings = Settings {
        upstream: "max_connections = 4\nconnect_timeout = \"1s\"".to_owned(),
        tables: "[limits]\nreceived_max = 5\n".to_owned(),
        ..Settings::default()
    };
    let harness = Harness::with(upstream, &settings);
    told.send(harness.addr()).expect("the bridge waits");
    let mut client = harness.client().await;
    for _ in 0..2 {
        let asked = converse(
            &mut client,
            &[("MAIL FROM:<a@app.test>", "250"), ("RCPT TO:<b@b.test>", "451")],
        );
        timeout(PATIENCE, asked).await.expect("the loop comes to an end");
        converse(&mut client, &[("DATA", "554 5.5.1"), ("RSET", "250")]).await;
        let busy = "gatepost_upstream_connections{upstream=\"sink\",state=\"busy\"}";
        timeout(PATIENCE, async {
            while harness.metric(busy).await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("every connection is released");
    }
    let accepted = "gatepost_messages_total{listener=\"smtp\",result=\"accepted\"}";
    assert_eq!(harness.metric(accepted).await, 0);
    drop(client);
    timeout(PATIENCE, harness.drain()).await.expect("no session is left behind");
}
