//! The socket of a client: plain, or behind TLS.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::ClientTls;

#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// The TCP socket beneath.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(super) fn tls(&self) -> Option<&TlsStream<TcpStream>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream),
        }
    }

    pub(super) async fn secure(self, tls: &ClientTls) -> io::Result<Self> {
        let Self::Plain(socket) = self else {
            return Err(io::Error::other("there is TLS already"));
        };
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector.connect(tls.server_name.clone(), socket).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(octets).await,
            Self::Tls(stream) => {
                let written = stream.write(octets).await?;
                stream.flush().await?;
                Ok(written)
            }
        }
    }

    /// Past TLS, if there is TLS.
    pub(super) async fn write_beneath(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(octets).await,
            Self::Tls(stream) => stream.get_mut().0.write_all(octets).await,
        }
    }

    pub(super) async fn close_tls(&mut self) -> io::Result<()> {
        let Self::Tls(stream) = self else { return Err(io::Error::other("there is no TLS")) };
        stream.get_mut().1.send_close_notify();
        stream.flush().await
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}
