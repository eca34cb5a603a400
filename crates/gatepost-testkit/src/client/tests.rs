use std::time::Duration;

use crate::{Action, ByteClient, ScriptedUpstream};

#[tokio::test]
async fn a_reply_is_read_whole_and_in_order() {
    let upstream = ScriptedUpstream::builder().extensions(&["PIPELINING", "SIZE 9"]).start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220 ").await;
    client.dribble(b"EHLO app.test\r\nNOOP\r\n", 3, Duration::from_millis(1)).await;
    assert_eq!(client.read_reply().await, "250-sink.test\n250-PIPELINING\n250 SIZE 9");
    client.expect("250 2.0.0").await;
    client.expect_silence(Duration::from_millis(20)).await;
    client.half_close().await;
    client.expect_closed().await;
    upstream.join().await;
}

#[tokio::test]
async fn the_source_address_is_chosen() {
    let upstream = ScriptedUpstream::start();
    let source = "127.0.0.77".parse().expect("an address");
    let mut client = ByteClient::connect_from(source, upstream.addr()).await;
    client.expect("220").await;
    assert_eq!(client.local_addr().ip(), source);
    assert_eq!(upstream.connections()[0].peer, client.local_addr());
    upstream.stop().await;
}

#[tokio::test]
async fn read_to_end_returns_what_was_sent_before_the_close() {
    let upstream =
        ScriptedUpstream::builder().greeting(Action::ReplyThenClose("421 busy".into())).start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    assert_eq!(client.read_to_end().await, b"421 busy\r\n");
    client.close();
    upstream.join().await;
}

#[tokio::test]
#[should_panic(expected = "tests.rs")]
async fn a_wrong_reply_names_the_line_of_the_test() {
    let upstream = ScriptedUpstream::start();
    ByteClient::connect(upstream.addr()).await.expect("250").await;
}

#[tokio::test]
#[should_panic(expected = "    C: HELLO\n    S: 502 5.5.1 not implemented\n")]
async fn a_panic_shows_the_conversation() {
    let upstream = ScriptedUpstream::start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send_line("HELLO").await;
    client.expect("250").await;
}

#[tokio::test]
#[should_panic(expected = "is not text with a CRLF")]
async fn a_bare_line_feed_is_no_line_end() {
    let upstream = ScriptedUpstream::builder().greeting(Action::Raw(b"220 hi\n".into())).start();
    ByteClient::connect(upstream.addr()).await.read_reply().await;
}

#[tokio::test]
#[should_panic(expected = "is not a line of a reply")]
async fn the_lines_of_a_reply_have_one_code() {
    let upstream =
        ScriptedUpstream::builder().greeting(Action::Raw(b"220-hi\r\n221 hi\r\n".into())).start();
    ByteClient::connect(upstream.addr()).await.read_reply().await;
}

#[tokio::test]
#[should_panic(expected = "cannot read")]
async fn a_reset_is_not_a_close() {
    let upstream = ScriptedUpstream::builder().on("NOOP", Action::Reset).start();
    let mut client = ByteClient::connect(upstream.addr()).await;
    client.expect("220").await;
    client.send_line("NOOP").await;
    client.expect_closed().await;
}
