//! A client that speaks bytes: the application in front of the gateway.
//!
//! It knows of SMTP only what a reply looks like (RFC 5321 §4.2), and that CRLF ends a line.
//! Whatever does not happen within [`PATIENCE`] is a panic with the conversation so far.

mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::Location;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

use self::socket::Socket;
use crate::PATIENCE;
use crate::tls::ClientTls;
use crate::transcript::{Transcript, escape};

/// A connected client.
#[derive(Debug)]
pub struct ByteClient {
    /// Nothing once the client has closed or reset.
    socket: Option<Socket>,
    unread: Vec<u8>,
    transcript: Transcript,
}

impl ByteClient {
    /// Connects from 127.0.0.1, or from `::1` to an IPv6 address.
    pub async fn connect(addr: SocketAddr) -> Self {
        let source = match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self::connect_from(source, addr).await
    }

    /// Connects from this loopback address: `127.0.0.2` is another client than `127.0.0.1`.
    pub async fn connect_from(source: IpAddr, addr: SocketAddr) -> Self {
        Self::try_connect_from(source, addr).await.unwrap_or_else(|what| panic!("{what}"))
    }

    /// The address of this end.
    pub fn local_addr(&self) -> SocketAddr {
        let addr = self.socket.as_ref().map(|socket| socket.tcp().local_addr());
        addr.and_then(Result::ok).unwrap_or_else(|| self.fail("no local address"))
    }

    /// Begins TLS, and waits for its end of the handshake. What was not read is forgotten.
    pub async fn secure(&mut self, tls: &ClientTls) {
        self.try_secure(tls).await.unwrap_or_else(|what| self.fail(&what));
    }

    /// As [`secure`](Self::secure), for a server that may refuse.
    pub async fn try_secure(&mut self, tls: &ClientTls) -> Result<(), String> {
        self.unread.clear();
        let socket = self.socket.take().ok_or("the client has closed already")?;
        match in_time(socket.secure(tls)).await {
            Ok(socket) => {
                self.transcript.happened('C', "TLS");
                self.socket = Some(socket);
                Ok(())
            }
            Err(error) => Err(format!("no TLS: {error}")),
        }
    }

    /// Whether the TLS session is an earlier one that goes on.
    pub fn is_resumed(&self) -> bool {
        let tls = self.socket.as_ref().and_then(Socket::tls);
        tls.is_some_and(|tls| tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether TLS 1.3 was agreed on.
    pub fn is_tls13(&self) -> bool {
        let tls = self.socket.as_ref().and_then(Socket::tls);
        let version = tls.and_then(|tls| tls.get_ref().1.protocol_version());
        version == Some(ProtocolVersion::TLSv1_3)
    }

    /// The certificate that the server has shown; empty without TLS.
    pub fn server_certificate(&self) -> Vec<u8> {
        let tls = self.socket.as_ref().and_then(Socket::tls);
        let chain = tls.and_then(|tls| tls.get_ref().1.peer_certificates());
        chain.and_then(<[_]>::first).map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// Sends these octets. Only a standstill of [`PATIENCE`] fails, not the length of the whole.
    pub async fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).await.unwrap_or_else(|what| self.fail(&what));
    }

    /// As [`send`](Self::send), for a server that may close while the client is still sending.
    pub async fn try_send(&mut self, octets: &[u8]) -> Result<(), String> {
        self.transcript.said('C', octets);
        let mut rest = octets;
        while !rest.is_empty() {
            let written = in_time(self.open()?.write(rest)).await;
            let written = written.map_err(|error| format!("cannot send: {error}"))?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Sends a line and its CRLF.
    pub async fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
    }

    /// Sends in pieces of `piece` octets with a pause after each.
    pub async fn dribble(&mut self, octets: &[u8], piece: usize, pause: Duration) {
        for piece in octets.chunks(piece) {
            self.send(piece).await;
            sleep(pause).await;
        }
    }

    /// Reads one reply, whole: its lines without their CRLF, joined by `\n`.
    pub async fn read_reply(&mut self) -> String {
        self.try_read_reply().await.unwrap_or_else(|what| self.fail(&what))
    }

    /// Reads one reply, which must begin with `prefix`.
    #[track_caller]
    pub fn expect(&mut self, prefix: &str) -> impl Future<Output = String> {
        let caller = Location::caller();
        async move {
            let reply = self.try_read_reply().await;
            match reply {
                Ok(reply) if reply.starts_with(prefix) => reply,
                Ok(reply) => self.fail(&format!("{caller}: expected {prefix:?}, got {reply:?}")),
                Err(what) => self.fail(&format!("{caller}: expected {prefix:?}; {what}")),
            }
        }
    }

    /// Reads one reply, from a server that may have ended the connection.
    pub async fn try_reply(&mut self) -> Result<String, String> {
        self.try_read_reply().await
    }

    /// Reads everything until the server closes.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_more().await.unwrap_or_else(|what| self.fail(&what)) {}
        std::mem::take(&mut self.unread)
    }

    /// The server must close cleanly, and send nothing before that.
    pub async fn expect_closed(&mut self) {
        self.try_expect_closed().await.unwrap_or_else(|what| self.fail(&what));
    }

    /// The server must neither send nor close for this long.
    pub async fn expect_silence(&mut self, duration: Duration) {
        self.try_expect_silence(duration).await.unwrap_or_else(|what| self.fail(&what));
    }

    /// Says that nothing more will be sent (FIN), and can still read.
    pub async fn half_close(&mut self) {
        self.try_half_close().await.unwrap_or_else(|what| self.fail(&what));
    }

    /// Says that nothing more comes behind TLS (close_notify), and keeps the connection.
    pub async fn close_tls(&mut self) {
        let done = in_time(self.socket.as_mut().expect("not closed").close_tls()).await;
        self.transcript.happened('C', "close_notify");
        done.unwrap_or_else(|error| self.fail(&format!("no close_notify: {error}")));
    }

    /// Sends octets beneath TLS, as whoever stands between could; the server may have closed.
    pub async fn try_send_in_the_clear(&mut self, octets: &[u8]) -> Result<(), String> {
        self.transcript.said('C', octets);
        let sent = in_time(self.open()?.write_beneath(octets)).await;
        sent.map_err(|error| format!("cannot send: {error}"))
    }

    /// Closes; unread octets make it a reset, as the kernel does for any program.
    pub fn close(&mut self) {
        self.transcript.happened('C', "close");
        self.socket = None;
    }

    /// Ends the connection with RST.
    pub fn reset(&mut self) {
        if let Some(socket) = &self.socket {
            socket.tcp().set_zero_linger().expect("SO_LINGER on a TCP socket");
        }
        self.transcript.happened('C', "reset");
        self.socket = None;
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.transcript)
    }
}

