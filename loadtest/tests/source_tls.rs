//! The source over TLS: a server with a throw-away certificate stands before a sink.

mod support;

use std::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatepost_loadtest::tls::{Resumption, TlsClient, Trust};
use gatepost_loadtest::{
    ConnectionUse, Pipelining, Security, SinkOptions, Source, SourceOptions, Summary,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use support::{RunningSink, in_time, loopback, source_options};

const NAME: &str = "relay.test";

/// When the server before the sink begins TLS.
#[derive(Clone, Copy)]
enum Begins {
    AtOnce,
    BehindStartTls,
}

/// Starts it; the certificate is its own root.
async fn start_front(sink: SocketAddr, begins: Begins) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not believe the certificate goes away.
                let _ = front(stream, sink, begins, acceptor).await;
            });
        }
    });
    (address, cert.pem())
}

async fn front(
    stream: TcpStream,
    sink: SocketAddr,
    begins: Begins,
    acceptor: TlsAcceptor,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut server = BufStream::new(TcpStream::connect(sink).await?);
    let mut stream = BufStream::new(stream);
    if let Begins::BehindStartTls = begins {
        let mut line = String::new();
        server.read_line(&mut line).await?;
        for (expected, reply) in [
            ("", "220 front\r\n"),
            ("EHLO ", "250-front\r\n250 STARTTLS\r\n"),
            ("STARTTLS\r\n", "220 Go on\r\n"),
        ] {
            line.clear();
            if !expected.is_empty() {
                stream.read_line(&mut line).await?;
            }
            assert!(line.starts_with(expected), "{line}");
            stream.write_all(reply.as_bytes()).await?;
            stream.flush().await?;
        }
    }
    let mut stream = acceptor.accept(stream.into_inner()).await?;
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}

fn client(trust: &Trust, resumption: Resumption) -> TlsClient {
    TlsClient::new(trust, NAME, resumption).unwrap()
}

async fn run(options: SourceOptions) -> Summary {
    Source::new(options).unwrap().run(future::pending()).await
}

#[tokio::test]
async fn messages_arrive_over_tls_of_both_kinds() {
    in_time(async {
        for begins in [Begins::AtOnce, Begins::BehindStartTls] {
            let sink = RunningSink::start(SinkOptions::default());
            let (address, pem) = start_front(sink.address, begins).await;
            let client = client(&Trust::Roots(pem), Resumption::Off);
            let (security, mode) = match begins {
                Begins::AtOnce => (Security::Implicit(client), "implicit"),
                Begins::BehindStartTls => (Security::StartTls(client), "starttls"),
            };
            let pipelining = Pipelining::On;
            let options =
                SourceOptions { security, pipelining, idle: 5, ..source_options(address) };
            let summary = run(options).await;
            assert!(summary.all_accepted(), "{summary}");
            let tls = summary.tls.unwrap();
            assert_eq!((tls.mode, tls.handshakes, tls.resumed), (mode, 4 + 5, 0));
            let phase = summary.phases.iter().find(|phase| phase.phase == "tls").unwrap();
            assert_eq!(phase.count, 4);
            assert_eq!(summary.idle.unwrap().at_end, 5);
            assert_eq!(sink.stop().await.messages.load(Ordering::Relaxed), 200);
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_are_resumed_if_that_was_asked_for() {
    in_time(async {
        for (resumption, resumed) in [(Resumption::Off, 0), (Resumption::On, 19)] {
            let sink = RunningSink::start(SinkOptions::default());
            let (address, pem) = start_front(sink.address, Begins::AtOnce).await;
            let options = SourceOptions {
                security: Security::Implicit(client(&Trust::Roots(pem), resumption)),
                connection: ConnectionUse::PerMessage,
                sessions: 1,
                messages: Some(20),
                ..source_options(address)
            };
            let summary = run(options).await;
            assert!(summary.all_accepted(), "{summary}");
            let tls = summary.tls.unwrap();
            assert_eq!((tls.handshakes, tls.resumed), (20, resumed));
            sink.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_believed_as_far_as_it_should_be() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let (address, pem) = start_front(sink.address, Begins::AtOnce).await;
        let (_, stranger) = start_front(sink.address, Begins::AtOnce).await;
        let other_name = TlsClient::new(&Trust::Roots(pem), "mx.test", Resumption::Off).unwrap();
        let unknown = client(&Trust::Roots(stranger), Resumption::Off);
        for unbelieving in [other_name, unknown] {
            let security = Security::Implicit(unbelieving);
            let options = SourceOptions { security, messages: Some(1), ..source_options(address) };
            let summary = run(options).await;
            assert_eq!(summary.messages.failed, 1, "{summary}");
            assert_eq!(summary.failures[0].stage, "TLS", "{summary}");
            assert!(summary.failures[0].example.contains("certificate"), "{summary}");
        }
        let anyone = TlsClient::new(&Trust::Anyone, "127.0.0.1", Resumption::Off).unwrap();
        let security = Security::Implicit(anyone);
        assert!(run(SourceOptions { security, ..source_options(address) }).await.all_accepted());
        sink.stop().await;
    })
    .await;
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_a_failure() {
    in_time(async {
        let sink = RunningSink::start(SinkOptions::default());
        let security = Security::StartTls(client(&Trust::Anyone, Resumption::Off));
        let options = SourceOptions { security, messages: Some(1), ..source_options(sink.address) };
        let summary = run(options).await;
        assert_eq!(summary.failures[0].example, "the server does not offer STARTTLS");
        sink.stop().await;
    })
    .await;
}
