//! A client that does what no load does: it stands idle, and it hangs up wherever it likes.
//!
//! One command, one reply, no buffer that outlives a reply: ten thousand of them are held at once.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, str};

use anyhow::{Context as _, bail, ensure};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A reply to EHLO has some hundred octets; whatever sends more than this is no SMTP server.
const REPLY_OCTETS_MAX: usize = 16 * 1024;

/// What is read at once, on the stack.
const READ_OCTETS: usize = 512;

/// One machine, no network: who takes longer than this does not answer at all.
const REPLY_TIME: Duration = Duration::from_mins(1);

/// How a client reaches its server.
#[derive(Clone)]
pub(crate) struct Door {
    /// The server.
    pub(crate) server: SocketAddr,
    /// TLS from the first octet on, and who is trusted.
    pub(crate) tls: Option<TlsConnector>,
}

/// One connection that was greeted.
pub(crate) struct Client {
    stream: Wire,
}

/// A socket with or without TLS.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Trusts one certificate and nobody else. Every handshake is a full one: that is what thousands of
/// clients that come for the first time cost.
pub(crate) fn connector(
    certificate: rustls::pki_types::CertificateDer<'static>,
) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Client {
    /// Connects from an address of loopback and waits for the greeting.
    pub(crate) async fn connect(door: &Door, from: IpAddr) -> anyhow::Result<Self> {
        let stream = Wire::open(door, from).await?;
        let mut client = Self { stream };
        let code = client.reply().await.context("no greeting")?;
        ensure!(code == 220, "the greeting is {code}");
        Ok(client)
    }

    /// Says one command, without its CRLF, and returns the code of the reply.
    pub(crate) async fn say(&mut self, command: &str) -> anyhow::Result<u16> {
        self.send(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await.with_context(|| format!("no reply to {command}"))
    }

    /// Sends octets and waits for nothing.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await?;
        self.stream.flush().await
    }

    /// The code of the next reply, which may have several lines.
    async fn reply(&mut self) -> anyhow::Result<u16> {
        time::timeout(REPLY_TIME, self.read_reply()).await.context("silence")?
    }

    async fn read_reply(&mut self) -> anyhow::Result<u16> {
        let mut reply = Vec::new();
        let mut part = [0; READ_OCTETS];
        loop {
            let count = self.stream.read(&mut part).await?;
            ensure!(count > 0, "the connection was closed");
            reply.extend_from_slice(&part[..count]);
            if let Some(code) = whole_reply(&reply) {
                return Ok(code);
            }
            if reply.len() > REPLY_OCTETS_MAX {
                bail!("a reply without end");
            }
        }
    }
}

impl Wire {
    async fn open(door: &Door, from: IpAddr) -> anyhow::Result<Self> {
        let server = door.server;
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind((from, 0).into()).with_context(|| format!("cannot use {from}"))?;
        let stream = time::timeout(REPLY_TIME, socket.connect(server)).await;
        let stream =
            stream.context("silence")?.with_context(|| format!("cannot reach {server}"))?;
        stream.set_nodelay(true)?;
        let Some(tls) = &door.tls else { return Ok(Self::Plain(stream)) };
        let name = ServerName::IpAddress(server.ip().into());
        let shaken = time::timeout(REPLY_TIME, tls.connect(name, stream)).await;
        Ok(Self::Tls(Box::new(shaken.context("silence")?.context("the TLS handshake failed")?)))
    }
}

/// The code of a reply whose last line is whole.
fn whole_reply(octets: &[u8]) -> Option<u16> {
    let lines = octets.strip_suffix(b"\r\n")?;
    let last = lines.rsplit(|&octet| octet == b'\n').next()?;
    if last.get(3) == Some(&b'-') {
        return None;
    }
    str::from_utf8(last.get(..3)?).ok()?.parse().ok()
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_its_last_line() {
        assert_eq!(whole_reply(b"250 OK\r\n"), Some(250));
        assert_eq!(whole_reply(b"250-a\r\n250 b\r\n"), Some(250));
        assert_eq!(whole_reply(b"221\r\n"), Some(221));
        for part in ["", "2", "250 OK", "250 OK\r", "250-a\r\n", "250-a\r\n250 b"] {
            assert_eq!(whole_reply(part.as_bytes()), None, "{part:?}");
        }
    }
}