/// The same without panics, for the dialogue runner: it knows the line that failed.
impl ByteClient {
    pub(crate) async fn try_connect_from(source: IpAddr, addr: SocketAddr) -> Result<Self, String> {
        let connected = in_time(async {
            let socket = match source {
                IpAddr::V4(_) => {
                    if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?
                }
                IpAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.bind((source, 0).into())?;
            let socket = socket.connect(addr).await?;
            // One send is one segment, as far as it fits.
            socket.set_nodelay(true)?;
            Ok(socket)
        });
        match connected.await {
            Ok(socket) => Ok(Self {
                socket: Some(Socket::Plain(socket)),
                unread: Vec::new(),
                transcript: Transcript::default(),
            }),
            Err(error) => Err(format!("cannot connect from {source} to {addr}: {error}")),
        }
    }

    pub(crate) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    pub(crate) async fn try_read_reply(&mut self) -> Result<String, String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = self.try_read_line().await?;
            let code =
                line.get(..3).filter(|code| code.bytes().all(|octet| octet.is_ascii_digit()));
            if code.is_none() || lines.first().is_some_and(|first| first.get(..3) != code) {
                return Err(format!("{line:?} is not a line of a reply"));
            }
            let separator = line.as_bytes().get(3).copied();
            lines.push(line);
            match separator {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(lines.join("\n")),
                Some(_) => return Err(format!("{lines:?} is not a reply")),
            }
        }
    }

    pub(crate) async fn try_expect_closed(&mut self) -> Result<(), String> {
        let closed = !self.read_more().await?;
        if closed && self.unread.is_empty() {
            return Ok(());
        }
        Err(format!("expected a close, got \"{}\"", escape(&self.unread)))
    }

    pub(crate) async fn try_expect_silence(&mut self, duration: Duration) -> Result<(), String> {
        match timeout(duration, self.read_more()).await {
            Err(_) if self.unread.is_empty() => Ok(()),
            Ok(Err(what)) => Err(what),
            Ok(Ok(false)) => Err("expected silence, but the server closed".to_owned()),
            _ => Err(format!("expected silence, got \"{}\"", escape(&self.unread))),
        }
    }

    pub(crate) async fn try_half_close(&mut self) -> Result<(), String> {
        let done = in_time(self.open()?.shutdown()).await;
        self.transcript.happened('C', "half-close");
        done.map_err(|error| format!("cannot half-close: {error}"))
    }

    async fn try_read_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&octet| octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = line.strip_suffix(b"\r\n").filter(|text| !text.contains(&b'\r'));
                let text = text.and_then(|text| str::from_utf8(text).ok());
                let wrong = || format!("\"{}\" is not text with a CRLF", escape(&line));
                return text.map(str::to_owned).ok_or_else(wrong);
            }
            if !self.read_more().await? {
                return Err("the server closed instead of replying".to_owned());
            }
        }
    }

    /// False at the end. Cancellation loses nothing.
    async fn read_more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        let read = in_time(self.open()?.read(&mut buffer)).await;
        let octets = read.map_err(|error| format!("cannot read: {error}"))?;
        self.unread.extend_from_slice(&buffer[..octets]);
        match octets {
            0 => self.transcript.happened('S', "closed"),
            _ => self.transcript.said('S', &buffer[..octets]),
        }
        Ok(octets > 0)
    }

    fn open(&mut self) -> Result<&mut Socket, String> {
        self.socket.as_mut().ok_or_else(|| "the client has closed already".to_owned())
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let in_vain = |_| io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {PATIENCE:?}"));
    timeout(PATIENCE, work).await.map_err(in_vain)?
}
