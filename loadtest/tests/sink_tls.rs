//! The sink behind TLS: real handshakes on loopback, with a client that trusts its throw-away CA.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatepost_loadtest::{ServerTls, SinkOptions, SinkTls, ThrowAwayCa, Troubles};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use support::{RunningSink, in_time};

const MESSAGE: &[u8] = b"MAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n";

/// A server's side, and a client that trusts it.
fn sides() -> (ServerTls, TlsConnector) {
    let ca = ThrowAwayCa::new().unwrap();
    let server = ServerTls::new(&ca.issue_server(&["localhost".to_owned()]).unwrap()).unwrap();
    (server, trusting(&ca))
}

fn trusting(ca: &ThrowAwayCa) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn handshake(client: &TlsConnector, stream: TcpStream) -> TlsStream<TcpStream> {
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, octets: &[u8]) -> String {
    stream.write_all(octets).await.unwrap();
    stream.flush().await.unwrap();
    let mut input = vec![0; 4096];
    let read = stream.read(&mut input).await.unwrap();
    String::from_utf8(input[..read].to_vec()).unwrap()
}

/// One message, more than a TLS record of it, and QUIT.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let extensions = exchange(stream, b"EHLO c.test\r\n").await;
    assert!(!extensions.contains("STARTTLS"), "{extensions}");
    let replies = exchange(stream, MESSAGE).await;
    assert_eq!(replies.lines().count(), 3, "one write: {replies}");
    let content = "x".repeat(100_000) + "\r\n.\r\nQUIT\r\n";
    assert_eq!(exchange(stream, content.as_bytes()).await, "250 2.0.0 OK\r\n221 2.0.0 Bye\r\n");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed with close_notify");
}

#[tokio::test]
async fn starttls_begins_anew() {
    in_time(async {
        let (server, client) = sides();
        let tls = SinkTls::Starttls(server);
        let sink = RunningSink::start(SinkOptions { tls, ..SinkOptions::default() });
        let mut stream = TcpStream::connect(sink.address).await.unwrap();
        assert!(exchange(&mut stream, b"").await.starts_with("220 "));
        let extensions = exchange(&mut stream, b"EHLO c.test\r\n").await;
        assert!(extensions.contains("250-STARTTLS\r\n"), "{extensions}");
        // What comes in clear behind STARTTLS is neither obeyed nor taken for TLS (RFC 3207 §6).
        let ready = exchange(&mut stream, b"STARTTLS\r\nMAIL FROM:<injected@b.test>\r\n").await;
        assert_eq!(ready, "220 2.0.0 Ready to start TLS\r\n");
        let mut stream = handshake(&client, stream).await;
        let reply = exchange(&mut stream, b"MAIL FROM:<>\r\n").await;
        assert!(reply.starts_with("503 "), "no EHLO since TLS began: {reply}");
        send(&mut stream).await;
        let counters = sink.stop().await;
        assert_eq!(counters.messages.load(Ordering::Relaxed), 1);
        assert_eq!(counters.tls_handshakes.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn implicit_tls_comes_before_the_greeting() {
    in_time(async {
        let (server, client) = sides();
        let tls = SinkTls::Implicit(server);
        let sink = RunningSink::start(SinkOptions { tls, ..SinkOptions::default() });
        let stream = TcpStream::connect(sink.address).await.unwrap();
        let mut stream = handshake(&client, stream).await;
        assert!(exchange(&mut stream, b"").await.starts_with("220 "));
        send(&mut stream).await;
        // A client that does not speak TLS hears no greeting.
        let mut stream = TcpStream::connect(sink.address).await.unwrap();
        stream.write_all(b"EHLO c.test\r\n").await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        assert!(!heard.starts_with(b"220"), "{}", heard.escape_ascii());
        let counters = sink.stop().await;
        assert_eq!(counters.tls_handshakes.load(Ordering::Relaxed), 1);
        assert_eq!(counters.tls_failed.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    in_time(async {
        let (server, _) = sides();
        let tls = SinkTls::Implicit(server);
        let sink = RunningSink::start(SinkOptions { tls, ..SinkOptions::default() });
        let stream = TcpStream::connect(sink.address).await.unwrap();
        let stranger = trusting(&ThrowAwayCa::new().unwrap());
        let name = ServerName::try_from("localhost").unwrap();
        assert!(stranger.connect(name, stream).await.is_err());
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn faults_are_played_behind_tls() {
    in_time(async {
        for kind in ["close", "reset", "silence"] {
            let (server, client) = sides();
            let fault = format!("ehlo={kind}@100%").parse().unwrap();
            let sink = RunningSink::start(SinkOptions {
                tls: SinkTls::Implicit(server),
                troubles: Troubles::new(vec![], vec![fault], 0).unwrap(),
                idle_timeout: Duration::from_millis(300),
                ..SinkOptions::default()
            });
            let stream = TcpStream::connect(sink.address).await.unwrap();
            let mut stream = handshake(&client, stream).await;
            assert!(exchange(&mut stream, b"").await.starts_with("220 "));
            stream.write_all(b"EHLO c.test\r\n").await.unwrap();
            stream.flush().await.unwrap();
            let heard = stream.read(&mut [0]).await.map_err(|error| error.kind());
            match kind {
                "close" => assert_eq!(heard, Ok(0)),
                "reset" => assert_eq!(heard, Err(std::io::ErrorKind::ConnectionReset)),
                // No close_notify: it has said nothing more.
                _ => assert_eq!(heard, Err(std::io::ErrorKind::UnexpectedEof)),
            }
            sink.stop().await;
        }
    })
    .await;
}
