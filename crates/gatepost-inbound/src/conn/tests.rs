//! The end of a session: whether its client is waited for, over real sockets on loopback.

use std::sync::Arc;

use gatepost_stream::Clock;
use gatepost_testkit::{ByteClient, ClientTls, ThrowAwayCa, Versions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::drain::Drain;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const BYE: Reply = Reply::fixed(221, (2, 0, 0), "bye");

/// Both ends of a session.
async fn pair() -> (Conn, ByteClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let client = ByteClient::connect(listener.local_addr().expect("bound")).await;
    let (socket, _) = listener.accept().await.expect("accepted");
    let (send, place) = oneshot::channel();
    Arc::new(Drain::default()).spawn(|place| async { drop(send.send(place)) });
    let place = place.await.expect("a session of its own");
    (Conn::new(Stream::new(socket, Clock::start(), PATIENCE), place, 10), client)
}

/// Both ends protect it.
async fn secure(conn: &mut Conn, client: &mut ByteClient) {
    let ca = ThrowAwayCa::new();
    let issued = ca.issue(&["relay.test"]);
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().expect("PEM"), key)
        .expect("a pair");
    let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
    let (tls, until) = (ClientTls::new(&ca, None, Versions::Both), conn.mark(PATIENCE));
    let (ours, ()) = tokio::join!(conn.secure(connection.into(), until), client.secure(&tls));
    ours.expect("a handshake");
}

/// Hears QUIT, which is answered later.
async fn hear_quit(conn: &mut Conn, client: &mut ByteClient) {
    client.send_line("QUIT").await;
    let octets = conn.idle_line(PATIENCE).await.expect("a line");
    conn.consume(octets);
}

fn end(conn: &mut Conn, reply: Reply) -> End {
    conn.perform(Step::Close(reply)).expect_err("it is the end")
}

#[tokio::test]
async fn who_says_nothing_behind_quit_is_not_waited_for() {
    let (mut conn, mut client) = pair().await;
    hear_quit(&mut conn, &mut client).await;
    let end = end(&mut conn, BYE);
    assert_eq!(end, End::Left);
    // The client closes after that, and is not asked to.
    conn.close(end).await;
    assert_eq!(client.read_to_end().await, b"221 2.0.0 bye\r\n");
}

/// To close with octets that were not read is a reset, and a reset destroys what the client has not
/// read either. What is in our buffer is not all that has come.
#[tokio::test]
async fn who_says_more_behind_quit_hears_its_replies_and_a_clean_end() {
    let (mut conn, mut client) = pair().await;
    conn.say(&Reply::fixed(250, (2, 0, 0), "Ok"));
    hear_quit(&mut conn, &mut client).await;
    client.send_line("MAIL FROM:<a@app.test>").await;
    conn.readable(conn.mark(PATIENCE)).await.expect("it has come");
    assert_eq!(conn.input(), b"", "it is not in a buffer of ours");
    let end = end(&mut conn, BYE);
    assert_eq!(end, End::Told);
    let reads = async {
        let heard = client.read_to_end().await;
        client.close();
        heard
    };
    let ((), heard) = tokio::join!(conn.close(end), reads);
    assert_eq!(heard, b"250 2.0.0 Ok\r\n221 2.0.0 bye\r\n");
}

/// More may be on its way from whoever is refused, and behind TLS from everybody: a close_notify.
#[tokio::test]
async fn who_is_refused_or_has_tls_is_waited_for() {
    let (mut conn, mut client) = pair().await;
    hear_quit(&mut conn, &mut client).await;
    assert_eq!(end(&mut conn, TOO_MANY_ERRORS), End::Told);
    let (mut conn, mut client) = pair().await;
    secure(&mut conn, &mut client).await;
    hear_quit(&mut conn, &mut client).await;
    assert_eq!(end(&mut conn, BYE), End::Told);
}
