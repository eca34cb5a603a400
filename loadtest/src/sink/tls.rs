//! TLS of a sink: none, after STARTTLS (RFC 3207), or at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::{CertificateError, KeyedCertificate, server_config};

/// A client that takes longer for its handshake does not want one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether clients may, or have to, begin TLS.
#[derive(Clone, Debug)]
pub enum SinkTls {
    /// They have to, before the greeting.
    Implicit(ServerTls),
    /// They cannot.
    None,
    /// They may, with STARTTLS.
    Starttls(ServerTls),
}

/// The server's side of TLS with its certificate.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Of a certificate and its key.
    pub fn new(pair: &KeyedCertificate) -> Result<Self, CertificateError> {
        server_config(pair, None).map(Self)
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0));
        time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
