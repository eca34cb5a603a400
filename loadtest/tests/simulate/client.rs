//! A client that says what it is told to, in plain text and behind TLS.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gatepost_loadtest::KeyedCertificate;
use gatepost_loadtest::simulate::Simulator;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(crate) struct Client {
    stream: Box<dyn Duplex>,
    unread: Vec<u8>,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) async fn connect(address: SocketAddr) -> (Self, String) {
        Self::greeted(Box::new(TcpStream::connect(address).await.unwrap())).await
    }

    /// The same from a certain address of this machine.
    pub(crate) async fn connect_from(source: &str, address: SocketAddr) -> (Self, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self::greeted(Box::new(socket.connect(address).await.unwrap())).await
    }

    /// Connects where TLS begins at once.
    pub(crate) async fn connect_tls(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
    ) -> (Self, String) {
        let stream = handshake(TcpStream::connect(address).await.unwrap(), tls).await;
        Self::greeted(stream).await
    }

    /// Connects where TLS begins at once, and says something with the end of the handshake.
    pub(crate) async fn connect_tls_early(
        address: SocketAddr,
        tls: &Arc<ClientConfig>,
        words: &[u8],
    ) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector
            .connect_with(name, stream, |session| {
                session.writer().write_all(words).unwrap();
            })
            .await
            .unwrap();
        stream.flush().await.unwrap();
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    async fn greeted(stream: Box<dyn Duplex>) -> (Self, String) {
        let mut client = Self { stream, unread: Vec::new() };
        let greeting = client.reply().await;
        (client, greeting)
    }

    /// Sends a line, and reads the reply.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads one reply, all its lines, without their CRLFs but one LF between them. The end of the
    /// connection is an empty reply.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let Some(line) = self.line().await else { return reply };
            let more = line.as_bytes().get(3) == Some(&b'-');
            reply += &line;
            if !more {
                return reply;
            }
            reply.push('\n');
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.unread[..end].to_vec()).unwrap();
                self.unread.drain(..end + 2);
                return Some(line);
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next thing is the end of the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.reply().await.is_empty()
    }

    /// STARTTLS, and the handshake.
    pub(crate) async fn start_tls(mut self, tls: &Arc<ClientConfig>) -> Self {
        let reply = self.say("STARTTLS").await;
        assert!(reply.starts_with("220 "), "{reply}");
        Self { stream: handshake(self.stream, tls).await, unread: Vec::new() }
    }

    /// Connects, says EHLO, begins TLS and says it again.
    pub(crate) async fn secured(simulator: &Simulator, hello: &str) -> Self {
        let (mut client, _) = Self::connect(simulator.local_addr()).await;
        client.say(&format!("EHLO {hello}")).await;
        let mut client = client.start_tls(&trusting(simulator)).await;
        client.say(&format!("EHLO {hello}")).await;
        client
    }

    /// The same, and AUTH PLAIN.
    pub(crate) async fn logged_in(simulator: &Simulator, (user, password): (&str, &str)) -> Self {
        let mut client = Self::secured(simulator, "relay.example.com").await;
        let reply = client.say(&auth_plain(user, password)).await;
        assert!(reply.starts_with("235 "), "{reply}");
        client
    }

    /// A whole transaction; the reply to the first command that is refused, or to the content.
    pub(crate) async fn mail(&mut self, from: &str, to: &[&str]) -> String {
        let mut lines = vec![format!("MAIL FROM:<{from}>")];
        lines.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for line in lines {
            let reply = self.say(&line).await;
            if !reply.starts_with('2') {
                return reply;
            }
        }
        let reply = self.say("DATA").await;
        assert!(reply.starts_with("354 "), "{reply}");
        self.say("Subject: x\r\n\r\nx\r\n.").await
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    tls: &Arc<ClientConfig>,
) -> Box<dyn Duplex> {
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::clone(tls));
    Box::new(connector.connect(name, stream).await.unwrap())
}

/// A client's TLS that trusts this simulator alone.
pub(crate) fn trusting(simulator: &Simulator) -> Arc<ClientConfig> {
    showing(simulator, None)
}

/// The same, with a certificate of its own.
pub(crate) fn showing(
    simulator: &Simulator,
    certificate: Option<&KeyedCertificate>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(chain(&simulator.ca_pem().unwrap()).remove(0)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain(&pair.certificate), key).unwrap()
        }
    };
    Arc::new(config)
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

pub(crate) fn auth_plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0{user}\0{password}")))
}

pub(crate) fn auth_xoauth2(user: &str, token: &str) -> String {
    let response = format!("user={user}\x01auth=Bearer {token}\x01\x01");
    format!("AUTH XOAUTH2 {}", BASE64_STANDARD.encode(response))
}
