//! The socket of an upstream's connection: plain, or behind TLS.

use std::io::{self, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};
use tokio_rustls::server::TlsStream;

use super::record::Secured;
use crate::tls::ServerTls;

/// A record of application data (RFC 8446 §5.1) that nobody has sealed.
const NOT_SEALED: [u8; 37] = {
    let mut record = [0; 37];
    (record[0], record[1], record[2], record[4]) = (23, 3, 3, 32);
    record
};

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    AtOnce,
    WhenAsked,
}

#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake has failed.
    Gone,
}

impl Socket {
    /// The TCP socket beneath.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Gone => panic!("there is no socket any more"),
        }
    }

    pub(super) async fn secure(&mut self, tls: &ServerTls) -> io::Result<Secured> {
        let Self::Plain(socket) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("there is TLS already"));
        };
        let stream = TlsAcceptor::from(tls.config.clone()).accept(socket).await?;
        let state = stream.get_ref().1;
        let certificates = state.peer_certificates().unwrap_or_default();
        let secured = Secured {
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            is_tls13: state.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            server_name: state.server_name().map(str::to_owned),
            client_certificates: certificates.iter().map(|der| der.to_vec()).collect(),
        };
        *self = Self::Tls(Box::new(stream));
        Ok(secured)
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
            Self::Gone => Ok(0),
        }
    }

    pub(super) async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Past TLS, if there is TLS.
    pub(super) async fn write_beneath(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(octets).await,
            Self::Tls(stream) => stream.get_mut().0.write_all(octets).await,
            Self::Gone => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says this, and fails: what was heard cannot be opened. From then on there is no TLS.
    pub(super) async fn alert(&mut self, octets: &[u8]) -> io::Result<()> {
        let Self::Tls(stream) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("there is no TLS"));
        };
        let (mut socket, mut state) = stream.into_inner();
        let mut sealed = Vec::new();
        state.writer().write_all(octets)?;
        state.read_tls(&mut &NOT_SEALED[..])?;
        state.process_new_packets().expect_err("nobody has sealed it");
        while state.wants_write() {
            state.write_tls(&mut sealed)?;
        }
        let sent = socket.write_all(&sealed).await;
        *self = Self::Plain(socket);
        sent
    }

    /// Says that nothing more will be said with TLS; the socket stays open.
    pub(super) async fn say_close(&mut self) -> io::Result<()> {
        let Self::Tls(stream) = self else { return Err(io::Error::other("there is no TLS")) };
        stream.get_mut().1.send_close_notify();
        stream.flush().await
    }

    /// Seals with other keys from here on: they go out with what is said next.
    pub(super) async fn renew_keys(&mut self) {
        let Self::Tls(stream) = self else { panic!("there is no TLS") };
        stream.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        let _ = stream.flush().await;
    }

    /// FIN, past TLS if there is TLS.
    pub(super) async fn shutdown_beneath(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(stream) => stream.get_mut().0.shutdown().await,
            Self::Gone => Ok(()),
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Gone => Ok(()),
        }
    }
}
