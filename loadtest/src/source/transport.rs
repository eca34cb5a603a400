//! The octets under a session: TCP, or TLS over it.
//!
//! One type for both, so that nothing above knows which it is. It never buffers: what is written is on
//! its way when the write returns.

use std::future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

#[cfg(feature = "tls")]
use crate::tls::{Handshake, TlsClient};

/// A connected transport.
#[derive(Debug)]
pub(crate) enum Transport {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted; in a box, because it is large and most are plain.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Transport {
    /// Connects, from this address if one is given.
    pub(crate) async fn connect(target: SocketAddr, from: Option<IpAddr>) -> io::Result<Self> {
        let socket = match target {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(address) = from {
            socket.bind(SocketAddr::new(address, 0))?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Plain(stream))
    }

    /// Does the TLS handshake.
    #[cfg(feature = "tls")]
    pub(crate) async fn encrypt(self, client: &TlsClient) -> io::Result<(Self, Handshake)> {
        let Self::Plain(stream) = self else {
            return Err(io::Error::other("TLS inside of TLS"));
        };
        let stream = client.connect(stream).await?;
        let handshake = Handshake::of(&stream);
        Ok((Self::Tls(Box::new(stream)), handshake))
    }

    /// Writes all slices, in as few system calls as the socket lets it.
    pub(crate) async fn write_slices(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = slices;
        // Drops empty slices at the front, so that nothing left to write is no slice left.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match self.write_vectored(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut rest, written),
            }
        }
        // TLS keeps records that the socket did not take at once.
        self.flush().await
    }

    /// True if the server has neither closed nor said anything: what it says unasked is the 421 before
    /// it closes (RFC 5321 §3.8). Does not wait.
    pub(crate) async fn stands(&mut self) -> bool {
        let mut octet = [0; 1];
        let mut buffer = ReadBuf::new(&mut octet);
        future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut *self).poll_read(context, &mut buffer).is_pending())
        })
        .await
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
