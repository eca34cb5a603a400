//! A client that does what no load does: it stands idle, and it hangs up wherever it likes.
//!
//! One command, one reply, no buffer that outlives a reply: ten thousand of them are held at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use crate::source::Transport;
use crate::tls::TlsClient;

/// A reply to EHLO has some hundred octets; whatever sends more than this is no SMTP server.
const REPLY_OCTETS_MAX: usize = 16 * 1024;

/// What is read at once, on the stack.
const READ_OCTETS: usize = 512;

/// One machine, no network: who takes longer than this does not answer at all.
const REPLY_TIME: Duration = Duration::from_mins(1);

/// How a client reaches its server.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The server.
    pub(crate) server: SocketAddr,
    /// TLS from the first octet on.
    pub(crate) tls: Option<TlsClient>,
}

/// One connection that was greeted.
pub(crate) struct Client {
    transport: Transport,
}

impl Client {
    /// Connects from an address of loopback and waits for the greeting.
    pub(crate) async fn connect(door: &Door, from: IpAddr) -> anyhow::Result<Self> {
        let mut client = Self { transport: open(door, from).await? };
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
        self.transport.write_all(octets).await?;
        self.transport.flush().await
    }

    /// The code of the next reply, which may have several lines.
    async fn reply(&mut self) -> anyhow::Result<u16> {
        time::timeout(REPLY_TIME, self.read_reply()).await.context("silence")?
    }

    async fn read_reply(&mut self) -> anyhow::Result<u16> {
        let mut reply = Vec::new();
        let mut part = [0; READ_OCTETS];
        loop {
            let count = self.transport.read(&mut part).await?;
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

async fn open(door: &Door, from: IpAddr) -> anyhow::Result<Transport> {
    let server = door.server;
    let plain = time::timeout(REPLY_TIME, Transport::connect(server, Some(from))).await;
    let plain = plain.context("silence")?;
    let plain = plain.with_context(|| format!("cannot reach {server} from {from}"))?;
    let Some(tls) = &door.tls else { return Ok(plain) };
    let shaken = time::timeout(REPLY_TIME, plain.encrypt(tls)).await;
    let (encrypted, _) = shaken.context("silence")?.context("the TLS handshake failed")?;
    Ok(encrypted)
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
